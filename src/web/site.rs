//! A whole site: its settings and its store are given once, and all that serves its sessions comes from them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cleaner::{Cleaner, spawn_cleaner};
use crate::session::Session;
use crate::site::clock::Clock;
use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::{KeyGenerator, SessionKey};
use crate::site::settings::{Settings, SettingsError};
use crate::store::contract::{IntoSharedStore, SessionStore};
use crate::store::listing::Count;
use crate::store::url::StoreUrl;
use crate::store::user_session_index::UserSessionIndex;
use crate::store::{create, open_checked};
use crate::user_sessions::UserSessions;
use crate::web::middleware::SessionMiddleware;

/// One site: its store and its settings, given once. From it come the session layer, the index of user sessions, the
/// cleaner, and what a command or a background task needs.
///
/// Clones share everything, so a site can be part of the application's state.
///
/// ```
/// use axum::{Router, routing::get};
/// use cloakroom::{Session, Settings, Site};
///
/// async fn visit(session: Session) -> Result<String, cloakroom::Error> {
///     Ok(format!("visit {}", session.edit("visits", |visits: &mut u32| *visits += 1)?))
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // Usually `Settings::from_env()`, and `sqlite:…` or `postgres://…`.
/// let site = Site::connect("memory:", Settings::new("the site's SECRET_KEY")).await?;
/// let site = site.index_user_sessions().await?;
/// let app: Router = Router::new().route("/", get(visit)).layer(site.layer());
/// assert_eq!(site.count().await?.live, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Site {
    middleware: SessionMiddleware,
    /// The index that the store can keep.
    index: Option<Arc<dyn UserSessionIndex>>,
    /// The store's URL, where missing tables are to be created.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
        allow(dead_code, reason = "only databases have tables")
    )]
    created: Option<StoreUrl>,
}

impl Site {
    /// Opens the store that a URL names, as the function [`connect`](crate::connect) does.
    ///
    /// ```
    /// use cloakroom::{Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::connect("memory:", Settings::new("secret")).await?;
    /// assert_eq!(site.store().name(), "memory");
    ///
    /// let error = Site::connect("memory:", Settings::new("")).await.unwrap_err();
    /// assert!(error.to_string().contains("setting `secret_key`"), "{error}");
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As `connect`, and when the settings are invalid: [`Settings::validate`].
    pub async fn connect(url: &str, settings: Settings) -> Result<Site, StoreError> {
        settings.validate().map_err(misconfigured)?;
        let opened = open_checked(url, &settings).await?;
        let site = Site::new(opened.store, settings).map_err(misconfigured)?;
        Ok(Site { index: opened.index, ..site })
    }

    /// Opens the store, and first creates its table, file or folder if it is missing, as the function
    /// [`connect_or_create`](crate::connect_or_create) does. [`index_user_sessions`](Site::index_user_sessions) then
    /// also creates its table.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let url = format!("sqlite:{}", folder.path().join("db.sqlite3").display());
    /// use cloakroom::{Settings, Site};
    ///
    /// let site = Site::connect_or_create(&url, Settings::new("secret")).await?;
    /// let site = site.index_user_sessions().await?;
    /// assert!(site.user_sessions().unwrap().list("7").await?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As `connect_or_create`, and when the settings are invalid.
    pub async fn connect_or_create(url: &str, settings: Settings) -> Result<Site, StoreError> {
        settings.validate().map_err(misconfigured)?;
        let created = StoreUrl::from(url);
        create(&created).await?;
        Ok(Site { created: Some(created), ..Site::connect(url, settings).await? })
    }

    /// Creates the site of a store that is already open.
    ///
    /// ```
    /// use cloakroom::{Settings, SignedCookieStore, Site};
    ///
    /// let (settings, other) = (Settings::new("secret"), Settings::new("another secret"));
    /// let error = Site::new(SignedCookieStore::new(&other), settings.clone()).unwrap_err();
    /// assert_eq!(error.setting(), "secret_key");
    /// assert!(Site::new(SignedCookieStore::new(&settings), settings).is_ok());
    /// ```
    ///
    /// # Errors
    /// When the settings are invalid, or the store was opened with others: see [`SessionMiddleware::new`].
    pub fn new(store: impl IntoSharedStore, settings: Settings) -> Result<Site, SettingsError> {
        Ok(Site { middleware: SessionMiddleware::new(store, settings)?, index: None, created: None })
    }

    /// Uses another clock, also for the index of user sessions.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{ManualClock, MemoryStore, Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?.with_clock(clock);
    /// let session = site.new_session();
    /// session.save().await?;
    /// assert_eq!(session.expires_at()?.timestamp(), 1_700_000_000 + 14 * 86_400);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Site {
        let user_sessions = self.user_sessions().cloned();
        self.middleware = self.middleware.with_clock(Arc::clone(&clock));
        if let Some(user_sessions) = user_sessions {
            self.middleware = self.middleware.with_user_sessions(user_sessions.with_clock(clock));
        }
        self
    }

    /// Uses another generator of session keys: [`SessionMiddleware::with_key_generator`].
    #[must_use]
    pub fn with_key_generator(mut self, keys: Arc<dyn KeyGenerator>) -> Site {
        self.middleware = self.middleware.with_key_generator(keys);
        self
    }

    /// Encrypts the sessions: [`EncryptedStore`](crate::EncryptedStore) around the site's store. The index of user
    /// sessions is not encrypted.
    ///
    /// ```
    /// use cloakroom::store::{EncryptionKey, EncryptionKeys};
    /// use cloakroom::{Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// // Usually `std::env::var("ENCRYPTION_KEYS")?.parse()?`.
    /// let keys = EncryptionKeys::new([EncryptionKey::from_bytes([7; 32])])?;
    /// let site = Site::connect("memory:", Settings::new("secret")).await?.encrypted(keys)?;
    /// let session = site.new_session();
    /// session.set("iban", "CH93")?;
    /// session.save().await?;
    /// let again = site.session(session.session_key().unwrap()).await?.unwrap();
    /// assert_eq!(again.get::<String>("iban")?.as_deref(), Some("CH93"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the site already has an index of user sessions, which would look at the sessions without the keys.
    #[cfg(feature = "encryption")]
    pub fn encrypted(self, keys: crate::store::EncryptionKeys) -> Result<Site, SettingsError> {
        if self.user_sessions().is_some() {
            let problem = "the index of user sessions was opened before, and cannot read encrypted sessions";
            return Err(SettingsError::new(
                "user_sessions",
                problem,
                "call `encrypted` before `index_user_sessions`",
            ));
        }
        let store = Arc::new(crate::store::EncryptedStore::new(self.store(), keys));
        Ok(Site { middleware: self.middleware.with_store(store), ..self })
    }

    /// Keeps the index of user sessions in the site's own store, to list where a user is logged in and to log out
    /// everywhere: [`user_sessions`](crate::user_sessions).
    ///
    /// ```
    /// use cloakroom::{Settings, Site, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::connect("memory:", Settings::new("secret")).await?.index_user_sessions().await?;
    /// let session = site.new_session();
    /// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
    /// auth::login(&session, user).await?;
    /// session.save().await?;
    /// assert_eq!(site.user_sessions().unwrap().revoke_all("7").await?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the store keeps no index: files, memcached, cookies, and a store that was given to [`new`](Site::new), whose
    /// index [`with_user_sessions`](Site::with_user_sessions) takes. When the index's table is missing; only after
    /// [`connect_or_create`](Site::connect_or_create) it is created.
    pub async fn index_user_sessions(self) -> Result<Site, StoreError> {
        #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
        if let Some(url) = self.created.as_ref().filter(|_| self.index.is_some()) {
            crate::store::create_user_session_table(url.expose()).await?;
        }
        let clock = Arc::clone(&self.middleware.parts().clock);
        let user_sessions = UserSessions::of_store(self.store(), self.index.clone()).await?.with_clock(clock);
        let middleware = self.middleware.with_user_sessions(user_sessions);
        Ok(Site { middleware, ..self })
    }

    /// Uses an index of user sessions that was opened separately, such as the index in another store.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Settings, Site, UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (sessions, index) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    /// let user_sessions = UserSessions::new(sessions.clone(), index).await?;
    /// let site = Site::new(sessions, Settings::new("secret"))?.with_user_sessions(user_sessions.clone())?;
    /// assert!(site.user_sessions().is_some());
    ///
    /// let another = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let error = another.with_user_sessions(user_sessions).unwrap_err();
    /// assert!(error.to_string().contains("another store"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the index is for the sessions of another store than the site's. Stores are the same by their `Arc`.
    pub fn with_user_sessions(self, user_sessions: UserSessions) -> Result<Site, SettingsError> {
        if !user_sessions.is_of(&self.middleware.parts().store) {
            let problem = "the index is for the sessions of another store: it would list none of this site's and end none";
            let remedy =
                "create it with `UserSessions::new(site.store(), index)`, or by `Site::index_user_sessions`";
            return Err(SettingsError::new("user_sessions", problem, remedy));
        }
        let user_sessions = user_sessions.with_clock(Arc::clone(&self.middleware.parts().clock));
        Ok(Site { middleware: self.middleware.with_user_sessions(user_sessions), ..self })
    }

    /// The session layer for axum and tower.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let app: axum::Router = axum::Router::new().layer(site.layer());
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> crate::web::tower::SessionLayer {
        self.middleware().into()
    }

    /// The session middleware for actix-web.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let app = actix_web::App::new().wrap(site.transform());
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    #[cfg(feature = "actix")]
    pub fn transform(&self) -> crate::web::actix::SessionTransform {
        self.middleware().into()
    }

    /// The session middleware for any other framework.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// assert!(site.middleware().begin([]).session_key().is_none());
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn middleware(&self) -> SessionMiddleware {
        self.middleware.clone()
    }

    /// The site's settings.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// assert_eq!(site.settings().cookie_name, "sessionid");
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn settings(&self) -> &Settings {
        self.middleware.settings()
    }

    /// The site's store.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// assert_eq!(site.store().name(), "memory");
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.middleware.parts().store)
    }

    /// The index of user sessions, if the site keeps one.
    ///
    /// ```
    /// use cloakroom::{Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::connect("memory:", Settings::new("secret")).await?;
    /// assert!(site.user_sessions().is_none());
    /// assert!(site.index_user_sessions().await?.user_sessions().is_some());
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    pub fn user_sessions(&self) -> Option<&UserSessions> {
        self.middleware.parts().user_sessions.as_ref()
    }

    /// Creates a new, empty session outside of any request. Django's `SessionStore()`.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let session = site.new_session();
    /// session.set("visits", 1)?;
    /// session.save().await?;
    /// assert_eq!(site.count().await?.live, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn new_session(&self) -> Session {
        Session::new_in(Arc::clone(self.middleware.parts()))
    }

    /// Opens the stored session under this key, outside of any request. Django's `SessionStore(session_key)`, except
    /// that a missing session is `None` and not a new one. So is an expired one, and one that was not signed with this
    /// secret.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, SessionKey, Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let session = site.new_session();
    /// session.set("visits", 1)?;
    /// session.save().await?;
    /// let again = site.session(session.session_key().unwrap()).await?.unwrap();
    /// assert_eq!(again.get("visits")?, Some(1));
    /// assert!(site.session(SessionKey::random()?).await?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`LazySession::load`](crate::LazySession::load).
    pub async fn session(&self, session_key: SessionKey) -> Result<Option<Session>, Error> {
        self.middleware.find(&session_key).await
    }

    /// Counts the stored sessions, as `cloakroom count` does.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let count = site.count().await?;
    /// assert_eq!((count.live, count.expired), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`SessionStore::count`].
    pub async fn count(&self) -> Result<Count, StoreError> {
        let parts = self.middleware.parts();
        parts.store.count(parts.clock.now()).await
    }

    /// Removes the expired sessions, and returns how many. Django's `clearsessions`.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// assert_eq!(site.clear_expired().await?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`SessionStore::clear_expired`].
    pub async fn clear_expired(&self) -> Result<u64, StoreError> {
        let parts = self.middleware.parts();
        parts.store.clear_expired(parts.clock.now()).await
    }

    /// Clears expired sessions in the background: the function [`spawn_cleaner`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::{MemoryStore, Settings, Site};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = Site::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let cleaner = site.spawn_cleaner(Duration::from_secs(60 * 60));
    /// // When the server shuts down:
    /// cleaner.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Panics
    /// Outside of a Tokio runtime, as `tokio::spawn` does.
    pub fn spawn_cleaner(&self, interval: Duration) -> Cleaner {
        spawn_cleaner(self.store(), Arc::clone(&self.middleware.parts().clock), interval)
    }
}

fn misconfigured(error: SettingsError) -> StoreError {
    StoreError::new("", StoreErrorKind::Misconfigured, error.to_string()).with_source(error)
}

impl From<Site> for SessionMiddleware {
    fn from(site: Site) -> SessionMiddleware {
        site.middleware
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Site")
            .field("store", &self.middleware.parts().store)
            .field("keeps_user_sessions", &self.user_sessions().is_some())
            .finish_non_exhaustive()
    }
}
