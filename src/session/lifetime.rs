//! How sessions begin, move to another key and end.

use std::sync::atomic::Ordering;

use super::changes::Changes;
use super::{Origin, Session};
use crate::events::{EndReason, SessionEventKind};
use crate::site::error::Error;
use crate::site::session_key::SessionKey;
use crate::telemetry::{self, Operation, spans};

impl Session {
    /// Moves the session to a new key when it is saved, in one step, and keeps its data. Call it when the
    /// user's rights change, such as at login, so that a previously known key becomes useless.
    ///
    /// Django's `cycle_key` moves at once. Here nothing is written before saving. So a request that fails
    /// with 5xx leaves the user's session as it was, and a login costs one write.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// session.save().await?;
    /// let before = session.session_key().unwrap();
    /// session.cycle_key()?;
    /// session.save().await?;
    /// assert!(!session.exists(&before).await?);
    /// assert!(session.contains_key("cart"), "the data moved along");
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn cycle_key(&self) -> Result<(), Error> {
        let new_key = self.site().keys.generate()?;
        let mut state = self.inner.state();
        state.session_key = Some(new_key);
        if matches!(state.origin, Origin::NotGenuine) {
            state.origin = Origin::New;
        }
        state.touch();
        Ok(())
    }

    /// Starts a new, empty session under a new key; the old one stays in the store. Django's `create`. Signed
    /// cookies have no keys: there the session stays the same and its cookie is sent again, as in Django.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// session.save().await?;
    /// let before = session.session_key().unwrap();
    /// session.create()?;
    /// assert_eq!(session.len(), 0);
    /// assert!(session.exists(&before).await?, "the old session stays");
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn create(&self) -> Result<(), Error> {
        let new_key = self.site().keys.generate()?;
        let mut state = self.inner.state();
        let mut before = Changes::default();
        if !self.site().store.keeps_data_in_cookie() {
            before = state.reset();
            state.session_key = Some(new_key);
        }
        state.touch();
        drop(state);
        drop(before);
        Ok(())
    }

    /// Deletes the session and its cookie: removes it from the store at once and forgets its data and key;
    /// the middleware deletes the cookie. Django's `flush`, the core of `logout`. Values set afterwards start
    /// a new session.
    ///
    /// If another request has moved the session to a new key since this one loaded it, ends it under the new
    /// key. This covers moves that were made through the same layer. It covers one move by another process if
    /// somebody was logged in before it and there is an [index of user sessions](crate::user_sessions).
    /// Django does not follow moves.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// session.save().await?;
    /// let before = session.session_key().unwrap();
    /// session.flush().await?;
    /// assert!(session.is_empty());
    /// assert!(!session.exists(&before).await?);
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails; then the session stays.
    pub async fn flush(&self) -> Result<(), Error> {
        self.flush_as(SessionEventKind::LoggedOut).await
    }

    pub(crate) async fn flush_as(&self, how: SessionEventKind) -> Result<(), Error> {
        self.end(how).await?;
        let mut state = self.inner.state();
        let before = state.reset();
        state.accessed = true;
        state.modified = true;
        drop(state);
        drop(before);
        Ok(())
    }

    /// Removes the session from the store at once and nothing else: its data and key stay here, and saving a
    /// change to them fails with [`Error::Interrupted`]. Django's `delete`. For a logout use
    /// [`flush`](Session::flush). Signed cookies are kept by the browser alone: there the data is forgotten
    /// and the cookie deleted, as in Django.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Error, MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", [3, 5])?;
    /// session.save().await?;
    /// assert!(session.delete().await?);
    /// session.set("cart", [7])?;
    /// assert!(matches!(session.save().await, Err(Error::Interrupted)));
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete(&self) -> Result<bool, Error> {
        self.end(SessionEventKind::LoggedOut).await
    }

    async fn end(&self, how: SessionEventKind) -> Result<bool, Error> {
        let busy = self.inner.busy.lock().await;
        let (origin, user_id) = {
            let state = self.inner.state();
            (state.origin.clone(), state.stored_user())
        };
        let is_in_cookie = self.site().store.keeps_data_in_cookie();
        let mut ended = None;
        let deleted = match origin {
            Origin::Stored(session_key, _) => {
                let deleted = self.delete_from_store(&session_key).await?
                    || self.end_where_it_moved(&session_key).await?
                    || self.end_by_index(&session_key).await?;
                self.note_ended(&session_key);
                ended = user_id.filter(|_| deleted || is_in_cookie).map(|user_id| (session_key, user_id));
                self.inner.untold.store(false, Ordering::Relaxed);
                deleted
            }
            _ => false,
        };
        let before = is_in_cookie.then(|| {
            let mut state = self.inner.state();
            state.modified = true;
            state.reset()
        });
        drop(busy);
        drop(before);
        if let Some((session_key, user_id)) = ended {
            self.site().events.tell(how, Some(&session_key), &user_id, &self.client());
        }
        Ok(deleted)
    }

    async fn delete_from_store(&self, session_key: &SessionKey) -> Result<bool, Error> {
        let store = &*self.site().store;
        let (span, deleting) = (spans::delete(store, session_key), store.delete(session_key));
        let deleted = spans::call(span, Operation::Delete, deleting).await?;
        self.site().events.watchers.ended(session_key, EndReason::LoggedOut);
        Ok(deleted)
    }

    /// Ends the session under the keys to which requests of this process have moved it.
    async fn end_where_it_moved(&self, session_key: &SessionKey) -> Result<bool, Error> {
        let (mut deleted, mut seen) = (false, Vec::new());
        let mut next = self.site().moves.of(session_key);
        while let Some(session_key) = next.pop() {
            if seen.contains(&session_key) {
                continue;
            }
            if self.delete_from_store(&session_key).await? {
                deleted = true;
            } else {
                next.extend(self.site().moves.of(&session_key));
            }
            seen.push(session_key);
        }
        Ok(deleted)
    }

    /// Whether the store has a session under this key. Django's `exists`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, SessionKey, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("visits", 1)?;
    /// session.save().await?;
    /// assert!(session.exists(&session.session_key().unwrap()).await?);
    /// assert!(!session.exists(&SessionKey::random()?).await?);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn exists(&self, session_key: &SessionKey) -> Result<bool, Error> {
        Ok(telemetry::call(Operation::Exists, self.site().store.exists(session_key, self.now())).await?)
    }
}
