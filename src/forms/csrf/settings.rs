//! Django's settings of CSRF protection.

use chrono::TimeDelta;

use crate::site::path_list;
use crate::site::settings::{SameSite, SettingsError};

/// Django's settings of CSRF protection under their names, and this library's additions.
///
/// ```
/// use cloakroom::csrf::{CsrfSettings, Scheme};
///
/// let mut settings = CsrfSettings::default();
/// settings.trusted_origins = vec!["https://*.example.com".to_owned()];
/// settings.exempt = vec!["/webhooks/*".to_owned()];
/// // Behind a proxy that sets this header itself.
/// settings.scheme = Scheme::OfHeader("X-Forwarded-Proto".to_owned(), "https".to_owned());
/// assert_eq!((settings.cookie_name.as_str(), settings.header_name.as_str()), ("csrftoken", "X-CSRFToken"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CsrfSettings {
    /// `CSRF_USE_SESSIONS`: whether the secret is in the session. Default: false, in a cookie.
    pub use_sessions: bool,
    /// `CSRF_COOKIE_NAME`. Default: `csrftoken`.
    pub cookie_name: String,
    /// `CSRF_COOKIE_AGE`; `None` means until the browser is closed. Default: 364 days.
    pub cookie_age: Option<TimeDelta>,
    /// `CSRF_COOKIE_DOMAIN`. Default: none.
    pub cookie_domain: Option<String>,
    /// `CSRF_COOKIE_PATH`. Default: `/`.
    pub cookie_path: String,
    /// `CSRF_COOKIE_SECURE`. Default: false.
    pub cookie_secure: bool,
    /// `CSRF_COOKIE_HTTPONLY`. Default: false.
    pub cookie_httponly: bool,
    /// `CSRF_COOKIE_SAMESITE`. Default: `Lax`.
    pub cookie_samesite: Option<SameSite>,
    /// `CSRF_HEADER_NAME`, as the header is written: `X-CSRFToken` for Django's `HTTP_X_CSRFTOKEN`.
    pub header_name: String,
    /// `CSRF_TRUSTED_ORIGINS`: `https://example.com`, or `https://*.example.com` for all subdomains.
    pub trusted_origins: Vec<String>,
    /// The paths that are not checked, in place of Django's `csrf_exempt`: exact, or with `*` at the end for
    /// all paths that begin so.
    pub exempt: Vec<String>,
    /// `ALLOWED_HOSTS`: the names of the site, to which `Origin` and `Referer` are compared. Default: `*`, any
    /// that the `Host` header says.
    pub allowed_hosts: Vec<String>,
    /// `USE_X_FORWARDED_HOST`. Default: false.
    pub use_x_forwarded_host: bool,
    /// `USE_X_FORWARDED_PORT`. Default: false.
    pub use_x_forwarded_port: bool,
    /// How to know whether a request came over HTTPS. Default: by the connection.
    pub scheme: Scheme,
    /// `DATA_UPLOAD_MAX_MEMORY_SIZE`: how much of a form is read to find the token. Default: 2.5 MiB.
    pub max_body_bytes: usize,
    /// `DATA_UPLOAD_MAX_NUMBER_FIELDS`. Default: 1,000.
    pub max_fields: usize,
    /// A second wall, which Django does not have: whether a request whose `Sec-Fetch-Site` says that another
    /// site's page sent it is refused, unless its `Origin` is trusted. Default: false.
    pub check_sec_fetch_site: bool,
}

/// How to know whether a request came over HTTPS.
///
/// ```
/// use cloakroom::csrf::{CsrfSettings, Scheme};
///
/// assert_eq!(CsrfSettings::default().scheme, Scheme::OfConnection);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// As the server's own connection.
    #[default]
    OfConnection,
    /// Always: a proxy in front ends TLS, and no request comes past it.
    Https,
    /// `SECURE_PROXY_SSL_HEADER`: when this header has this value. The proxy must set or remove it.
    OfHeader(String, String),
}

impl Default for CsrfSettings {
    fn default() -> CsrfSettings {
        CsrfSettings {
            use_sessions: false,
            cookie_name: "csrftoken".to_owned(),
            cookie_age: Some(TimeDelta::weeks(52)),
            cookie_domain: None,
            cookie_path: "/".to_owned(),
            cookie_secure: false,
            cookie_httponly: false,
            cookie_samesite: Some(SameSite::Lax),
            header_name: "X-CSRFToken".to_owned(),
            trusted_origins: Vec::new(),
            exempt: Vec::new(),
            allowed_hosts: vec!["*".to_owned()],
            use_x_forwarded_host: false,
            use_x_forwarded_port: false,
            scheme: Scheme::OfConnection,
            max_body_bytes: 2_621_440,
            max_fields: 1_000,
            check_sec_fetch_site: false,
        }
    }
}

impl CsrfSettings {
    /// Checks what Django's system checks do.
    pub(crate) fn validate(&self) -> Result<(), SettingsError> {
        if !self.trusted_origins.iter().all(|origin| origin.contains("://")) {
            let problem = "an origin has no scheme";
            return Err(SettingsError::new("trusted_origins", problem, "write `https://` before its host"));
        }
        if self.cookie_samesite == Some(SameSite::None) && !self.cookie_secure {
            let problem = "browsers refuse a cookie with `SameSite=None` that is not `Secure`";
            return Err(SettingsError::new("cookie_samesite", problem, "set `cookie_secure`"));
        }
        Ok(())
    }

    pub(crate) fn is_exempt(&self, path: &str) -> bool {
        path_list::has(&self.exempt, path)
    }
}
