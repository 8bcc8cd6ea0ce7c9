//! The attributes by which browsers distinguish cookies, and the attributes that a cookie's name requires.

use super::Settings;

/// The scope of a cookie: the attributes by which browsers distinguish two cookies of one name. For
/// [`former_cookies`](Settings::former_cookies).
///
/// ```
/// use cloakroom::{CookieScope, Settings};
///
/// // The cookie was the host's own, and is now for the whole domain.
/// let mut settings = Settings::new("secret");
/// settings.cookie_domain = Some("example.com".to_owned());
/// settings.former_cookies = vec![CookieScope::of_host("/")];
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CookieScope {
    /// As [`cookie_domain`](Settings::cookie_domain).
    pub domain: Option<String>,
    /// As [`cookie_path`](Settings::cookie_path).
    pub path: String,
    /// As [`cookie_partitioned`](Settings::cookie_partitioned). Default: false.
    pub partitioned: bool,
}

impl CookieScope {
    /// The scope of a cookie without a `Domain`, which is sent only to the host that set it.
    ///
    /// ```
    /// use cloakroom::CookieScope;
    ///
    /// assert_eq!(CookieScope::of_host("/").domain, None);
    /// ```
    pub fn of_host(path: impl Into<String>) -> CookieScope {
        CookieScope { domain: None, path: path.into(), partitioned: false }
    }

    /// The scope of a cookie for a domain and the hosts below it.
    ///
    /// ```
    /// use cloakroom::CookieScope;
    ///
    /// let scope = CookieScope::of_domain("example.com", "/shop");
    /// assert_eq!((scope.domain.as_deref(), scope.path.as_str()), (Some("example.com"), "/shop"));
    /// ```
    pub fn of_domain(domain: impl Into<String>, path: impl Into<String>) -> CookieScope {
        CookieScope { domain: Some(domain.into()), path: path.into(), partitioned: false }
    }

    /// Whether these settings give a cookie this scope.
    pub(super) fn is_that_of(&self, settings: &Settings) -> bool {
        // Browsers ignore a leading dot, and host names ignore case.
        let host = |domain: &Option<String>| {
            domain.as_deref().map(|domain| domain.trim_start_matches('.').to_ascii_lowercase())
        };
        host(&self.domain) == host(&settings.cookie_domain)
            && self.path == settings.cookie_path
            && self.partitioned == settings.cookie_partitioned
    }
}

/// A prefix of a cookie's name that makes browsers require certain attributes. They ignore its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamePrefix {
    /// No special prefix.
    None,
    /// `__Secure-`: `Secure`.
    Secure,
    /// `__Host-`: `Secure`, no `Domain`, and `Path=/`.
    Host,
    /// `__Http-`: `Secure` and `HttpOnly`.
    Http,
    /// `__Host-Http-`: both.
    HostHttp,
}

impl NamePrefix {
    pub(crate) fn of(cookie_name: &str) -> NamePrefix {
        let begins_with = |prefix: &str| {
            cookie_name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let prefixes = [
            ("__Host-Http-", NamePrefix::HostHttp),
            ("__Host-", NamePrefix::Host),
            ("__Http-", NamePrefix::Http),
            ("__Secure-", NamePrefix::Secure),
        ];
        prefixes
            .into_iter()
            .find(|(text, _)| begins_with(text))
            .map_or(NamePrefix::None, |(_, prefix)| prefix)
    }

    pub(crate) fn needs_secure(self) -> bool {
        self != NamePrefix::None
    }

    pub(crate) fn needs_httponly(self) -> bool {
        matches!(self, NamePrefix::Http | NamePrefix::HostHttp)
    }

    pub(crate) fn is_of_host(self) -> bool {
        matches!(self, NamePrefix::Host | NamePrefix::HostHttp)
    }
}
