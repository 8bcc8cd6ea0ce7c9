//! The rules of Django's `CsrfViewMiddleware`, independent of any web framework.

use std::fmt;
use std::sync::Arc;

use cloakroom_formats::csrf::Secret;

use crate::forms::csrf::{
    BadForm, CsrfReason, CsrfRequest, CsrfSettings, FormReader, LazyCsrf, check_origin,
};
use crate::session::LazySession;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::Error;
use crate::site::settings::{Settings, SettingsError};
use crate::web::middleware::{Cookie, Finished, find_cookie};

/// Gives each request its [`Csrf`](crate::csrf::Csrf) token, and refuses forged requests. Django's
/// `CsrfViewMiddleware`. The module [`csrf`](crate::csrf) has the rules.
///
/// An adapter calls [`begin`](CsrfMiddleware::begin), puts the result where handlers find it, and calls
/// [`examine`](CsrfMiddleware::examine). After the response was made, also that of a refusal, it calls
/// [`finish`](CsrfMiddleware::finish), before the session is saved.
///
/// ```
/// use cloakroom::csrf::{CsrfReason, CsrfRequest, CsrfSettings, RequestHeaders};
/// use cloakroom::{CsrfMiddleware, CsrfStep, Settings};
///
/// struct Headers(Vec<(&'static str, String)>);
///
/// impl RequestHeaders for Headers {
///     fn get(&self, name: &str) -> Option<&[u8]> {
///         Some(self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?.1.as_bytes())
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let middleware = CsrfMiddleware::new(&Settings::new("secret"), CsrfSettings::default())?;
/// // A page with a form.
/// let lazy = middleware.begin([], None)?;
/// let token = lazy.load().await?.token()?;
/// let set_cookie = middleware.finish(&lazy).await?.set_cookie.unwrap();
/// let cookie = set_cookie.split(';').next().unwrap().to_owned();
///
/// // A script sends the token in the header; another site's page has none.
/// let lazy = middleware.begin([cookie.as_bytes()], None)?;
/// for (header, is_accepted) in [("X-CSRFToken", true), ("X-Other", false)] {
///     let headers = Headers(vec![(header, token.clone())]);
///     let request = CsrfRequest { method: "DELETE", path: "/", is_secure: false, port: None, headers: &headers };
///     let step = middleware.examine(&lazy, &request).await?;
///     assert_eq!(matches!(step, CsrfStep::Accepted), is_accepted);
///     assert_eq!(matches!(step, CsrfStep::Refused(CsrfReason::TokenMissing)), !is_accepted);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct CsrfMiddleware {
    settings: Arc<CsrfSettings>,
    /// `SESSION_COOKIE_DOMAIN`.
    session_domain: Option<Arc<str>>,
    clock: Arc<dyn Clock>,
}

/// What an adapter does next with a request.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "every adapter acts on each")]
pub enum CsrfStep {
    /// Call the handler.
    Accepted,
    /// Answer with 403, and call no handler.
    Refused(CsrfReason),
    /// Answer with 400, and call no handler.
    Bad(BadForm),
    /// Read the body into this until it needs no more, keep the body for the handler, and call
    /// [`examine_form`](CsrfMiddleware::examine_form).
    Read(FormReader),
}

impl CsrfMiddleware {
    /// Creates the middleware of a site. Of the site's settings only `SESSION_COOKIE_DOMAIN` counts, for
    /// `CSRF_USE_SESSIONS`.
    ///
    /// ```
    /// use cloakroom::{CsrfMiddleware, Settings, csrf::CsrfSettings};
    ///
    /// let mut settings = CsrfSettings::default();
    /// settings.trusted_origins = vec!["example.com".to_owned()];
    /// let error = CsrfMiddleware::new(&Settings::new("secret"), settings).unwrap_err();
    /// assert_eq!((error.setting(), error.remedy()), ("trusted_origins", "write `https://` before its host"));
    /// ```
    ///
    /// # Errors
    /// When a trusted origin has no scheme, or the cookie is one that browsers refuse.
    pub fn new(site: &Settings, settings: CsrfSettings) -> Result<CsrfMiddleware, SettingsError> {
        settings.validate()?;
        let session_domain = site.cookie_domain.as_deref().map(Arc::from);
        Ok(CsrfMiddleware { settings: Arc::new(settings), session_domain, clock: Arc::new(SystemClock) })
    }

    /// Uses another clock, for the cookie's expiry.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> CsrfMiddleware {
        CsrfMiddleware { clock, ..self }
    }

    /// Begins a request with these `Cookie` headers and this session.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn begin<'a>(
        &self,
        cookies: impl IntoIterator<Item = &'a [u8]>,
        session: Option<&LazySession>,
    ) -> Result<LazyCsrf, Error> {
        let use_sessions = self.settings.use_sessions;
        let cookie = if use_sessions { None } else { find_cookie(cookies, &self.settings.cookie_name) };
        LazyCsrf::new(use_sessions, cookie.as_deref(), session.cloned())
    }

    /// Checks a request, as far as its body is not needed.
    ///
    /// # Errors
    /// As [`LazyCsrf::load`].
    pub async fn examine(&self, csrf: &LazyCsrf, request: &CsrfRequest<'_>) -> Result<CsrfStep, Error> {
        let settings = &*self.settings;
        if matches!(request.method, "GET" | "HEAD" | "OPTIONS" | "TRACE") || settings.is_exempt(request.path)
        {
            return Ok(CsrfStep::Accepted);
        }
        if let Err(reason) = check_origin(request, settings, self.session_domain.as_deref()) {
            return Ok(refused(reason));
        }
        if let Some(reason) = csrf.lacks_secret().await? {
            return Ok(refused(reason));
        }
        if request.method == "POST"
            && let Some(content_type) = request.headers.get("content-type")
        {
            match FormReader::of(&String::from_utf8_lossy(content_type), settings) {
                Ok(None) => {}
                Ok(Some(form)) => {
                    // The token in the header is enough: an upload is then not read here.
                    let header = request.headers.get(&settings.header_name);
                    let is_enough = form.is_multipart()
                        && header.is_some()
                        && csrf.check(None, header, &settings.header_name).await?.is_ok();
                    return Ok(if is_enough { CsrfStep::Accepted } else { CsrfStep::Read(form) });
                }
                Err(bad) => return Ok(CsrfStep::Bad(bad)),
            }
        }
        self.examine_token(csrf, request, None).await
    }

    /// Checks a request whose form was read.
    ///
    /// # Errors
    /// As [`LazyCsrf::load`].
    pub async fn examine_form(
        &self,
        csrf: &LazyCsrf,
        request: &CsrfRequest<'_>,
        form: FormReader,
    ) -> Result<CsrfStep, Error> {
        match form.token() {
            Ok(token) => self.examine_token(csrf, request, token.as_deref()).await,
            Err(bad) => Ok(CsrfStep::Bad(bad)),
        }
    }

    async fn examine_token(
        &self,
        csrf: &LazyCsrf,
        request: &CsrfRequest<'_>,
        form: Option<&str>,
    ) -> Result<CsrfStep, Error> {
        let name = &self.settings.header_name;
        Ok(match csrf.check(form, request.headers.get(name), name).await? {
            Ok(()) => CsrfStep::Accepted,
            Err(reason) => refused(reason),
        })
    }

    /// Returns the headers for the response, whatever its status. With `CSRF_USE_SESSIONS` the session layer
    /// saves the secret.
    ///
    /// # Errors
    /// As [`LazyCsrf::load`].
    pub async fn finish(&self, csrf: &LazyCsrf) -> Result<Finished, Error> {
        let secret = csrf.store().await?;
        let set_cookie = secret.map(|secret| self.cookie(&secret));
        let vary = set_cookie.is_some().then_some("Cookie".into());
        Ok(Finished { set_cookie, vary, ..Finished::default() })
    }

    fn cookie(&self, secret: &Secret) -> String {
        let settings = &*self.settings;
        let now = self.clock.now();
        let end = |age| now.checked_add_signed(age).unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
        Cookie {
            name: &settings.cookie_name,
            value: secret.as_str(),
            domain: settings.cookie_domain.as_deref(),
            path: &settings.cookie_path,
            expiry: settings.cookie_age.map(|age| (age.num_seconds(), end(age))),
            httponly: settings.cookie_httponly,
            partitioned: false,
            same_site: settings.cookie_samesite,
            secure: settings.cookie_secure,
        }
        .header()
    }
}

/// Django's `_reject`, which logs.
fn refused(reason: CsrfReason) -> CsrfStep {
    tracing::warn!(reason = reason.name(), "request refused by the CSRF protection");
    CsrfStep::Refused(reason)
}

/// The page of a refusal.
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) const REFUSED: &str = "CSRF verification failed. Request aborted.";

impl fmt::Debug for CsrfMiddleware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CsrfMiddleware").field("settings", &self.settings).finish_non_exhaustive()
    }
}
