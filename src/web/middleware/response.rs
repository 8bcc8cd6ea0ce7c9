//! The session's response headers, and setting them in any web framework.

use std::borrow::Cow;
use std::fmt;

use super::patch_vary;

/// The headers for the response. [`apply`](Finished::apply) sets them.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut settings = Settings::new("secret");
/// settings.send_no_store = true;
/// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings)?;
/// let lazy = middleware.begin([]);
/// lazy.load().await?.set("visits", 1)?;
/// let finished = middleware.finish(&lazy, 200).await?;
/// assert_eq!(finished.vary.as_deref(), Some("Cookie"));
/// assert!(finished.set_cookie.is_some() && finished.send_no_store);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// The field for the `Vary` header: `Cookie`, or the header that carries the session key; see
    /// [`patch_vary`].
    pub vary: Option<Cow<'static, str>>,
    /// The value of a `Set-Cookie` header, replacing any that a handler set for the same name.
    pub set_cookie: Option<String>,
    /// The values of further `Set-Cookie` headers, which delete cookies that the settings'
    /// [`former_cookies`](crate::Settings::former_cookies) name.
    pub remove_cookies: Vec<String>,
    /// The name and value of the header that gives the client its session key, or deletes it if the value is
    /// empty.
    pub set_header: Option<(String, String)>,
    /// Whether `Cache-Control: no-store` replaces the handler's value, and removes the headers that some
    /// caches use instead.
    pub send_no_store: bool,
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
/// ResponseHeaders::append(&mut headers, "set-cookie", b"theme=dark".into());
/// ResponseHeaders::append(&mut headers, "set-cookie", b"sessionid=x".into());
/// assert_eq!(ResponseHeaders::values(&headers, "set-cookie"), [&b"theme=dark"[..], b"sessionid=x"]);
/// # }
/// ```
pub trait ResponseHeaders {
    /// Returns the values of all headers with this name, in order.
    fn values(&self, name: &str) -> Vec<&[u8]>;

    /// Removes all headers with this name.
    fn remove(&mut self, name: &str);

    /// Appends a header after existing ones with this name.
    fn append(&mut self, name: &str, value: Cow<'static, [u8]>);
}

impl Finished {
    /// Sets the headers on a response. The handler's headers stay, except a cookie of the session's name.
    ///
    /// ```
    /// use std::borrow::Cow;
    /// use cloakroom::middleware::{Finished, ResponseHeaders};
    ///
    /// /// As some framework might keep its headers.
    /// struct Headers(Vec<(String, Vec<u8>)>);
    ///
    /// impl ResponseHeaders for Headers {
    ///     fn values(&self, name: &str) -> Vec<&[u8]> {
    ///         self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| &value[..]).collect()
    ///     }
    ///     fn remove(&mut self, name: &str) {
    ///         self.0.retain(|(other, _)| other != name);
    ///     }
    ///     fn append(&mut self, name: &str, value: Cow<'static, [u8]>) {
    ///         self.0.push((name.to_owned(), value.into_owned()));
    ///     }
    /// }
    ///
    /// let mut headers = Headers(vec![("vary".to_owned(), b"Accept".to_vec())]);
    /// let mut finished = Finished::default();
    /// finished.vary = Some("Cookie".into());
    /// finished.apply(&mut headers);
    /// assert_eq!(headers.values("vary"), [b"Accept, Cookie"]);
    /// ```
    pub fn apply(self, headers: &mut impl ResponseHeaders) {
        if let Some(field) = self.vary {
            let there = headers.values("vary");
            if there.is_empty() {
                headers.append("vary", bytes_of(field));
            } else {
                let there: Vec<_> =
                    there.into_iter().filter_map(|value| str::from_utf8(value).ok()).collect();
                let vary = patch_vary(Some(&there.join(", ")), &field);
                replace(headers, "vary", vary.into_bytes().into());
            }
        }
        if let Some(set_cookie) = self.set_cookie {
            let there = headers.values("set-cookie");
            let name = || &set_cookie.as_bytes()[..=set_cookie.find('=').unwrap_or(0)];
            let is_ours = |value: &&[u8]| value.starts_with(name());
            if there.iter().any(is_ours) {
                let others = there.into_iter().filter(|value| !is_ours(value));
                let others: Vec<_> = others.map(<[u8]>::to_vec).collect();
                headers.remove("set-cookie");
                others.into_iter().for_each(|other| headers.append("set-cookie", other.into()));
            }
            headers.append("set-cookie", set_cookie.into_bytes().into());
        }
        for cookie in self.remove_cookies {
            headers.append("set-cookie", cookie.into_bytes().into());
        }
        if let Some((name, value)) = self.set_header {
            replace(headers, &name, value.into_bytes().into());
        }
        if self.send_no_store {
            OTHER_CACHE_CONTROLS.into_iter().for_each(|name| headers.remove(name));
            replace(headers, "cache-control", b"no-store".into());
        }
    }
}

/// Shows which cookies and headers there are, but not their values: anyone who knows them can act as the
/// user.
impl fmt::Debug for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |cookie: &String| format!("{}=..", cookie.split('=').next().unwrap_or_default());
        formatter
            .debug_struct("Finished")
            .field("vary", &self.vary)
            .field("set_cookie", &self.set_cookie.as_ref().map(name))
            .field("remove_cookies", &self.remove_cookies.iter().map(name).collect::<Vec<_>>())
            .field("set_header", &self.set_header.as_ref().map(|(name, _)| format!("{name}: ..")))
            .field("send_no_store", &self.send_no_store)
            .finish()
    }
}

/// Headers that some caches use instead of `Cache-Control`: RFC 9213's, and those of Cloudflare, Varnish,
/// Fastly and nginx.
const OTHER_CACHE_CONTROLS: [&str; 4] =
    ["cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "x-accel-expires"];

fn replace(headers: &mut impl ResponseHeaders, name: &str, value: Cow<'static, [u8]>) {
    headers.remove(name);
    headers.append(name, value);
}

fn bytes_of(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
