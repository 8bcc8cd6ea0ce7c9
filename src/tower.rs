//! The tower layer. With axum, hyper or tonic: anything that speaks `http` types.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::middleware::{Finishing, ResponseHeaders, SessionMiddleware, message_of, status_of};
use crate::session::LazySession;
use crate::settings::{Settings, SettingsError};
use crate::store::SessionStore;

/// Gives each request a session and saves it after the response. Django's `SessionMiddleware`.
///
/// Each request carries a [`LazySession`](crate::LazySession) among its extensions; axum handlers name
/// [`Session`](crate::Session) as an argument instead. When saving fails, the response is replaced: by a line of
/// plain text with the status of [`status_of`], or by what [`on_error`](SessionLayer::on_error) was given.
///
/// ```
/// use std::sync::Arc;
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use cloakroom::{Error, MemoryStore, Session, SessionLayer, Settings};
/// use tower::ServiceExt;
///
/// async fn visit(session: Session) -> Result<String, Error> {
///     let visits = session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1)?;
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
    on_error: Arc<E>,
}

impl SessionLayer {
    /// A layer for this store and site.
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
    /// When the settings do not go together: [`Settings::validate`].
    pub fn new(store: Arc<dyn SessionStore>, settings: Settings) -> Result<SessionLayer, SettingsError> {
        Ok(SessionMiddleware::new(store, settings)?.into())
    }
}

impl<E> SessionLayer<E> {
    /// Answers with a response of the application's own when a session could not be saved: it was deleted
    /// meanwhile, changed meanwhile where the settings refuse that, or the store failed. The status is the
    /// function's to choose, from [`status_of`] or by itself. `Vary: Cookie` is added; the session's cookie is
    /// neither set nor deleted.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use axum::{body::Body, http::Response, Router};
    /// use cloakroom::{Error, MemoryStore, SessionLayer, Settings, middleware::status_of};
    ///
    /// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let layer = layer.on_error(|error: &Error| match error {
    ///     Error::Interrupted => {
    ///         Response::builder().status(303).header("location", "/login").body(Body::empty()).unwrap()
    ///     }
    ///     other => Response::builder().status(status_of(other)).body(Body::from("Please try again.")).unwrap(),
    /// });
    /// let site: Router = Router::new().layer(layer);
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    #[must_use]
    pub fn on_error<F>(self, on_error: F) -> SessionLayer<F> {
        SessionLayer { middleware: self.middleware, on_error: Arc::new(on_error) }
    }
}

/// Makes the response that takes the handler's place when its session could not be saved. Any function from
/// `&Error` to a response is one; see [`SessionLayer::on_error`].
///
/// ```
/// use cloakroom::{Error, ErrorResponse, middleware::status_of};
/// use http::Response;
///
/// struct Json;
///
/// impl ErrorResponse<String> for Json {
///     fn error_response(&self, error: &Error) -> Response<String> {
///         let mut response = Response::new(format!(r#"{{"status":{}}}"#, status_of(error)));
///         *response.status_mut() = status_of(error).try_into().unwrap_or_default();
///         response
///     }
/// }
///
/// let response = Json.error_response(&Error::Interrupted);
/// assert_eq!((response.status().as_u16(), response.body().as_str()), (400, r#"{"status":400}"#));
/// ```
pub trait ErrorResponse<Body>: Send + Sync + 'static {
    /// The response. What went wrong is logged already.
    fn error_response(&self, error: &Error) -> Response<Body>;
}

impl<Body, F: Fn(&Error) -> Response<Body> + Send + Sync + 'static> ErrorResponse<Body> for F {
    fn error_response(&self, error: &Error) -> Response<Body> {
        self(error)
    }
}

/// Answers with a line of plain text, [`message_of`] the error, and the status of [`status_of`] it.
///
/// ```
/// use cloakroom::{Error, ErrorResponse, PlainText};
/// use http::Response;
///
/// let response: Response<String> = PlainText.error_response(&Error::NotLoggedIn);
/// assert_eq!(response.status(), 401);
/// assert_eq!(response.body(), "Please log in.");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainText;

impl<Body: From<&'static str>> ErrorResponse<Body> for PlainText {
    fn error_response(&self, error: &Error) -> Response<Body> {
        let mut response = Response::new(Body::from(message_of(error)));
        *response.status_mut() =
            StatusCode::from_u16(status_of(error)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

impl<E> Clone for SessionLayer<E> {
    fn clone(&self) -> Self {
        SessionLayer { middleware: self.middleware.clone(), on_error: Arc::clone(&self.on_error) }
    }
}

impl From<SessionMiddleware> for SessionLayer {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionLayer { middleware, on_error: Arc::new(PlainText) }
    }
}

impl<S, E> Layer<S> for SessionLayer<E> {
    type Service = SessionService<S, E>;

    fn layer(&self, inner: S) -> SessionService<S, E> {
        SessionService { inner, layer: self.clone() }
    }
}

/// What [`SessionLayer`] makes of a service.
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
/// assert_eq!(service.oneshot(Request::new(())).await?.body(), "hello");
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
    E: ErrorResponse<ResponseBody>,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, ResponseBody, E>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let layer = self.layer.clone();
        // Known as a constant, the usual name needs not be looked up.
        let tickets = match layer.middleware.header() {
            "Cookie" => request.headers().get_all(COOKIE),
            name => request.headers().get_all(name),
        };
        let session = layer.middleware.begin(tickets.iter().map(HeaderValue::as_bytes));
        request.extensions_mut().insert(session.clone());
        SessionFuture { answer: self.inner.call(request), session, layer, saving: None }
    }
}

pin_project! {
    /// The response of a [`SessionService`]. A type of its own, so that a request that saves nothing allocates nothing
    /// for it.
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
    /// assert_eq!(response.await?.body(), "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub struct SessionFuture<F, Body, E = PlainText> {
        #[pin]
        answer: F,
        session: LazySession,
        layer: SessionLayer<E>,
        saving: Option<(Response<Body>, Finishing)>,
    }
}

impl<F, Body, E, Failure> Future for SessionFuture<F, Body, E>
where
    F: Future<Output = Result<Response<Body>, Failure>>,
    E: ErrorResponse<Body>,
{
    type Output = Result<Response<Body>, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let SessionLayer { middleware, on_error } = &*this.layer;
        let (mut response, mut finishing) = match this.saving.take() {
            Some(saving) => saving,
            None => {
                let mut response = ready!(this.answer.poll(context))?;
                let status = response.status().as_u16();
                if let Some(finished) = middleware.finish_unsaved(this.session, status) {
                    finished.apply(response.headers_mut());
                    return Poll::Ready(Ok(response));
                }
                (response, middleware.save_and_finish(this.session, status))
            }
        };
        match finishing.as_mut().poll(context) {
            Poll::Pending => {
                *this.saving = Some((response, finishing));
                return Poll::Pending;
            }
            Poll::Ready(Ok(finished)) => finished.apply(response.headers_mut()),
            Poll::Ready(Err(error)) => {
                response = on_error.error_response(&error);
                middleware.failed(&error).apply(response.headers_mut());
            }
        }
        Poll::Ready(Ok(response))
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

/// The name of a header. The usual ones are known as constants and need not be looked up.
fn header_name(name: &str) -> Option<HeaderName> {
    match name {
        "vary" => Some(VARY),
        "set-cookie" => Some(SET_COOKIE),
        _ => HeaderName::try_from(name).ok(),
    }
}
