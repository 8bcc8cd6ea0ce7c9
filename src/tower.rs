//! The tower layer. With axum, hyper or tonic: anything that speaks `http` types.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::middleware::{Finished, SessionMiddleware, message_of, patch_vary, status_of};
use crate::settings::Settings;
use crate::store::SessionStore;

/// Gives each request a session and saves it after the response. Django's `SessionMiddleware`.
///
/// Each request carries a [`LazySession`](crate::LazySession) among its extensions; axum handlers name
/// [`Session`](crate::Session) as an argument instead. When saving fails, the response is replaced: by a line of
/// plain text with the status of [`status_of`], or by what [`on_error`](SessionLayer::on_error) was given.
#[derive(Debug)]
pub struct SessionLayer<E = PlainText> {
    middleware: Arc<SessionMiddleware>,
    on_error: Arc<E>,
}

impl SessionLayer {
    /// A layer for this store and site.
    pub fn new(store: Arc<dyn SessionStore>, settings: Settings) -> SessionLayer {
        SessionMiddleware::new(store, settings).into()
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
    /// let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let layer = layer.on_error(|error: &Error| match error {
    ///     Error::Interrupted => {
    ///         Response::builder().status(303).header("location", "/login").body(Body::empty()).unwrap()
    ///     }
    ///     other => Response::builder().status(status_of(other)).body(Body::from("Please try again.")).unwrap(),
    /// });
    /// let site: Router = Router::new().layer(layer);
    /// ```
    #[must_use]
    pub fn on_error<F>(self, on_error: F) -> SessionLayer<F> {
        SessionLayer { middleware: self.middleware, on_error: Arc::new(on_error) }
    }
}

/// Makes the response that takes the handler's place when its session could not be saved. Any function from
/// `&Error` to a response is one; see [`SessionLayer::on_error`].
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
        SessionLayer { middleware: Arc::clone(&self.middleware), on_error: Arc::clone(&self.on_error) }
    }
}

impl From<SessionMiddleware> for SessionLayer {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionLayer { middleware: Arc::new(middleware), on_error: Arc::new(PlainText) }
    }
}

impl<S, E> Layer<S> for SessionLayer<E> {
    type Service = SessionService<S, E>;

    fn layer(&self, inner: S) -> SessionService<S, E> {
        SessionService { inner, layer: self.clone() }
    }
}

/// What [`SessionLayer`] makes of a service.
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
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    E: ErrorResponse<ResponseBody>,
    RequestBody: Send + 'static,
    ResponseBody: Send,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let SessionLayer { middleware, on_error } = self.layer.clone();
        let session = middleware.begin(request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes));
        request.extensions_mut().insert(session.clone());
        // The service that was polled ready is the one to call; a clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let mut response = inner.call(request).await?;
            match middleware.finish(&session, response.status().as_u16()).await {
                Ok(finished) => apply(finished, &middleware.settings().cookie_name, response.headers_mut()),
                Err(error) => {
                    let status = status_of(&error);
                    tracing::error!(status, error = &error as &dyn std::error::Error, "session not saved");
                    response = on_error.error_response(&error);
                    vary_on_cookie(response.headers_mut());
                }
            }
            Ok(response)
        })
    }
}

fn apply(finished: Finished, cookie_name: &str, headers: &mut HeaderMap) {
    if finished.vary_on_cookie {
        vary_on_cookie(headers);
    }
    if let Some(set_cookie) = finished.set_cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
        remove_cookie(cookie_name, headers);
        headers.append(SET_COOKIE, set_cookie);
    }
}

fn vary_on_cookie(headers: &mut HeaderMap) {
    let fields: Vec<_> = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok()).collect();
    let existing = (!fields.is_empty()).then(|| fields.join(", "));
    if let Ok(value) = HeaderValue::try_from(patch_vary(existing.as_deref())) {
        headers.insert(VARY, value);
    }
}

/// Drops a cookie of this name that the handler set: the session's own takes its place.
fn remove_cookie(name: &str, headers: &mut HeaderMap) {
    let is_named = |value: &HeaderValue| {
        value.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    };
    if headers.get_all(SET_COOKIE).iter().any(is_named) {
        let others: Vec<_> =
            headers.get_all(SET_COOKIE).iter().filter(|value| !is_named(value)).cloned().collect();
        headers.remove(SET_COOKIE);
        others.into_iter().for_each(|value| {
            headers.append(SET_COOKIE, value);
        });
    }
}
