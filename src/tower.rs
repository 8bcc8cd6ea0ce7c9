//! The tower layer. With axum, hyper or tonic: anything that speaks `http` types.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::middleware::{ResponseHeaders, SessionMiddleware, message_of, status_of};
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
    middleware: Arc<SessionMiddleware>,
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
    S::Future: Send + 'static,
    E: ErrorResponse<ResponseBody>,
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
        // Known as a constant, the usual name needs not be looked up.
        let tickets = match middleware.header() {
            "Cookie" => request.headers().get_all(COOKIE),
            name => request.headers().get_all(name),
        };
        let session = middleware.begin(tickets.iter().map(HeaderValue::as_bytes));
        request.extensions_mut().insert(session.clone());
        // Called here, the service need not be cloned into the future.
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            match middleware.finish(&session, response.status().as_u16()).await {
                Ok(finished) => finished.apply(response.headers_mut()),
                Err(error) => {
                    response = on_error.error_response(&error);
                    middleware.failed(&error).apply(response.headers_mut());
                }
            }
            Ok(response)
        })
    }
}

impl ResponseHeaders for HeaderMap {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        let Some(name) = header_name(name) else { return Vec::new() };
        self.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }

    fn replace(&mut self, name: &str, values: Vec<Vec<u8>>) {
        let Some(name) = header_name(name) else { return };
        self.remove(&name);
        for value in values.into_iter().filter_map(|value| HeaderValue::try_from(value).ok()) {
            self.append(&name, value);
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
