//! The rules of Django's `SessionMiddleware`, independent of any web framework.
//!
//! An adapter calls [`begin_inside`](SessionMiddleware::begin_inside) with the request's `Cookie` headers and
//! with the session that another layer has put on the request, and puts the [`LazySession`] where handlers
//! find it. After the response was made it calls [`finish`](SessionMiddleware::finish), which saves and
//! returns the headers for the response, and [`Finished::apply`], which sets them. The rules themselves are
//! [`decide`], a pure function.

mod cookie;
mod response;
mod vary;

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::{ExpiryAge, ExpiryError, Moment};

use crate::events::SessionEvent;
use crate::session::{LazySession, Session, SiteParts};
use crate::site::boxed::boxed;
use crate::site::clock::Clock;
use crate::site::error::Error;
use crate::site::session_key::{KeyGenerator, SessionKey};
use crate::site::settings::{InterruptedSession, Settings, SettingsError, Transport};
#[cfg(feature = "encryption")]
use crate::store::contract::SessionStore;
use crate::store::contract::{IntoSharedStore, Touched};
use crate::user_sessions::UserSessions;

pub(crate) use cookie::Cookie;
pub use cookie::find_cookie;
pub use response::{Finished, ResponseHeaders};
pub use vary::patch_vary;

pub use crate::session::SessionUse;

/// The future of saving.
pub(crate) type Finishing = Pin<Box<dyn Future<Output = Result<Finished, Error>> + Send>>;

/// The outcome of a request before anything is saved.
pub(crate) enum Unsaved {
    /// The response stays as it is, as most do.
    Untouched,
    /// These headers go on the response.
    Finished(Finished),
    /// The session must be saved.
    ToSave,
}

/// The session middleware of one site: its store, settings and clock.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
///
/// let lazy = middleware.begin(["theme=dark".as_bytes()]);
/// lazy.load().await?.set("visits", 1)?;
/// let finished = middleware.finish(&lazy, 200).await?;
///
/// assert_eq!(finished.vary.as_deref(), Some("Cookie"));
/// assert!(finished.set_cookie.unwrap().starts_with("sessionid="));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SessionMiddleware {
    site: Arc<SiteParts>,
}

impl SessionMiddleware {
    /// Creates the middleware with the machine's clock and random keys.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SameSite, SessionMiddleware, Settings};
    ///
    /// let mut settings = Settings::new("secret");
    /// settings.cookie_samesite = Some(SameSite::None);
    /// // Browsers want `Secure` with it.
    /// assert!(SessionMiddleware::new(Arc::new(MemoryStore::new()), settings.clone()).is_err());
    /// settings.cookie_secure = true;
    /// assert!(SessionMiddleware::new(Arc::new(MemoryStore::new()), settings).is_ok());
    /// ```
    ///
    /// # Errors
    /// When the settings are invalid: [`Settings::validate`]. When the store was opened with another secret, or with
    /// other settings that it uses too: [`SettingsDigest::check`](crate::SettingsDigest::check).
    pub fn new(store: impl IntoSharedStore, settings: Settings) -> Result<SessionMiddleware, SettingsError> {
        settings.validate()?;
        settings.warn_of_weak_secrets();
        let store = store.into_shared_store();
        store.opened_with().map_or(Ok(()), |opened_with| opened_with.check(&settings))?;
        Ok(SessionMiddleware { site: Arc::new(SiteParts::new(store, settings)) })
    }

    /// Uses another clock.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{ManualClock, MemoryStore, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?
    ///     .with_clock(Arc::new(ManualClock::at_unix_seconds(1_700_000_000)));
    /// let lazy = middleware.begin([]);
    /// lazy.load().await?.set("visits", 1)?;
    /// let set_cookie = middleware.finish(&lazy, 200).await?.set_cookie.unwrap();
    /// assert!(set_cookie.contains("expires=Tue, 28 Nov 2023 22:13:20 GMT"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> SessionMiddleware {
        Arc::make_mut(&mut self.site).clock = clock;
        self
    }

    /// Uses another generator of session keys.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Error, KeyGenerator, MemoryStore, SessionKey, SessionMiddleware, Settings};
    ///
    /// /// For a test only: everybody would have this key.
    /// struct Known;
    ///
    /// impl KeyGenerator for Known {
    ///     fn generate(&self) -> Result<SessionKey, Error> {
    ///         Ok(SessionKey::from_trusted("abcdefgh12345678abcdefgh12345678"))
    ///     }
    /// }
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?
    ///     .with_key_generator(Arc::new(Known));
    /// let lazy = middleware.begin([]);
    /// lazy.load().await?.set("visits", 1)?;
    /// let set_cookie = middleware.finish(&lazy, 200).await?.set_cookie.unwrap();
    /// assert!(set_cookie.starts_with("sessionid=abcdefgh12345678abcdefgh12345678;"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_key_generator(mut self, keys: Arc<dyn KeyGenerator>) -> SessionMiddleware {
        Arc::make_mut(&mut self.site).keys = keys;
        self
    }

    /// Records the sessions in which users are logged in, to list and to end them:
    /// [`user_sessions`](crate::user_sessions). Both must have the same store, by the same `Arc`: otherwise an error
    /// in the log says so, and [`Site::with_user_sessions`](crate::Site::with_user_sessions) refuses them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings, UserSessions, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let store = Arc::new(MemoryStore::new());
    /// let user_sessions = UserSessions::new(store.clone(), store.clone()).await?;
    /// let middleware = SessionMiddleware::new(store, Settings::new("secret"))?
    ///     .with_user_sessions(user_sessions.clone());
    /// let lazy = middleware.begin([]);
    /// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
    /// auth::login(&lazy.load().await?, user).await?;
    /// middleware.finish(&lazy, 200).await?;
    /// assert_eq!(user_sessions.list("7").await?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_user_sessions(mut self, user_sessions: UserSessions) -> SessionMiddleware {
        if !user_sessions.is_of(&self.site.store) {
            tracing::error!(
                store = self.site.store.name(),
                "the index of user sessions is for another store than the session layer's: it lists none of this site's \
                 sessions and ends none"
            );
        }
        let site = Arc::make_mut(&mut self.site);
        // Shared, so that who watches or listens here is told of what the index does.
        if !Arc::ptr_eq(&site.events, &user_sessions.events) {
            user_sessions.events.take_over(&site.events);
            site.events = Arc::clone(&user_sessions.events);
        }
        site.user_sessions = Some(user_sessions);
        self
    }

    /// Tells this function of logins, logouts, revoked sessions and refused logins, for an audit trail:
    /// [`SessionEvent`]. May be called several times; each function is told. What the site's
    /// [`UserSessions`] do is told too.
    ///
    /// The function runs in the task of the request, after the save and without a lock of this library, so it should
    /// return soon: write to a channel, and to the disk from another task. If it panics, the log says so, and the
    /// session stays as it is. Logins and logouts in Django and in other processes are not told.
    ///
    /// ```
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (audit, mut trail) = tokio::sync::mpsc::unbounded_channel();
    /// let middleware = SessionMiddleware::new(MemoryStore::new(), Settings::new("secret"))?
    ///     .on_event(move |event| drop(audit.send(event.clone())));
    /// let session = middleware.begin([]).load().await?;
    /// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
    /// auth::login(&session, user).await?;
    /// session.save().await?;
    /// let event = trail.recv().await.unwrap();
    /// assert_eq!(event.session(), session.session_key().map(|key| key.public_id()).as_deref());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn on_event(self, listener: impl Fn(&SessionEvent) + Send + Sync + 'static) -> SessionMiddleware {
        self.site.events.listen(listener);
        self
    }

    /// Uses another store that was opened with the same settings.
    #[cfg(feature = "encryption")]
    pub(crate) fn with_store(mut self, store: Arc<dyn SessionStore>) -> SessionMiddleware {
        Arc::make_mut(&mut self.site).store = store;
        self
    }

    /// The site's settings.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
    ///
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// assert_eq!(middleware.settings().cookie_name, "sessionid");
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn settings(&self) -> &Settings {
        &self.site.settings
    }

    pub(crate) fn parts(&self) -> &Arc<SiteParts> {
        &self.site
    }

    /// Opens the stored session under this key, for a task without a request; none is made. Returns `None` when
    /// there is no such session, it has expired, or it is not signed with this secret. Django's
    /// `SessionStore(session_key)`, which makes a new session then.
    ///
    /// No response carries its changes: call [`Session::save`], as often as needed.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionKey, SessionMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let session = middleware.begin([]).load().await?;
    /// session.set("report", "queued")?;
    /// session.save().await?;
    ///
    /// let task = middleware.find(&session.session_key().unwrap()).await?.unwrap();
    /// task.set("report", "ready")?;
    /// task.save().await?;
    /// assert!(session.reload().await?);
    /// assert_eq!(session.get::<String>("report")?.as_deref(), Some("ready"));
    /// assert!(middleware.find(&SessionKey::random()?).await?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`LazySession::load`].
    pub async fn find(&self, session_key: &SessionKey) -> Result<Option<Session>, Error> {
        Session::find(Arc::clone(&self.site), session_key.clone()).await
    }

    /// The header that carries the session key: `Cookie`, unless the settings' [`Transport`] names another.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings, Transport};
    ///
    /// let mut settings = Settings::new("secret");
    /// settings.transport = Transport::Header("X-Session".to_owned());
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings)?;
    /// assert_eq!(middleware.header(), "X-Session");
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn header(&self) -> &str {
        match &self.settings().transport {
            Transport::Cookie => "Cookie",
            Transport::Header(name) => name,
        }
    }

    /// Begins a request whose header [`header`](SessionMiddleware::header) has these values. Does not access
    /// the store.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings};
    ///
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let lazy = middleware.begin(["theme=dark; sessionid=abcdefgh12345678abcdefgh12345678".as_bytes()]);
    /// assert_eq!(lazy.session_key().unwrap().as_str(), "abcdefgh12345678abcdefgh12345678");
    /// assert!(!lazy.accessed());
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn begin<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> LazySession {
        let (session_token, several_cookies) = self.session_token(values.into_iter());
        LazySession::new(Arc::clone(&self.site), session_token.as_deref(), several_cookies)
    }

    /// Like [`begin`](SessionMiddleware::begin), for a request that may have passed other session layers:
    /// `around` is the session among its extensions. A request has one session for each cookie name (or
    /// header), however many layers with that name surround its handler. The outermost of them makes the
    /// session, by its own settings, and saves it; [`finish`](SessionMiddleware::finish) does nothing for the
    /// others.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Error, MemoryStore, SessionMiddleware, Settings, middleware::Finished};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let outer = middleware.begin_inside(None, [])?;
    /// let inner = middleware.begin_inside(Some(&outer), [])?;
    /// inner.load().await?.set("visits", 1)?;
    /// assert!(outer.modified(), "it is the same session");
    /// assert_eq!(middleware.finish(&inner, 200).await?, Finished::default());
    /// assert!(middleware.finish(&outer, 200).await?.set_cookie.is_some());
    ///
    /// let other = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let error = other.begin_inside(Some(&outer), []).unwrap_err();
    /// assert!(matches!(error, Error::LayersDiffer { .. }), "one cookie, and another store");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::LayersDiffer`] when an outer layer has the same name and another store, or when only one of
    /// the two has an index of user sessions. Then run no handler, and respond as after a failed
    /// [`finish`](SessionMiddleware::finish).
    pub fn begin_inside<'a>(
        &self,
        around: Option<&LazySession>,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<LazySession, Error> {
        let Some(around) = around else { return Ok(self.begin(values)) };
        let settings = self.settings();
        let Some(session) = around.layers().find(|other| same_name(settings, &other.site().settings)) else {
            return Ok(self.begin(values).inside(around));
        };
        let site = session.site();
        let same_index = site.user_sessions.is_some() == self.site.user_sessions.is_some();
        if Arc::ptr_eq(&site.store, &self.site.store) && same_index {
            return Ok(session.shared(around));
        }
        Err(Error::LayersDiffer {
            of: match &settings.transport {
                Transport::Cookie => format!("the cookie `{}`", settings.cookie_name),
                Transport::Header(name) => format!("the header `{name}`"),
            },
        })
    }

    /// The request's session key, and whether there are several cookies of the session's name.
    #[inline]
    fn session_token<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> (Option<Cow<'a, str>>, bool) {
        let settings = self.settings();
        match &settings.transport {
            Transport::Cookie => {
                let (session_token, count) = cookie::find_cookies(values, &settings.cookie_name);
                let several = count > 1;
                if several && settings.reject_duplicate_cookies {
                    self.site.warnings.several_cookies(self.site.clock.now());
                    return (None, several);
                }
                (session_token, several)
            }
            Transport::Header(_) => {
                let session_token = values.next().map(|value| String::from_utf8_lossy(value.trim_ascii()));
                if values.next().is_some() {
                    tracing::debug!(
                        "the request has several session keys and counts as one without a session"
                    );
                    return (None, false);
                }
                (session_token, false)
            }
        }
    }

    /// Saves the session if needed, after a response with this status was made.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings, middleware::Finished};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// // Nobody looked at the session: the response stays as it is.
    /// assert_eq!(middleware.finish(&middleware.begin([]), 200).await?, Finished::default());
    /// // A changed session is not saved with a 5xx.
    /// let lazy = middleware.begin([]);
    /// lazy.load().await?.set("visits", 1)?;
    /// assert_eq!(middleware.finish(&lazy, 500).await?.set_cookie, None);
    /// assert!(middleware.finish(&lazy, 200).await?.set_cookie.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The errors of [`Session::save`], except [`Error::Interrupted`] if the setting `interrupted` says to
    /// continue. Then replace the response by one with the status and text of [`Error::status`] and
    /// [`message_of`], and with the headers of [`finish_with_error`](SessionMiddleware::finish_with_error).
    pub async fn finish(&self, session: &LazySession, status: u16) -> Result<Finished, Error> {
        match self.finish_unsaved(session, status) {
            Unsaved::Untouched => Ok(Finished::default()),
            Unsaved::Finished(finished) => Ok(finished),
            Unsaved::ToSave => self.save_and_finish(session, status).await,
        }
    }

    /// [`finish`](SessionMiddleware::finish) for the majority of requests, which save nothing.
    #[inline]
    pub(crate) fn finish_unsaved(&self, session: &LazySession, status: u16) -> Unsaved {
        if session.is_shared() {
            return Unsaved::Untouched;
        }
        let settings = self.settings();
        if settings.save_every_request || self.site.user_sessions.is_some() {
            return Unsaved::ToSave;
        }
        self.without_saving(session, &session.session_use(status))
    }

    #[inline]
    fn without_saving(&self, session: &LazySession, session_use: &SessionUse) -> Unsaved {
        let mut finished = match self.decide(session, session_use) {
            Decision::SaveAndSetCookie => return Unsaved::ToSave,
            Decision::DeleteCookie => self.delete(),
            Decision::Nothing => {
                self.warn_of_untold(session, session_use.status);
                if !session_use.accessed && !session.several_cookies() {
                    return Unsaved::Untouched;
                }
                if session_use.accessed { self.vary() } else { Finished::default() }
            }
        };
        self.take_former_away(session, &mut finished);
        Unsaved::Finished(finished)
    }

    /// [`decide`], and whether a session that was not changed is to be extended.
    #[inline]
    fn decide(&self, session: &LazySession, session_use: &SessionUse) -> Decision {
        let settings = self.settings();
        let decision = decide(session_use, settings);
        match settings.renew_after {
            Some(after) if !session_use.modified && decision != Decision::DeleteCookie => {
                let may_be_extended = session_use.status < 500 && session_use.genuine && !session_use.empty;
                if may_be_extended && session.renewal_is_due(after) {
                    Decision::SaveAndSetCookie
                } else {
                    Decision::Nothing
                }
            }
            _ => decision,
        }
    }

    /// Deletes the cookies that were set before the settings changed, if there may be any.
    fn take_former_away(&self, session: &LazySession, finished: &mut Finished) {
        let settings = self.settings();
        if settings.former_cookies.is_empty() {
            return;
        }
        if session.several_cookies() || finished.set_cookie.is_some() {
            finished.remove_cookies = cookie::delete_former(settings);
            finished.vary = self.vary().vary;
            finished.send_no_store = settings.send_no_store;
        }
    }

    fn warn_of_untold(&self, session: &LazySession, status: u16) {
        if session.take_untold() {
            self.site.warnings.untold(self.site.clock.now(), status);
        }
    }

    /// [`finish`](SessionMiddleware::finish) for all other requests. Boxed, because only they need its large
    /// state.
    pub(crate) fn save_and_finish(&self, session: &LazySession, status: u16) -> Finishing {
        let (middleware, session) = (self.clone(), session.clone());
        boxed(|| async move {
            let settings = middleware.settings();
            if settings.save_every_request && status < 500 && !session.is_empty() {
                // An unknown key is detected before anything is created for it.
                match session.load().await {
                    Err(error) if settings.renew_after.is_some() && !session.accessed() => {
                        middleware.warn_not_renewed(&error);
                    }
                    loaded => drop(loaded?),
                }
            }
            let session_use = session.session_use(status);
            // The response can still carry the key of this save.
            session.set_finished(false);
            let finished = match (middleware.without_saving(&session, &session_use), session.loaded()) {
                (Unsaved::Untouched, _) => Finished::default(),
                (Unsaved::Finished(finished), _) => finished,
                (Unsaved::ToSave, None) => middleware.vary(),
                (Unsaved::ToSave, Some(loaded))
                    if !session_use.modified && settings.renew_after.is_some() =>
                {
                    let mut finished = Box::pin(middleware.renew(&session, &loaded, &session_use)).await;
                    middleware.take_former_away(&session, &mut finished);
                    finished
                }
                (Unsaved::ToSave, Some(loaded)) => {
                    let mut finished = match middleware.save(&loaded).await {
                        Ok(finished) => {
                            session.take_untold();
                            middleware.note_renewal(&session);
                            finished
                        }
                        Err(Error::Interrupted)
                            if settings.interrupted == InterruptedSession::ContinueAnonymously =>
                        {
                            if session_use.cookie_sent {
                                middleware.delete()
                            } else {
                                middleware.vary()
                            }
                        }
                        Err(error) => {
                            middleware.warn_of_untold(&session, error.status());
                            return Err(error);
                        }
                    };
                    middleware.take_former_away(&session, &mut finished);
                    finished
                }
            };
            if let Some(loaded) = session.loaded() {
                loaded.finish_login_tracking().await;
            }
            session.set_finished(true);
            Ok(finished)
        })
    }

    /// Returns the headers for the response that replaces the handler's after
    /// [`finish`](SessionMiddleware::finish) failed with this error. Such a response must not be cached for
    /// others. Logs the error.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Error, MemoryStore, SessionMiddleware, Settings};
    ///
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let finished = middleware.finish_with_error(&Error::Interrupted);
    /// assert_eq!(finished.vary.as_deref(), Some("Cookie"));
    /// assert_eq!(finished.set_cookie, None);
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn finish_with_error(&self, error: &Error) -> Finished {
        let status = error.status();
        tracing::error!(status, error = error as &dyn std::error::Error, "session not saved");
        self.vary()
    }

    /// Extends a session that was not changed. If that fails, the response stays as it is.
    async fn renew(&self, session: &LazySession, loaded: &Session, session_use: &SessionUse) -> Finished {
        let renewed = async {
            if self.site.store.keeps_data_in_cookie() {
                loaded.set_modified(true);
                return self.save(loaded).await.map(Some);
            }
            let expiry = self.cookie_expiry(loaded)?;
            Ok(match loaded.renew().await? {
                Touched::Extended => Some(self.set(loaded, expiry)),
                Touched::Stale => None,
            })
        };
        let unchanged = || if session_use.accessed { self.vary() } else { Finished::default() };
        match renewed.await {
            Ok(Some(finished)) => {
                self.note_renewal(session);
                finished
            }
            // It ended, or another request saved it, whose response sends the cookie.
            Ok(None) => unchanged(),
            Err(error) => {
                self.warn_not_renewed(&error);
                unchanged()
            }
        }
    }

    fn warn_not_renewed(&self, error: &Error) {
        self.site.warnings.not_renewed(self.site.clock.now(), error);
    }

    fn note_renewal(&self, session: &LazySession) {
        if let Some(after) = self.settings().renew_after
            && let Some(session_key) = session.session_key()
        {
            session.note_renewal(&session_key, after);
        }
    }

    async fn save(&self, session: &Session) -> Result<Finished, Error> {
        let expiry = self.cookie_expiry(session)?;
        session.save_if_needed(self.settings().save_every_request).await?;
        Ok(self.set(session, expiry))
    }

    /// The age and the end of the session's cookie; `None` when it ends with the browser.
    fn cookie_expiry(&self, session: &Session) -> Result<Option<(ExpiryAge, DateTime<Utc>)>, Error> {
        let settings = self.settings();
        Ok(if session.get_expire_at_browser_close() {
            None
        } else {
            let now = self.site.clock.now();
            let age = session.get_expiry_age_from(Moment::at(now, settings.time_zone))?;
            let end = end_of_cookie(now, age)?;
            let last = session.absolute_end_from(now).filter(|last| *last < end);
            Some(last.map_or((age, end), |last| (ExpiryAge::between(now, last), last)))
        })
    }

    /// Gives the client the session's key.
    fn set(&self, session: &Session, expiry: Option<(ExpiryAge, DateTime<Utc>)>) -> Finished {
        let settings = self.settings();
        let Some(session_key) = session.session_key() else { return self.vary() };
        match &settings.transport {
            Transport::Cookie => Finished {
                set_cookie: Some(cookie::set(settings, session_key.as_str(), expiry)),
                send_no_store: settings.send_no_store,
                ..self.vary()
            },
            Transport::Header(name) => self.set_header(name, session_key.as_str()),
        }
    }

    fn delete(&self) -> Finished {
        let settings = self.settings();
        match &settings.transport {
            Transport::Cookie => Finished {
                set_cookie: Some(cookie::delete(settings)),
                send_no_store: settings.send_no_store,
                ..self.vary()
            },
            Transport::Header(name) => self.set_header(name, ""),
        }
    }

    /// `Vary` separates only clients that send the header, not those that receive their first key.
    fn set_header(&self, name: &str, value: &str) -> Finished {
        let set_header = Some((name.to_owned(), value.to_owned()));
        Finished { set_header, send_no_store: true, ..self.vary() }
    }

    fn vary(&self) -> Finished {
        let header = match &self.settings().transport {
            Transport::Cookie => Cow::Borrowed("Cookie"),
            Transport::Header(name) => Cow::Owned(name.clone()),
        };
        Finished { vary: Some(header), ..Finished::default() }
    }
}

impl std::fmt::Debug for SessionMiddleware {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SessionMiddleware").field("store", &self.site.store).finish_non_exhaustive()
    }
}

/// Whether sites with these settings read the session key from the same place.
fn same_name(settings: &Settings, other: &Settings) -> bool {
    match (&settings.transport, &other.transport) {
        (Transport::Cookie, Transport::Cookie) => settings.cookie_name == other.cookie_name,
        (Transport::Header(name), Transport::Header(other)) => name.eq_ignore_ascii_case(other),
        _ => false,
    }
}

fn end_of_cookie(now: DateTime<Utc>, age: ExpiryAge) -> Result<DateTime<Utc>, ExpiryError> {
    TimeDelta::try_milliseconds((age.seconds() * 1e3) as i64)
        .and_then(|age| now.checked_add_signed(age))
        .filter(|end| (1..=9999).contains(&chrono::Datelike::year(end)))
        .ok_or(ExpiryError::OutOfRange)
}

/// The action after the response was made.
///
/// ```
/// use cloakroom::Settings;
/// use cloakroom::middleware::{Decision, SessionUse, decide};
///
/// // A logout leaves an empty session behind.
/// let logout = SessionUse {
///     status: 302, cookie_sent: true, empty: true, accessed: true, modified: true, genuine: true,
/// };
/// assert_eq!(decide(&logout, &Settings::new("secret")), Decision::DeleteCookie);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every adapter acts on each")]
pub enum Decision {
    /// Leave store and cookie alone.
    Nothing,
    /// Delete the cookie.
    DeleteCookie,
    /// Save, then send the cookie.
    SaveAndSetCookie,
}

/// Applies Django's rules, from `SessionMiddleware.process_response`:
///
/// 1. If the session is empty, its cookie is deleted, regardless of the status.
/// 2. A modified session, or any session with `save_every_request`, is saved and its cookie sent, unless it
///    is empty or the status is 5xx.
///
/// One rule is an addition: a session that is not genuine is saved, under a new key, only when it was
/// modified. So a wrong secret makes nobody lose a session by viewing a page.
///
/// ```
/// use cloakroom::Settings;
/// use cloakroom::middleware::{Decision, SessionUse, decide};
///
/// let settings = Settings::new("secret");
/// let modified = SessionUse {
///     status: 200, cookie_sent: true, empty: false, accessed: true, modified: true, genuine: true,
/// };
/// assert_eq!(decide(&modified, &settings), Decision::SaveAndSetCookie);
/// assert_eq!(decide(&SessionUse { status: 500, ..modified }, &settings), Decision::Nothing);
/// assert_eq!(decide(&SessionUse { empty: true, ..modified }, &settings), Decision::DeleteCookie);
/// ```
pub fn decide(session_use: &SessionUse, settings: &Settings) -> Decision {
    let prolong = settings.save_every_request && session_use.genuine;
    if session_use.cookie_sent && session_use.empty {
        Decision::DeleteCookie
    } else if (session_use.modified || prolong) && !session_use.empty && session_use.status < 500 {
        Decision::SaveAndSetCookie
    } else {
        Decision::Nothing
    }
}

/// The response status for this error: [`Error::status`].
///
/// ```
/// use cloakroom::{Error, middleware::status_of};
///
/// assert_eq!(status_of(&Error::Interrupted), 400);
/// ```
pub fn status_of(error: &Error) -> u16 {
    error.status()
}

/// Logs an error of a handler's argument or result, and returns the response's status and text.
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) fn log_and_describe(error: &Error) -> (u16, Cow<'static, str>) {
    let status = error.status();
    if !matches!(error, Error::NotLoggedIn | Error::Forbidden) {
        tracing::error!(status, error = error as &dyn std::error::Error, "session error");
    }
    (status, body_of(error))
}

/// The body of a response to this error: [`message_of`]. A debug build says which layer is missing.
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) fn body_of(error: &Error) -> Cow<'static, str> {
    let is_of_layers =
        matches!(error, Error::NoLayer | Error::LayerMissing { .. } | Error::LayersDiffer { .. });
    if cfg!(debug_assertions) && is_of_layers { error.to_string().into() } else { message_of(error).into() }
}

/// The plain text for the user about this error, limited to what concerns the user; the log has the details.
///
/// ```
/// use cloakroom::{Error, StoreError, StoreErrorKind, middleware::message_of};
///
/// assert!(message_of(&Error::Interrupted).contains("Please reload"));
/// assert!(message_of(&Error::Conflict { attempts: 3 }).contains("changed by another request"));
/// let down = StoreError::new("redis", StoreErrorKind::Unavailable, "the server is away");
/// assert!(message_of(&Error::Store(down)).contains("cannot be reached"));
/// ```
pub fn message_of(error: &Error) -> &'static str {
    match error.status() {
        400 => "Your session ended while this page was being made. Please reload it.",
        401 => "Please log in.",
        403 if matches!(error, Error::TooManySessions { .. }) => {
            "You are logged in on too many devices. Please log out on one of them."
        }
        403 => "You may not see this page.",
        409 => "Your session was changed by another request. Please try again.",
        503 => "Your session cannot be reached at the moment. Please try again.",
        _ => "Your session cannot be read or saved.",
    }
}
