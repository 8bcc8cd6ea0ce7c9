//! Checks which settings work together.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use chrono::TimeDelta;

use super::{NamePrefix, SameSite, Settings, Transport};

/// An invalid setting: which one, why, and what to do. Never shows a secret.
///
/// ```
/// use cloakroom::{SameSite, Settings};
///
/// let mut settings = Settings::new("secret");
/// settings.cookie_samesite = Some(SameSite::None);
/// let error = settings.validate().unwrap_err();
/// assert_eq!(error.setting(), "cookie_samesite");
/// assert!(error.remedy().contains("cookie_secure"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SettingsError {
    setting: Cow<'static, str>,
    problem: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

impl SettingsError {
    pub(crate) fn new(
        setting: impl Into<Cow<'static, str>>,
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> SettingsError {
        SettingsError { setting: setting.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The field of [`Settings`], or the unknown name.
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// The message without the setting's name, where that has been said.
    pub(crate) fn without_setting(&self) -> String {
        format!("{}; {}", self.problem, self.remedy)
    }

    /// The problem.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The remedy.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "setting `{}`: {}; {}", self.setting, self.problem, self.remedy)
    }
}

/// Shows the message: Rust prints this form of an error that `main` returns.
impl fmt::Debug for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for SettingsError {}

/// The longest attribute value that browsers keep.
const MAX_ATTRIBUTE_LENGTH: usize = 1_024;
/// The minimum length of a session key: Django's `_validate_session_key`.
const MIN_KEY_LENGTH: usize = 8;
/// Headers with another meaning.
const TAKEN_HEADERS: [&str; 9] = [
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "host",
    "set-cookie",
    "transfer-encoding",
    "vary",
];

impl Settings {
    /// Checks that these settings work together, so that a mistake is found at the start and not in the
    /// browser. The layers check this. [`connect`](crate::connect) checks it too, except for the secrets and
    /// the cookie's attributes: a command can clear expired sessions without them.
    ///
    /// ```
    /// use cloakroom::{SameSite, Settings};
    ///
    /// let mut settings = Settings::new("secret");
    /// assert!(settings.validate().is_ok());
    /// settings.cookie_samesite = Some(SameSite::None);
    /// assert_eq!(
    ///     settings.validate().unwrap_err().to_string(),
    ///     "setting `cookie_samesite`: browsers refuse a cookie with `SameSite=None` that is not `Secure`; \
    ///      set `cookie_secure`"
    /// );
    /// ```
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.validate_secrets()?;
        self.validate_stored()?;
        match &self.transport {
            Transport::Cookie => self.validate_cookie(),
            Transport::Header(name) => {
                let remedy = "use a name such as `X-Session-Token`";
                reject_if("transport", !is_token(name), "it is not a header name", remedy)?;
                let taken = TAKEN_HEADERS.iter().any(|taken| name.eq_ignore_ascii_case(taken));
                reject_if("transport", taken, "this header has another meaning", remedy)
            }
        }
    }

    fn validate_secrets(&self) -> Result<(), SettingsError> {
        let problem = "anybody can sign with an empty secret";
        reject_if(
            "secret_key",
            self.secret_key.as_bytes().is_empty(),
            problem,
            "use the site's `SECRET_KEY`",
        )?;
        let empty = self.secret_key_fallbacks.iter().any(|secret| secret.as_bytes().is_empty());
        reject_if("secret_key_fallbacks", empty, problem, "leave it out")
    }

    /// Checks the settings that concern stores and saving.
    pub(crate) fn validate_stored(&self) -> Result<(), SettingsError> {
        let too_short = |age: TimeDelta| age < TimeDelta::seconds(1);
        let problem = "a session would end before it begins";
        reject_if("cookie_age", too_short(self.cookie_age), problem, "set a second or more")?;
        let remedy = "set a second or more, or none for no limit";
        reject_if("absolute_lifetime", self.absolute_lifetime.is_some_and(too_short), problem, remedy)?;
        let remedy = "set a second or more, or none to extend sessions by saves alone";
        let problem = "a session would be written by each request; that is `save_every_request`";
        reject_if("renew_after", self.renew_after.is_some_and(too_short), problem, remedy)?;
        let is_too_late = self.renew_after.is_some_and(|after| after >= self.cookie_age);
        let problem = "a session would end before it is renewed";
        reject_if("renew_after", is_too_late, problem, "set less than `cookie_age`")?;
        let none = self.save_timeout.is_zero();
        reject_if("save_timeout", none, "nobody could wait for another request", "set some seconds")?;
        let too_long = self.save_timeout > Duration::from_secs(24 * 60 * 60);
        reject_if("save_timeout", too_long, "it is more than a day", "set some seconds")?;
        let none = self.max_decompressed_bytes == 0;
        reject_if("max_decompressed_bytes", none, "no compressed session could be read", "set it in bytes")?;
        let format = &self.session_key_format;
        let none = format.min_length > format.max_length;
        let problem = "its `min_length` is above its `max_length`: nobody's key would be looked up";
        reject_if("session_key_format", none, problem, "exchange them")?;
        let too_short = format.min_length < MIN_KEY_LENGTH;
        let problem =
            "its `min_length` is below 8: Django takes no shorter key, and a short one can be guessed";
        reject_if("session_key_format", too_short, problem, "set 8 or more")?;
        let problem = "its `extra_chars` has `/` or `\\`, with which a key could lead out of a folder";
        let leads_out = format.extra_chars.contains(['/', '\\']);
        reject_if("session_key_format", leads_out, problem, "leave it out, or make keys without it")?;
        let problem = "its `extra_chars` has a character that a cookie cannot hold";
        reject_if(
            "session_key_format",
            !format.extra_chars.bytes().all(is_cookie_byte),
            problem,
            "leave it out",
        )
    }

    fn validate_cookie(&self) -> Result<(), SettingsError> {
        let name = &self.cookie_name;
        let remedy = "use letters, digits, `-` and `_`, as in `sessionid`";
        reject_if("cookie_name", name.is_empty(), "it is empty", remedy)?;
        reject_if(
            "cookie_name",
            !is_token(name),
            "it has a character that no cookie's name can have",
            remedy,
        )?;

        let remedy = "leave it out for the host itself, or write it as in `example.com`";
        refuse_scope("cookie_domain", self.cookie_domain.as_deref().and_then(wrong_domain), remedy)?;
        let remedy = "write it as in `/` or `/shop`";
        refuse_scope("cookie_path", wrong_path(&self.cookie_path), remedy)?;
        self.validate_former()?;
        self.validate_secure()
    }

    fn validate_former(&self) -> Result<(), SettingsError> {
        const SETTING: &str = "former_cookies";
        for scope in &self.former_cookies {
            let problem = scope.domain.as_deref().and_then(wrong_domain);
            refuse_scope(SETTING, problem, "write the domain as in `example.com`")?;
            refuse_scope(SETTING, wrong_path(&scope.path), "write the path as in `/` or `/shop`")?;
            let problem = "it names the present cookie, which would be deleted as soon as it is set";
            reject_if(SETTING, scope.is_that_of(self), problem, "leave that one out")?;
            let is_host = NamePrefix::of(&self.cookie_name).is_of_host();
            let problem = "no cookie whose name begins with `__Host-` had another domain or path";
            let has_scope = scope.domain.is_some() || scope.path != "/";
            reject_if(SETTING, is_host && has_scope, problem, "leave it out")?;
            let problem = "browsers refuse a `Partitioned` cookie that is not `Secure`";
            reject_if(SETTING, scope.partitioned && !self.cookie_secure, problem, "set `cookie_secure`")?;
        }
        Ok(())
    }

    /// Checks the attributes that browsers require of a cookie with this name.
    fn validate_secure(&self) -> Result<(), SettingsError> {
        let insecure = !self.cookie_secure;
        let prefix = NamePrefix::of(&self.cookie_name);
        let problem = "browsers refuse a cookie whose name begins with `__Secure-`, `__Host-` or `__Http-` and that is not `Secure`";
        let remedy = "set it, or take another `cookie_name`";
        reject_if("cookie_secure", prefix.needs_secure() && insecure, problem, remedy)?;
        let problem = "browsers refuse a cookie whose name begins with `__Http-` or `__Host-Http-` and that is not `HttpOnly`";
        reject_if("cookie_httponly", prefix.needs_httponly() && !self.cookie_httponly, problem, remedy)?;
        let problem = "browsers refuse a cookie whose name begins with `__Host-` and that has a `Domain`";
        let remedy = "leave it out, or take another `cookie_name`";
        reject_if("cookie_domain", prefix.is_of_host() && self.cookie_domain.is_some(), problem, remedy)?;
        let problem = "browsers refuse a cookie whose name begins with `__Host-` and whose `Path` is not `/`";
        let remedy = "set `/`, or take another `cookie_name`";
        reject_if("cookie_path", prefix.is_of_host() && self.cookie_path != "/", problem, remedy)?;

        let is_none = self.cookie_samesite == Some(SameSite::None);
        let problem = "browsers refuse a cookie with `SameSite=None` that is not `Secure`";
        reject_if("cookie_samesite", is_none && insecure, problem, "set `cookie_secure`")?;
        let problem = "browsers refuse a `Partitioned` cookie that is not `Secure`";
        reject_if("cookie_partitioned", self.cookie_partitioned && insecure, problem, "set `cookie_secure`")
    }
}

fn reject_if(
    setting: &'static str,
    is_wrong: bool,
    problem: &'static str,
    remedy: &'static str,
) -> Result<(), SettingsError> {
    if is_wrong { Err(SettingsError::new(setting, problem, remedy)) } else { Ok(()) }
}

fn refuse_scope(
    setting: &'static str,
    problem: Option<&'static str>,
    remedy: &'static str,
) -> Result<(), SettingsError> {
    problem.map_or(Ok(()), |problem| Err(SettingsError::new(setting, problem, remedy)))
}

/// The problem of a cookie's `Domain`.
fn wrong_domain(domain: &str) -> Option<&'static str> {
    if domain.is_empty() {
        return Some("it is empty");
    }
    let odd = !is_attribute(domain) || domain.contains([' ', '/', ':']);
    odd.then_some("it is not a host name")
}

/// The problem of a cookie's `Path`.
fn wrong_path(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("it does not begin with `/`");
    }
    (!is_attribute(path)).then_some("it has a character that ends it, or is too long")
}

/// RFC 9110's `token`.
fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 6265's `av-octet`, up to the length that browsers keep.
fn is_attribute(text: &str) -> bool {
    text.len() <= MAX_ATTRIBUTE_LENGTH && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
}

/// RFC 6265's `cookie-octet`.
fn is_cookie_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::settings::CookieScope;

    type Spoil = fn(&mut Settings);

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let spoils: [(&str, Spoil); 45] = [
            ("renew_after", |settings| settings.renew_after = Some(TimeDelta::milliseconds(999))),
            ("renew_after", |settings| settings.renew_after = Some(settings.cookie_age)),
            ("secret_key", |settings| settings.secret_key = "".into()),
            ("secret_key_fallbacks", |settings| settings.secret_key_fallbacks = vec!["".into()]),
            ("cookie_age", |settings| settings.cookie_age = TimeDelta::zero()),
            ("cookie_age", |settings| settings.cookie_age = TimeDelta::days(-1)),
            ("cookie_age", |settings| settings.cookie_age = TimeDelta::milliseconds(999)),
            ("absolute_lifetime", |settings| settings.absolute_lifetime = Some(TimeDelta::zero())),
            ("save_timeout", |settings| settings.save_timeout = Duration::ZERO),
            ("save_timeout", |settings| settings.save_timeout = Duration::MAX),
            ("max_decompressed_bytes", |settings| settings.max_decompressed_bytes = 0),
            ("session_key_format", |settings| settings.session_key_format.max_length = 7),
            ("session_key_format", |settings| settings.session_key_format.extra_chars = "-;".to_owned()),
            ("session_key_format", |settings| settings.session_key_format.extra_chars = "./".to_owned()),
            ("session_key_format", |settings| settings.session_key_format.extra_chars = "\\".to_owned()),
            ("session_key_format", |settings| settings.session_key_format.min_length = 0),
            ("session_key_format", |settings| settings.session_key_format.min_length = 7),
            ("cookie_name", |settings| settings.cookie_name = String::new()),
            ("cookie_name", |settings| settings.cookie_name = "session id".to_owned()),
            ("cookie_name", |settings| settings.cookie_name = "a=b".to_owned()),
            ("cookie_name", |settings| settings.cookie_name = "a\r\nSet-Cookie: b".to_owned()),
            ("cookie_domain", |settings| settings.cookie_domain = Some(String::new())),
            ("cookie_domain", |settings| settings.cookie_domain = Some("a.com; Path=/x".to_owned())),
            ("cookie_domain", |settings| settings.cookie_domain = Some("a.com\r\n".to_owned())),
            ("cookie_domain", |settings| settings.cookie_domain = Some("https://a.com".to_owned())),
            ("cookie_path", |settings| settings.cookie_path = String::new()),
            ("cookie_path", |settings| settings.cookie_path = "shop".to_owned()),
            ("cookie_path", |settings| settings.cookie_path = "/; Domain=a.com".to_owned()),
            ("cookie_path", |settings| settings.cookie_path = "/\n".to_owned()),
            ("cookie_path", |settings| settings.cookie_path = format!("/{}", "a".repeat(1_024))),
            ("cookie_secure", |settings| settings.cookie_name = "__Secure-id".to_owned()),
            ("cookie_secure", |settings| settings.cookie_name = "__host-id".to_owned()),
            ("cookie_domain", |settings| {
                *settings = Settings::hardened("secret");
                settings.cookie_domain = Some("a.com".to_owned());
            }),
            ("cookie_path", |settings| {
                *settings = Settings::hardened("secret");
                settings.cookie_path = "/shop".to_owned();
            }),
            ("cookie_secure", |settings| settings.cookie_name = "__HTTP-id".to_owned()),
            ("cookie_httponly", |settings| {
                settings.cookie_name = "__Http-id".to_owned();
                (settings.cookie_secure, settings.cookie_httponly) = (true, false);
            }),
            ("cookie_path", |settings| {
                *settings = Settings::hardened("secret");
                (settings.cookie_name, settings.cookie_path) =
                    ("__Host-Http-id".to_owned(), "/shop".to_owned());
            }),
            ("former_cookies", |settings| settings.former_cookies = vec![CookieScope::of_host("/")]),
            ("former_cookies", |settings| {
                settings.cookie_domain = Some("example.com".to_owned());
                settings.former_cookies = vec![CookieScope::of_domain(".EXAMPLE.com", "/")];
            }),
            ("former_cookies", |settings| {
                settings.former_cookies = vec![CookieScope::of_domain("https://a.com", "/")];
            }),
            ("former_cookies", |settings| settings.former_cookies = vec![CookieScope::of_host("shop")]),
            ("former_cookies", |settings| {
                *settings = Settings::hardened("secret");
                settings.former_cookies = vec![CookieScope::of_host("/shop")];
            }),
            ("cookie_samesite", |settings| settings.cookie_samesite = Some(SameSite::None)),
            ("cookie_partitioned", |settings| settings.cookie_partitioned = true),
            ("transport", |settings| settings.transport = Transport::Header("X Session".to_owned())),
        ];
        for (setting, spoil) in spoils {
            let mut settings = Settings::new("secret");
            spoil(&mut settings);
            let error = settings.validate().unwrap_err();
            assert_eq!(error.setting(), setting, "{error}");
            assert!(!error.problem().is_empty() && !error.remedy().is_empty());
        }
        for taken in ["Cookie", "set-cookie", "VARY"] {
            let mut settings = Settings::new("secret");
            settings.transport = Transport::Header(taken.to_owned());
            assert_eq!(settings.validate().unwrap_err().setting(), "transport", "{taken}");
        }
    }

    #[test]
    fn what_works_is_taken() {
        let works: [Spoil; 9] = [
            |_| {},
            |settings| *settings = Settings::hardened("secret"),
            |settings| settings.cookie_domain = Some(".example.com".to_owned()),
            |settings| settings.cookie_path = "/a b/".to_owned(),
            |settings| {
                (settings.cookie_samesite, settings.cookie_secure) = (Some(SameSite::None), true);
                settings.cookie_partitioned = true;
            },
            |settings| settings.session_key_format.extra_chars = "-_".to_owned(),
            |settings| {
                settings.cookie_domain = Some("example.com".to_owned());
                settings.former_cookies =
                    vec![CookieScope::of_host("/"), CookieScope::of_domain("example.com", "/shop")];
            },
            |settings| {
                *settings = Settings::hardened("secret");
                settings.cookie_partitioned = true;
                settings.former_cookies = vec![CookieScope::of_host("/")];
            },
            // The cookie's settings are ignored without a cookie.
            |settings| {
                settings.transport = Transport::Header("X-Session-Token".to_owned());
                settings.cookie_name = String::new();
            },
        ];
        for spoil in works {
            let mut settings = Settings::new("secret");
            spoil(&mut settings);
            assert_eq!(settings.validate(), Ok(()));
        }
    }
}
