//! Where a user is logged in, and how to log out everywhere.
//!
//! An index beside the sessions, which are not changed. For each session of a user it records when it was
//! first and last seen, and from which address and browser. It is optional: without it nothing changes and
//! nothing is written.
//!
//! 1. **The sessions decide.** A listing looks up each entry's session, and shows only those in which this
//!    user is logged in now. An entry alone gives nobody access and restores no session.
//! 2. **The entry is written before the session**, so that a crash between the two never leaves a session
//!    that the index does not know. When a login's entry cannot be written, the login fails, and the session
//!    stays as it was.
//! 3. **An entry is removed only when its session is known to be gone**, and not in the minute after it was
//!    written: its session may not be written yet.
//! 4. **Loaded sessions are recorded**: a session that Django made, or that the index lost, is in it after
//!    the first request that loads it here; [`rebuild`](UserSessions::rebuild) finds those that no request
//!    loads.
//! 5. **Few writes.** The index costs one more round trip for a login and one for a logout, and one or two
//!    for a change of the session key. Each process also updates "last seen" of a user's session once in [5
//!    minutes](DEFAULT_INTERVAL), which is one more round trip for that request. Other requests pay nothing.
//!
//! The index holds session keys in plain text, as Django's own table does, because ending a session needs its
//! key. Protect it like that table. Show users the [`UserSessionId`], which gives no access.
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

pub(crate) mod limit;
mod rebuild;
pub(crate) mod seen;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tracing::Instrument;

use self::limit::SessionLimit;
use self::seen::Seen;
use crate::events::{EndReason, Events, SessionEvent, SessionEventKind};
use crate::login_keys::user_id_in;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;
use crate::store;
use crate::store::contract::SessionStore;
use crate::store::loaded::Loaded;
use crate::telemetry::{self, Operation};

pub use self::limit::AtLimit;
pub use self::rebuild::{Cleaned, Progress, Rebuilt};
pub use crate::store::user_session_index::{
    Client, Entry, MAX_ADDRESS, MAX_USER_AGENT, MAX_USER_ID, UserSessionIndex,
};

/// The default of [`with_interval`](UserSessions::with_interval): how long a process does not write the entry
/// of a session again. 5 minutes.
///
/// ```
/// use cloakroom::user_sessions::DEFAULT_INTERVAL;
///
/// assert_eq!(DEFAULT_INTERVAL.num_minutes(), 5);
/// ```
pub const DEFAULT_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// How long after it was written an entry stays without a session. Longer than any save takes.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// How many sessions are looked up concurrently.
const AT_ONCE: usize = 64;

/// The limit for a user who keeps moving sessions or logging in while being logged out.
const MAX_PASSES: u32 = 100;

/// The sessions of users: lists and revokes them. A handle: clones share their state.
///
/// The module's documentation has the rules; [`connect`](UserSessions::connect) is the usual constructor.
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
    limit: Option<Arc<SessionLimit>>,
    pub(crate) events: Arc<Events>,
}

impl UserSessions {
    /// Creates a handle to the sessions in this store, with their index in the same or another one.
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
    /// When the store keeps sessions in cookies, where nobody can end them, or when the index is missing.
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
            limit: None,
            events: Arc::default(),
        })
    }

    /// Opens the store that a URL names, as [`connect`](crate::connect) does, with the index in it; for a
    /// `cached_db:` in its database. A database first needs the index's table:
    /// [`create_user_session_table`](store::create_user_session_table), or `cloakroom create-table
    /// --user-sessions`.
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
    /// another store with [`new`](UserSessions::new)); when the table is missing.
    pub async fn connect(url: &str, settings: &Settings) -> Result<UserSessions, StoreError> {
        let opened = store::open_checked(url, settings).await?;
        UserSessions::of_store(opened.store, opened.index).await
    }

    /// The sessions in a store, with its own index.
    pub(crate) async fn of_store(
        store: Arc<dyn SessionStore>,
        index: Option<Arc<dyn UserSessionIndex>>,
    ) -> Result<UserSessions, StoreError> {
        let Some(index) = index else {
            let message = "this store keeps no index of user sessions; those that do are SQLite, PostgreSQL, MySQL, \
                           Redis and memory. Open one of them for the index: `UserSessions::connect_with_index`";
            return Err(StoreError::new("user sessions", StoreErrorKind::Unsupported, message));
        };
        UserSessions::new(store, index).await
    }

    /// Whether these are the sessions of this store.
    pub(crate) fn is_of(&self, store: &Arc<dyn SessionStore>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    /// Opens the sessions' store and a separate store for the index: for sessions in files or in memcached.
    /// The second must be a complete store, a database with the session table too.
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

    /// Uses another clock.
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

    /// Sets how long a process does not write the entry of a session again. It is the precision of "last
    /// seen". Default: [`DEFAULT_INTERVAL`].
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

    /// Limits how many sessions a user may have at a time, at least 1. Give the result to
    /// [`SessionMiddleware::with_user_sessions`](crate::SessionMiddleware::with_user_sessions). Default: no limit.
    ///
    /// - A login counts when its session is saved: by [`Session::save`](crate::Session::save), or by the
    ///   middleware, whose response is then a 403 if it is refused. [`AtLimit::RefuseNew`] writes nothing, and the
    ///   session is again what it was before the login.
    /// - Sessions that ended or expired do not count. One that changes its key stays one. A login of Django's counts
    ///   from its first request here, or from [`rebuild`](UserSessions::rebuild) on, and is never refused.
    /// - Sessions are in the order in which their user was first seen in them, and then of their keys. Machines whose
    ///   clocks differ disagree by as much.
    /// - A process takes a user's logins one after the other. Logins in several processes at the same moment may
    ///   exceed the limit until the last of them has looked; then exactly the limit is left. With `RefuseNew` the later
    ///   of two such logins also loses what its session held before it.
    ///
    /// A login costs one more listing of its user's sessions, two with `RefuseNew`. If that fails once the login is
    /// saved, the log warns, and the next login ends what is too many.
    ///
    /// ```
    /// use cloakroom::user_sessions::AtLimit;
    /// use cloakroom::{SessionMiddleware, Settings, UserSessions, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?.with_limit(2, AtLimit::EndOldest);
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
    /// let mut sessions = Vec::new();
    /// for _ in 0..3 {
    ///     let session = middleware.begin([]).load().await?;
    ///     auth::login(&session, user).await?;
    ///     session.save().await?;
    ///     sessions.push(session);
    /// }
    /// assert_eq!(user_sessions.list("7").await?.len(), 2);
    /// assert!(!sessions[0].reload().await? && sessions[2].reload().await?);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_limit(mut self, sessions: usize, at_limit: AtLimit) -> UserSessions {
        self.limit = Some(Arc::new(SessionLimit::new(sessions, at_limit)));
        self
    }

    /// Tells this function of logins and of sessions that end, for an audit trail, as
    /// [`SessionMiddleware::on_event`](crate::SessionMiddleware::on_event) does. For a program without a middleware;
    /// the middleware that gets this index tells the listeners of both.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use cloakroom::{SessionMiddleware, Settings, UserSessions, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (settings, count) = (Settings::new("secret"), Arc::new(AtomicUsize::new(0)));
    /// let counter = Arc::clone(&count);
    /// let user_sessions = UserSessions::connect("memory:", &settings)
    ///     .await?
    ///     .on_event(move |_event| drop(counter.fetch_add(1, Ordering::Relaxed)));
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// user_sessions.revoke_all("7").await?;
    /// assert_eq!(count.load(Ordering::Relaxed), 1, "revoked");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn on_event(self, listener: impl Fn(&SessionEvent) + Send + Sync + 'static) -> UserSessions {
        self.events.listen(listener);
        self
    }

    /// The sessions' store, for the session layer.
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

    /// Lists this user's sessions, the last seen first. Removes entries whose session is gone.
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
    /// [`Error::Store`] when the store or the index fails. A session that cannot be read, or whose user's id
    /// is invalid, is listed: it may be the user's.
    pub async fn list(&self, user_id: &str) -> Result<Vec<UserSession>, Error> {
        Ok(self.look_up(user_id).await?.live)
    }

    /// Ends one session of this user; returns whether there was one. The id of another user's session ends
    /// nothing.
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
        Ok(self.end_all(&[found.entry], SessionEventKind::Revoked).await? > 0)
    }

    /// Ends all sessions of this user; returns how many. A session that moves to another key meanwhile is
    /// followed. To log the current user out too, call [`auth::logout`](crate::auth::logout) afterwards, which
    /// deletes the cookie.
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
    /// As [`list`](UserSessions::list). When a session cannot be ended, the others are still ended; call
    /// again. [`Error::Conflict`] when the user keeps logging in: then deactivate the user first.
    pub async fn revoke_all(&self, user_id: &str) -> Result<u64, Error> {
        self.revoke_but(user_id, &[]).await
    }

    /// Counts this user's entries whose session is not signed with this secret. Such sessions are neither
    /// listed nor ended, and a server with their secret still serves them. With a wrong secret, all entries
    /// count.
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

    /// Repeats until no session can be left.
    ///
    /// A move writes the entry of the new key first, and then moves the session. So a pass may look for a session at the
    /// new key too early and at the old key too late, and miss it at both. The next pass misses it only if it moves again,
    /// which needs a further entry. So nobody is left once three passes in a row find no session, and no further entry.
    pub(crate) async fn revoke_but(&self, user_id: &str, kept: &[SessionKey]) -> Result<u64, Error> {
        let (mut revoked, mut quiet_passes, mut before) = (0, 0, HashSet::new());
        for _ in 0..MAX_PASSES {
            let look = self.look_up(user_id).await?;
            let mut live: Vec<Entry> = look.live.into_iter().map(|session| session.entry).collect();
            live.retain(|entry| !kept.contains(&entry.session_key));
            revoked += self.end_all(&live, SessionEventKind::Revoked).await?;
            let gone: HashSet<SessionKey> = look.gone.into_iter().collect();
            quiet_passes = match live.is_empty() {
                true if gone.is_empty() => return Ok(revoked),
                true if gone.is_subset(&before) => quiet_passes + 1,
                true => 1,
                false => 0,
            };
            if quiet_passes == 3 {
                return Ok(revoked);
            }
            before = gone;
        }
        Err(Error::Conflict { attempts: MAX_PASSES })
    }

    /// Ends the sessions of these entries; returns how many existed. A session that cannot be ended keeps its
    /// entry, and its error is returned after the others are ended.
    async fn end_all(&self, entries: &[Entry], kind: SessionEventKind) -> Result<u64, Error> {
        let reason = match kind {
            SessionEventKind::OverLimit => EndReason::OverLimit,
            _ => EndReason::Revoked,
        };
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
                        self.events.watchers.ended(&entry.session_key, reason);
                        if existed {
                            let Entry { session_key, user_id, client, .. } = entry;
                            self.events.tell(kind, Some(session_key), user_id, client);
                        }
                        gone.push((entry.user_id.as_str(), &entry.session_key));
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            }
            // Removing the entries too is only cleanup.
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
                        // Signed with another secret: its user is unknown.
                        None => {
                            look.not_genuine += 1;
                            continue;
                        }
                    },
                    Ok(None) => (None, Ok(None)),
                    Err(error) if error.kind() == StoreErrorKind::Unreadable => (None, Err(error.into())),
                    Err(error) => return Err(error.into()),
                };
                // If the session's user is unknown, the entry decides.
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

    /// Loads the sessions of these entries, in order.
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

    /// Records that a user was seen in a session, unless this process did so recently.
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

    /// Ends the session that this one became after moving away from its key; returns whether there was one.
    /// Its entry has, to the microsecond, the same first time, because a move passes that on.
    pub(crate) async fn end_moved(&self, user_id: &str, session_key: &SessionKey) -> Result<bool, Error> {
        let entries = self.index.of_user(user_id).await?;
        let Some(gone) = entries.iter().find(|entry| entry.session_key == *session_key) else {
            return Ok(false);
        };
        let mut ended = false;
        for entry in &entries {
            if entry.first_seen == gone.first_seen && entry.session_key != gone.session_key {
                ended |= telemetry::call(Operation::Delete, self.store.delete(&entry.session_key)).await?;
                self.events.watchers.ended(&entry.session_key, EndReason::LoggedOut);
                self.forget(user_id, &entry.session_key).await;
            }
        }
        Ok(ended)
    }

    /// Removes the entry of a session that is gone. If that fails, the next listing or cleaning does it.
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

/// The result of one pass over a user's sessions.
#[derive(Default)]
struct Look {
    live: Vec<UserSession>,
    /// Entries without a session of this user.
    gone: Vec<SessionKey>,
    /// How many entries have a session signed with another secret.
    not_genuine: u64,
}

/// Queries all sessions concurrently; the answers have the order of the entries.
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

/// Whether an entry is old enough that its session must exist.
fn is_settled(entry: &Entry, now: DateTime<Utc>) -> bool {
    (now - entry.last_seen).abs() >= GRACE
}

/// A user's session, as listed by [`UserSessions::list`].
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

    /// The name for the session in pages and forms.
    pub fn id(&self) -> &UserSessionId {
        &self.id
    }

    /// The user's id.
    pub fn user_id(&self) -> &str {
        &self.entry.user_id
    }

    /// When the user was first seen in it: at the login, or if that was not recorded, when the index learned
    /// of it.
    pub fn first_seen(&self) -> DateTime<Utc> {
        self.entry.first_seen
    }

    /// When the user was last seen in it, with the precision of the interval.
    pub fn last_seen(&self) -> DateTime<Utc> {
        self.entry.last_seen
    }

    /// The session's expiry, if the store knows it.
    pub fn expire_date(&self) -> Option<DateTime<Utc>> {
        self.expire_date
    }

    /// The address, as given by the application.
    pub fn address(&self) -> Option<&str> {
        self.entry.client.address()
    }

    /// The `User-Agent`, as given by the application.
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

/// Identifies a session without giving access to it: 32 hexadecimal digits, half of the SHA-256 of its key.
/// The command `cloakroom list` shows the first 12.
///
/// Not keyed with the secret: a session key is 165 random bits, which nobody finds by trying. So the ids are
/// the same in every process and in the command, and after a change of the secret.
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
