//! The tower layer. With axum, hyper or tonic: anything that speaks `http` types.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::middleware::{Finished, SessionMiddleware, patch_vary, status_of};
use crate::settings::Settings;
use crate::store::SessionStore;

/// Gives each request a session and saves it after the response. Django's `SessionMiddleware`.
///
/// Each request carries a [`LazySession`](crate::LazySession) among its extensions; axum handlers name
/// [`Session`](crate::Session) as an argument instead. When saving fails, the response is replaced by an
/// empty one with the status of [`status_of`].
#[derive(Clone, Debug)]
pub struct SessionLayer {
    middleware: Arc<SessionMiddleware>,
}

impl SessionLayer {
    /// A layer for this store and site.
    pub fn new(store: Arc<dyn SessionStore>, settings: Settings) -> SessionLayer {
        SessionMiddleware::new(store, settings).into()
    }
}

impl From<SessionMiddleware> for SessionLayer {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionLayer { middleware: Arc::new(middleware) }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, middleware: Arc::clone(&self.middleware) }
    }
}

/// What [`SessionLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    middleware: Arc<SessionMiddleware>,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    RequestBody: Send + 'static,
    ResponseBody: Default + Send,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let middleware = Arc::clone(&self.middleware);
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
                    response = Response::new(ResponseBody::default());
                    *response.status_mut() =
                        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                }
            }
            Ok(response)
        })
    }
}

fn apply(finished: Finished, cookie_name: &str, headers: &mut HeaderMap) {
    if finished.vary_on_cookie {
        let fields: Vec<_> = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok()).collect();
        let existing = (!fields.is_empty()).then(|| fields.join(", "));
        if let Ok(value) = HeaderValue::try_from(patch_vary(existing.as_deref())) {
            headers.insert(VARY, value);
        }
    }
    if let Some(set_cookie) = finished.set_cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
        remove_cookie(cookie_name, headers);
        headers.append(SET_COOKIE, set_cookie);
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
