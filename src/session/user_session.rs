//! Keeps the index of user sessions up to date, if the site has one.

use cloakroom_formats::SessionData;
use tokio::time::Instant;

use super::save::in_time;
use super::{LazySession, Origin, Session};
use crate::login_keys::user_id_in;
use crate::site::error::{Error, StoreError};
use crate::site::lock::lock;
use crate::site::session_key::SessionKey;
use crate::store::loaded::{Content, Loaded};
use crate::store::user_session_index::Client;
use crate::user_sessions::limit::Login;
use crate::user_sessions::{UserSession, UserSessions};

/// This request's state for the index.
#[derive(Default)]
pub(super) struct LoginTracking {
    client: Client,
    /// The user who is logged in in the stored session.
    user_id: Option<String>,
    /// A session that this request ended, whose index entry must be removed.
    ended: Option<(String, SessionKey)>,
}

impl LazySession {
    /// Sets the client that the request comes from, for the [index of user sessions](crate::user_sessions).
    ///
    /// ```
    /// use cloakroom::user_sessions::{Client, UserSessions};
    /// use cloakroom::{SessionMiddleware, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let lazy = middleware.begin([]);
    /// lazy.set_client(Client::new(Some("192.0.2.7"), None));
    /// let session = lazy.load().await?;
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// assert_eq!(user_sessions.list("7").await?[0].address(), Some("192.0.2.7"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn set_client(&self, client: Client) {
        lock(&self.inner.login_tracking).client = client;
    }
}

impl Session {
    /// Sets the client that the request comes from, for the [index of user sessions](crate::user_sessions).
    ///
    /// ```
    /// use cloakroom::user_sessions::{Client, UserSessions};
    /// use cloakroom::{SessionMiddleware, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// session.set_client(Client::new(Some("192.0.2.7"), None));
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// session.save().await?;
    /// assert_eq!(user_sessions.list("7").await?[0].address(), Some("192.0.2.7"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn set_client(&self, client: Client) {
        lock(&self.inner.login_tracking).client = client;
    }

    /// The index of user sessions, if the site has one: `SessionMiddleware::with_user_sessions`.
    ///
    /// ```
    /// use cloakroom::user_sessions::UserSessions;
    /// use cloakroom::{SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// let middleware = SessionMiddleware::new(user_sessions.store(), settings)?
    ///     .with_user_sessions(user_sessions.clone());
    /// let session = middleware.begin([]).load().await?;
    /// assert!(session.user_sessions().is_some(), "this site has an index");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn user_sessions(&self) -> Option<&UserSessions> {
        self.site().user_sessions.as_ref()
    }

    /// All keys of this session: where it is stored, and where it will be.
    pub(crate) fn own_keys(&self) -> Vec<SessionKey> {
        let state = self.inner.state();
        let stored = match &state.origin {
            Origin::Stored(session_key, _) => Some(session_key.clone()),
            _ => None,
        };
        stored.into_iter().chain(state.session_key.clone()).collect()
    }

    /// Records the logged-in user before a session with this data is written under this key.
    pub(super) async fn record_login(
        &self,
        data: &SessionData,
        session_key: &SessionKey,
        moved_from: Option<&SessionKey>,
    ) -> Result<(), StoreError> {
        let Some(user_sessions) = self.user_sessions() else { return Ok(()) };
        let Some(user_id) = indexed_user(data) else { return Ok(()) };
        let client = lock(&self.inner.login_tracking).client.clone();
        Box::pin(user_sessions.see(&user_id, session_key, moved_from, client, self.now())).await?;
        // The next listing removes the entry of a session that this request ended: a login costs one extra
        // round trip, not two.
        lock(&self.inner.login_tracking).ended = None;
        Ok(())
    }

    /// Like [`record_login`](Session::record_login), for a session that is already stored: when it fails, the
    /// next request tries again.
    pub(super) async fn record_login_again(&self, data: &SessionData, session_key: &SessionKey) {
        self.record_login(data, session_key, None).await.unwrap_or_else(|error| warn(&error));
    }

    /// Called after a session with this data was loaded or saved.
    pub(super) fn note_stored(&self, data: &SessionData) {
        if self.user_sessions().is_some() {
            lock(&self.inner.login_tracking).user_id = indexed_user(data);
        }
    }

    /// Called after the session moved away from this key. Its entry stays, because a logout in another
    /// process finds the session through it. The entry of the key before is removed, so a session that keeps
    /// moving leaves two entries.
    pub(super) fn note_left_key(&self, session_key: &SessionKey) {
        if self.user_sessions().is_some() {
            let before = self.site().moves.before(session_key);
            let mut tracking = lock(&self.inner.login_tracking);
            tracking.ended = tracking.user_id.take().zip(before);
        }
    }

    /// Called after the session was removed from this key.
    pub(super) fn note_ended(&self, session_key: &SessionKey) {
        let mut tracking = lock(&self.inner.login_tracking);
        tracking.ended = tracking.user_id.take().map(|user_id| (user_id, session_key.clone()));
    }

    /// Ends the session that moved away from this key, as recorded in the index; returns whether it existed.
    pub(super) async fn end_by_index(&self, session_key: &SessionKey) -> Result<bool, Error> {
        let user_id = lock(&self.inner.login_tracking).user_id.clone();
        match self.user_sessions().zip(user_id) {
            Some((user_sessions, user_id)) => user_sessions.end_moved(&user_id, session_key).await,
            None => Ok(false),
        }
    }

    pub(super) fn client(&self) -> Client {
        lock(&self.inner.login_tracking).client.clone()
    }

    /// The user whom a save with this data logs in, if the site limits that: somebody else, or nobody, is logged
    /// in where the session is stored.
    fn limited_login(&self, data: &SessionData, origin: &Origin) -> Option<(&UserSessions, String)> {
        let user_sessions = self.user_sessions().filter(|user_sessions| user_sessions.is_limited())?;
        let user_id = indexed_user(data)?;
        let is_stored = matches!(origin, Origin::Stored(..));
        let before = lock(&self.inner.login_tracking).user_id.clone().filter(|_| is_stored);
        (before.as_ref() != Some(&user_id)).then_some((user_sessions, user_id))
    }

    /// Before a save that ends at this time: refuses a login beyond the limit. In a box, because few saves are
    /// logins.
    pub(super) async fn begin_limited_login(
        &self,
        data: &SessionData,
        origin: &Origin,
        end: Instant,
    ) -> Result<Option<Login<'_>>, Error> {
        let Some((user_sessions, user_id)) = self.limited_login(data, origin) else { return Ok(None) };
        let own_keys = self.own_keys();
        let begun = Box::pin(in_time(end, user_sessions.begin_login(user_id, &own_keys))).await;
        begun.unwrap_or_else(|| Err(self.timed_out(0)))
    }

    /// Drops all changes, and goes back to what is stored; to an empty session, if nothing is.
    pub(super) async fn go_back(&self, origin: &Origin) {
        let loaded = match origin {
            Origin::Stored(session_key, _) => {
                self.site().store.load_for_update(session_key, self.now()).await.ok().flatten()
            }
            _ => None,
        };
        let mut state = self.inner.state();
        let before = match (origin, loaded) {
            (
                Origin::Stored(session_key, _),
                Some(Loaded { content: Content::Genuine(data), version, expire_date }),
            ) => {
                let before = state.forget();
                state.session_key = Some(session_key.clone());
                state.origin = Origin::Stored(session_key.clone(), version);
                state.expire_date = expire_date;
                state.data = data;
                before
            }
            // If the store failed, nobody is logged in here, and the session stays as it is stored.
            (Origin::Stored(session_key, _), _) => {
                state.session_key = Some(session_key.clone());
                state.forget()
            }
            _ => state.reset(),
        };
        state.modified = false;
        drop(state);
        drop(before);
    }

    /// At the end of a request, records the user of a session that was only read, and removes one that was
    /// ended.
    pub(crate) async fn finish_login_tracking(&self) {
        let Some(user_sessions) = self.user_sessions() else { return };
        let seen = {
            let state = self.inner.state();
            match &state.origin {
                Origin::Stored(session_key, _) => {
                    indexed_user(&state.data).map(|user_id| (user_id, session_key.clone()))
                }
                _ => None,
            }
        };
        if let Some((user_id, session_key)) = seen {
            let client = lock(&self.inner.login_tracking).client.clone();
            let seen = user_sessions.see(&user_id, &session_key, None, client, self.now());
            seen.await.unwrap_or_else(|error| warn(&error));
        }
        let ended = lock(&self.inner.login_tracking).ended.take();
        if let Some((user_id, session_key)) = ended {
            user_sessions.forget(&user_id, &session_key).await;
        }
    }
}

impl UserSessions {
    /// Ends all sessions of this user except the current one, even if that is about to move to a new key.
    /// Returns how many it ended. Call it after a change of password.
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
    /// let (here, there) = (middleware.begin([]).load().await?, middleware.begin([]).load().await?);
    /// for session in [&here, &there] {
    ///     session.set(auth::USER_ID_KEY, "7")?;
    ///     session.save().await?;
    /// }
    /// assert_eq!(user_sessions.revoke_others("7", &here).await?, 1);
    /// assert!(user_sessions.list("7").await?[0].is_current(&here));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`revoke_all`](UserSessions::revoke_all).
    pub async fn revoke_others(&self, user_id: &str, current: &Session) -> Result<u64, Error> {
        self.revoke_but(user_id, &current.own_keys()).await
    }
}

impl UserSession {
    /// Whether this is the session of the request.
    pub fn is_current(&self, session: &Session) -> bool {
        session.own_keys().contains(&self.entry.session_key)
    }
}

/// The user under whom the index lists the session. An unreadable id logs nobody in here either.
fn indexed_user(data: &SessionData) -> Option<String> {
    user_id_in(data).ok().flatten()
}

fn warn(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "a user's session was not noted");
}
