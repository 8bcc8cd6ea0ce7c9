//! Notices the end of sessions that outlive their request: those of WebSockets, event streams and background
//! tasks.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::events::{EndReason, Watches};
use crate::session::{Session, SiteParts};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::telemetry::{self, Operation};
use crate::web::middleware::SessionMiddleware;

/// The usual interval of [`spawn_watcher`]: 5 seconds.
///
/// ```
/// assert_eq!(cloakroom::WATCH_INTERVAL.as_secs(), 5);
/// ```
pub const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// The minimum interval: each round asks the store.
const SHORTEST: Duration = Duration::from_millis(10);

/// How many sessions the store is asked for at once.
const AT_ONCE: usize = 5_000;

/// Starts to watch sessions of this site, in one background task for all of them, until the last clone of the
/// [`SessionWatcher`] is dropped. Call it when the middleware is complete, once for a site.
///
/// - **At once**: what this process ends through the middleware and its
///   [`UserSessions`](crate::UserSessions), and the sessions that it moves to another key.
/// - **Within the interval** and the time of the store's answer: all else, such as a logout in another process
///   or in Django, `clearsessions`, and expiry. Each interval the task asks the store which of the watched
///   sessions still exist, in one round trip for all of them ([`SessionStore::live_among`]).
///
/// [`WATCH_INTERVAL`] is the usual interval; the shortest is 10 ms. While nothing is watched, nothing is asked.
/// A store that fails ends no session: the task warns once, and asks again after the interval.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use cloakroom::{EndReason, MemoryStore, SessionMiddleware, SessionStore, Settings, spawn_watcher};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = Arc::new(MemoryStore::new());
/// let middleware = SessionMiddleware::new(store.clone(), Settings::new("secret"))?;
/// let watcher = spawn_watcher(&middleware, Duration::from_millis(20))?;
///
/// let session = middleware.begin([]).load().await?;
/// session.set("visits", 1)?;
/// session.save().await?;
/// let end = watcher.watch(&session);
/// // As another process does.
/// store.delete(&session.session_key().unwrap()).await?;
/// assert_eq!(end.await, EndReason::Gone);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`StoreErrorKind::Unsupported`] when the store keeps sessions in cookies, which the server cannot end.
///
/// # Panics
/// Outside of a Tokio runtime, as `tokio::spawn` does.
///
/// [`SessionStore::live_among`]: crate::SessionStore::live_among
pub fn spawn_watcher(
    middleware: &SessionMiddleware,
    interval: Duration,
) -> Result<SessionWatcher, StoreError> {
    let site = Arc::clone(middleware.parts());
    if site.store.keeps_data_in_cookie() {
        let message = "sessions in cookies cannot be ended by the server, so nobody can watch for their end; use a \
                       store with a server side";
        return Err(StoreError::new(site.store.name(), StoreErrorKind::Unsupported, message));
    }
    let watches = Arc::new(Watches::default());
    site.events.watchers.listen(&watches);
    let task = tokio::spawn(watch(site, Closing(Arc::clone(&watches)), interval.max(SHORTEST)));
    Ok(SessionWatcher { inner: Arc::new(Inner { watches, task }) })
}

/// Watches sessions for their end: [`spawn_watcher`]. A handle: clones watch together, so that it can be a part
/// of the application's state.
#[derive(Clone)]
#[must_use = "nothing is watched any more when this is dropped"]
pub struct SessionWatcher {
    inner: Arc<Inner>,
}

struct Inner {
    watches: Arc<Watches>,
    task: JoinHandle<()>,
}

impl SessionWatcher {
    /// Returns a future that waits for the end of this session.
    ///
    /// The session may change its key through this handle and its clones; the watch goes with it. A move by
    /// another request ends it with [`EndReason::Moved`]: whoever opened a stream before a login must not be
    /// taken for the user who logged in. A session that is not stored yet is watched from its first save on.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{
    ///     EndReason, MemoryStore, SessionMiddleware, Settings, WATCH_INTERVAL, auth, spawn_watcher,
    /// };
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(MemoryStore::new(), Settings::new("secret"))?;
    /// let watcher = spawn_watcher(&middleware, WATCH_INTERVAL)?;
    /// let session = middleware.begin([]).load().await?;
    /// session.set("visits", 1)?;
    /// session.save().await?;
    ///
    /// let stream = middleware.find(&session.session_key().unwrap()).await?.unwrap();
    /// let end = watcher.watch(&stream);
    /// // Another request of this process logs out.
    /// auth::logout(&session).await?;
    /// assert_eq!(end.await, EndReason::LoggedOut);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn watch(&self, session: &Session) -> SessionEnd {
        let told = session.with_stored(|handle, stored| self.inner.watches.add(handle, stored));
        SessionEnd { told: Some(told), reason: EndReason::WatcherStopped, _session: session.clone() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
        self.watches.close();
    }
}

impl fmt::Debug for SessionWatcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_finished = self.inner.task.is_finished();
        formatter.debug_struct("SessionWatcher").field("is_finished", &is_finished).finish_non_exhaustive()
    }
}

/// Resolves when the session has ended: [`SessionWatcher::watch`]. Dropping it ends the watch.
///
/// It keeps the session's data in memory, as a clone of the [`Session`] does.
#[must_use = "futures do nothing unless they are awaited"]
pub struct SessionEnd {
    /// None when it has resolved.
    told: Option<oneshot::Receiver<EndReason>>,
    reason: EndReason,
    /// Keeps the handle's address, by which the watch is found.
    _session: Session,
}

impl Future for SessionEnd {
    type Output = EndReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<EndReason> {
        if let Some(told) = &mut self.told {
            let Poll::Ready(told) = Pin::new(told).poll(context) else { return Poll::Pending };
            // Nobody is there any more to tell anything.
            self.reason = told.unwrap_or(EndReason::WatcherStopped);
            self.told = None;
        }
        Poll::Ready(self.reason)
    }
}

impl fmt::Debug for SessionEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.told.is_none().then_some(self.reason);
        formatter.debug_struct("SessionEnd").field("reason", &reason).finish_non_exhaustive()
    }
}

/// Tells everybody when the task ends, in any way.
struct Closing(Arc<Watches>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn watch(site: Arc<SiteParts>, watches: Closing, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_out, mut doubted) = (false, HashSet::new());
    loop {
        ticks.tick().await;
        let before = std::mem::take(&mut doubted);
        for session_keys in watches.0.keys().chunks(AT_ONCE) {
            let now = site.clock.now();
            let asking = site.store.live_among(session_keys, now);
            let live = match telemetry::call(Operation::Exists, asking).await {
                Ok(live) => live,
                Err(error) => {
                    if !is_out {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the store cannot say which watched sessions have ended; streams stay open until it answers"
                        );
                    }
                    is_out = true;
                    break;
                }
            };
            if std::mem::take(&mut is_out) {
                tracing::info!("the store says again which watched sessions have ended");
            }
            for session_key in session_keys.iter().filter(|session_key| !live.contains(*session_key)) {
                // A request of this process is moving it: perhaps through the handle that watches, which then
                // says so. If it was cancelled, the next round tells.
                match site.is_moving(session_key) {
                    true if before.contains(session_key) => watches.0.ended(session_key, EndReason::Moved),
                    true => drop(doubted.insert(session_key.clone())),
                    false => watches.0.gone(session_key, now),
                }
            }
        }
    }
}
