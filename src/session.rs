//! The session of one request: a dictionary that knows what was looked at and what was changed.

mod absolute_lifetime;
mod changes;
mod expiry;
mod group;
mod lazy;
mod lifetime;
mod login;
mod modifying;
mod moves;
mod queue;
mod save;
mod session_use;
mod test_cookie;
mod typed_key;
mod unreadable;
mod user_session;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use cloakroom_formats::private::Text;
use cloakroom_formats::{SessionData, Value, ValueError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::changes::{Change, Changes, Replay};
use self::modifying::Modifying;
use self::moves::Moves;
use self::queue::Queues;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::Error;
use crate::site::session_key::{KeyGenerator, RandomKeys, SessionKey};
use crate::site::settings::Settings;
use crate::store::contract::SessionStore;
use crate::store::loaded::{Content, Version};
use crate::telemetry::{Operation, Warnings, spans};
use crate::user_sessions::UserSessions;

pub use self::absolute_lifetime::SESSION_STARTED_KEY;
pub use self::lazy::LazySession;
pub use self::session_use::SessionUse;
pub use self::test_cookie::{TEST_COOKIE_NAME, TEST_COOKIE_VALUE};
pub use self::typed_key::{AsKey, Key};

/// What all sessions of a site share.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Arc<dyn KeyGenerator>,
    pub(crate) user_sessions: Option<UserSessions>,
    pub(crate) warnings: Arc<Warnings>,
    /// The queues of requests that save one session.
    queues: Arc<Queues>,
    moves: Arc<Moves>,
}

impl Site {
    pub(crate) fn new(store: Arc<dyn SessionStore>, settings: Settings) -> Site {
        Site {
            store,
            settings: Arc::new(settings),
            clock: Arc::new(SystemClock),
            keys: Arc::new(RandomKeys),
            user_sessions: None,
            queues: Queues::new(),
            moves: Arc::default(),
            warnings: Arc::default(),
        }
    }
}

/// A session that is loaded: it reads and writes like Django's `request.session`.
///
/// It is a handle: clones are the same session, so an authentication layer and the handler see each other's
/// changes. What is changed is saved by the middleware after the response was made, or at once by
/// [`save`](Session::save).
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set("visits", 1)?;
/// assert_eq!(session.get::<u32>("visits")?, Some(1));
/// assert!(session.get::<String>("visits").is_err(), "an int is no String");
/// session.save().await?;
/// assert!(session.session_key().is_some());
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    site: Arc<Site>,
    /// Whether the request brought a session cookie, whatever its value.
    cookie_sent: bool,
    /// Whether the request brought several of the name.
    several_cookies: bool,
    /// Whether the session was saved under a key that the client was not told yet.
    untold: AtomicBool,
    state: Mutex<State>,
    login_tracking: Mutex<user_session::LoginTracking>,
    /// Held while loading or saving, so that each happens once at a time.
    busy: tokio::sync::Mutex<()>,
}

struct State {
    /// The key to report; that of a pending rotation once there is one.
    session_key: Option<SessionKey>,
    origin: Origin,
    data: SessionData,
    /// What was done to `data` since it was loaded or saved.
    changes: Changes,
    /// What is to be written although no key changed: `modified` set by hand, a new key.
    unsaved: bool,
    accessed: bool,
    modified: bool,
    /// Whether the response's headers went out. What is changed from then on, only the application can save.
    is_finished: bool,
    /// Whether anything was changed since, and not saved.
    is_late: bool,
    /// Whether a user logged in, and the login is not saved.
    is_login: bool,
    /// How many sessions this was before: a new one begins at a logout.
    number: u32,
    /// The closures that compute a value at the moment.
    modifying: Vec<Modifying>,
}

/// Where the data came from, and so what saving must do.
#[derive(Clone, Debug)]
enum Origin {
    /// Not loaded yet; the cookie holds this key.
    NotLoaded(SessionKey),
    /// Not loaded yet; the cookie holds what cannot be a key. Loading will find nothing, without asking.
    NotAKey,
    /// Nothing is stored: saving creates.
    New,
    /// Stored under this key in this version: saving replaces, or moves to the key reported.
    Stored(SessionKey, Version),
    /// Stored, but not signed with this secret. It stays as it is: saving creates another session.
    NotGenuine,
}

impl Session {
    /// A new, empty session outside of any request, for scripts and tests.
    pub fn new(store: Arc<dyn SessionStore>, settings: Settings) -> Session {
        Session { inner: LazySession::new(Arc::new(Site::new(store, settings)), None, false).inner }
    }

    /// The stored session under this key, outside of any request: `SessionStore(session_key=…)` in Django.
    /// The session is new and empty when there is none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (store, settings) = (Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let session = Session::new(store.clone(), settings.clone());
    /// session.set("visits", 1)?;
    /// session.save().await?;
    /// let again = Session::open(store, settings, session.session_key().unwrap()).await?;
    /// assert_eq!(again.get::<u32>("visits")?, Some(1));
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`LazySession::load`].
    pub async fn open(
        store: Arc<dyn SessionStore>,
        settings: Settings,
        session_key: SessionKey,
    ) -> Result<Session, Error> {
        let lazy = LazySession::new(Arc::new(Site::new(store, settings)), None, false);
        {
            let mut state = lazy.inner.state();
            state.session_key = Some(session_key.clone());
            state.origin = Origin::NotLoaded(session_key);
        }
        lazy.load().await
    }

    async fn load_once(&self) -> Result<(), Error> {
        let needs_loading = || matches!(self.inner.state().origin, Origin::NotLoaded(_) | Origin::NotAKey);
        if !needs_loading() {
            return Ok(());
        }
        let _busy = self.inner.busy.lock().await;
        let origin = self.inner.state().origin.clone();
        let now = self.now();
        let loaded = match &origin {
            Origin::NotLoaded(session_key) => {
                let store = &*self.site().store;
                let loading = store.load(session_key, now);
                let loaded = spans::call(spans::load(store, session_key), Operation::Load, loading).await?;
                loaded.map(|loaded| (session_key, loaded))
            }
            Origin::NotAKey => None,
            _ => return Ok(()),
        };
        let is_over = |data: &SessionData| absolute_lifetime::is_over(data, self.settings(), now);
        let loaded = loaded.filter(|(_, loaded)| !loaded.data().is_some_and(is_over));
        match loaded.map(|(session_key, loaded)| (session_key, loaded.version, loaded.content)) {
            Some((session_key, version, Content::Genuine(data))) => {
                self.note_stored(&data);
                let mut state = self.inner.state();
                state.origin = Origin::Stored(session_key.clone(), version);
                state.data = data;
                state.mark_start(self.settings(), now);
            }
            Some((.., Content::NotGenuine)) => {
                self.inner.state().origin = Origin::NotGenuine;
                self.site().warnings.not_genuine(now);
            }
            None => {
                // The client's key is never adopted.
                let mut state = self.inner.state();
                state.origin = Origin::New;
                state.session_key = None;
            }
        }
        Ok(())
    }

    fn site(&self) -> &Site {
        &self.inner.site
    }

    fn now(&self) -> DateTime<Utc> {
        self.site().clock.now()
    }

    fn read<T>(&self, read: impl FnOnce(&SessionData) -> T) -> T {
        let mut state = self.inner.state();
        state.accessed = true;
        read(&state.data)
    }

    fn change(&self, change: Change) {
        let pointless = self.inner.state().change(change);
        // Not before nothing is locked: closures are the application's to drop.
        drop(pointless);
    }

    /// Decides by the value under a key what to do, and does it if the value is still the same; else decides again.
    ///
    /// `decide` is the application's code (a closure, `Serialize`, `Deserialize`), so nothing is locked while it runs,
    /// and it may use the session. What it changes under this key itself, its outcome overwrites.
    fn exchange<T>(
        &self,
        key: &str,
        decide: impl Fn(Option<&Value>) -> Result<(Option<Change>, T), ValueError>,
    ) -> Result<T, Error> {
        let modifying = self.inner.modifying(Text::of_key(key));
        loop {
            let before = {
                let mut state = self.inner.state();
                state.accessed = true;
                state.data.get_escaped(modifying.key()).cloned()
            };
            let (change, outcome) = decide(before.as_ref()).map_err(value_error(key))?;
            let Some(change) = change else { return Ok(outcome) };
            let mut state = self.inner.state();
            let is_same = state.data.get_escaped(modifying.key()) == before.as_ref();
            if is_same || modifying.is_own(&state) {
                let pointless = state.change(change);
                drop(state);
                drop(pointless);
                return Ok(outcome);
            }
        }
    }

    /// The value under this key, or none. Django's `session.get(key)`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("name", "Ada")?;
    /// assert_eq!(session.get::<String>("name")?.as_deref(), Some("Ada"));
    /// assert_eq!(session.get::<String>("email")?, None);
    /// assert!(session.get::<u32>("name").is_err(), "a str is no number");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// A stored null, Python's `None`, is found by types that take it, such as `Option<u32>`; for others there is
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Value`] when it is of another type; it stays as it is.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, Error> {
        let key = key.as_key();
        // Read from a copy, because `Deserialize` is the application's.
        self.get_value(key).map_or(Ok(None), |value| value.read()).map_err(value_error(key))
    }

    /// The value under this key as it is stored, to pass on or to look at its JSON text.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// assert_eq!(session.get_value("cart").unwrap().json(), "[3,5]");
    /// assert!(session.get_value("name").is_none());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn get_value(&self, key: &str) -> Option<Value> {
        self.read(|data| data.get(key).cloned())
    }

    /// Puts a value. Django's `session[key] = value`. Counts as a change also when the value is the same.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Key, MemoryStore, Session, Settings};
    ///
    /// // A key with a type: a typing mistake in either does not compile.
    /// const VISITS: Key<u32> = Key::new("visits");
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set(VISITS, 7)?;
    /// assert_eq!(session.get(VISITS)?, Some(7));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] when the value has no counterpart in JSON.
    pub fn set<T: Serialize>(&self, key: impl AsKey<T>, value: T) -> Result<(), Error> {
        let key = key.as_key();
        let value = Value::serialize(&value).map_err(value_error(key))?;
        self.set_value(key, value);
        Ok(())
    }

    /// Puts a value that is in its stored form already.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings, Value};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set_value("price", Value::from_json("1.50")?);
    /// assert_eq!(session.get::<f64>("price")?, Some(1.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_value(&self, key: &str, value: Value) {
        self.change(Change::Set(Text::of_key(key), value));
    }

    /// Changes the value under a key from what it is then. Should another request have changed the session
    /// meanwhile, `modify` runs again on that request's value when saving: no increment is lost.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert_eq!(session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1)?, 1);
    /// assert_eq!(session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1)?, 2);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// The closure may use the session, and may run more than once, also in another request's task: here, when
    /// another thread changed the value meanwhile, and when saving. What it changes under this key itself, its outcome
    /// overwrites. A stored null is no value, unless the type takes it.
    ///
    /// # Errors
    /// [`Error::Value`] when the stored value is of another type, or the new one has no counterpart in JSON.
    pub fn modify<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
        modify: impl Fn(Option<T>) -> T + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let key = key.as_key();
        let replay = move |value: Option<&Value>| {
            let value = value.map_or(Ok(None), Value::read::<T>)?;
            Value::serialize(&modify(value))
        };
        let replay: Replay = Arc::new(replay);
        self.exchange(key, |before| {
            let value = replay(before)?;
            let outcome = value.deserialize()?;
            Ok((Some(Change::Modify(Text::of_key(key), value, Arc::clone(&replay))), outcome))
        })
    }

    /// Removes a key; tells whether it was there. Django's `del session[key]`, which raises `KeyError` instead.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// assert!(session.remove("cart"));
    /// assert!(!session.remove("cart"), "it is gone already");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn remove(&self, key: &str) -> bool {
        let key = Text::of_key(key);
        let mut state = self.inner.state();
        state.accessed = true;
        let found = state.data.get_escaped(key.as_str()).is_some();
        let pointless = found.then(|| state.change(Change::Remove(key)));
        drop(state);
        drop(pointless);
        found
    }

    /// Removes a key and gives its value. Django's `session.pop(key, None)`. A key that is not there is no change.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("next", "/checkout/")?;
    /// assert_eq!(session.pop::<String>("next")?.as_deref(), Some("/checkout/"));
    /// assert_eq!(session.pop::<String>("next")?, None);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// A null is removed, too; it is the outcome for types that take it, and nothing for others.
    ///
    /// # Errors
    /// [`Error::Value`] when it is of another type; then it stays.
    pub fn pop<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, Error> {
        let key = key.as_key();
        self.exchange(key, |before| {
            let Some(before) = before else { return Ok((None, None)) };
            Ok((Some(Change::Remove(Text::of_key(key))), before.read()?))
        })
    }

    /// The value under this key; puts `default` there first when there is none. Django's `session.setdefault`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert_eq!(session.set_default("theme", "light".to_owned())?, "light");
    /// session.set("theme", "dark")?;
    /// assert_eq!(session.set_default("theme", "light".to_owned())?, "dark");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// Django gives a stored `None` back. So does this for types that take null, such as `Option<u32>`; others cannot
    /// hold it, and get the default, which takes its place.
    ///
    /// # Errors
    /// As [`get`](Session::get) and [`set`](Session::set).
    pub fn set_default<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
        default: T,
    ) -> Result<T, Error> {
        let key = key.as_key();
        let there = self.exchange(key, |before| {
            if let Some(value) = before.map_or(Ok(None), Value::read)? {
                return Ok((None, Some(value)));
            }
            let value = Value::serialize(&default)?;
            Ok((Some(Change::SetDefault(Text::of_key(key), value)), None))
        })?;
        Ok(there.unwrap_or(default))
    }

    /// Puts several values. Django's `session.update(dict)`; counts as a change also when there are none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.update([("width", 640), ("height", 480)])?;
    /// assert_eq!(session.keys(), ["width", "height"]);
    /// assert_eq!(session.get::<u32>("height")?, Some(480));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] when one has no counterpart in JSON; then none is put.
    pub fn update<K: AsRef<str>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> Result<(), Error> {
        let changes = entries.into_iter().map(|(key, value)| {
            let key = key.as_ref();
            Ok(Change::Set(Text::of_key(key), Value::serialize(&value).map_err(value_error(key))?))
        });
        let changes: Vec<Change> = changes.collect::<Result<_, Error>>()?;
        let mut state = self.inner.state();
        state.touch();
        let pointless: Vec<Changes> = changes.into_iter().map(|change| state.change(change)).collect();
        drop(state);
        drop(pointless);
        Ok(())
    }

    /// Whether there is a value under this key. Django's `key in session` and `has_key`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// assert!(session.contains_key("cart"));
    /// assert!(!session.contains_key("name"));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn contains_key(&self, key: &str) -> bool {
        self.read(|data| data.contains_key(key))
    }

    /// The keys in order. Django's `session.keys()`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.update([("b", 1), ("a", 2)])?;
    /// assert_eq!(session.keys(), ["b", "a"]);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn keys(&self) -> Vec<String> {
        self.read(|data| data.iter().map(|(key, _)| key).collect())
    }

    /// The values in order, as they are stored. Django's `session.values()`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.update([("b", 1), ("a", 2)])?;
    /// assert_eq!(session.values()[1].deserialize::<u32>()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn values(&self) -> Vec<Value> {
        self.read(|data| data.iter().map(|(_, value)| value.clone()).collect())
    }

    /// The keys and values in order. Django's `session.items()`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("b", 1)?;
    /// session.set("a", "x")?;
    /// let items: Vec<_> = session.items().into_iter().map(|(key, value)| key + "=" + value.json()).collect();
    /// assert_eq!(items, ["b=1", "a=\"x\""], "in the order in which they were put in");
    /// assert_eq!((session.keys().len(), session.values().len(), session.len()), (2, 2, 2));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn items(&self) -> Vec<(String, Value)> {
        self.read(|data| data.iter().map(|(key, value)| (key, value.clone())).collect())
    }

    /// The data as a whole: a copy.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("visits", 1)?;
    /// let copy = session.data();
    /// session.set("visits", 2)?;
    /// assert_eq!(copy.to_json(), r#"{"visits":1}"#);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn data(&self) -> SessionData {
        self.read(SessionData::clone)
    }

    /// How many keys there are.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.update([("b", 1), ("a", 2)])?;
    /// assert_eq!(session.len(), 2);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.read(SessionData::len)
    }

    /// Removes all keys, also those that another request is adding meanwhile; the session itself stays, with
    /// its key and, where there is an absolute age, its beginning. Django's `session.clear()`. To log out, [`flush`](Session::flush).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// session.save().await?;
    /// session.clear();
    /// assert_eq!(session.len(), 0);
    /// assert!(session.session_key().is_some(), "the session itself stays");
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    pub fn clear(&self) {
        self.change(Change::Clear);
    }

    /// Whether there is neither a key nor data: a session that nothing was ever put in. Django's `is_empty`.
    /// Does not count as access.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert!(session.is_empty());
    /// session.set("visits", 1)?;
    /// assert!(!session.is_empty());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.inner.state().is_empty()
    }

    /// The key under which the session is or will be stored; none before a new session is first saved.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("visits", 1)?;
    /// assert!(session.session_key().is_none());
    /// session.save().await?;
    /// assert_eq!(session.session_key().unwrap().as_str().len(), 32);
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    pub fn session_key(&self) -> Option<SessionKey> {
        self.inner.state().session_key.clone()
    }

    /// Whether the data was looked at, in which case the response varies on the cookie.
    pub fn accessed(&self) -> bool {
        self.inner.state().accessed
    }

    /// Says that the data was looked at, or takes that back. Django's `session.accessed = …`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.contains_key("visits");
    /// session.set_accessed(false);
    /// assert!(!session.accessed(), "the response does not vary on the cookie");
    /// ```
    pub fn set_accessed(&self, accessed: bool) {
        self.inner.state().accessed = accessed;
    }

    /// Whether the data was changed, in which case the middleware saves it and sends the cookie.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert!(!session.accessed() && !session.modified());
    /// session.get::<u32>("visits")?;
    /// assert!(session.accessed() && !session.modified());
    /// session.set("visits", 1)?;
    /// assert!(session.modified());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn modified(&self) -> bool {
        self.inner.state().modified
    }

    /// Has the session saved although nothing changed, which prolongs it; or takes back that anything did.
    /// Django's `session.modified = …`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set_modified(true);
    /// assert!(session.modified(), "the middleware will save it");
    /// ```
    pub fn set_modified(&self, modified: bool) {
        let mut state = self.inner.state();
        if modified {
            let accessed = state.accessed;
            state.touch();
            state.accessed = accessed;
        }
        state.modified = modified;
    }

    /// The site's settings.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert_eq!(session.settings().cookie_name, "sessionid");
    /// ```
    pub fn settings(&self) -> &Settings {
        &self.site().settings
    }
}

fn value_error(key: &str) -> impl FnOnce(ValueError) -> Error + '_ {
    move |source| Error::Value { key: key.to_owned(), source }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        crate::site::lock::lock(&self.state)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        let has_key = self.session_key.is_some() || matches!(self.origin, Origin::NotAKey);
        !has_key && self.data.is_empty()
    }

    /// Makes a change; gives those that it makes pointless, to be dropped where nothing is locked.
    #[must_use]
    fn change(&mut self, change: Change) -> Changes {
        change.apply(&mut self.data);
        self.modifying.iter_mut().for_each(|modifying| modifying.notice(&change));
        self.touch();
        self.changes.push(change)
    }

    fn touch(&mut self) {
        self.accessed = true;
        self.modified = true;
        self.unsaved = true;
        self.is_late |= self.is_finished;
    }

    /// Begins a new, empty session; gives the changes of the one before, to be dropped where nothing is locked.
    #[must_use]
    fn reset(&mut self) -> Changes {
        self.session_key = None;
        self.origin = Origin::New;
        self.data = SessionData::new();
        self.modifying.iter_mut().for_each(|modifying| modifying.notice(&Change::Clear));
        self.unsaved = false;
        self.is_late = false;
        self.is_login = false;
        self.number = self.number.wrapping_add(1);
        std::mem::take(&mut self.changes)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.is_late {
            self.site.warnings.never_saved(self.site.clock.now());
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (data, accessed, modified) = {
            let state = self.inner.state();
            (state.data.clone(), state.accessed, state.modified)
        };
        // Where it is written to is the application's.
        formatter
            .debug_struct("Session")
            .field("data", &data)
            .field("accessed", &accessed)
            .field("modified", &modified)
            .finish_non_exhaustive()
    }
}
