//! The session of one request: a dictionary that tracks reads and changes.

mod absolute_lifetime;
mod changes;
mod editing;
mod expiry;
mod group;
mod lazy;
mod lifetime;
mod login;
mod modifying;
mod moves;
mod queue;
mod reload;
mod renewal;
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

use self::changes::{Change, Changes, NotReplayed, Replay};
use self::modifying::Modifying;
use self::moves::Moves;
use self::queue::Queues;
use crate::events::Events;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::Error;
use crate::site::session_key::{KeyGenerator, RandomKeys, SessionKey};
use crate::site::settings::Settings;
use crate::store::contract::SessionStore;
use crate::store::loaded::{Content, Version};
use crate::telemetry::{Operation, Warnings, spans};
use crate::user_sessions::UserSessions;
use crate::user_sessions::seen::Seen;

pub use self::absolute_lifetime::SESSION_STARTED_KEY;
pub use self::lazy::LazySession;
pub use self::session_use::SessionUse;
pub use self::test_cookie::{TEST_COOKIE_NAME, TEST_COOKIE_VALUE};
pub use self::typed_key::{AsKey, Key, KeyFor, KeyName, StoredFrom};

/// The state that all sessions of a site share.
#[derive(Clone)]
pub(crate) struct SiteParts {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Arc<dyn KeyGenerator>,
    pub(crate) user_sessions: Option<UserSessions>,
    pub(crate) warnings: Arc<Warnings>,
    /// The queues of requests that save the same session.
    queues: Arc<Queues>,
    moves: Arc<Moves>,
    pub(crate) events: Arc<Events>,
    renewals: Arc<Seen>,
}

impl SiteParts {
    pub(crate) fn new(store: Arc<dyn SessionStore>, settings: Settings) -> SiteParts {
        SiteParts {
            store,
            settings: Arc::new(settings),
            clock: Arc::new(SystemClock),
            keys: Arc::new(RandomKeys),
            user_sessions: None,
            queues: Queues::new(),
            moves: Arc::default(),
            events: Arc::default(),
            renewals: Arc::default(),
            warnings: Arc::default(),
        }
    }
}

/// A loaded session: it reads and writes like Django's `request.session`.
///
/// It is a handle: clones are the same session, so an authentication layer and the handler see each other's
/// changes. Changes are saved by the middleware after the response was made, or at once by
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
    site: Arc<SiteParts>,
    /// Whether the request brought a session cookie, whatever its value.
    cookie_sent: bool,
    /// Whether the request brought several cookies of the session's name.
    several_cookies: bool,
    /// Whether the session was saved under a key that the client has not been told.
    untold: AtomicBool,
    /// Whether a login asked for a new CSRF secret.
    needs_csrf_secret: AtomicBool,
    state: Mutex<State>,
    login_tracking: Mutex<user_session::LoginTracking>,
    /// Held while loading or saving, so that only one of them runs at a time.
    busy: tokio::sync::Mutex<()>,
}

struct State {
    /// The key to report; during a pending rotation the new one.
    session_key: Option<SessionKey>,
    origin: Origin,
    data: SessionData,
    /// The expiry in the store, as it was loaded, if the store knows it.
    expire_date: Option<DateTime<Utc>>,
    /// The changes to `data` since it was loaded or saved.
    changes: Changes,
    /// Whether a save is needed even without changed keys: `modified` set by hand, or a new key.
    unsaved: bool,
    accessed: bool,
    modified: bool,
    /// Whether the response's headers were sent. From then on only the application can save changes.
    is_finished: bool,
    /// Whether there are unsaved changes made after that.
    is_late: bool,
    /// Whether there is an unsaved login.
    is_login: bool,
    /// How many sessions this handle was before: a logout starts a new one.
    number: u32,
    /// The closures that are computing a value.
    modifying: Vec<Modifying>,
}

/// Where the data came from, which decides how saving works.
#[derive(Clone, Debug)]
enum Origin {
    /// Not loaded yet; the cookie holds this key.
    NotLoaded(SessionKey),
    /// Not loaded yet; the cookie holds text that cannot be a key. Loading will find nothing, without a round
    /// trip.
    NotAKey,
    /// Not stored: saving creates it.
    New,
    /// Stored under this key in this version: saving replaces it, or moves it to the reported key.
    Stored(SessionKey, Version),
    /// Stored, but not signed with this secret. It stays as it is: saving creates another session.
    NotGenuine,
}

impl Session {
    /// Creates a new, empty session outside of any request, for scripts and tests.
    pub fn new(store: Arc<dyn SessionStore>, settings: Settings) -> Session {
        Session::new_in(Arc::new(SiteParts::new(store, settings)))
    }

    /// [`new`](Session::new), with all parts of a site.
    pub(crate) fn new_in(site: Arc<SiteParts>) -> Session {
        Session { inner: LazySession::new(site, None, false).inner }
    }

    /// Opens the stored session under this key, outside of any request: `SessionStore(session_key=…)` in
    /// Django. The session is new and empty when there is none.
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
        LazySession::under(Arc::new(SiteParts::new(store, settings)), session_key).load().await
    }

    /// Opens the stored session under this key, if there is one, for a task without a request. No response
    /// carries its changes, so that only the application can save them.
    pub(crate) async fn find(
        site: Arc<SiteParts>,
        session_key: SessionKey,
    ) -> Result<Option<Session>, Error> {
        let session = LazySession::under(site, session_key).load().await?;
        let mut state = session.inner.state();
        state.is_finished = true;
        let is_stored = matches!(state.origin, Origin::Stored(..));
        drop(state);
        Ok(is_stored.then_some(session))
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
        let expire_date = loaded.as_ref().and_then(|(_, loaded)| loaded.expire_date);
        match loaded.map(|(session_key, loaded)| (session_key, loaded.version, loaded.content)) {
            Some((session_key, version, Content::Genuine(data))) => {
                self.note_stored(&data);
                let start = self.start_to_mark();
                let mut state = self.inner.state();
                state.expire_date = expire_date;
                state.origin = Origin::Stored(session_key.clone(), version);
                state.data = data;
                state.mark_start(start);
            }
            Some((.., Content::NotGenuine)) => {
                self.inner.state().origin = Origin::NotGenuine;
                self.site().warnings.not_genuine(now);
            }
            None => {
                // A key chosen by the client is never adopted.
                let mut state = self.inner.state();
                state.origin = Origin::New;
                state.session_key = None;
            }
        }
        Ok(())
    }

    fn site(&self) -> &SiteParts {
        &self.inner.site
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.site().clock.now()
    }

    fn read<T>(&self, read: impl FnOnce(&SessionData) -> T) -> T {
        let mut state = self.inner.state();
        state.accessed = true;
        read(&state.data)
    }

    fn change(&self, change: Change) {
        let pointless = self.inner.state().change(change);
        // Dropped only when nothing is locked: closures may run application code.
        drop(pointless);
    }

    /// Decides from the value under a key which change to make, and makes it if the value is still the same;
    /// else decides again.
    ///
    /// `decide` is application code (a closure, `Serialize`, `Deserialize`), so nothing is locked while it
    /// runs, and it may use the session. Its outcome overwrites changes that it makes itself under this key.
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

    /// Returns the value under this key, if any. Django's `session.get(key)`.
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
    /// A stored null, Python's `None`, is a value for types that take it, such as `Option<u32>`; for other
    /// types it counts as no value.
    ///
    /// # Errors
    /// [`Error::Value`] when the value is of another type; it stays as it is.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, Error> {
        let key = key.as_key();
        // Read from a copy, because `Deserialize` is application code.
        self.get_value(key).map_or(Ok(None), |value| value.read()).map_err(value_error(key))
    }

    /// Returns the value under this key as it is stored, to pass it on or to look at its JSON text.
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
    pub fn get_value(&self, key: impl KeyName) -> Option<Value> {
        self.read(|data| data.get(key.key_name()).cloned())
    }

    /// Sets a value. Django's `session[key] = value`. Setting an equal value counts as a change too.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Key, MemoryStore, Session, Settings};
    ///
    /// // A key with a type: a typing mistake in either does not compile.
    /// const VISITS: Key<u32> = Key::new("visits");
    /// const NAME: Key<String> = Key::new("name");
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set(VISITS, 7)?;
    /// session.set(NAME, "Ada")?;
    /// assert_eq!((session.get(VISITS)?, session.get(NAME)?.as_deref()), (Some(7), Some("Ada")));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// A key with a type also takes a reference, and the other forms that [`StoredFrom`] lists.
    ///
    /// # Errors
    /// [`Error::Value`] when the value has no counterpart in JSON.
    pub fn set<V: Serialize>(&self, key: impl KeyFor<V>, value: V) -> Result<(), Error> {
        let key = key.key_name();
        let value = Value::serialize(&value).map_err(value_error(key))?;
        self.set_value(key, value);
        Ok(())
    }

    /// Sets a value that is already in its stored form.
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
    pub fn set_value(&self, key: impl KeyName, value: Value) {
        self.change(Change::Set(Text::of_key(key.key_name()), value));
    }

    /// Computes a new value from the current one. If another request changes the session meanwhile, saving
    /// runs `modify` again on that request's value: no increment is lost.
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
    /// The closure may use the session. It may run more than once, even in another request's task: here, when
    /// another thread changed the value meanwhile, and when saving. Its outcome overwrites changes that it
    /// makes itself under this key. A stored null is no value, unless the type takes it.
    ///
    /// # Errors
    /// [`Error::Value`] when the stored value is of another type, or the new one has no counterpart in JSON.
    pub fn modify<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
        modify: impl Fn(Option<T>) -> T + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let key = key.as_key();
        let compute = move |value: Option<&Value>| {
            let value = value.map_or(Ok(None), Value::read::<T>)?;
            Value::serialize(&modify(value))
        };
        let compute = Arc::new(compute);
        let replay: Replay = {
            let compute = Arc::clone(&compute);
            Arc::new(move |value| compute(value).map(Some).map_err(NotReplayed::Value))
        };
        self.exchange(key, |before| {
            let value = compute(before)?;
            let outcome = value.deserialize()?;
            Ok((Some(Change::Modify(Text::of_key(key), Some(value), Arc::clone(&replay))), outcome))
        })
    }

    /// Computes a new value from the current one, both in their stored form; `None` is no value. An equal value is no
    /// change. Saving runs `modify` again as [`modify`](Session::modify) does. For values that are merged rather than
    /// typed, such as a list to which several requests append.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings, Value};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let append = |list: Option<&Value>| {
    ///     let mut list: Vec<u32> = list.map_or(Ok(Vec::new()), Value::deserialize)?;
    ///     list.push(7);
    ///     Value::serialize(&list).map(Some)
    /// };
    /// session.modify_value("list", append)?;
    /// session.modify_value("list", append)?;
    /// assert_eq!(session.get_value("list").unwrap().json(), "[7,7]");
    /// session.modify_value("list", |_| Ok(None))?;
    /// assert!(!session.contains_key("list"));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] with the error that `modify` returned.
    pub fn modify_value(
        &self,
        key: impl KeyName,
        modify: impl Fn(Option<&Value>) -> Result<Option<Value>, ValueError> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let (key, modify) = (key.key_name(), Arc::new(modify));
        let replay: Replay = {
            let modify = Arc::clone(&modify);
            Arc::new(move |value| modify(value).map_err(NotReplayed::Value))
        };
        self.exchange(key, |before| {
            let after = modify(before)?;
            let change = (after.as_ref() != before)
                .then(|| Change::Modify(Text::of_key(key), after, Arc::clone(&replay)));
            Ok((change, ()))
        })
    }

    /// Removes a key; returns whether it existed. Django's `del session[key]`, which raises `KeyError`
    /// instead.
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
    pub fn remove(&self, key: impl KeyName) -> bool {
        let key = Text::of_key(key.key_name());
        let mut state = self.inner.state();
        state.accessed = true;
        let found = state.data.get_escaped(key.as_str()).is_some();
        let pointless = found.then(|| state.change(Change::Remove(key)));
        drop(state);
        drop(pointless);
        found
    }

    /// Removes a key and returns its value. Django's `session.pop(key, None)`. Removing a missing key is not
    /// a change.
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
    /// A null is removed, too. Types that take null get it; for others the result is `None`.
    ///
    /// # Errors
    /// [`Error::Value`] when the value is of another type; then it stays.
    pub fn pop<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, Error> {
        let key = key.as_key();
        self.exchange(key, |before| {
            let Some(before) = before else { return Ok((None, None)) };
            Ok((Some(Change::Remove(Text::of_key(key))), before.read()?))
        })
    }

    /// Returns the value under this key; sets `default` first when there is none. Django's
    /// `session.setdefault`.
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
    /// Django returns a stored `None`. This does so for types that take null, such as `Option<u32>`. Other
    /// types cannot hold it: they get the default, which replaces the null.
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

    /// Sets several values. Django's `session.update(dict)`; counts as a change even when there are none.
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
    /// [`Error::Value`] when one has no counterpart in JSON; then none is set.
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
    pub fn contains_key(&self, key: impl KeyName) -> bool {
        self.read(|data| data.contains_key(key.key_name()))
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

    /// The stored values in order. Django's `session.values()`.
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

    /// Returns a copy of all data.
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

    /// The number of keys.
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

    /// Removes all keys, including keys that another request is adding meanwhile. The session itself stays,
    /// with its key and, if there is an absolute lifetime, its start time. Django's `session.clear()`. For a
    /// logout use [`flush`](Session::flush).
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

    /// Whether the session has neither a key nor data, because nothing was ever set. Django's `is_empty`.
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

    /// The key under which the session is or will be stored; `None` before a new session is first saved.
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

    /// Whether the data was read; then the response varies on the cookie.
    pub fn accessed(&self) -> bool {
        self.inner.state().accessed
    }

    /// Marks the data as read or unread. Django's `session.accessed = …`.
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

    /// Whether the data was changed; then the middleware saves it and sends the cookie.
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

    /// Forces a save even without changes, which extends the session; `false` clears the mark that the data
    /// changed. Django's `session.modified = …`.
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

    /// Makes a change. Returns the changes that it makes pointless, to be dropped outside of any lock.
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

    /// Begins a new, empty session. Returns the previous session's changes, to be dropped outside of any
    /// lock.
    #[must_use]
    fn reset(&mut self) -> Changes {
        self.session_key = None;
        self.origin = Origin::New;
        self.number = self.number.wrapping_add(1);
        self.forget()
    }

    /// Forgets the data, and the changes to it. Returns the changes, to be dropped outside of any lock.
    #[must_use]
    fn forget(&mut self) -> Changes {
        self.data = SessionData::new();
        self.modifying.iter_mut().for_each(|modifying| modifying.notice(&Change::Clear));
        self.unsaved = false;
        self.is_late = false;
        self.is_login = false;
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
        // Formatted without the lock, because the formatter's target is application code.
        formatter
            .debug_struct("Session")
            .field("data", &data)
            .field("accessed", &accessed)
            .field("modified", &modified)
            .finish_non_exhaustive()
    }
}
