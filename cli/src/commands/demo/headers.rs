//! The headers of every request and response: no forms from other sites, no content from other sites on the
//! page.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::message_page;

/// All content comes from this site, and nothing may frame it. The referrer policy is necessary: with
/// `no-referrer` browsers would send `Origin: null` with the site's own forms.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

pub(super) async fn guard(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if changes && is_cross_origin(request.headers()) {
        message_page(
            StatusCode::FORBIDDEN,
            "Not from this site",
            "This form was sent from another site, so nothing was done. Use the forms on this one.",
        )
        .into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a browser sent this from a page of another site. The cookie's `SameSite=Lax` is not enough,
/// because it treats other ports of this host as the same site. Programs other than browsers send no
/// `Origin`.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    match headers.get(header::ORIGIN).map(HeaderValue::as_bytes) {
        Some(origin) => {
            let origin_host = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
            origin_host.is_none() || origin_host != host
        }
        None => headers
            .get("sec-fetch-site")
            .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let cross_origin = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_cross_origin(&pairs.collect())
        };
        let host = ("host", "127.0.0.1:8000");
        assert!(!cross_origin(&[host]), "a program");
        assert!(!cross_origin(&[host, ("origin", "http://127.0.0.1:8000")]));
        assert!(!cross_origin(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(cross_origin(&[host, ("origin", "http://127.0.0.1:8001")]));
        assert!(cross_origin(&[host, ("origin", "http://evil.example")]));
        assert!(cross_origin(&[host, ("origin", "null")]));
        assert!(cross_origin(&[host, ("sec-fetch-site", "same-site")]));
        assert!(cross_origin(&[("origin", "http://127.0.0.1:8000")]), "no host to compare with");
    }
}
