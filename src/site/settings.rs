//! Django's session settings, by their names, and what goes beyond them.

mod cookie_scope;
mod secret;
mod validate;

use std::time::Duration;

use chrono::TimeDelta;
use cloakroom_formats::signing::{Algorithm, Compression, DEFAULT_MAX_DECOMPRESSED_BYTES, SecretKey};
use cloakroom_formats::{SessionCodecConfig, TextFormat, TimeZone};

use crate::site::session_key::SessionKeyFormat;

pub use cookie_scope::CookieScope;
pub(crate) use cookie_scope::NamePrefix;
pub use secret::SecretCheck;
pub use validate::SettingsError;

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
    /// What [`connect`](crate::connect) does when most of the stored sessions are not signed with these secrets: it
    /// fails.
    pub secret_check: SecretCheck,
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
    /// The most bytes of a session as JSON, or as a pickle: 16 MiB. More is neither saved nor, compressed or not, loaded.
    pub max_decompressed_bytes: usize,
    /// Which cookie values are looked up at all: 8 to 40 characters of `[a-z0-9]`.
    pub session_key_format: SessionKeyFormat,
    /// What happens when another request changed the session meanwhile: both changes are kept.
    pub concurrent_changes: ConcurrentChanges,
    /// How long saving is tried when other requests keep changing the same session: 30 seconds. Then it fails with
    /// [`Error::SaveTimedOut`](crate::Error::SaveTimedOut). Up to a day. A call of the store that is under way by then
    /// has the store's own time limit.
    pub save_timeout: Duration,
    /// What answers a request that changed a session which was deleted meanwhile: Django's 400.
    pub interrupted: InterruptedSession,
    /// How long a session lives at the most, from its first save or from
    /// [`auth::login`](crate::auth::login), however active it is: no limit. The beginning is kept in the session
    /// under [`SESSION_STARTED_KEY`](crate::SESSION_STARTED_KEY), which Django carries along; a session without one, such as
    /// Django's, begins when it is first loaded here. Checked when loading; expiries are cut to it.
    pub absolute_lifetime: Option<TimeDelta>,
    /// Whether a request with several cookies of the session's name counts as one without a session: false, which
    /// takes the last as Django does. Two of a name mean that somebody planted one, from a neighbouring subdomain
    /// or another path, or that the cookie's scope was changed: [`former_cookies`](Settings::former_cookies). The cookies
    /// are left alone: deleting would take the user's own and leave the planted one.
    pub reject_duplicate_cookies: bool,
    /// Where cookies of the session's name were set before `cookie_domain`, `cookie_path` or `cookie_partitioned` was
    /// changed: none. A browser that keeps such a cookie sends it beside the present one, for as long as it lives:
    /// two cookies of the name, of which the wrong one may count, or none. So each response that sets or deletes the
    /// session's cookie deletes those, and so does the response to a request with several. Leave them here until the
    /// last such cookie has ended: for the former `cookie_age`.
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
    /// Whether a response that sets or deletes the cookie gets `Cache-Control: no-store` in place of what the
    /// handler said: false. A response that gives a key in a header always gets it: [`Transport::Header`].
    pub send_no_store: bool,
    /// Whether the cookie is `Partitioned`, which gives each site that embeds this one its own: false.
    pub cookie_partitioned: bool,
    /// Whether the header that deletes the cookie carries all attributes of the one that set it: false, which
    /// leaves out `HttpOnly` and mostly `Secure`, as Django does.
    pub full_removal_cookie: bool,
    /// How the session key travels: in a cookie.
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

    /// As strict as browsers allow, for sites that are served over HTTPS. Each part is a field of its own, to be
    /// loosened or tightened. A Django site that shares the sessions needs the first three too.
    ///
    /// | what | value |
    /// |---|---|
    /// | `cookie_name` | `__Host-sessionid`: browsers take it from this very host alone, for all its paths |
    /// | `cookie_secure`, `cookie_httponly` | true |
    /// | `cookie_samesite` | `Lax` |
    /// | `cookie_age` | a day after it was last saved |
    /// | `absolute_lifetime` | a week after the login |
    /// | `reject_duplicate_cookies`, `send_no_store`, `full_removal_cookie` | true |
    ///
    /// `Lax`, because with `Strict` who follows a link from elsewhere comes without a session; a page that
    /// then writes to its session would give that user a new, empty one in place of the login.
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

/// How the session key travels between client and server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// In the cookie that the other settings describe.
    #[default]
    Cookie,
    /// In a header of this name, for clients that keep no cookies, such as mobile applications: usually
    /// `X-Session-Token`. The response gives the key under the same name when a cookie would be set, and an empty
    /// one when it would be deleted; responses vary on it. Cookies are not looked at, and nothing is sent
    /// by a browser on its own, so that requests cannot be forged from other sites.
    ///
    /// A response with the header has `Cache-Control: no-store`, whatever the handler and the settings say. Without it a
    /// shared cache would give one client's key to others: those that send no key are all alike to `Vary`.
    ///
    /// Where the client is a script in a page, any other script in that page can read the key, which `HttpOnly`
    /// prevents; and from another origin it sees the header only if `Access-Control-Expose-Headers` names it.
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

/// What saving does when another request has changed the session since this one loaded it.
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
pub enum InterruptedSession {
    /// A 400 takes the place of the handler's response: Django's way, which raises `SessionInterrupted`.
    #[default]
    BadRequest,
    /// The handler's response goes out and the cookie is deleted, as if the request had come without a session.
    /// A login that the browser has made meanwhile under a cookie of the same name ends with it.
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
