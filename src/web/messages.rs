//! The rules of Django's `MessageMiddleware`, independent of any web framework.

use std::fmt;
use std::sync::Arc;

use crate::forms::messages::{CookieChange, LazyMessages, MessageSettings, MessageSigner};
use crate::session::LazySession;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::Error;
use crate::site::settings::{SameSite, Settings};
use crate::web::middleware::{Cookie, Finished, find_cookie};

/// Gives each request its [`Messages`](crate::messages::Messages), and stores what is not read. Django's
/// `MessageMiddleware`.
///
/// The module [`messages`](crate::messages) has an example. An adapter calls
/// [`begin`](MessagesMiddleware::begin), puts the result where handlers find it, and after the response was
/// made calls [`finish`](MessagesMiddleware::finish), before the session is saved.
#[derive(Clone)]
pub struct MessagesMiddleware {
    settings: Arc<MessageSettings>,
    signer: MessageSigner,
    cookie: Arc<CookieSettings>,
    clock: Arc<dyn Clock>,
}

/// The settings of the session's cookie, which the cookie of messages follows.
struct CookieSettings {
    domain: Option<String>,
    secure: bool,
    httponly: bool,
    same_site: Option<SameSite>,
}

impl MessagesMiddleware {
    /// Creates the middleware of a site. From the site's settings come the secrets and the attributes of the
    /// cookie: `SESSION_COOKIE_DOMAIN`, `_SECURE`, `_HTTPONLY` and `_SAMESITE`, as in Django.
    ///
    /// ```
    /// use cloakroom::{MessagesMiddleware, Settings, messages::MessageSettings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let mut settings = Settings::new("secret");
    /// settings.cookie_secure = true;
    /// let middleware = MessagesMiddleware::new(&settings, MessageSettings::default());
    /// let lazy = middleware.begin([], None);
    /// lazy.load().await?.info("Hello");
    /// let set_cookie = middleware.finish(&lazy).await?.set_cookie.unwrap();
    /// assert!(set_cookie.ends_with("; HttpOnly; Path=/; SameSite=Lax; Secure"), "{set_cookie}");
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    pub fn new(site: &Settings, settings: MessageSettings) -> MessagesMiddleware {
        MessagesMiddleware {
            settings: Arc::new(settings),
            signer: MessageSigner::new(&site.secret_key, &site.secret_key_fallbacks),
            cookie: Arc::new(CookieSettings {
                domain: site.cookie_domain.clone(),
                secure: site.cookie_secure,
                httponly: site.cookie_httponly,
                same_site: site.cookie_samesite,
            }),
            clock: Arc::new(SystemClock),
        }
    }

    /// Uses another clock, for the time in the cookie's signature.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> MessagesMiddleware {
        MessagesMiddleware { clock, ..self }
    }

    /// Begins a request with these `Cookie` headers and this session. Without a session only a storage that
    /// needs none works.
    pub fn begin<'a>(
        &self,
        cookies: impl IntoIterator<Item = &'a [u8]>,
        session: Option<&LazySession>,
    ) -> LazyMessages {
        let cookie = find_cookie(cookies, &self.settings.cookie_name).map(|value| value.into_owned());
        LazyMessages::new(Arc::clone(&self.settings), self.signer.clone(), cookie, session.cloned())
    }

    /// Stores the messages that were not read, whatever the response's status, and returns the headers for
    /// it. The session layer saves the session.
    ///
    /// # Errors
    /// As [`LazySession::load`], when messages belong into the session.
    pub async fn finish(&self, messages: &LazyMessages) -> Result<Finished, Error> {
        let outcome = messages.store(self.clock.now()).await?;
        let CookieSettings { ref domain, secure, httponly, same_site } = *self.cookie;
        let empty = Cookie {
            name: &self.settings.cookie_name,
            value: "",
            domain: domain.as_deref(),
            path: "/",
            expiry: None,
            httponly,
            partitioned: false,
            same_site,
            secure,
        };
        let set_cookie = outcome.cookie.map(|change| match change {
            CookieChange::Set(value) => Cookie { value: &value, ..empty }.header(),
            CookieChange::Delete => empty.deletion(),
        });
        let vary = (outcome.saw_cookie || set_cookie.is_some()).then_some("Cookie".into());
        Ok(Finished { set_cookie, vary, ..Finished::default() })
    }
}

impl fmt::Debug for MessagesMiddleware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MessagesMiddleware").field("settings", &self.settings).finish_non_exhaustive()
    }
}
