//! For an application's tests: a site whose sessions are in memory and whose clock stands still, a session in
//! one line, and what a response did to it.
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use cloakroom::testing::TestSite;
//! use cloakroom::{Error, Key, Session, SessionLayer, Settings, auth::UserId};
//! use tower::ServiceExt;
//!
//! const CART: Key<Vec<u64>> = Key::new("cart");
//!
//! async fn add(user: UserId, session: Session) -> Result<String, Error> {
//!     let cart = session.edit(CART, |cart| cart.push(7))?;
//!     Ok(format!("user {} has {cart:?}", *user))
//! }
//!
//! /// The application, as `main` builds it too.
//! fn app(sessions: SessionLayer) -> Router {
//!     Router::new().route("/add", get(add)).layer(sessions)
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let site = TestSite::new(Settings::new("secret"))?;
//! let session = site.session().user("7").set(CART, [3, 5]).save().await?;
//!
//! let request = Request::get("/add").header("cookie", session.cookie()).body(Body::empty())?;
//! let response = app(site.layer()).oneshot(request).await?;
//!
//! let effect = session.effect_of(response.headers()).await?;
//! assert_eq!(effect.changed_keys(), ["cart"]);
//! assert_eq!(effect.session().get(CART)?, Some(vec![3, 5, 7]));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Its clock stands still until the test moves it:
//!
//! ```
//! use std::time::Duration;
//! use cloakroom::{Settings, testing::TestSite};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let settings = Settings::new("secret").with_idle_timeout(Duration::from_secs(1_800));
//! let site = TestSite::new(settings)?;
//! let session = site.session().user("7").save().await?;
//! site.advance(Duration::from_secs(1_799));
//! assert!(session.is_live().await?);
//! site.advance(Duration::from_secs(1));
//! assert!(!session.is_live().await?);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

use std::fmt;
use std::sync::Arc;

use cloakroom_formats::{Expiry, IntoTimeDelta, SessionData, Value};
use serde::Serialize;

use crate::login::auth::{self, MODEL_BACKEND, User};
use crate::session::{KeyFor, LazySession, Session};
use crate::site::clock::{Clock, ManualClock, SystemClock};
use crate::site::error::Error;
use crate::site::session_key::SessionKey;
use crate::site::settings::{Settings, SettingsError, Transport};
use crate::store::contract::{IntoSharedStore, SessionStore};
use crate::store::memory::MemoryStore;
use crate::web::middleware::{ResponseHeaders, SessionMiddleware};

/// A site for tests. Its clock begins at the present time and stands still.
///
/// ```
/// use cloakroom::{Settings, testing::TestSite};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let site = TestSite::new(Settings::new("secret"))?;
/// let cookie = site.session().user("7").set("cart", [3, 5]).cookie().await?;
/// assert!(cookie.starts_with("sessionid="));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct TestSite {
    middleware: SessionMiddleware,
    store: Arc<dyn SessionStore>,
    clock: Arc<ManualClock>,
}

impl TestSite {
    /// Creates a site with these settings and a store in memory of its own.
    ///
    /// # Errors
    /// When the settings are invalid: [`Settings::validate`].
    pub fn new(settings: Settings) -> Result<TestSite, SettingsError> {
        TestSite::on(MemoryStore::new(), settings)
    }

    /// Creates a site on this store.
    ///
    /// ```
    /// use cloakroom::testing::TestSite;
    /// use cloakroom::{Settings, SignedCookieStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let site = TestSite::on(SignedCookieStore::new(&settings), settings)?;
    /// let session = site.session().set("visits", 1).save().await?;
    /// assert!(session.cookie().len() > 40, "it holds the session");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the settings are invalid: [`Settings::validate`].
    pub fn on(store: impl IntoSharedStore, settings: Settings) -> Result<TestSite, SettingsError> {
        let (store, clock) = (store.into_shared_store(), Arc::new(ManualClock::new(SystemClock.now())));
        let middleware = SessionMiddleware::new(Arc::clone(&store), settings)?;
        let middleware = middleware.with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Ok(TestSite { middleware, store, clock })
    }

    /// The middleware of the application under test; `SessionLayer` and `SessionTransform` are made from it.
    ///
    /// ```
    /// use cloakroom::{SessionTransform, Settings, testing::TestSite};
    ///
    /// let site = TestSite::new(Settings::new("secret"))?;
    /// let sessions = SessionTransform::from(site.middleware());
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn middleware(&self) -> SessionMiddleware {
        self.middleware.clone()
    }

    /// The layer of the application under test.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> crate::web::tower::SessionLayer {
        self.middleware().into()
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    /// The clock, to read or to set it.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: impl IntoTimeDelta) {
        self.clock.advance(by);
    }

    /// Begins a session, which [`save`](NewSession::save) stores.
    pub fn session(&self) -> NewSession {
        NewSession { site: self.clone(), user: None, values: Vec::new(), expiry: None }
    }

    /// A browser that has no session yet.
    ///
    /// ```
    /// use cloakroom::{Settings, testing::TestSite};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let visitor = TestSite::new(Settings::new("secret"))?.visitor();
    /// assert_eq!(visitor.cookie(), "");
    /// assert!(!visitor.is_live().await?);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn visitor(&self) -> TestSession {
        TestSession { site: self.clone(), session_key: None, data: SessionData::new() }
    }

    /// A request with this key.
    fn request(&self, session_key: Option<&SessionKey>) -> LazySession {
        self.middleware.begin([self.header_value(session_key).as_bytes()])
    }

    /// The value of the header that carries the key.
    fn header_value(&self, session_key: Option<&SessionKey>) -> String {
        let Some(session_key) = session_key else { return String::new() };
        let settings = self.middleware.settings();
        match settings.transport {
            Transport::Cookie => format!("{}={}", settings.cookie_name, session_key.as_str()),
            Transport::Header(_) => session_key.as_str().to_owned(),
        }
    }

    /// The key that a response gives: none if it says nothing, and an inner none if it deletes the key.
    fn given_key(&self, headers: &impl ResponseHeaders) -> Option<Option<SessionKey>> {
        let settings = self.middleware.settings();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let value = match &settings.transport {
            Transport::Cookie => headers.values("set-cookie").into_iter().rev().find_map(|cookie| {
                let cookie = text(cookie);
                let value = cookie.strip_prefix(&settings.cookie_name)?.strip_prefix('=')?;
                Some(value.split(';').next().unwrap_or_default().trim_matches('"').to_owned())
            }),
            Transport::Header(name) => headers.values(name).into_iter().next_back().map(text),
        }?;
        Some((!value.is_empty()).then(|| SessionKey::from_trusted(value)))
    }
}

impl fmt::Debug for TestSite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TestSite").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A session that a test is about to store.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{Expiry, Settings, testing::TestSite};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let site = TestSite::new(Settings::new("secret"))?;
/// let expiry = Expiry::fixed(Duration::from_secs(60));
/// let session = site.session().user("7").set("cart", [3, 5]).expiry(expiry).save().await?;
/// site.advance(Duration::from_secs(60));
/// assert!(!session.is_live().await?);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[must_use = "`save` stores it"]
pub struct NewSession {
    site: TestSite,
    /// The id, the password field and the back end.
    user: Option<[String; 3]>,
    values: Vec<(String, Result<Value, Error>)>,
    expiry: Option<Expiry>,
}

impl NewSession {
    /// Logs in the user with this id. The password field is empty; where the application compares it, use
    /// [`login`](NewSession::login).
    pub fn user(self, id: impl ToString) -> NewSession {
        let id = id.to_string();
        self.login(User { id: &id, password: "", backend: MODEL_BACKEND })
    }

    /// Logs in this user, as [`auth::login`] does.
    ///
    /// ```
    /// use cloakroom::{Settings, auth, testing::TestSite};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = TestSite::new(Settings::new("secret"))?;
    /// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
    /// let session = site.session().login(user).save().await?;
    /// assert!(auth::verify_user(&session.load().await?, user).await?);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn login(mut self, user: User<'_>) -> NewSession {
        self.user = Some([user.id, user.password, user.backend].map(str::to_owned));
        self
    }

    /// Sets a value, as [`Session::set`] does.
    pub fn set<V: Serialize>(mut self, key: impl KeyFor<V>, value: V) -> NewSession {
        let key = key.key_name().to_owned();
        let value = Value::serialize(&value).map_err(|source| Error::Value { key: key.clone(), source });
        self.values.push((key, value));
        self
    }

    /// Sets the session's own expiry, as [`Session::set_expiry`] does.
    pub fn expiry(mut self, expiry: impl Into<Expiry>) -> NewSession {
        self.expiry = Some(expiry.into());
        self
    }

    /// Stores the session.
    ///
    /// # Errors
    /// When a value cannot be stored, or the store fails.
    pub async fn save(self) -> Result<TestSession, Error> {
        let session = self.site.request(None).load().await?;
        if let Some([id, password, backend]) = &self.user {
            auth::login(&session, User { id, password, backend }).await?;
        }
        for (key, value) in self.values {
            session.set_value(&key, value?);
        }
        if let Some(expiry) = self.expiry {
            session.set_expiry(expiry)?;
        }
        session.save().await?;
        Ok(TestSession { site: self.site, session_key: session.session_key(), data: session.data() })
    }

    /// Stores the session, and returns the value of the request header for it: [`TestSession::cookie`].
    ///
    /// # Errors
    /// As [`save`](NewSession::save).
    pub async fn cookie(self) -> Result<String, Error> {
        Ok(self.save().await?.cookie())
    }
}

impl fmt::Debug for NewSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NewSession").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

/// A session that a test has stored, as the browser holds it.
#[derive(Clone)]
pub struct TestSession {
    site: TestSite,
    /// `None` for a browser without a session.
    session_key: Option<SessionKey>,
    /// The data that a response may change.
    data: SessionData,
}

impl TestSession {
    /// The value of the request header `Cookie`, such as `sessionid=…`, or of the header that the settings'
    /// [`Transport`] names. Empty for a browser without a session, which sends no such header.
    pub fn cookie(&self) -> String {
        self.site.header_value(self.session_key.as_ref())
    }

    /// The session key, if there is a session.
    pub fn session_key(&self) -> Option<&SessionKey> {
        self.session_key.as_ref()
    }

    /// Loads the session as a request with its cookie does. It is new and empty if it has ended.
    ///
    /// # Errors
    /// As [`LazySession::load`].
    pub async fn load(&self) -> Result<Session, Error> {
        self.site.request(self.session_key.as_ref()).load().await
    }

    /// Whether the session is still there at the clock's time.
    ///
    /// # Errors
    /// As [`LazySession::load`].
    pub async fn is_live(&self) -> Result<bool, Error> {
        Ok(!self.load().await?.is_empty())
    }

    /// Returns what the response with these headers did to the session.
    ///
    /// ```
    /// use cloakroom::{Settings, auth, testing::TestSite};
    /// use http::HeaderMap;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let site = TestSite::new(Settings::new("secret"))?;
    /// let session = site.session().user("7").save().await?;
    /// // As a handler does.
    /// auth::logout(&session.load().await?).await?;
    /// let effect = session.effect_of(&HeaderMap::new()).await?;
    /// assert!(effect.has_ended());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`LazySession::load`].
    pub async fn effect_of(&self, headers: &impl ResponseHeaders) -> Result<Effect, Error> {
        let given = self.site.given_key(headers);
        let (sent_cookie, deleted_cookie) = (given.is_some(), given == Some(None));
        let session_key = given.unwrap_or_else(|| self.session_key.clone());
        let old_key_is_live = self.is_live().await?;
        let session = self.site.request(session_key.as_ref()).load().await?;
        let now =
            TestSession { site: self.site.clone(), session_key: session.session_key(), data: session.data() };
        Ok(Effect { before: self.clone(), now, session, sent_cookie, deleted_cookie, old_key_is_live })
    }
}

impl fmt::Debug for TestSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TestSession").field("data", &self.data).finish_non_exhaustive()
    }
}

/// What a response did to a session: [`TestSession::effect_of`].
///
/// ```
/// use cloakroom::{Settings, testing::TestSite};
/// use http::{HeaderMap, HeaderValue};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let site = TestSite::new(Settings::new("secret"))?;
/// let session = site.session().set("visits", 1).save().await?;
/// assert!(session.effect_of(&HeaderMap::new()).await?.is_nothing());
///
/// // As the layer does.
/// let lazy = site.middleware().begin([session.cookie().as_bytes()]);
/// lazy.load().await?.cycle_key()?;
/// let finished = site.middleware().finish(&lazy, 200).await?;
/// let mut headers = HeaderMap::new();
/// finished.apply(&mut headers);
/// let effect = session.effect_of(&headers).await?;
/// assert!(effect.has_new_key() && effect.changed_keys().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Effect {
    before: TestSession,
    now: TestSession,
    session: Session,
    sent_cookie: bool,
    deleted_cookie: bool,
    old_key_is_live: bool,
}

impl Effect {
    /// Whether the response left the session and its cookie alone.
    pub fn is_nothing(&self) -> bool {
        !self.sent_cookie && self.before.session_key == self.now.session_key && self.changed_keys().is_empty()
    }

    /// The keys whose values the response set, changed or removed, in order.
    pub fn changed_keys(&self) -> Vec<String> {
        let (before, now) = (&self.before.data, &self.now.data);
        let changed = |(key, value): (String, &Value)| (before.get(&key) != Some(value)).then_some(key);
        let removed = |(key, _): (String, &Value)| (!now.contains_key(&key)).then_some(key);
        now.iter().filter_map(changed).chain(before.iter().filter_map(removed)).collect()
    }

    /// Whether the session began with this response: there was none before.
    pub fn has_begun(&self) -> bool {
        self.before.session_key.is_none() && self.now.session_key.is_some()
    }

    /// Whether the session ended, as by a logout: nobody can open it any more, under its key or a new one.
    pub fn has_ended(&self) -> bool {
        self.before.session_key.is_some() && !self.old_key_is_live && self.now.session_key.is_none()
    }

    /// Whether the session moved to a new key, as by a login, and the former key opens nothing.
    pub fn has_new_key(&self) -> bool {
        let (before, now) = (&self.before.session_key, &self.now.session_key);
        before.is_some() && now.is_some() && before != now && !self.old_key_is_live
    }

    /// Whether the response deletes the cookie.
    pub fn deletes_cookie(&self) -> bool {
        self.deleted_cookie
    }

    /// The session as it is stored now; empty if it ended.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The browser after the response, for the next request.
    pub fn browser(&self) -> &TestSession {
        &self.now
    }
}

/// Shows what happened, without the key and the values.
impl fmt::Debug for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Effect")
            .field("changed_keys", &self.changed_keys())
            .field("has_begun", &self.has_begun())
            .field("has_ended", &self.has_ended())
            .field("has_new_key", &self.has_new_key())
            .field("deletes_cookie", &self.deleted_cookie)
            .finish_non_exhaustive()
    }
}
