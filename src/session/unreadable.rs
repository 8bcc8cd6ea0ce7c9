//! Ends a session that cannot be loaded.

use std::sync::Arc;

use super::{LazySession, Origin, Session};
use crate::site::error::{Error, StoreErrorKind};
use crate::telemetry::{Operation, spans};

impl LazySession {
    /// Ends the session even if it is genuine but cannot be read: a logout that needs none of the data. The
    /// middleware deletes the cookie. Django's counterpart is `flush`, which reads an unreadable session as
    /// empty.
    ///
    /// A session that can be loaded is ended as by [`Session::flush`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let lazy = middleware.begin(["sessionid=abcdefgh12345678abcdefgh12345678".as_bytes()]);
    /// lazy.flush().await?;
    /// assert!(lazy.is_empty() && lazy.session_key().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails; then the session stays.
    pub async fn flush(&self) -> Result<(), Error> {
        let session = match self.load().await {
            Ok(session) => session,
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Unreadable => {
                let session = Session { inner: Arc::clone(&self.inner) };
                let origin = session.inner.state().origin.clone();
                if let Origin::NotLoaded(session_key) = origin {
                    let store = &*session.site().store;
                    let (span, deleting) = (spans::delete(store, &session_key), store.delete(&session_key));
                    spans::call(span, Operation::Delete, deleting).await?;
                }
                session
            }
            Err(error) => return Err(error),
        };
        session.flush().await
    }
}
