//! The watches: handles that wait for the end of their session, and how they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use crate::site::lock::lock;
use crate::site::session_key::SessionKey;

/// Why a watched session ended, for the log and for the client. In each case its key is worthless.
///
/// ```
/// use cloakroom::EndReason;
///
/// fn close_code(reason: EndReason) -> u16 {
///     match reason {
///         // The client comes back with its new cookie.
///         EndReason::Moved | EndReason::WatcherStopped => 1012,
///         _ => 1008,
///     }
/// }
/// assert_eq!(close_code(EndReason::Revoked), 1008);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// This process deleted it: [`auth::logout`](crate::auth::logout), [`Session::flush`](crate::Session::flush),
    /// a login as another user, or a login whose password was changed.
    LoggedOut,
    /// This process revoked it: [`UserSessions`](crate::UserSessions).
    Revoked,
    /// This process ended it, because its user has more sessions than
    /// [`UserSessions::with_limit`](crate::UserSessions::with_limit) allows.
    OverLimit,
    /// Another request of this process moved it to another key, such as a login.
    Moved,
    /// The store no longer has it, and the last expiry that was known here is over.
    Expired,
    /// The store no longer has it: it was deleted, or moved to another key, by another process or by Django.
    Gone,
    /// The [`SessionWatcher`](crate::SessionWatcher) was dropped. Nobody notices the session's end any more.
    WatcherStopped,
}

/// The watchers of a site, which are told at once of what ends in this process.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<Vec<Weak<Watches>>>);

impl Watchers {
    pub(crate) fn listen(&self, watches: &Arc<Watches>) {
        lock(&self.0).push(Arc::downgrade(watches));
    }

    /// Tells that a session was removed from the store.
    pub(crate) fn ended(&self, session_key: &SessionKey, reason: EndReason) {
        self.each(|watches| watches.ended(session_key, reason));
    }

    /// Tells that this handle's session was stored under a key for the first time, or moved to it.
    pub(crate) fn moved(&self, from: Option<&SessionKey>, to: &SessionKey, handle: usize) {
        self.each(|watches| watches.moved(from, to, handle));
    }

    pub(super) fn take_over(&self, other: &Watchers) {
        let others = lock(&other.0).clone();
        lock(&self.0).extend(others);
    }

    fn each(&self, tell: impl Fn(&Watches)) {
        lock(&self.0).retain(|watches| watches.upgrade().map(|watches| tell(&watches)).is_some());
    }
}

/// The sessions that one watcher watches. Nothing of the application runs under its lock: a waiting task is
/// only woken.
#[derive(Default)]
pub(crate) struct Watches(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    by_key: HashMap<SessionKey, Vec<Waiting>>,
    /// For sessions that are not stored yet.
    not_stored: Vec<Waiting>,
    is_closed: bool,
}

struct Waiting {
    /// The handle through which it watches. Its own change of key does not end the session.
    handle: usize,
    /// The session's expiry, as far as it is known.
    expire_date: Option<DateTime<Utc>>,
    tell: oneshot::Sender<EndReason>,
}

impl Watches {
    /// Waits for the end of a session, through this handle. `stored` is its key and its expiry.
    ///
    /// A caller that waits no longer drops the receiver; [`keys`](Watches::keys) then forgets the watch.
    pub(crate) fn add(
        &self,
        handle: usize,
        stored: Option<(SessionKey, Option<DateTime<Utc>>)>,
    ) -> oneshot::Receiver<EndReason> {
        let (tell, told) = oneshot::channel();
        let mut watched = lock(&self.0);
        if !watched.is_closed {
            match stored {
                Some((session_key, expire_date)) => {
                    let waiting = Waiting { handle, expire_date, tell };
                    watched.by_key.entry(session_key).or_default().push(waiting);
                }
                None => watched.not_stored.push(Waiting { handle, expire_date: None, tell }),
            }
        }
        told
    }

    /// The keys of the sessions whose end somebody waits for.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        let mut watched = lock(&self.0);
        watched.not_stored.retain(|waiting| !waiting.tell.is_closed());
        watched.by_key.retain(|_, waiting| {
            waiting.retain(|waiting| !waiting.tell.is_closed());
            !waiting.is_empty()
        });
        watched.by_key.keys().cloned().collect()
    }

    /// Tells everybody who waits for the end of this session.
    pub(crate) fn ended(&self, session_key: &SessionKey, reason: EndReason) {
        tell(self.take(session_key), |_| reason);
    }

    /// Tells them that the store no longer has the session.
    pub(crate) fn gone(&self, session_key: &SessionKey, now: DateTime<Utc>) {
        tell(self.take(session_key), |waiting| match waiting.expire_date {
            Some(expire_date) if expire_date <= now => EndReason::Expired,
            _ => EndReason::Gone,
        });
    }

    fn take(&self, session_key: &SessionKey) -> Vec<Waiting> {
        lock(&self.0).by_key.remove(session_key).unwrap_or_default()
    }

    fn moved(&self, from: Option<&SessionKey>, to: &SessionKey, handle: usize) {
        let mut watched = lock(&self.0);
        let before = match from {
            Some(from) => watched.by_key.remove(from).unwrap_or_default(),
            None => watched.not_stored.extract_if(.., |waiting| waiting.handle == handle).collect(),
        };
        let (own, others): (Vec<Waiting>, _) =
            before.into_iter().partition(|waiting| waiting.handle == handle);
        if !own.is_empty() {
            let own = own.into_iter().map(|waiting| Waiting { expire_date: None, ..waiting });
            watched.by_key.entry(to.clone()).or_default().extend(own);
        }
        drop(watched);
        tell(others, |_| EndReason::Moved);
    }

    /// Tells everybody that nobody watches any more.
    pub(crate) fn close(&self) {
        let closed = Watched { is_closed: true, ..Watched::default() };
        let Watched { by_key, not_stored, .. } = std::mem::replace(&mut *lock(&self.0), closed);
        let all: Vec<Waiting> = by_key.into_values().flatten().chain(not_stored).collect();
        tell(all, |_| EndReason::WatcherStopped);
    }
}

fn tell(all: Vec<Waiting>, reason: impl Fn(&Waiting) -> EndReason) {
    for waiting in all {
        let reason = reason(&waiting);
        // Fails for whoever waits no longer.
        let _ = waiting.tell.send(reason);
    }
}
