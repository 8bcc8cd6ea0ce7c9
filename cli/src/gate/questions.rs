//! The questions over HTTP: each kind of proxy has an endpoint, which reads the headers that this kind sets, and no other.

use cloakroom::RequestHead;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, Method, Uri};

use super::asked::Asked;
use super::kind::Kind;

/// More `Cookie` headers than any client sends: HTTP/1.1 has one, HTTP/2 may split it.
const MOST_COOKIES: usize = 64;

const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The endpoint of Envoy's questions, which the request's own target follows.
const ENVOY: &str = "/auth/envoy";

/// The kind of proxy that asks at this path; `None` if it is no endpoint of a question.
pub(crate) fn kind_of(path: &str) -> Option<Kind> {
    match path {
        "/auth/nginx" => Some(Kind::Nginx),
        "/auth/traefik" => Some(Kind::Traefik),
        "/auth/caddy" => Some(Kind::Caddy),
        "/auth/haproxy" => Some(Kind::Haproxy),
        _ => path.strip_prefix(ENVOY).filter(|rest| rest.starts_with('/')).map(|_| Kind::EnvoyHttp),
    }
}

/// The `Cookie` headers of a question; `None` if they are too many.
pub(crate) fn cookies_of(headers: &HeaderMap) -> Option<Vec<&[u8]>> {
    let cookies = headers.get_all(COOKIE).iter();
    let cookies: Vec<&[u8]> = cookies.take(MOST_COOKIES + 1).map(http::HeaderValue::as_bytes).collect();
    (cookies.len() <= MOST_COOKIES).then_some(cookies)
}

/// Reads a question; `None` if what it needs is missing, doubled or no text.
pub(crate) fn read<'a>(
    kind: Kind,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    cookies: &'a [&'a [u8]],
) -> Option<Asked<'a>> {
    let header = |name| only(headers, &name);
    let (method, host, target) = match kind {
        Kind::Nginx | Kind::Haproxy => {
            (header(ORIGINAL_METHOD)?, header(ORIGINAL_HOST)?, header(ORIGINAL_URI)?)
        }
        Kind::Traefik | Kind::Caddy => {
            (header(FORWARDED_METHOD)?, header(FORWARDED_HOST)?, header(FORWARDED_URI)?)
        }
        Kind::EnvoyHttp => {
            let target = uri.path_and_query()?.as_str().strip_prefix(ENVOY)?;
            (method.as_str(), header(HOST)?, target)
        }
        Kind::EnvoyGrpc => return None,
    };
    let wants_page =
        matches!(method, "GET" | "HEAD") && RequestHead::new(method, target, headers).accepts_html();
    Some(Asked { method, host, target, cookies, wants_page })
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn asked(kind: Kind, uri: &str, text: &str) -> Option<(String, String, String, bool)> {
        let (headers, uri) = (headers(text), uri.parse().unwrap());
        let asked = read(kind, &Method::PUT, &uri, &headers, &[])?;
        Some((asked.method.to_owned(), asked.host.to_owned(), asked.target.to_owned(), asked.wants_page))
    }

    #[test]
    fn each_kind_reads_its_own_headers_alone() {
        let all = "X-Original-Method: GET\nX-Original-Host: one.example:8443\nX-Original-URI: /one?q\n\
                   X-Forwarded-Method: POST\nX-Forwarded-Host: two.example\nX-Forwarded-Uri: /two\n\
                   Host: three.example\nX-Forwarded-Prefix: /four\nX-Original-Url: /five\nX-Rewrite-Url: /six\n\
                   X_Original_URI: /seven\nForwarded: host=eight.example\nX-Http-Method-Override: DELETE\nAccept: text/html";
        let found = |method: &str, host: &str, target: &str, wants_page| {
            Some((method.to_owned(), host.to_owned(), target.to_owned(), wants_page))
        };
        for kind in [Kind::Nginx, Kind::Haproxy] {
            assert_eq!(asked(kind, "/auth/x?y=1", all), found("GET", "one.example:8443", "/one?q", true));
        }
        for kind in [Kind::Traefik, Kind::Caddy] {
            assert_eq!(asked(kind, "/auth/x?y=1", all), found("POST", "two.example", "/two", false));
        }
        let envoy = asked(Kind::EnvoyHttp, "/auth/envoy//a/..%2fb?q=1", all);
        assert_eq!(envoy, found("PUT", "three.example", "//a/..%2fb?q=1", false));
        assert_eq!(asked(Kind::EnvoyGrpc, "/auth/envoy/", all), None);
        // Without one of its own, none of another kind's is taken.
        for name in ["X-Original-Method", "X-Original-Host", "X-Original-URI"] {
            let without: Vec<&str> = all.lines().filter(|line| !line.trim().starts_with(name)).collect();
            assert_eq!(asked(Kind::Nginx, "/auth/nginx", &without.join("\n")), None, "{name}");
            let doubled = format!("{all}\n{name}: /again");
            assert_eq!(asked(Kind::Nginx, "/auth/nginx", &doubled), None, "{name}");
        }
        for name in ["X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"] {
            let without: Vec<&str> = all.lines().filter(|line| !line.trim().starts_with(name)).collect();
            assert_eq!(asked(Kind::Traefik, "/auth/traefik", &without.join("\n")), None, "{name}");
            assert_eq!(asked(Kind::Caddy, "/auth/caddy", &format!("{all}\n{name}: GET")), None, "{name}");
        }
        assert_eq!(asked(Kind::EnvoyHttp, "/auth/envoy/", &format!("{all}\nHost: evil.example")), None);
    }

    #[test]
    fn text_alone_is_taken() {
        let mut headers = headers("X-Original-Method: GET\nX-Original-Host: one.example");
        headers.insert(ORIGINAL_URI, http::HeaderValue::from_bytes(b"/caf\xc3\xa9").unwrap());
        assert!(read(Kind::Nginx, &Method::GET, &Uri::from_static("/auth/nginx"), &headers, &[]).is_none());
    }

    #[test]
    fn only_endpoints_are_asked() {
        for (path, kind) in [
            ("/auth/nginx", Some(Kind::Nginx)),
            ("/auth/traefik", Some(Kind::Traefik)),
            ("/auth/caddy", Some(Kind::Caddy)),
            ("/auth/haproxy", Some(Kind::Haproxy)),
            ("/auth/envoy/", Some(Kind::EnvoyHttp)),
            ("/auth/envoy/health/live", Some(Kind::EnvoyHttp)),
            ("/auth/envoy", None),
            ("/auth/envoys/", None),
            ("/auth/nginx/", None),
            ("/auth/Nginx", None),
            ("/auth/%6eginx", None),
            ("//auth/nginx", None),
            ("/auth/", None),
            ("/", None),
        ] {
            assert_eq!(kind_of(path), kind, "{path}");
        }
    }

    #[test]
    fn a_page_is_asked_for_by_get() {
        for (method, accept, wants_page) in [
            ("GET", "text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("HEAD", "TEXT/HTML", true),
            ("POST", "text/html", false),
            ("GET", "application/json", false),
            ("GET", "*/*", false),
        ] {
            let headers = format!(
                "X-Original-Method: {method}\nX-Original-Host: one.example\nX-Original-URI: /\nAccept: {accept}"
            );
            assert_eq!(
                asked(Kind::Nginx, "/auth/nginx", &headers).unwrap().3,
                wants_page,
                "{method} {accept}"
            );
        }
    }

    #[test]
    fn cookies_have_a_limit() {
        let many = |count| headers(&"Cookie: a=b\n".repeat(count));
        assert_eq!(cookies_of(&many(0)).unwrap().len(), 0);
        assert_eq!(cookies_of(&many(2)).unwrap(), [b"a=b", b"a=b"]);
        assert!(cookies_of(&many(MOST_COOKIES)).is_some());
        assert!(cookies_of(&many(MOST_COOKIES + 1)).is_none());
    }
}
