//! A request's session before it is loaded.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cloakroom_formats::SessionData;

use super::changes::Changes;
use super::session_use::SessionUse;
use super::{Inner, Origin, Session, SiteParts, State};
use crate::site::error::Error;
use crate::site::session_key::SessionKey;

/// A session that is loaded on first use. The middleware puts one on each request; a request that does not
/// use it costs the store nothing.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let lazy = middleware.begin([]);
/// assert!(lazy.is_empty() && !lazy.accessed(), "nobody asked for it yet");
/// lazy.load().await?.set("visits", 1)?;
/// assert!(lazy.accessed() && lazy.modified());
/// middleware.finish(&lazy, 200).await?;
/// assert!(lazy.session_key().is_some(), "it is stored now");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct LazySession {
    pub(super) inner: Arc<Inner>,
    /// The session of the enclosing layer, if there is one.
    around: Option<Arc<LazySession>>,
    /// Whether an outer layer made this session, and saves it.
    shared: bool,
}

impl LazySession {
    pub(crate) fn new(
        site: Arc<SiteParts>,
        cookie_value: Option<&str>,
        several_cookies: bool,
    ) -> LazySession {
        let format = &site.settings.session_key_format;
        let origin = match cookie_value {
            // Django treats fewer than 8 characters as no key at all, and looks up all others.
            Some(value) if value.len() < format.min_length => Origin::New,
            Some(value) if site.store.keeps_data_in_cookie() => {
                Origin::NotLoaded(SessionKey::from_trusted(value))
            }
            Some(value) => format.parse(value).map_or(Origin::NotAKey, Origin::NotLoaded),
            None => Origin::New,
        };
        let session_key = match &origin {
            Origin::NotLoaded(session_key) => Some(session_key.clone()),
            _ => None,
        };
        let state = State {
            session_key,
            origin,
            data: SessionData::new(),
            expire_date: None,
            changes: Changes::default(),
            unsaved: false,
            accessed: false,
            modified: false,
            is_finished: false,
            is_late: false,
            is_login: false,
            number: 0,
            modifying: Vec::new(),
        };
        let inner = Inner {
            site,
            cookie_sent: cookie_value.is_some(),
            several_cookies,
            untold: AtomicBool::new(false),
            needs_csrf_secret: AtomicBool::new(false),
            state: Mutex::new(state),
            login_tracking: Mutex::default(),
            busy: tokio::sync::Mutex::default(),
        };
        LazySession { inner: Arc::new(inner), around: None, shared: false }
    }

    /// The session under this key, without a request.
    pub(super) fn under(site: Arc<SiteParts>, session_key: SessionKey) -> LazySession {
        let lazy = LazySession::new(site, None, false);
        let mut state = lazy.inner.state();
        state.session_key = Some(session_key.clone());
        state.origin = Origin::NotLoaded(session_key);
        drop(state);
        lazy
    }

    /// Returns this session as that of a layer inside another.
    pub(crate) fn inside(self, around: &LazySession) -> LazySession {
        LazySession { around: Some(Arc::new(around.clone())), ..self }
    }

    /// Returns an outer layer's session for a layer inside it.
    pub(crate) fn shared(&self, around: &LazySession) -> LazySession {
        LazySession { shared: true, ..self.clone() }.inside(around)
    }

    /// Whether another layer made and saves this session.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// The sessions of the layers around a request, innermost first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &LazySession> {
        std::iter::successors(Some(self), |session| session.around.as_deref())
    }

    pub(crate) fn site(&self) -> &Arc<SiteParts> {
        &self.inner.site
    }

    /// Whether the request brought several cookies of the session's name.
    #[inline]
    pub(crate) fn several_cookies(&self) -> bool {
        self.inner.several_cookies
    }

    /// Whether the session was saved under a key that the client has not been told. Clears the mark.
    #[inline]
    pub(crate) fn take_untold(&self) -> bool {
        self.inner.untold.load(Ordering::Relaxed) && self.inner.untold.swap(false, Ordering::Relaxed)
    }

    /// Loads the session from the store, unless it is already loaded. At most one round trip.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let lazy = middleware.begin([]);
    /// let session = lazy.load().await?;
    /// session.set("visits", 1)?;
    /// assert_eq!(lazy.load().await?.get::<u32>("visits")?, Some(1), "it is the same session");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails or the session cannot be carried. The session's state is then
    /// unknown, and neither the cookie nor the stored session changes.
    pub async fn load(&self) -> Result<Session, Error> {
        let session = Session { inner: Arc::clone(&self.inner) };
        session.load_once().await?;
        Ok(session)
    }

    pub(crate) fn loaded(&self) -> Option<Session> {
        let loaded = !matches!(self.inner.state().origin, Origin::NotLoaded(_) | Origin::NotAKey);
        loaded.then(|| Session { inner: Arc::clone(&self.inner) })
    }

    /// Returns the facts that the rules need, after a response with this status was made. Its headers count
    /// as sent from now on. This is set under the lock that is taken here anyway, because most requests save
    /// nothing.
    #[inline]
    pub(crate) fn session_use(&self, status: u16) -> SessionUse {
        let mut state = self.inner.state();
        state.is_finished = true;
        SessionUse {
            status,
            cookie_sent: self.inner.cookie_sent,
            empty: state.is_empty(),
            accessed: state.accessed,
            modified: state.modified,
            genuine: !matches!(state.origin, Origin::NotGenuine),
        }
    }

    /// Sets whether the response's headers are sent. Later changes are saved only if the application saves
    /// them.
    pub(crate) fn set_finished(&self, is_finished: bool) {
        self.inner.state().is_finished = is_finished;
    }

    /// Whether the session is new and empty, with neither a key nor data. Django's `is_empty`, which does not
    /// load.
    pub fn is_empty(&self) -> bool {
        self.inner.state().is_empty()
    }

    /// The key in the cookie if its format is valid, or the session's key once it is loaded. Does not load.
    pub fn session_key(&self) -> Option<SessionKey> {
        self.inner.state().session_key.clone()
    }

    /// Whether a handler read the data.
    pub fn accessed(&self) -> bool {
        self.inner.state().accessed
    }

    /// Whether a handler changed the data.
    pub fn modified(&self) -> bool {
        self.inner.state().modified
    }
}

impl fmt::Debug for LazySession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LazySession")
            .field("loaded", &self.loaded().is_some())
            .finish_non_exhaustive()
    }
}
