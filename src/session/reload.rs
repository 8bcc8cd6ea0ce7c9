//! A session that outlives its request: looking at the store again, and being watched.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::save::Unsaved;
use super::{Origin, Session, SiteParts, absolute_lifetime};
use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::contract::SessionStore;
use crate::store::loaded::Content;
use crate::telemetry::{Operation, spans};

impl Session {
    /// Reads the session again and returns whether it still exists: for WebSockets, event streams and
    /// background tasks, whose handle outlives its request. Django has no counterpart; there a new
    /// `SessionStore(session_key)` is loaded.
    ///
    /// Changes that were not saved are kept: they are made again on what was read, as
    /// [`save`](Session::save) does. A session that has ended is empty from then on, so that nobody is logged in
    /// here any more. Saving it fails with [`Error::Interrupted`]: it is never created again. The same holds for
    /// a session that another request moved to another key: a stream that was opened before a login does not get
    /// the user's rights. A session that was never saved does not exist, and stays as it is.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Error, MemoryStore, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let session = middleware.begin([]).load().await?;
    /// session.set("theme", "light")?;
    /// session.save().await?;
    /// let stream = middleware.find(&session.session_key().unwrap()).await?.unwrap();
    ///
    /// session.set("theme", "dark")?;
    /// session.save().await?;
    /// assert!(stream.reload().await?);
    /// assert_eq!(stream.get::<String>("theme")?.as_deref(), Some("dark"));
    ///
    /// session.flush().await?;
    /// assert!(!stream.reload().await?);
    /// assert_eq!(stream.get::<String>("theme")?, None);
    /// stream.set("theme", "light")?;
    /// assert!(matches!(stream.save().await, Err(Error::Interrupted)));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails: whether the session exists is unknown, and this handle stays as it
    /// is. [`Error::Value`] and [`Error::Conflict`] when an unsaved change cannot be made on what was read, which
    /// also leaves the handle as it is.
    pub async fn reload(&self) -> Result<bool, Error> {
        let _busy = self.inner.busy.lock().await;
        let (origin, number) = {
            let state = self.inner.state();
            (state.origin.clone(), state.number)
        };
        let Origin::Stored(session_key, _) = origin else { return Ok(false) };
        let now = self.now();
        let store = &*self.site().store;
        let loading = store.load_for_update(&session_key, now);
        let loaded = spans::call(spans::load(store, &session_key), Operation::Load, loading).await?;
        let Some(loaded) = loaded else { return Ok(self.has_ended(number)) };
        let mut data = match loaded.content {
            Content::Genuine(data) if absolute_lifetime::is_over(&data, self.settings(), now) => {
                return Ok(self.has_ended(number));
            }
            Content::Genuine(data) => data,
            Content::NotGenuine => return Err(signed_with_another_secret(store)),
        };
        self.note_stored(&data);
        let mut unsaved = Unsaved::of(&self.inner, number);
        let mut done = 0;
        loop {
            // Unlocked, because closures may use the session. Changes that they make are newer still.
            unsaved.changes.replay_from(done, &mut data)?;
            let mut state = self.inner.state();
            if state.number != number {
                // A new session has begun here meanwhile.
                return Ok(false);
            }
            let newer = std::mem::take(&mut state.changes);
            if newer.is_empty() {
                state.origin = Origin::Stored(session_key, loaded.version);
                state.expire_date = loaded.expire_date;
                state.data = data;
                state.changes = std::mem::take(&mut unsaved.changes);
                unsaved.is_saved = true;
                return Ok(true);
            }
            drop(state);
            done = unsaved.changes.append(newer);
        }
    }

    /// Forgets the data of a session that has ended.
    fn has_ended(&self, number: u32) -> bool {
        let mut state = self.inner.state();
        let forgotten = (state.number == number).then(|| {
            state.modified = false;
            state.forget()
        });
        drop(state);
        drop(forgotten);
        false
    }

    /// Calls `add` with this handle's own number, and with the key and the expiry under which its session is
    /// stored. A save is told to those who watch after the key was changed here, so that none is missed.
    pub(crate) fn with_stored<T>(
        &self,
        add: impl FnOnce(usize, Option<(SessionKey, Option<DateTime<Utc>>)>) -> T,
    ) -> T {
        let state = self.inner.state();
        let stored = match &state.origin {
            Origin::Stored(session_key, _) => Some((session_key.clone(), state.expire_date)),
            _ => None,
        };
        add(self.handle(), stored)
    }

    /// A number that clones of this handle share, and no other handle.
    pub(super) fn handle(&self) -> usize {
        Arc::as_ptr(&self.inner).addr()
    }
}

impl SiteParts {
    /// Whether a request of this process has moved this session to another key, or is about to.
    pub(crate) fn is_moving(&self, session_key: &SessionKey) -> bool {
        !self.moves.of(session_key).is_empty()
    }
}

/// The session has not ended: a server with that secret still serves it.
pub(super) fn signed_with_another_secret(store: &dyn SessionStore) -> Error {
    let message = "the session was signed with another secret since it was loaded; nothing was written. Give all \
                   servers of the site the same SECRET_KEY and SECRET_KEY_FALLBACKS";
    StoreError::new(store.name(), StoreErrorKind::Unreadable, message).into()
}
