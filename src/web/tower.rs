//! The tower layer, for axum, hyper, tonic and everything else that uses `http` types.

mod auth;
mod body;
mod csrf;
mod error_response;
mod messages;
mod require;

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::session::LazySession;
use crate::site::error::Error;
use crate::site::settings::{Settings, SettingsError};
use crate::store::contract::IntoSharedStore;
use crate::web::login_redirect::LoginRedirect;
use crate::web::middleware::{Finished, Finishing, ResponseHeaders, SessionMiddleware, Unsaved};

use self::error_response::{KeptHead, OnError};

pub use self::auth::{AuthLayer, AuthService};
pub use self::body::SessionBody;
pub use self::csrf::{CsrfLayer, CsrfService, FormBody};
pub use self::error_response::{ErrorResponse, PlainText};
pub use self::messages::{MessagesLayer, MessagesService};
pub use self::require::{RequireLayer, RequireService};

/// Gives each request a session and saves it after the response. Django's `SessionMiddleware`.
///
/// Each request carries a [`LazySession`](crate::LazySession) among its extensions. In axum, handlers take
/// [`Session`](crate::Session) as an argument instead, or `Option<Session>` if there may be no layer. An error of the
/// session, whether of an argument, of a handler's result or of saving, is answered with a line of plain text and the
/// status of [`Error::status`], or with the response of [`on_error`](SessionLayer::on_error).
///
/// # Several layers
/// A request has one session for each cookie name, or header, however many layers with that name it passes,
/// for example on a nested router and on the whole site. The outermost of them decides: its settings, its
/// clock and its `on_error` apply. It examines the handler's response and saves the session once. The layers
/// must share the store (the same `Arc`) and the index of user sessions, if there is one. Otherwise each
/// request is answered with [`Error::LayersDiffer`]. The simplest way is to create the layer once and to
/// clone it. Layers with different names can be combined in any way; a handler gets the innermost layer's
/// session.
///
/// # When a session is saved
/// After the handler has made its response, unless its status is 5xx, and before the response's body is sent.
/// Later changes, by a stream or a task that continues, are not saved; there call
/// [`Session::save`](crate::Session::save), for a session that its client already knows.
///
/// If a handler calls `save` itself and then answers with 5xx, and the session was new or had moved to a new
/// key, nobody can open it, because a 5xx carries no cookie. The log warns of it. Leave saving to the layer,
/// or call [`Session::flush`](crate::Session::flush) before such an answer. Middleware around this layer must
/// let `Set-Cookie` through: otherwise the client never learns its key.
///
/// ```
/// use std::sync::Arc;
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use cloakroom::{Error, MemoryStore, Session, SessionLayer, Settings};
/// use tower::ServiceExt;
///
/// async fn visit(session: Session) -> Result<String, Error> {
///     let visits = session.edit("visits", |visits: &mut u32| *visits += 1)?;
///     Ok(format!("visit {visits}"))
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let site: Router = Router::new().route("/", get(visit)).layer(layer);
/// let response = site.oneshot(Request::get("/").body(Body::empty())?).await?;
/// assert!(response.headers()["set-cookie"].to_str()?.starts_with("sessionid="));
/// assert_eq!(response.headers()["vary"], "Cookie");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct SessionLayer<E = PlainText> {
    middleware: SessionMiddleware,
    on_error: Arc<OnError<E>>,
}

impl SessionLayer {
    /// Creates a layer for this store and site.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionLayer, Settings};
    ///
    /// let mut settings = Settings::hardened("secret");
    /// assert!(SessionLayer::new(Arc::new(MemoryStore::new()), settings.clone()).is_ok());
    /// // Browsers take no cookie whose name begins with `__Host-` for a whole domain.
    /// settings.cookie_domain = Some("example.com".to_owned());
    /// let error = SessionLayer::new(Arc::new(MemoryStore::new()), settings).unwrap_err();
    /// assert_eq!(error.setting(), "cookie_domain");
    /// ```
    ///
    /// # Errors
    /// When the settings are invalid: [`Settings::validate`].
    pub fn new(store: impl IntoSharedStore, settings: Settings) -> Result<SessionLayer, SettingsError> {
        Ok(SessionMiddleware::new(store, settings)?.into())
    }
}

impl<E> SessionLayer<E> {
    /// Sets the response for every [`Error`], in one place. The function gets the error and the request's head, and
    /// chooses the status, from [`Error::status`] or by itself. The error has already been logged.
    ///
    /// These errors reach it:
    /// - Arguments that fail: the store is down, nobody is logged in, a layer inside of this one is missing.
    /// - Results of handlers: an `Err` of [`Error`], or of a type whose response is made by `Error`'s `IntoResponse`.
    /// - Answers of the layers inside: messages, CSRF's session, [`RequireLayer`](crate::RequireLayer).
    /// - Saves that fail: the session was deleted meanwhile, was changed meanwhile and the settings refuse that, or the
    ///   store failed.
    ///
    /// Any other service reaches it with a response that has an `Error` among its extensions. The response is
    /// replaced after the session was saved. Headers that layers put on it stay, among them cookies; those that
    /// describe its body do not. After a failed save only the function's own headers count, with `Vary: Cookie`, and
    /// the session's cookie is neither set nor deleted.
    ///
    /// With such a function the layer copies each request's head, because the handler takes the request. Without it
    /// nothing is copied.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use axum::{Router, body::Body, http::Request, http::Response, routing::get};
    /// use cloakroom::auth::UserId;
    /// use cloakroom::{Error, MemoryStore, RequestHead, SessionLayer, Settings};
    /// use tower::ServiceExt;
    ///
    /// let json = |error: &Error, request: &RequestHead| {
    ///     let body = format!(r#"{{"path":"{}","status":{}}}"#, request.path(), error.status());
    ///     Response::builder().status(error.status()).body(Body::from(body)).unwrap()
    /// };
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?.on_error(json);
    /// let site: Router = Router::new().route("/orders", get(async |user: UserId| user.0)).layer(layer);
    /// let response = site.oneshot(Request::get("/orders").body(Body::empty())?).await?;
    /// assert_eq!(response.status(), 401);
    /// assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, r#"{"path":"/orders","status":401}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn on_error<F: ErrorResponse>(self, on_error: F) -> SessionLayer<F> {
        let login = self.on_error.login.clone();
        SessionLayer {
            middleware: self.middleware,
            on_error: Arc::new(OnError { respond: Arc::new(on_error), login }),
        }
    }

    /// Sends requests without a logged-in user, [`Error::NotLoggedIn`], to the login page. All other errors are
    /// answered as before.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use cloakroom::auth::UserId;
    /// use cloakroom::{LoginRedirect, MemoryStore, SessionLayer, Settings};
    /// use tower::ServiceExt;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let layer = layer.redirect_to_login(LoginRedirect::to("/login"));
    /// let site: Router = Router::new().route("/orders", get(async |user: UserId| user.0)).layer(layer);
    /// let response = site.oneshot(Request::get("/orders").body(Body::empty())?).await?;
    /// assert_eq!((response.status().as_u16(), &response.headers()["location"]), (302, &"/login?next=/orders".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn redirect_to_login(self, login: LoginRedirect) -> SessionLayer<E> {
        let respond = Arc::clone(&self.on_error.respond);
        SessionLayer { on_error: Arc::new(OnError { respond, login: Some(login) }), ..self }
    }
}

impl<E> Clone for SessionLayer<E> {
    fn clone(&self) -> Self {
        SessionLayer { middleware: self.middleware.clone(), on_error: Arc::clone(&self.on_error) }
    }
}

impl From<SessionMiddleware> for SessionLayer {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionLayer { middleware, on_error: Arc::new(OnError { respond: Arc::new(PlainText), login: None }) }
    }
}

impl<S, E> Layer<S> for SessionLayer<E> {
    type Service = SessionService<S, E>;

    fn layer(&self, inner: S) -> SessionService<S, E> {
        SessionService { inner, layer: self.clone() }
    }
}

/// A service wrapped by [`SessionLayer`].
///
/// ```
/// use std::{convert::Infallible, sync::Arc};
/// use cloakroom::{LazySession, MemoryStore, SessionLayer, SessionService, Settings};
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let inner = service_fn(|request: Request<()>| async move {
///     assert!(request.extensions().get::<LazySession>().is_some());
///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
/// });
/// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let service: SessionService<_> = layer.layer(inner);
/// let response = service.oneshot(Request::new(())).await?;
/// let body = axum::body::Body::new(response.into_body());
/// assert_eq!(axum::body::to_bytes(body, 100).await?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct SessionService<S, E = PlainText> {
    inner: S,
    layer: SessionLayer<E>,
}

impl<S: Clone, E> Clone for SessionService<S, E> {
    fn clone(&self) -> Self {
        SessionService { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, E, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S, E>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    E: ErrorResponse,
{
    type Response = Response<SessionBody<ResponseBody, E::Body>>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, ResponseBody, E>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let layer = self.layer.clone();
        let kept = layer.on_error.keep(&request);
        // The usual name is a constant and needs no lookup.
        let session_tokens = match layer.middleware.header() {
            "Cookie" => request.headers().get_all(COOKIE),
            name => request.headers().get_all(name),
        };
        let session_tokens = session_tokens.iter().map(HeaderValue::as_bytes);
        let around = request.extensions().get::<LazySession>();
        let session = match layer.middleware.begin_inside(around, session_tokens) {
            Ok(session) => session,
            Err(error) => {
                let session = Err(Box::new(error));
                return SessionFuture { answer: None, session, layer, kept, saving: None };
            }
        };
        request.extensions_mut().insert(session.clone());
        SessionFuture {
            answer: Some(self.inner.call(request)),
            session: Ok(session),
            layer,
            kept,
            saving: None,
        }
    }
}

pin_project! {
    /// The response future of a [`SessionService`]. A named type, so that a request that saves nothing
    /// allocates nothing for it.
    ///
    /// ```
    /// use std::{convert::Infallible, sync::Arc};
    /// use cloakroom::{MemoryStore, SessionLayer, Settings};
    /// use http::{Request, Response};
    /// use tower::{Layer, Service, service_fn};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("hello".to_owned())));
    /// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let response = layer.layer(inner).call(Request::new(()));
    /// assert_eq!(response.await?.status(), 200);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub struct SessionFuture<F, Body, E = PlainText> {
        // `None` when the layers differ: then no handler runs.
        #[pin]
        answer: Option<F>,
        session: Result<LazySession, Box<Error>>,
        layer: SessionLayer<E>,
        // For `on_error`, if it is set.
        kept: Option<Box<KeptHead>>,
        // Boxed: most requests save nothing, or are not kept waiting.
        saving: Option<Box<(Response<Body>, Finishing)>>,
    }
}

impl<F, Body, E, Failure> Future for SessionFuture<F, Body, E>
where
    F: Future<Output = Result<Response<Body>, Failure>>,
    E: ErrorResponse,
{
    type Output = Result<Response<SessionBody<Body, E::Body>>, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let SessionLayer { middleware, on_error } = &*this.layer;
        let kept = this.kept.as_deref();
        let failed = |error: &Error| {
            let mut response = on_error.answer(error, kept);
            middleware.finish_with_error(error).apply(response.headers_mut());
            Poll::Ready(Ok(response))
        };
        let (answer, session) = match (this.answer.as_pin_mut(), &*this.session) {
            (Some(answer), Ok(session)) => (answer, session),
            (_, Err(error)) => return failed(error),
            (None, Ok(_)) => return Poll::Pending,
        };
        let with_headers = |response: Response<Body>, finished: Finished| {
            let mut response = match kept {
                Some(kept) => on_error.replace(Box::new(response), session, kept),
                None => response.map(SessionBody::of_handler),
            };
            finished.apply(response.headers_mut());
            Poll::Ready(Ok(response))
        };
        let (response, mut finishing) = match this.saving.take() {
            Some(saving) => *saving,
            None => {
                let response = ready!(answer.poll(context))?;
                let status = response.status().as_u16();
                match middleware.finish_unsaved(session, status) {
                    Unsaved::ToSave => (response, middleware.save_and_finish(session, status)),
                    Unsaved::Finished(finished) => return with_headers(response, finished),
                    // Most requests: written out, because the response is not to be moved.
                    Unsaved::Untouched => {
                        let Some(kept) = kept else {
                            return Poll::Ready(Ok(response.map(SessionBody::of_handler)));
                        };
                        return Poll::Ready(Ok(on_error.replace(Box::new(response), session, kept)));
                    }
                }
            }
        };
        match finishing.as_mut().poll(context) {
            Poll::Pending => {
                *this.saving = Some(Box::new((response, finishing)));
                Poll::Pending
            }
            Poll::Ready(Ok(finished)) => with_headers(response, finished),
            Poll::Ready(Err(error)) => failed(&error),
        }
    }
}

impl<F, Body, E> fmt::Debug for SessionFuture<F, Body, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SessionFuture").field("session", &self.session).finish_non_exhaustive()
    }
}

impl ResponseHeaders for HeaderMap {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        let Some(name) = header_name(name) else { return Vec::new() };
        self.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }

    fn remove(&mut self, name: &str) {
        if let Some(name) = header_name(name) {
            self.remove(name);
        }
    }

    fn append(&mut self, name: &str, value: Cow<'static, [u8]>) {
        let value = match value {
            Cow::Borrowed(b"Cookie") => Ok(HeaderValue::from_static("Cookie")),
            value => HeaderValue::try_from(value.into_owned()),
        };
        if let (Some(name), Ok(value)) = (header_name(name), value) {
            self.append(name, value);
        }
    }
}

/// The name of a header. The usual ones are constants and need no lookup.
fn header_name(name: &str) -> Option<HeaderName> {
    match name {
        "vary" => Some(VARY),
        "set-cookie" => Some(SET_COOKIE),
        _ => HeaderName::try_from(name).ok(),
    }
}
