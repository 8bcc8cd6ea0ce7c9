//! Django's session settings under their own names, and this library's additions.

mod cookie_scope;
mod digest;
mod given;
mod secret;
mod validate;

use std::time::Duration;

use chrono::TimeDelta;
use cloakroom_formats::signing::{Algorithm, Compression, DEFAULT_MAX_DECOMPRESSED_BYTES, SecretKey};
use cloakroom_formats::{IntoTimeDelta, SessionCodecConfig, TextFormat, TimeZone};

use crate::site::session_key::SessionKeyFormat;

pub use cookie_scope::CookieScope;
pub(crate) use cookie_scope::NamePrefix;
pub use digest::SettingsDigest;
pub use given::GivenSettings;
#[cfg(feature = "settings-file")]
pub use given::SettingsFileError;
pub use secret::SecretCheck;
pub use validate::SettingsError;

/// The settings of one site. To share sessions with a Django site, give both the same values.
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
    /// `SECRET_KEY`: signs the stored sessions.
    pub secret_key: SecretKey,
    /// `SECRET_KEY_FALLBACKS`: older secrets, which verify but never sign. Default: none.
    pub secret_key_fallbacks: Vec<SecretKey>,
    /// How [`connect`](crate::connect) reacts when most of the stored sessions are not signed with these
    /// secrets. Default: it fails.
    pub secret_check: SecretCheck,
    /// `SESSION_COOKIE_NAME`. Names are case-sensitive. Default: `sessionid`.
    pub cookie_name: String,
    /// `SESSION_COOKIE_AGE`: the idle timeout, counted from the last save, of sessions without their own
    /// expiry. Default: 14 days. For a store whose sessions live for another time, create separate settings
    /// and a separate layer: the counterpart of a Django session class that overrides
    /// `get_session_cookie_age`.
    pub cookie_age: TimeDelta,
    /// `SESSION_COOKIE_DOMAIN`. Default: none, which means the host that set the cookie.
    pub cookie_domain: Option<String>,
    /// `SESSION_COOKIE_PATH`. Default: `/`.
    pub cookie_path: String,
    /// `SESSION_COOKIE_SECURE`. Set it wherever the site is served over HTTPS. Default: false.
    pub cookie_secure: bool,
    /// `SESSION_COOKIE_HTTPONLY`. Default: true.
    pub cookie_httponly: bool,
    /// `SESSION_COOKIE_SAMESITE`. `None` omits the attribute, as Django's `False` and `None` do. Default:
    /// `Lax`.
    pub cookie_samesite: Option<SameSite>,
    /// `SESSION_SAVE_EVERY_REQUEST`: whether each request extends the session. Default: false.
    pub save_every_request: bool,
    /// How long after its last save a session is extended by a request that reads it: a sliding expiry without
    /// a write for each request. Default: never, as in Django, where only a save extends it.
    ///
    /// With an idle timeout of half an hour and `renew_after` of five minutes, a session ends 25 to 30 minutes
    /// after the last request that used it. A renewal writes no data, where the store can, and its response
    /// sends the cookie again. If it fails, the log warns, and the response stays as it is. A session whose
    /// expiry is a fixed moment is not renewed. With `save_every_request`, requests that do not use their
    /// session extend it too, and also at most this often.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use cloakroom::chrono::TimeDelta;
    /// use cloakroom::{ManualClock, MemoryStore, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let mut settings = Settings::new("secret").with_idle_timeout(Duration::from_secs(30 * 60));
    /// settings.renew_after = Some(TimeDelta::minutes(5));
    /// let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    /// let middleware = SessionMiddleware::new(MemoryStore::new(), settings)?.with_clock(clock.clone());
    /// let lazy = middleware.begin([]);
    /// lazy.load().await?.set("visits", 1)?;
    /// middleware.finish(&lazy, 200).await?;
    /// let cookie = format!("sessionid={}", lazy.session_key().unwrap().as_str());
    ///
    /// for (minutes, is_renewed) in [(4, false), (1, true), (4, false)] {
    ///     clock.advance(TimeDelta::minutes(minutes));
    ///     let lazy = middleware.begin([cookie.as_bytes()]);
    ///     assert_eq!(lazy.load().await?.get("visits")?, Some(1));
    ///     assert_eq!(middleware.finish(&lazy, 200).await?.set_cookie.is_some(), is_renewed);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub renew_after: Option<TimeDelta>,
    /// `SESSION_EXPIRE_AT_BROWSER_CLOSE`, for sessions without their own expiry. Default: false.
    pub expire_at_browser_close: bool,
    /// `USE_TZ` and `TIME_ZONE`. Default: aware.
    pub time_zone: TimeZone,
    /// The `__qualname__` of the site's session class, which is part of the signature's salt. Change it only
    /// for a site with its own session class. Default: `SessionStore`.
    pub session_class: String,
    /// Which signed text to write. Set legacy while a Django before 3.1 reads the same store. Default:
    /// modern.
    pub text_format: TextFormat,
    /// The hash of new logins' session auth hash. Set SHA-1 while a Django before 3.1 shares the sessions.
    /// Default: SHA-256.
    pub auth_hash_algorithm: Algorithm,
    /// Whether a login with a SHA-1 session auth hash counts, as in Django 3.1 and 3.2. Set it to keep logins
    /// made by a Django before 3.1. Default: false.
    pub accept_sha1_auth_hash: bool,
    /// When to compress stored sessions. Default: from 1 kB on.
    pub compression: Compression,
    /// The maximum size of a session as JSON, or as a pickle. A larger session is neither saved nor loaded,
    /// compressed or not. Default: 16 MiB.
    pub max_decompressed_bytes: usize,
    /// Which cookie values are looked up at all. Default: 8 to 40 characters of `[a-z0-9]`.
    pub session_key_format: SessionKeyFormat,
    /// How to save when another request has changed the session meanwhile. Default: both changes are kept.
    pub concurrent_changes: ConcurrentChanges,
    /// How long saving is retried while other requests keep changing the same session. Then it fails with
    /// [`Error::SaveTimedOut`](crate::Error::SaveTimedOut). At most a day. A store call that is in progress
    /// by then has the store's own time limit. Default: 30 seconds.
    pub save_timeout: Duration,
    /// The response to a request that changed a session which was deleted meanwhile. Default: Django's 400.
    pub interrupted: InterruptedSession,
    /// The absolute lifetime: how long a session lives at most, from its first save or from
    /// [`auth::login`](crate::auth::login), regardless of activity. Default: no limit. The start time is kept
    /// in the session under [`SESSION_STARTED_KEY`](crate::SESSION_STARTED_KEY), which Django preserves. A
    /// session without one, such as Django's, starts when it is first loaded here. Loading checks the limit,
    /// and expiries are capped to it.
    pub absolute_lifetime: Option<TimeDelta>,
    /// Whether a request with several cookies of the session's name counts as one without a session.
    /// Otherwise the last cookie counts, as in Django. Two cookies of the name mean that somebody planted
    /// one, from a neighbouring subdomain or another path, or that the cookie's scope was changed:
    /// [`former_cookies`](Settings::former_cookies). The cookies are not deleted: that would remove the
    /// user's own and leave the planted one. Default: false.
    pub reject_duplicate_cookies: bool,
    /// The scopes in which session cookies were set before `cookie_domain`, `cookie_path` or
    /// `cookie_partitioned` was changed. Default: none. A browser that still has such a cookie sends it
    /// beside the current one. The wrong one of the two may then count, or neither. So each response that
    /// sets or deletes the session's cookie deletes the former ones, and so does the response to a request
    /// with several. Keep the scopes listed until the last such cookie has expired: for the former
    /// `cookie_age`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{CookieScope, MemoryStore, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let mut settings = Settings::new("secret");
    /// settings.cookie_domain = Some("example.com".to_owned());
    /// settings.former_cookies = vec![CookieScope::of_host("/")];
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings)?;
    ///
    /// let lazy = middleware.begin(["sessionid=of-the-host; sessionid=of-the-domain".as_bytes()]);
    /// let finished = middleware.finish(&lazy, 200).await?;
    /// assert!(finished.remove_cookies[0].starts_with("sessionid=\"\"; expires=Thu, 01 Jan 1970"));
    /// assert!(!finished.remove_cookies[0].contains("Domain"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub former_cookies: Vec<CookieScope>,
    /// Whether a response that sets or deletes the cookie gets `Cache-Control: no-store`, replacing the
    /// handler's value. A response that gives a key in a header always gets it: [`Transport::Header`].
    /// Default: false.
    pub send_no_store: bool,
    /// Whether the cookie is `Partitioned`, so that each embedding site gets its own. Default: false.
    pub cookie_partitioned: bool,
    /// Whether the header that deletes the cookie carries all attributes of the one that set it. Otherwise it
    /// omits `HttpOnly` and mostly `Secure`, as Django does. Default: false.
    pub full_removal_cookie: bool,
    /// How the session key travels. Default: in a cookie.
    pub transport: Transport,
}

impl Settings {
    /// Django's defaults.
    ///
    /// ```
    /// use cloakroom::{SameSite, Settings};
    ///
    /// let settings = Settings::new("the site's SECRET_KEY");
    /// assert_eq!((settings.cookie_path.as_str(), settings.cookie_samesite), ("/", Some(SameSite::Lax)));
    /// assert!(settings.cookie_httponly && !settings.cookie_secure);
    /// ```
    pub fn new(secret_key: impl Into<SecretKey>) -> Settings {
        Settings {
            secret_key: secret_key.into(),
            secret_key_fallbacks: Vec::new(),
            secret_check: SecretCheck::default(),
            cookie_name: "sessionid".to_owned(),
            cookie_age: TimeDelta::weeks(2),
            cookie_domain: None,
            cookie_path: "/".to_owned(),
            cookie_secure: false,
            cookie_httponly: true,
            cookie_samesite: Some(SameSite::Lax),
            save_every_request: false,
            renew_after: None,
            expire_at_browser_close: false,
            time_zone: TimeZone::default(),
            session_class: "SessionStore".to_owned(),
            text_format: TextFormat::default(),
            auth_hash_algorithm: Algorithm::Sha256,
            accept_sha1_auth_hash: false,
            compression: Compression::default(),
            max_decompressed_bytes: DEFAULT_MAX_DECOMPRESSED_BYTES,
            session_key_format: SessionKeyFormat::default(),
            concurrent_changes: ConcurrentChanges::default(),
            save_timeout: Duration::from_secs(30),
            interrupted: InterruptedSession::default(),
            absolute_lifetime: None,
            reject_duplicate_cookies: false,
            former_cookies: Vec::new(),
            send_no_store: false,
            cookie_partitioned: false,
            full_removal_cookie: false,
            transport: Transport::Cookie,
        }
    }

    /// The strictest settings that browsers allow, for sites that are served over HTTPS. Each part is a
    /// separate field that can be changed. A Django site that shares the sessions needs the first three too.
    ///
    /// | what | value |
    /// |---|---|
    /// | `cookie_name` | `__Host-sessionid`: browsers take it from this very host alone, for all its paths |
    /// | `cookie_secure`, `cookie_httponly` | true |
    /// | `cookie_samesite` | `Lax` |
    /// | `cookie_age` | a day after it was last saved |
    /// | `absolute_lifetime` | a week after the login, at most |
    /// | `reject_duplicate_cookies`, `send_no_store`, `full_removal_cookie` | true |
    ///
    /// `Lax`, because with `Strict` a user who follows a link from elsewhere arrives without a session. A
    /// page that then writes to its session would replace the login by a new, empty session.
    ///
    /// ```
    /// use cloakroom::Settings;
    ///
    /// let mut settings = Settings::hardened("the site's SECRET_KEY");
    /// assert!(settings.validate().is_ok());
    /// settings.cookie_domain = Some("example.com".to_owned());
    /// let error = settings.validate().unwrap_err();
    /// assert_eq!(error.setting(), "cookie_domain");
    /// assert!(error.to_string().contains("`__Host-`"), "{error}");
    /// ```
    pub fn hardened(secret_key: impl Into<SecretKey>) -> Settings {
        Settings {
            cookie_name: "__Host-sessionid".to_owned(),
            cookie_age: TimeDelta::days(1),
            cookie_secure: true,
            absolute_lifetime: Some(TimeDelta::weeks(1)),
            reject_duplicate_cookies: true,
            send_no_store: true,
            full_removal_cookie: true,
            ..Settings::new(secret_key)
        }
    }
}

impl Settings {
    /// Sets the idle timeout, [`cookie_age`](Settings::cookie_age): how long after its last save a session ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::Settings;
    ///
    /// let settings = Settings::new("secret").with_idle_timeout(Duration::from_secs(30 * 60));
    /// assert_eq!(settings.cookie_age.num_minutes(), 30);
    /// ```
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: impl IntoTimeDelta) -> Settings {
        self.cookie_age = timeout.into_time_delta();
        self
    }

    /// Sets [`renew_after`](Settings::renew_after): requests that read the session extend it, and write at most
    /// this often.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::Settings;
    ///
    /// let settings = Settings::new("secret").with_renew_after(Duration::from_secs(5 * 60));
    /// assert_eq!(settings.renew_after.unwrap().num_minutes(), 5);
    /// ```
    #[must_use]
    pub fn with_renew_after(mut self, age: impl IntoTimeDelta) -> Settings {
        self.renew_after = Some(age.into_time_delta());
        self
    }

    /// Sets the [`absolute_lifetime`](Settings::absolute_lifetime): how long a session lives at most, however
    /// active it is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::Settings;
    ///
    /// let settings = Settings::new("secret").with_absolute_lifetime(Duration::from_secs(7 * 86_400));
    /// assert_eq!(settings.absolute_lifetime.unwrap().num_days(), 7);
    /// ```
    #[must_use]
    pub fn with_absolute_lifetime(mut self, lifetime: impl IntoTimeDelta) -> Settings {
        self.absolute_lifetime = Some(lifetime.into_time_delta());
        self
    }
}

/// How the session key travels between client and server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// In the cookie that the other settings describe.
    #[default]
    Cookie,
    /// In a header of this name, for clients without cookies, such as mobile applications: usually
    /// `X-Session-Token`.
    ///
    /// The response gives the key under the same name when a cookie would be set, and an empty value when it would
    /// be deleted; responses vary on it. Cookies are ignored. A browser sends nothing on its own, so requests
    /// cannot be forged from other sites.
    ///
    /// A response with the header has `Cache-Control: no-store`, regardless of the handler and the settings.
    /// Otherwise a shared cache would give one client's key to others: `Vary` does not distinguish clients that
    /// send no key.
    ///
    /// If the client is a script in a page, any other script in that page can read the key, which `HttpOnly`
    /// would prevent. A script from another origin sees the header only if `Access-Control-Expose-Headers` names
    /// it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings, Transport};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let mut settings = Settings::new("secret");
    /// settings.transport = Transport::Header("X-Session-Token".to_owned());
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings)?;
    ///
    /// let lazy = middleware.begin([]);
    /// lazy.load().await?.set("visits", 1)?;
    /// let finished = middleware.finish(&lazy, 200).await?;
    /// let (name, token) = finished.set_header.unwrap();
    /// assert_eq!((name.as_str(), token.len()), ("X-Session-Token", 32));
    ///
    /// let again = middleware.begin([token.as_bytes()]);
    /// assert_eq!(again.load().await?.get::<u32>("visits")?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    Header(String),
}

/// The cookie's `SameSite` attribute.
///
/// ```
/// use cloakroom::{SameSite, Settings};
///
/// let mut settings = Settings::new("secret");
/// settings.cookie_samesite = Some(SameSite::None);
/// assert!(settings.validate().is_err(), "browsers would drop the cookie");
/// settings.cookie_secure = true;
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the attribute has these values")]
pub enum SameSite {
    /// Sent only with requests from the site itself.
    Strict,
    /// Also sent when the user follows a link to the site.
    Lax,
    /// Always sent; browsers require `Secure` with it.
    None,
}

impl SameSite {
    /// The attribute's value.
    ///
    /// ```
    /// assert_eq!(cloakroom::SameSite::Lax.as_str(), "Lax");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        }
    }
}

/// How to save when another request has changed the session since this one loaded it.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{ConcurrentChanges, Error, MemoryStore, Session, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, mut settings) = (Arc::new(MemoryStore::new()), Settings::new("secret"));
/// settings.concurrent_changes = ConcurrentChanges::Reject;
/// let first = Session::new(store.clone(), settings.clone());
/// first.set("visits", 1)?;
/// first.save().await?;
/// let second = Session::open(store, settings, first.session_key().unwrap()).await?;
/// second.set("visits", 2)?;
/// second.save().await?;
/// first.set("visits", 3)?;
/// assert!(matches!(first.save().await, Err(Error::Conflict { .. })));
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConcurrentChanges {
    /// Loads the session again and applies this request's changes on top: no change is lost, and of two
    /// values for one key the later stays.
    #[default]
    Merge,
    /// Overwrites the whole session with this request's data: Django's way, which loses the other change.
    LastWriteWins,
    /// Fails with [`Error::Conflict`](crate::Error::Conflict).
    Reject,
}

/// The response to a request that changed a session which was deleted meanwhile, such as by a logout in
/// another window. In either case the session is not restored, and the request's changes to it are dropped.
///
/// ```
/// use cloakroom::{InterruptedSession, Settings};
///
/// let mut settings = Settings::new("secret");
/// assert_eq!(settings.interrupted, InterruptedSession::BadRequest);
/// settings.interrupted = InterruptedSession::ContinueAnonymously;
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterruptedSession {
    /// Replaces the handler's response by a 400: Django's way, which raises `SessionInterrupted`.
    #[default]
    BadRequest,
    /// Sends the handler's response and deletes the cookie, as if the request had come without a session.
    /// This also ends a login that the browser has made meanwhile under a cookie of the same name.
    ContinueAnonymously,
}

impl From<&Settings> for SessionCodecConfig {
    fn from(settings: &Settings) -> SessionCodecConfig {
        let mut config = SessionCodecConfig::new(settings.secret_key.clone());
        config.secret_key_fallbacks = settings.secret_key_fallbacks.clone();
        config.session_class = settings.session_class.clone();
        config.text_format = settings.text_format;
        config.compression = settings.compression;
        config.max_decompressed_bytes = settings.max_decompressed_bytes;
        config
    }
}
