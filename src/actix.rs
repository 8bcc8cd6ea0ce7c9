//! The actix-web middleware, and the extractors: a handler that names [`Session`] gets it loaded.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError};

use crate::error::Error;
use crate::middleware::{ResponseHeaders, SessionMiddleware, message_of, refuse, status_of};
use crate::session::{LazySession, Session};
use crate::settings::{Settings, SettingsError};
use crate::store::SessionStore;

type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;
type OnError = dyn Fn(&Error) -> HttpResponse + Send + Sync;

/// What `App::wrap` takes to give each request a session and save it after the response. Django's
/// `SessionMiddleware`. Made once, outside of the closure that makes each worker's application, and cloned into it.
///
/// Handlers name [`Session`] or [`LazySession`] as an argument; other middleware finds the latter among the
/// request's extensions. When saving fails, the response is replaced: by a line of plain text with the status of
/// [`status_of`], or by what [`on_error`](SessionTransform::on_error) was given.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::{App, web};
/// use cloakroom::{Error, MemoryStore, Session, SessionTransform, Settings};
///
/// async fn visit(session: Session) -> Result<String, Error> {
///     let visits = session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1)?;
///     Ok(format!("visit {visits}"))
/// }
///
/// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let app = App::new().wrap(sessions.clone()).route("/", web::get().to(visit));
/// # Ok::<(), cloakroom::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct SessionTransform {
    middleware: Arc<SessionMiddleware>,
    on_error: Arc<OnError>,
}

impl SessionTransform {
    /// The middleware for this store and site.
    ///
    /// # Errors
    /// When the settings do not go together: [`Settings::validate`].
    pub fn new(store: Arc<dyn SessionStore>, settings: Settings) -> Result<SessionTransform, SettingsError> {
        Ok(SessionMiddleware::new(store, settings)?.into())
    }

    /// Answers with a response of the application's own when a session could not be saved; see
    /// [`SessionLayer::on_error`](https://docs.rs/cloakroom/latest/cloakroom/struct.SessionLayer.html#method.on_error).
    /// What [`Session`] as an argument fails with is answered by [`Error`] itself.
    #[must_use]
    pub fn on_error(
        mut self,
        on_error: impl Fn(&Error) -> HttpResponse + Send + Sync + 'static,
    ) -> SessionTransform {
        self.on_error = Arc::new(on_error);
        self
    }
}

impl From<SessionMiddleware> for SessionTransform {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionTransform { middleware: Arc::new(middleware), on_error: Arc::new(plain_text) }
    }
}

impl std::fmt::Debug for SessionTransform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SessionTransform")
            .field("middleware", &self.middleware)
            .finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for SessionTransform
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = SessionTransformService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(SessionTransformService { inner: Rc::new(inner), transform: self.clone() }))
    }
}

/// What [`SessionTransform`] makes of a service.
#[derive(Debug)]
pub struct SessionTransformService<S> {
    inner: Rc<S>,
    transform: SessionTransform,
}

impl<S, B> Service<ServiceRequest> for SessionTransformService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = LocalFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let SessionTransform { middleware, on_error } = self.transform.clone();
        let keys = request.headers().get_all(middleware.header()).map(HeaderValue::as_bytes);
        let session = middleware.begin(keys);
        request.extensions_mut().insert(session.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(mut response) => {
                    match middleware.finish(&session, response.status().as_u16()).await {
                        Ok(finished) => finished.apply(response.headers_mut()),
                        Err(error) => {
                            let mut instead = on_error(&error);
                            middleware.failed(&error).apply(instead.headers_mut());
                            return Ok(response.into_response(instead.map_into_right_body()));
                        }
                    }
                    Ok(response.map_into_left_body())
                }
                // Other middleware gave up; its error is a response all the same.
                Err(cause) => {
                    let mut response = cause.error_response();
                    match middleware.finish(&session, response.status().as_u16()).await {
                        Ok(finished) => finished.apply(response.headers_mut()),
                        Err(error) => {
                            response = on_error(&error);
                            middleware.failed(&error).apply(response.headers_mut());
                        }
                    }
                    Err(InternalError::from_response(cause, response).into())
                }
            }
        })
    }
}

impl ResponseHeaders for HeaderMap {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.get_all(name).map(HeaderValue::as_bytes).collect()
    }

    fn replace(&mut self, name: &str, values: Vec<Vec<u8>>) {
        let Ok(name) = HeaderName::try_from(name) else { return };
        self.remove(&name);
        for value in values.into_iter().filter_map(|value| HeaderValue::try_from(value).ok()) {
            self.append(name.clone(), value);
        }
    }
}

impl FromRequest for LazySession {
    type Error = Error;
    type Future = Ready<Result<LazySession, Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<LazySession>().cloned().ok_or(Error::NoLayer))
    }
}

impl FromRequest for Session {
    type Error = Error;
    type Future = LocalFuture<Result<Session, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let lazy = LazySession::from_request(request, payload);
        Box::pin(async move { lazy.await?.load().await })
    }
}

/// A plain page with the status of [`status_of`] and the text of [`message_of`]; the log has the rest.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(status_of(self)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        refuse(self);
        plain_text(self)
    }
}

fn plain_text(error: &Error) -> HttpResponse {
    HttpResponse::build(error.status_code()).content_type("text/plain; charset=utf-8").body(message_of(error))
}
