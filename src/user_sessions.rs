//! Where a user is logged in, and how to log out everywhere.
//!
//! An index beside the sessions, which stay as they are: for each session of a user, when it was first and last
//! seen, and from which address and browser. It is opt-in: without it nothing changes and nothing is written.
//!
//! 1. **The sessions decide.** A listing looks each entry's session up, and shows only those in which this user is
//!    logged in now. An entry alone gives nobody access and brings no session back.
//! 2. **The entry is written before the session**, so that a crash between the two leaves an entry without a session
//!    and never a session that the index does not know. When the entry of a login cannot be written, the login fails,
//!    and the session stays as it was.
//! 3. **An entry is removed only when its session is known to be gone**, and not in the minute after it was
//!    written, when its session may be about to be.
//! 4. **Whoever is seen is noted**: a session that Django made, or that the index lost, is in it after the first
//!    request that loads it here; [`rebuild`](UserSessions::rebuild) finds those that never came by.
//! 5. **Few writes.** A session is noted at its login, and then once in [5 minutes](DEFAULT_INTERVAL) by each process
//!    that sees it. A login costs one round trip more, a logout one, a change of key one or two, all other requests none.
//!
//! The index holds session keys in plain, as Django's own table does: they are how a session is ended. Protect it
//! alike. What is shown to users is the [`UserSessionId`], which opens nothing.
//!
//! ```
//! use axum::{Router, extract::Request, middleware::{Next, from_fn}, response::Response, routing::{get, post}};
//! use cloakroom::user_sessions::{Client, UserSessions};
//! use cloakroom::{LazySession, Session, SessionLayer, SessionMiddleware, Settings, auth};
//!
//! /// The application knows where a request came from; behind a proxy, from the proxy's header.
//! async fn note_client(request: Request, next: Next) -> Response {
//!     if let Some(session) = request.extensions().get::<LazySession>() {
//!         let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
//!         session.set_client(Client::new(header("x-real-ip"), header("user-agent")));
//!     }
//!     next.run(request).await
//! }
//!
//! async fn devices(session: Session) -> Result<String, cloakroom::Error> {
//!     let Some((user_sessions, user)) = session.user_sessions().zip(auth::user_id(&session)?) else {
//!         return Ok("nobody is logged in".to_owned());
//!     };
//!     let mut page = String::new();
//!     for device in user_sessions.list(&user).await? {
//!         let here = if device.is_current(&session) { " (this one)" } else { "" };
//!         page += &format!("{} {:?}{here}\n", device.id(), device.user_agent());
//!     }
//!     Ok(page)
//! }
//!
//! async fn log_out_the_others(session: Session) -> Result<String, cloakroom::Error> {
//!     let Some((user_sessions, user)) = session.user_sessions().zip(auth::user_id(&session)?) else {
//!         return Ok("nobody is logged in".to_owned());
//!     };
//!     Ok(format!("{} logged out", user_sessions.revoke_others(&user, &session).await?))
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let settings = Settings::new("the site's SECRET_KEY");
//! // Usually `sqlite:…` or `postgres://…`.
//! let user_sessions = UserSessions::connect("memory:", &settings).await?;
//! let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
//!     .with_user_sessions(user_sessions);
//! let site: Router = Router::new()
//!     .route("/devices", get(devices))
//!     .route("/devices/log-out-others", post(log_out_the_others))
//!     .layer(from_fn(note_client))
//!     .layer(SessionLayer::from(middleware));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod rebuild;
mod seen;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tracing::Instrument;

use self::seen::Seen;
use crate::login_keys::user_id_in;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;
use crate::store;
use crate::store::contract::SessionStore;
use crate::store::loaded::Loaded;
use crate::telemetry::{self, Operation};

pub use self::rebuild::{Cleaned, Progress, Rebuilt};
pub use crate::store::user_session_index::{
    Client, Entry, MAX_ADDRESS, MAX_USER_AGENT, MAX_USER_ID, UserSessionIndex,
};

/// How long a process leaves the entry of a session alone that it has noted: 5 minutes.
///
/// ```
/// use cloakroom::user_sessions::DEFAULT_INTERVAL;
///
/// assert_eq!(DEFAULT_INTERVAL.num_minutes(), 5);
/// ```
pub const DEFAULT_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// So long after it was written, an entry stays although there is no session for it yet. Longer than any save takes.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// How many sessions are looked up at the same time.
const AT_ONCE: usize = 64;

/// A user who moves or logs in more often than this while being logged out is not to be beaten here.
const MAX_PASSES: u32 = 100;

/// The sessions of users: lists and revokes them. A handle: clones are the same.
///
/// The map of the module has the rules; [`connect`](UserSessions::connect) is the usual way to one.
///
/// ```
/// use cloakroom::{SessionMiddleware, Settings, auth, user_sessions::UserSessions};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("secret");
/// let user_sessions = UserSessions::connect("memory:", &settings).await?;
/// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
///     .with_user_sessions(user_sessions.clone());
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
/// let session = middleware.begin([]).load().await?;
/// auth::login(&session, user).await?;
/// session.save().await?;
/// assert_eq!(user_sessions.revoke_all("7").await?, 1, "logged out everywhere");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct UserSessions {
    store: Arc<dyn SessionStore>,
    index: Arc<dyn UserSessionIndex>,
    clock: Arc<dyn Clock>,
    interval: TimeDelta,
    seen: Arc<Seen>,
}

impl UserSessions {
    /// The sessions in this store, with their index in the same or another one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::MemoryStore;
    /// use cloakroom::user_sessions::UserSessions;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// // Sessions and index together, as is usual; each could be another store.
    /// let store = Arc::new(MemoryStore::new());
    /// let user_sessions = UserSessions::new(store.clone(), store).await?;
    /// assert!(user_sessions.list("7").await?.is_empty());
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the store keeps sessions in cookies, where nobody can end them, or the index is not there.
    pub async fn new(
        store: Arc<dyn SessionStore>,
        index: Arc<dyn UserSessionIndex>,
    ) -> Result<UserSessions, StoreError> {
        if store.keeps_data_in_cookie() {
            let message = "sessions in cookies cannot be ended by the server; use a store with a server side";
            return Err(StoreError::new("user sessions", StoreErrorKind::Unsupported, message));
        }
        index.check().await?;
        Ok(UserSessions {
            store,
            index,
            clock: Arc::new(SystemClock),
            interval: DEFAULT_INTERVAL,
            seen: Arc::default(),
        })
    }

    /// Opens the store that a URL names, as [`connect`](crate::connect) does, with the index in it; that of a
    /// `cached_db:` is in its database. A database needs the index's table once:
    /// [`create_user_session_table`](store::create_user_session_table), or
    /// `cloakroom create-table --user-sessions`.
    ///
    /// ```
    /// use cloakroom::{Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// assert!(user_sessions.list("7").await?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As `connect`; when the store cannot keep an index (files, memcached, cookies; give them the index of
    /// another store with [`new`](UserSessions::new)); when the table is not there.
    pub async fn connect(url: &str, settings: &Settings) -> Result<UserSessions, StoreError> {
        let opened = store::open(url, settings).await?;
        let Some(index) = opened.index else {
            let message = "this store keeps no index of user sessions; those that do are SQLite, PostgreSQL, MySQL, \
                           Redis and memory. Open one of them for the index: `UserSessions::connect_with_index`";
            return Err(StoreError::new("user sessions", StoreErrorKind::Unsupported, message));
        };
        store::check_secret(&*opened.store, settings).await?;
        UserSessions::new(opened.store, index).await
    }

    /// Opens the store of the sessions and, apart from it, the one that keeps the index: for sessions in files or in
    /// memcached. The second must be a whole store, a database with the session table too.
    ///
    /// ```
    /// use cloakroom::{Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// // Usually `file:…` or `memcached://…`, and `sqlite:…` or `postgres://…` for the index.
    /// let user_sessions = UserSessions::connect_with_index("memory:", "memory:", &settings).await?;
    /// assert!(user_sessions.list("7").await?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`connect`](UserSessions::connect).
    pub async fn connect_with_index(
        url: &str,
        index_url: &str,
        settings: &Settings,
    ) -> Result<UserSessions, StoreError> {
        let index = UserSessions::connect(index_url, settings).await?.index;
        UserSessions::new(store::connect(url, settings).await?, index).await
    }

    /// Takes the time from another clock.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{ManualClock, SessionMiddleware, Settings, auth, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (settings, clock) = (Settings::new("secret"), Arc::new(ManualClock::at_unix_seconds(1_700_000_000)));
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?.with_clock(clock.clone());
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_clock(clock)
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// assert_eq!(user_sessions.list("7").await?[0].last_seen().timestamp(), 1_700_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> UserSessions {
        self.clock = clock;
        self
    }

    /// How long a process leaves the entry of a session alone that it has noted; [`DEFAULT_INTERVAL`] unless said. It
    /// is how exact "last seen" is.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::chrono::TimeDelta;
    /// use cloakroom::{ManualClock, SessionMiddleware, Settings, auth, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (settings, clock) = (Settings::new("secret"), Arc::new(ManualClock::at_unix_seconds(1_700_000_000)));
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?
    ///     .with_clock(clock.clone())
    ///     .with_interval(TimeDelta::seconds(30));
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_clock(clock.clone())
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// for visits in 0..2 {
    ///     session.set(auth::USER_ID_KEY, "7")?;
    ///     session.save().await?;
    ///     assert_eq!(user_sessions.list("7").await?[0].last_seen().timestamp(), 1_700_000_000 + 60 * visits);
    ///     clock.advance(TimeDelta::minutes(1));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_interval(mut self, interval: TimeDelta) -> UserSessions {
        self.interval = interval;
        self
    }

    /// The store of the sessions, to be given to the session layer.
    ///
    /// ```
    /// use cloakroom::{Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// assert_eq!(user_sessions.store().name(), "memory");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    /// Where this user is logged in: the last seen first. Entries whose session is gone are removed on the way.
    ///
    /// ```
    /// use cloakroom::user_sessions::UserSessions;
    /// use cloakroom::{SessionMiddleware, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// let listed = user_sessions.list("7").await?;
    /// assert_eq!((listed.len(), listed[0].user_id()), (1, "7"));
    /// assert!(user_sessions.list("8").await?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] when store or index fail. A session that cannot be read, or whose user's id cannot be, is in the
    /// list: it may be the user's.
    pub async fn list(&self, user_id: &str) -> Result<Vec<UserSession>, Error> {
        Ok(self.look_up(user_id).await?.live)
    }

    /// Ends one session of this user; tells whether there was one. The id of another user's session ends nothing.
    ///
    /// ```
    /// use cloakroom::user_sessions::UserSessions;
    /// use cloakroom::{SessionMiddleware, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// let id = user_sessions.list("7").await?[0].id().to_string();
    /// assert!(!user_sessions.revoke("8", &id).await?, "it is not this user's");
    /// assert!(user_sessions.revoke("7", &id).await?);
    /// assert!(user_sessions.list("7").await?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`list`](UserSessions::list).
    pub async fn revoke(&self, user_id: &str, id: &str) -> Result<bool, Error> {
        let listed = self.list(user_id).await?;
        let Some(found) = listed.into_iter().find(|session| session.id.as_str() == id) else {
            return Ok(false);
        };
        Ok(self.end_all(&[found.entry]).await? > 0)
    }

    /// Ends all sessions of this user; tells how many. A session that moves to another key meanwhile is followed. To
    /// log the current user out with it, call [`auth::logout`] afterwards, which forgets the cookie.
    ///
    /// ```
    /// use cloakroom::user_sessions::UserSessions;
    /// use cloakroom::{SessionMiddleware, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// assert_eq!(user_sessions.revoke_all("7").await?, 1);
    /// assert!(user_sessions.list("7").await?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`list`](UserSessions::list). When a session cannot be ended, the others are ended all the same; call again.
    /// [`Error::Conflict`] when the user keeps logging in: then deactivate the user first.
    pub async fn revoke_all(&self, user_id: &str) -> Result<u64, Error> {
        self.revoke_but(user_id, &[]).await
    }

    /// How many of this user's entries belong to a session that is not signed with this secret. Such sessions are
    /// neither listed nor ended; whoever has the secret still serves them. With a wrong secret, all are such.
    ///
    /// ```
    /// use cloakroom::{Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let user_sessions = UserSessions::connect("memory:", &Settings::new("secret")).await?;
    /// assert_eq!(user_sessions.not_genuine("7").await?, 0, "`memory:` signs nothing");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`list`](UserSessions::list).
    pub async fn not_genuine(&self, user_id: &str) -> Result<u64, Error> {
        Ok(self.look_up(user_id).await?.not_genuine)
    }

    /// Until a look brings nothing new: a session that moved between the look at the index and the look at the
    /// session had its new entry written before, so the next look finds it.
    pub(crate) async fn revoke_but(&self, user_id: &str, kept: &[SessionKey]) -> Result<u64, Error> {
        let (mut revoked, mut known_gone) = (0, HashSet::new());
        for _ in 0..MAX_PASSES {
            let look = self.look_up(user_id).await?;
            let mut is_new = false;
            for gone in look.gone {
                is_new |= known_gone.insert(gone);
            }
            let mut live: Vec<Entry> = look.live.into_iter().map(|session| session.entry).collect();
            live.retain(|entry| !kept.contains(&entry.session_key));
            is_new |= !live.is_empty();
            revoked += self.end_all(&live).await?;
            if !is_new {
                return Ok(revoked);
            }
        }
        Err(Error::Conflict { attempts: MAX_PASSES })
    }

    /// Ends the sessions of these entries; tells how many were there. One that cannot be ended keeps its entry and is
    /// the error, once the others are ended.
    async fn end_all(&self, entries: &[Entry]) -> Result<u64, Error> {
        let (mut ended, mut failed) = (0, None);
        for chunk in entries.chunks(AT_ONCE) {
            let deleted = each(chunk, |session_key| {
                let store = Arc::clone(&self.store);
                async move { telemetry::call(Operation::Delete, store.delete(&session_key)).await }
            });
            let mut gone = Vec::new();
            for (entry, deleted) in chunk.iter().zip(deleted.await?) {
                match deleted {
                    Ok(existed) => {
                        ended += u64::from(existed);
                        if existed {
                            telemetry::revoked(&entry.session_key, &entry.user_id);
                        }
                        gone.push((entry.user_id.as_str(), &entry.session_key));
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            }
            // That the entries go, too, is tidiness.
            self.forget_all(&gone).await;
        }
        failed.map_or(Ok(ended), |error| Err(error.into()))
    }

    async fn look_up(&self, user_id: &str) -> Result<Look, Error> {
        let entries = self.index.of_user(user_id).await?;
        let now = self.clock.now();
        let (mut look, mut to_remove) = (Look::default(), Vec::new());
        for chunk in entries.chunks(AT_ONCE) {
            let loads = self.load_each(chunk, now).await?;
            for (entry, loaded) in chunk.iter().zip(loads) {
                let (expire_date, its_user) = match loaded {
                    Ok(Some(loaded)) => match loaded.data() {
                        Some(data) => (loaded.expire_date, user_id_in(data)),
                        // Signed with another secret: its user is not known.
                        None => {
                            look.not_genuine += 1;
                            continue;
                        }
                    },
                    Ok(None) => (None, Ok(None)),
                    Err(error) if error.kind() == StoreErrorKind::Unreadable => (None, Err(error.into())),
                    Err(error) => return Err(error.into()),
                };
                // Where nobody can tell whose it is, the entry does.
                if its_user.map_or(true, |its_user| its_user.as_deref() == Some(user_id)) {
                    look.live.push(UserSession::new(entry.clone(), expire_date));
                } else {
                    look.gone.push(entry.session_key.clone());
                    if is_settled(entry, now) {
                        to_remove.push((user_id, &entry.session_key));
                    }
                }
            }
        }
        if !to_remove.is_empty() {
            self.index.remove(&to_remove).await?;
        }
        look.live.sort_by_key(|session: &UserSession| Reverse(session.entry.last_seen));
        Ok(look)
    }

    /// The sessions of these entries, in their order.
    async fn load_each(
        &self,
        entries: &[Entry],
        now: DateTime<Utc>,
    ) -> Result<Vec<Result<Option<Loaded>, StoreError>>, StoreError> {
        let store = &self.store;
        each(entries, |session_key| {
            let store = Arc::clone(store);
            async move { store.load_for_update(&session_key, now).await }
        })
        .await
    }

    /// Notes that a user is seen in a session, unless this process did so lately.
    pub(crate) async fn see(
        &self,
        user_id: &str,
        session_key: &SessionKey,
        moved_from: Option<&SessionKey>,
        client: Client,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if self.seen.is_recent(user_id, session_key, now, self.interval) {
            return Ok(());
        }
        if !is_indexable(user_id) {
            let message = format!("a user's id has more than {MAX_USER_ID} characters; no index takes it");
            return Err(StoreError::new("user sessions", StoreErrorKind::Refused, message));
        }
        let entry = Entry::new(user_id, session_key.clone(), now, client);
        self.index.put(&entry, moved_from).await?;
        self.seen.note(user_id, session_key, now, self.interval);
        Ok(())
    }

    /// Ends the session that this one has become, which is gone from its key: whose entry has, to the microsecond, the
    /// beginning of this one's, as moving passes it on. Tells whether there was one.
    pub(crate) async fn end_moved(&self, user_id: &str, session_key: &SessionKey) -> Result<bool, Error> {
        let entries = self.index.of_user(user_id).await?;
        let Some(gone) = entries.iter().find(|entry| entry.session_key == *session_key) else {
            return Ok(false);
        };
        let mut ended = false;
        for entry in &entries {
            if entry.first_seen == gone.first_seen && entry.session_key != gone.session_key {
                ended |= telemetry::call(Operation::Delete, self.store.delete(&entry.session_key)).await?;
                self.forget(user_id, &entry.session_key).await;
            }
        }
        Ok(ended)
    }

    /// Removes the entry of a session that is gone. When that fails, the next listing or cleaning does it.
    pub(crate) async fn forget(&self, user_id: &str, session_key: &SessionKey) {
        self.forget_all(&[(user_id, session_key)]).await;
    }

    async fn forget_all(&self, gone: &[(&str, &SessionKey)]) {
        if gone.is_empty() {
            return;
        }
        if let Err(error) = self.index.remove(gone).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the entry of a session that ended stays in the index until the next listing"
            );
        }
    }
}

impl fmt::Debug for UserSessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserSessions")
            .field("store", &self.store)
            .field("index", &self.index)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// What one look at a user's sessions found.
#[derive(Default)]
struct Look {
    live: Vec<UserSession>,
    /// Entries without a session of this user.
    gone: Vec<SessionKey>,
    /// How many entries have a session that is signed with another secret.
    not_genuine: u64,
}

/// Asks about all sessions at the same time; the answers come in the order of the entries.
async fn each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    entries: &[Entry],
    ask: impl Fn(SessionKey) -> F,
) -> Result<Vec<T>, StoreError> {
    let mut asked = JoinSet::new();
    for (position, entry) in entries.iter().enumerate() {
        let answer = ask(entry.session_key.clone());
        asked.spawn(async move { (position, answer.await) }.in_current_span());
    }
    let mut answers = Vec::with_capacity(entries.len());
    while let Some(answer) = asked.join_next().await {
        answers.push(answer.map_err(|_| {
            let message = "a look at a session was broken off; try again";
            StoreError::new("user sessions", StoreErrorKind::Unavailable, message)
        })?);
    }
    answers.sort_by_key(|(position, _)| *position);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Whether every index has room for this id.
fn is_indexable(user_id: &str) -> bool {
    user_id.chars().count() <= MAX_USER_ID
}

/// Whether the session of an entry has had its time to appear.
fn is_settled(entry: &Entry, now: DateTime<Utc>) -> bool {
    (now - entry.last_seen).abs() >= GRACE
}

/// A session of a user, as [`UserSessions::list`] shows it.
///
/// ```
/// use cloakroom::user_sessions::UserSessions;
/// use cloakroom::{SessionMiddleware, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("secret");
/// let user_sessions = UserSessions::connect("memory:", &settings).await?;
/// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
///     .with_user_sessions(user_sessions.clone());
/// let session = middleware.begin([]).load().await?;
/// session.set(auth::USER_ID_KEY, "7")?;
/// session.save().await?;
/// let listed = user_sessions.list("7").await?.remove(0);
/// assert!(listed.is_current(&session) && listed.user_agent().is_none());
/// assert!(listed.first_seen() <= listed.last_seen());
/// assert!(listed.expire_date().unwrap() > listed.last_seen());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct UserSession {
    id: UserSessionId,
    pub(crate) entry: Entry,
    expire_date: Option<DateTime<Utc>>,
}

impl UserSession {
    fn new(entry: Entry, expire_date: Option<DateTime<Utc>>) -> UserSession {
        UserSession { id: UserSessionId::of(&entry.session_key), entry, expire_date }
    }

    /// What to name it by in pages and forms.
    pub fn id(&self) -> &UserSessionId {
        &self.id
    }

    /// The user's id.
    pub fn user_id(&self) -> &str {
        &self.entry.user_id
    }

    /// When the user was first seen in it: at the login, or where that was not noted, when the index came to know.
    pub fn first_seen(&self) -> DateTime<Utc> {
        self.entry.first_seen
    }

    /// When the user was last seen in it, as exactly as the interval says.
    pub fn last_seen(&self) -> DateTime<Utc> {
        self.entry.last_seen
    }

    /// When the session ends, where the store knows.
    pub fn expire_date(&self) -> Option<DateTime<Utc>> {
        self.expire_date
    }

    /// The address that the application gave.
    pub fn address(&self) -> Option<&str> {
        self.entry.client.address()
    }

    /// The `User-Agent` that the application gave.
    pub fn user_agent(&self) -> Option<&str> {
        self.entry.client.user_agent()
    }
}

impl fmt::Debug for UserSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserSession")
            .field("id", &self.id)
            .field("entry", &self.entry)
            .field("expire_date", &self.expire_date)
            .finish()
    }
}

/// Names a session without giving it away: 32 hexadecimal digits, half of the SHA-256 of its key. The command `cloakroom
/// list` shows the first 12.
///
/// Not keyed with the secret: a session key is 165 random bits, which nobody finds by trying, and so the names are
/// the same for every process, for the command, and after a change of the secret.
///
/// ```
/// use cloakroom::SessionKey;
/// use cloakroom::user_sessions::UserSessionId;
///
/// let session_key = SessionKey::from_trusted("0123456789abcdefghijklmnopqrstuv");
/// assert_eq!(UserSessionId::of(&session_key).as_str().len(), 32);
/// assert!(!UserSessionId::of(&session_key).as_str().contains("0123456789"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserSessionId(String);

impl UserSessionId {
    /// The id of the session under this key.
    pub fn of(session_key: &SessionKey) -> UserSessionId {
        UserSessionId(cloakroom_formats::private::hex(&Sha256::digest(session_key.as_str())[..16]))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserSessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
