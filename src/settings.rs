//! Django's session settings, by their names.

use chrono::TimeDelta;

use crate::clock::TimeZone;
use crate::codec::TextFormat;
use crate::session_key::SessionKeyFormat;
use crate::signing::{Algorithm, Compression, DEFAULT_INFLATE_LIMIT, SecretKey};

/// The settings of one site. To share sessions with a Django site, give both the same.
///
/// ```
/// use cloakroom::{SameSite, Settings};
///
/// let mut settings = Settings::new("the site's SECRET_KEY");
/// settings.cookie_secure = true;
/// settings.cookie_samesite = Some(SameSite::Strict);
/// assert_eq!(settings.cookie_name, "sessionid");
/// assert_eq!(settings.cookie_age.num_days(), 14);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// `SECRET_KEY`: signs what is stored.
    pub secret_key: SecretKey,
    /// `SECRET_KEY_FALLBACKS`: older secrets, which verify and never sign. None.
    pub secret_key_fallbacks: Vec<SecretKey>,
    /// `SESSION_COOKIE_NAME`: `sessionid`. Names are case-sensitive.
    pub cookie_name: String,
    /// `SESSION_COOKIE_AGE`: 14 days. How long a session lives after it was last saved, unless it has an
    /// expiry of its own. A store whose sessions live for another time is given settings, and a layer, of its own:
    /// Django's session class that overrides `get_session_cookie_age`.
    pub cookie_age: TimeDelta,
    /// `SESSION_COOKIE_DOMAIN`: none, which means the host that sent the cookie.
    pub cookie_domain: Option<String>,
    /// `SESSION_COOKIE_PATH`: `/`.
    pub cookie_path: String,
    /// `SESSION_COOKIE_SECURE`: false. Set it wherever the site is served over HTTPS.
    pub cookie_secure: bool,
    /// `SESSION_COOKIE_HTTPONLY`: true.
    pub cookie_httponly: bool,
    /// `SESSION_COOKIE_SAMESITE`: `Lax`; `None` leaves the attribute out, as Django's `False` and `None` do.
    pub cookie_samesite: Option<SameSite>,
    /// `SESSION_SAVE_EVERY_REQUEST`: false. Whether each request prolongs the session.
    pub save_every_request: bool,
    /// `SESSION_EXPIRE_AT_BROWSER_CLOSE`: false. Applies to sessions without an expiry of their own.
    pub expire_at_browser_close: bool,
    /// `USE_TZ` and `TIME_ZONE`: aware.
    pub time_zone: TimeZone,
    /// The `__qualname__` of the site's session class, which is part of the signature's salt:
    /// `SessionStore`. Only a site with a session class of its own needs another.
    pub session_class: String,
    /// Which signed text to write: modern. Set legacy while a Django before 3.1 reads the same store.
    pub text_format: TextFormat,
    /// The hash of new logins' session auth hash: SHA-256. SHA-1 while a Django before 3.1 shares the sessions.
    pub auth_hash_algorithm: Algorithm,
    /// Whether a login with a SHA-1 session auth hash counts, as in Django 3.1 and 3.2: false. Set it while
    /// logins made by a Django before 3.1 shall last.
    pub accept_sha1_auth_hash: bool,
    /// When to compress what is stored: from 1 kB on.
    pub compression: Compression,
    /// How large a stored session may become when decompressed: 16 MiB.
    pub inflate_limit: usize,
    /// Which cookie values are looked up at all: 8 to 40 characters of `[a-z0-9]`.
    pub session_key_format: SessionKeyFormat,
    /// What happens when another request changed the session meanwhile: both changes are kept.
    pub concurrent_changes: ConcurrentChanges,
    /// How often saving is tried when other requests keep changing the same session: 100 times.
    pub max_save_attempts: u32,
    /// What answers a request that changed a session which was deleted meanwhile: Django's 400.
    pub interrupted: InterruptedSession,
}

impl Settings {
    /// Django's defaults.
    pub fn new(secret_key: impl Into<SecretKey>) -> Settings {
        Settings {
            secret_key: secret_key.into(),
            secret_key_fallbacks: Vec::new(),
            cookie_name: "sessionid".to_owned(),
            cookie_age: TimeDelta::weeks(2),
            cookie_domain: None,
            cookie_path: "/".to_owned(),
            cookie_secure: false,
            cookie_httponly: true,
            cookie_samesite: Some(SameSite::Lax),
            save_every_request: false,
            expire_at_browser_close: false,
            time_zone: TimeZone::default(),
            session_class: "SessionStore".to_owned(),
            text_format: TextFormat::default(),
            auth_hash_algorithm: Algorithm::Sha256,
            accept_sha1_auth_hash: false,
            compression: Compression::default(),
            inflate_limit: DEFAULT_INFLATE_LIMIT,
            session_key_format: SessionKeyFormat::default(),
            concurrent_changes: ConcurrentChanges::default(),
            max_save_attempts: 100,
            interrupted: InterruptedSession::default(),
        }
    }
}

/// The cookie's `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Sent only with requests from the site itself.
    Strict,
    /// Also sent when the user follows a link to the site.
    Lax,
    /// Sent always; browsers ask for `Secure` with it.
    None,
}

impl SameSite {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        }
    }
}

/// What saving does when another request has changed the session since this one loaded it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConcurrentChanges {
    /// The session is loaded again and this request's changes are applied on top: no change is lost,
    /// and of two values for one key the later stays.
    #[default]
    Merge,
    /// The whole session is overwritten with what this request saw: Django's way, which loses the other change.
    LastWriteWins,
    /// Saving fails with [`Error::Conflict`](crate::Error::Conflict).
    Reject,
}

/// What answers a request that changed a session which was deleted meanwhile, such as by a logout in another
/// window. Whichever it is, the session is not brought back and the request's changes to it are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterruptedSession {
    /// A 400 takes the place of the handler's response: Django's way, which raises `SessionInterrupted`.
    #[default]
    BadRequest,
    /// The handler's response goes out and the cookie is deleted, as if the request had come without a session.
    /// A login that the browser has made meanwhile under a cookie of the same name ends with it.
    ContinueAnonymously,
}
