//! What goes on the response, and how it gets there in any web framework.

use super::patch_vary;

/// What goes on the response. [`apply`](Finished::apply) puts it there.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut settings = Settings::new("secret");
/// settings.no_store = true;
/// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings)?;
/// let lazy = middleware.begin([]);
/// lazy.load().await?.set("visits", 1)?;
/// let finished = middleware.finish(&lazy, 200).await?;
/// assert_eq!(finished.vary.as_deref(), Some("Cookie"));
/// assert!(finished.set_cookie.is_some() && finished.no_store);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// What belongs into the `Vary` header: `Cookie`, or the header that carries the session key; see
    /// [`patch_vary`].
    pub vary: Option<String>,
    /// The value of a `Set-Cookie` header, instead of any that a handler set for the same name.
    pub set_cookie: Option<String>,
    /// The name and value of the header that gives the client its session key, or takes it away where it is empty.
    pub set_header: Option<(String, String)>,
    /// Whether `Cache-Control: no-store` takes the place of what the handler said.
    pub no_store: bool,
}

/// The headers of a response, in the types of some web framework.
///
/// The `HeaderMap` of the crate `http` is one, with the feature `tower`; that of actix-web, with `actix`.
///
/// ```
/// # #[cfg(feature = "tower")] {
/// use cloakroom::middleware::ResponseHeaders;
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.replace("set-cookie", vec![b"theme=dark".to_vec(), b"sessionid=x".to_vec()]);
/// assert_eq!(ResponseHeaders::values(&headers, "set-cookie"), [&b"theme=dark"[..], b"sessionid=x"]);
/// # }
/// ```
pub trait ResponseHeaders {
    /// The values of all headers of this name, in their order.
    fn values(&self, name: &str) -> Vec<&[u8]>;

    /// Puts headers of this name, in this order, in the place of all that are there.
    fn replace(&mut self, name: &str, values: Vec<Vec<u8>>);
}

impl Finished {
    /// Puts it on a response. What the handler set stays, but for a cookie of the session's name.
    ///
    /// ```
    /// use cloakroom::middleware::{Finished, ResponseHeaders};
    ///
    /// /// As some framework might keep its headers.
    /// struct Headers(Vec<(String, Vec<u8>)>);
    ///
    /// impl ResponseHeaders for Headers {
    ///     fn values(&self, name: &str) -> Vec<&[u8]> {
    ///         self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| &value[..]).collect()
    ///     }
    ///     fn replace(&mut self, name: &str, values: Vec<Vec<u8>>) {
    ///         self.0.retain(|(other, _)| other != name);
    ///         self.0.extend(values.into_iter().map(|value| (name.to_owned(), value)));
    ///     }
    /// }
    ///
    /// let mut headers = Headers(vec![("vary".to_owned(), b"Accept".to_vec())]);
    /// let finished = Finished { vary: Some("Cookie".to_owned()), ..Finished::default() };
    /// finished.apply(&mut headers);
    /// assert_eq!(headers.values("vary"), [b"Accept, Cookie"]);
    /// ```
    pub fn apply(self, headers: &mut impl ResponseHeaders) {
        if let Some(field) = self.vary {
            let there: Vec<_> =
                headers.values("vary").into_iter().filter_map(|value| str::from_utf8(value).ok()).collect();
            let vary = if there.is_empty() { field } else { patch_vary(Some(&there.join(", ")), &field) };
            headers.replace("vary", vec![vary.into_bytes()]);
        }
        if let Some(set_cookie) = self.set_cookie {
            let name = &set_cookie[..=set_cookie.find('=').unwrap_or(0)];
            let others = headers.values("set-cookie");
            let others = others.into_iter().filter(|value| !value.starts_with(name.as_bytes()));
            let mut cookies: Vec<_> = others.map(<[u8]>::to_vec).collect();
            cookies.push(set_cookie.into_bytes());
            headers.replace("set-cookie", cookies);
        }
        if let Some((name, value)) = self.set_header {
            headers.replace(&name, vec![value.into_bytes()]);
        }
        if self.no_store {
            headers.replace("cache-control", vec![b"no-store".to_vec()]);
        }
    }
}
