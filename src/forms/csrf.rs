//! Protection against forged requests. Django's `CsrfViewMiddleware`, whose tokens work on both sides.
//!
//! A page with a form takes [`Csrf`] as an argument and puts [`Csrf::field`] into the form. A request that
//! changes something must bring the token back, in the form or in the header `X-CSRFToken`, and must not come
//! from another site's page. `CsrfLayer` (tower, axum) and `CsrfTransform` (actix-web) check it; for any other
//! framework there is [`CsrfMiddleware`](crate::CsrfMiddleware).
//!
//! # Rules
//!
//! 1. GET, HEAD, OPTIONS and TRACE pass, and so do exempt paths.
//! 2. An `Origin` must be the site's own or a trusted one. Without it, over HTTPS, the `Referer` must be.
//! 3. The token must be made from the secret that the client has in its cookie or session.
//! 4. [`auth::login`](crate::auth::login) changes the secret.

mod form;
mod origin;
mod reason;
mod settings;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use cloakroom_formats::Value;

use crate::login::csrf_secret::{CSRF_SESSION_KEY, random_secret};
use crate::session::{LazySession, Session};
use crate::site::error::Error;

pub use self::form::{BadForm, FormReader};
pub(crate) use self::origin::check as check_origin;
pub use self::reason::{CsrfReason, TokenSource};
pub use self::settings::{CsrfSettings, Scheme};
pub use cloakroom_formats::csrf::{Secret, TokenProblem};

/// The field of a form. Django's templates call it so, too.
///
/// ```
/// assert_eq!(cloakroom::csrf::FIELD, "csrfmiddlewaretoken");
/// ```
pub const FIELD: &str = "csrfmiddlewaretoken";

/// The headers of a request, in the types of some web framework.
pub trait RequestHeaders {
    /// Returns the first header of this name, in any case.
    fn get(&self, name: &str) -> Option<&[u8]>;
}

/// No headers.
impl RequestHeaders for () {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// A request, as far as the rules look at it.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "adapters write it as a literal")]
pub struct CsrfRequest<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// Whether the connection itself is encrypted, if the framework knows. [`Scheme`] may say otherwise.
    pub is_secure: bool,
    /// The port of the connection. Django's `SERVER_PORT`; the `Host` header's if it is not known.
    pub port: Option<u16>,
    /// The headers.
    pub headers: &'a (dyn RequestHeaders + Sync),
}

/// A request's token before the session is loaded. The layer puts it among the request's extensions.
#[derive(Clone)]
pub struct LazyCsrf {
    inner: Arc<Inner>,
}

/// A request's CSRF token. Clones have the same secret.
///
/// ```
/// use axum::response::Html;
/// use cloakroom::{Error, csrf::Csrf};
///
/// async fn form(csrf: Csrf) -> Result<Html<String>, Error> {
///     Ok(Html(format!("<form method=\"post\">{}<button>Buy</button></form>", csrf.field()?)))
/// }
/// ```
#[derive(Clone)]
pub struct Csrf {
    inner: Arc<Inner>,
}

struct Inner {
    use_sessions: bool,
    session: Option<LazySession>,
    state: Mutex<State>,
}

struct State {
    /// What the request brought. `None` until the session is loaded.
    sent: Option<Sent>,
    /// What pages and the response get.
    secret: Option<Secret>,
    needs_update: bool,
}

/// The secret of a request.
#[derive(Clone)]
enum Sent {
    Nothing,
    Bad(TokenProblem),
    Secret(Secret),
}

impl Sent {
    fn of(text: Option<&str>) -> Sent {
        match text.map(str::parse) {
            None => Sent::Nothing,
            Some(Err(problem)) => Sent::Bad(problem),
            Some(Ok(secret)) => Sent::Secret(secret),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        crate::site::lock::lock(&self.state)
    }

    async fn session(&self) -> Result<Session, Error> {
        self.session.as_ref().ok_or(Error::NoLayer)?.load().await
    }

    /// Makes the new secret that a login asked for.
    fn follow_login(&self) -> Result<(), Error> {
        if self.session.as_ref().is_some_and(LazySession::take_need_of_csrf_secret) {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&self) -> Result<(), Error> {
        let secret = random_secret()?;
        let mut state = self.state();
        state.secret = Some(secret);
        state.needs_update = true;
        Ok(())
    }
}

impl LazyCsrf {
    /// The error of a handler without the layer.
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) const MISSING: Error =
        Error::LayerMissing { argument: "Csrf", layer: "CsrfLayer` (tower, axum) or `CsrfTransform" };

    /// Begins with the cookie's value, which does not count if the secret is in the session.
    pub(crate) fn new(
        use_sessions: bool,
        cookie: Option<&str>,
        session: Option<LazySession>,
    ) -> Result<LazyCsrf, Error> {
        let sent = (!use_sessions).then(|| Sent::of(cookie));
        let state = Mutex::new(State { sent: None, secret: None, needs_update: false });
        let lazy = LazyCsrf { inner: Arc::new(Inner { use_sessions, session, state }) };
        if let Some(sent) = sent {
            lazy.note(sent)?;
        }
        Ok(lazy)
    }

    /// Django's `process_request`: a secret that is none is replaced at once.
    fn note(&self, sent: Sent) -> Result<(), Error> {
        if let Sent::Bad(_) = sent {
            self.inner.rotate()?;
        }
        let mut state = self.inner.state();
        if let Sent::Secret(secret) = &sent {
            state.secret = Some(secret.clone());
        }
        state.sent = Some(sent);
        Ok(())
    }

    /// Loads the secret: from the session only with `CSRF_USE_SESSIONS`.
    ///
    /// # Errors
    /// As [`LazySession::load`]; [`Error::NoLayer`] when the session is needed and there is no session layer;
    /// [`Error::Random`].
    pub async fn load(&self) -> Result<Csrf, Error> {
        if self.inner.state().sent.is_none() {
            let value = self.inner.session().await?.get_value(CSRF_SESSION_KEY);
            self.note(value.as_ref().map_or(Sent::Nothing, in_session))?;
        }
        self.inner.follow_login()?;
        Ok(Csrf { inner: Arc::clone(&self.inner) })
    }

    /// Returns why no token can be right. It is known before the body is read.
    pub(crate) async fn lacks_secret(&self) -> Result<Option<CsrfReason>, Error> {
        self.load().await?;
        Ok(match self.inner.state().sent {
            None | Some(Sent::Nothing) => Some(CsrfReason::NoCookie),
            Some(Sent::Bad(problem)) if !self.inner.use_sessions => Some(CsrfReason::Cookie(problem)),
            Some(_) => None,
        })
    }

    /// Checks the token that the request brought, if it has a secret.
    pub(crate) async fn check(
        &self,
        form: Option<&str>,
        header: Option<&[u8]>,
        header_name: &str,
    ) -> Result<Result<(), CsrfReason>, Error> {
        if let Some(reason) = self.lacks_secret().await? {
            return Ok(Err(reason));
        }
        let sent = self.inner.state().sent.clone();
        let secret = match sent {
            Some(Sent::Secret(secret)) => Some(secret),
            // Django compares whatever the session has.
            _ => None,
        };
        let (source, token) = match (form.filter(|form| !form.is_empty()), header) {
            (Some(form), _) => (TokenSource::Form, form.to_owned()),
            // WSGI decodes headers as latin-1.
            (None, Some(header)) => {
                let token = header.iter().map(|byte| char::from(*byte)).collect();
                (TokenSource::Header(header_name.to_owned()), token)
            }
            (None, None) => return Ok(Err(CsrfReason::TokenMissing)),
        };
        let problem = match (token.parse::<Secret>(), secret) {
            (Err(problem), _) => problem,
            (Ok(token), Some(secret)) if token.equals(&secret) => return Ok(Ok(())),
            (Ok(_), _) => TokenProblem::Incorrect,
        };
        Ok(Err(CsrfReason::Token(source, problem)))
    }

    /// Returns the secret that the response sets in its cookie; with `CSRF_USE_SESSIONS` puts it into the
    /// session.
    pub(crate) async fn store(&self) -> Result<Option<Secret>, Error> {
        self.inner.follow_login()?;
        let secret = {
            let mut state = self.inner.state();
            // Never twice, if there are two layers.
            if !std::mem::take(&mut state.needs_update) {
                return Ok(None);
            }
            state.secret.clone()
        };
        let Some(secret) = secret.filter(|_| self.inner.use_sessions) else {
            return Ok(self.inner.state().secret.clone());
        };
        let session = self.inner.session().await?;
        let is_there =
            |value: &Value| value.deserialize::<String>().is_ok_and(|text| text == secret.as_str());
        if !session.get_value(CSRF_SESSION_KEY).as_ref().is_some_and(is_there) {
            session.set(CSRF_SESSION_KEY, secret.as_str())?;
        }
        Ok(None)
    }
}

fn in_session(value: &Value) -> Sent {
    match value.read::<String>() {
        Ok(text) => Sent::of(text.as_deref()),
        Err(_) => Sent::Bad(TokenProblem::Characters),
    }
}

impl Csrf {
    /// Returns a token for a page, another one each time. Django's `get_token`. The response then carries the
    /// cookie.
    ///
    /// ```
    /// use cloakroom::csrf::{CsrfSettings, Secret};
    /// use cloakroom::{CsrfMiddleware, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = CsrfMiddleware::new(&Settings::new("secret"), CsrfSettings::default())?;
    /// let lazy = middleware.begin([], None)?;
    /// let csrf = lazy.load().await?;
    /// let (one, other) = (csrf.token()?, csrf.token()?);
    /// assert!(one != other && one.parse::<Secret>()?.equals(&other.parse()?));
    /// let set_cookie = middleware.finish(&lazy).await?.set_cookie.unwrap();
    /// assert!(set_cookie.starts_with("csrftoken="));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn token(&self) -> Result<String, Error> {
        self.inner.follow_login()?;
        let mask = random_secret()?;
        if self.inner.state().secret.is_none() {
            self.inner.rotate()?;
        }
        let mut state = self.inner.state();
        state.needs_update = true;
        Ok(state.secret.as_ref().map(|secret| secret.mask(&mask)).unwrap_or_default())
    }

    /// Returns the hidden field for a form. Django's `{% csrf_token %}`.
    ///
    /// # Errors
    /// As [`token`](Csrf::token).
    pub fn field(&self) -> Result<String, Error> {
        Ok(format!("<input type=\"hidden\" name=\"{FIELD}\" value=\"{}\">", self.token()?))
    }

    /// Changes the secret, so that forms that were loaded before are refused. Django's `rotate_token`;
    /// [`auth::login`](crate::auth::login) does it.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn rotate(&self) -> Result<(), Error> {
        self.inner.rotate()
    }
}

impl fmt::Debug for LazyCsrf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LazyCsrf(..)")
    }
}

impl fmt::Debug for Csrf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Csrf(..)")
    }
}

impl fmt::Debug for CsrfRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CsrfRequest").field("method", &self.method).finish_non_exhaustive()
    }
}
