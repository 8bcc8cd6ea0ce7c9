//! At most so many sessions for each user.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

use super::{Entry, UserSessions};
use crate::events::SessionEventKind;
use crate::site::error::Error;
use crate::site::session_key::SessionKey;
use crate::store::user_session_index::Client;

/// The treatment of a login beyond [`UserSessions::with_limit`].
///
/// ```
/// use cloakroom::user_sessions::AtLimit;
/// use cloakroom::{Error, SessionMiddleware, Settings, UserSessions, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("secret");
/// let user_sessions = UserSessions::connect("memory:", &settings).await?.with_limit(1, AtLimit::RefuseNew);
/// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
///     .with_user_sessions(user_sessions.clone());
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
/// let (first, second) = (middleware.begin([]).load().await?, middleware.begin([]).load().await?);
/// auth::login(&first, user).await?;
/// first.save().await?;
///
/// auth::login(&second, user).await?;
/// assert!(matches!(second.save().await, Err(Error::TooManySessions { limit: 1 })));
/// assert_eq!(auth::user_id(&second)?, None, "the session is as it was before");
/// assert_eq!(user_sessions.list("7").await?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a login beyond the limit either succeeds or fails")]
pub enum AtLimit {
    /// The login succeeds, and the user's oldest sessions end.
    EndOldest,
    /// The login fails with [`Error::TooManySessions`].
    RefuseNew,
}

pub(super) struct SessionLimit {
    pub(super) sessions: usize,
    pub(super) at_limit: AtLimit,
    turns: Turns,
}

impl SessionLimit {
    pub(super) fn new(sessions: usize, at_limit: AtLimit) -> SessionLimit {
        SessionLimit { sessions: sessions.max(1), at_limit, turns: Turns::default() }
    }
}

/// One login of a user at a time in this process. Users that share a lock are rare.
#[derive(Default)]
struct Turns {
    locks: [Mutex<()>; 32],
    hasher: RandomState,
}

impl Turns {
    async fn of(&self, user_id: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one(user_id) as usize;
        self.locks[hash % self.locks.len()].lock().await
    }
}

/// A login under way: the next one of its user waits until this one is saved.
pub(crate) struct Login<'a> {
    user_sessions: &'a UserSessions,
    limit: &'a SessionLimit,
    user_id: String,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl UserSessions {
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Waits for this user's logins under way, and refuses one that is beyond the limit. The sessions under
    /// `own` keys are the one that logs in.
    pub(crate) async fn begin_login(
        &self,
        user_id: String,
        own: &[SessionKey],
    ) -> Result<Option<Login<'_>>, Error> {
        let Some(limit) = self.limit.as_deref() else { return Ok(None) };
        let login =
            Login { user_sessions: self, limit, _turn: Some(limit.turns.of(&user_id).await), user_id };
        if limit.at_limit == AtLimit::RefuseNew {
            let live = self.look_up(&login.user_id).await?.live;
            let others = live.iter().filter(|session| !own.contains(&session.entry.session_key)).count();
            if others >= limit.sessions {
                return Err(Error::TooManySessions { limit: limit.sessions });
            }
        }
        Ok(Some(login))
    }
}

impl Login<'_> {
    /// Lets the user's next login go on: the session is saved, and listed.
    pub(crate) fn saved(self) -> Self {
        Login { _turn: None, ..self }
    }

    /// Ends the sessions beyond the limit, after the login was saved under this key. Fails when that is the login
    /// itself.
    ///
    /// Of all sessions that exist at that moment, those that stay are the newest (`EndOldest`) or the oldest
    /// (`RefuseNew`), in the order of their first time and, within a microsecond, of their keys. That order never
    /// changes. So whatever other processes do meanwhile, each of the sessions that are to stay is ended by nobody,
    /// and whoever looks last ends all others.
    pub(crate) async fn end(self, session_key: &SessionKey, client: &Client) -> Result<(), Error> {
        let mut live: Vec<Entry> = match self.user_sessions.look_up(&self.user_id).await {
            Ok(look) => look.live.into_iter().map(|session| session.entry).collect(),
            Err(error) => return self.is_left(&error),
        };
        let Some(excess) = live.len().checked_sub(self.limit.sessions).filter(|excess| *excess > 0) else {
            return Ok(());
        };
        live.sort_by(|one, other| {
            (one.first_seen, &one.session_key).cmp(&(other.first_seen, &other.session_key))
        });
        let ended = match self.limit.at_limit {
            AtLimit::EndOldest => &live[..excess],
            AtLimit::RefuseNew => &live[live.len() - excess..],
        };
        if let Err(error) = self.user_sessions.end_all(ended, SessionEventKind::OverLimit).await {
            return self.is_left(&error);
        }
        let is_refused = self.limit.at_limit == AtLimit::RefuseNew
            && ended.iter().any(|entry| entry.session_key == *session_key);
        if !is_refused {
            return Ok(());
        }
        let events = &self.user_sessions.events;
        events.tell(SessionEventKind::LoginRefused, None, &self.user_id, client);
        Err(Error::TooManySessions { limit: self.limit.sessions })
    }

    /// The login is saved: a failure now leaves too many sessions, until the user's next login.
    fn is_left(&self, error: &Error) -> Result<(), Error> {
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, "a user may have more sessions than the limit until the next login");
        Ok(())
    }
}
