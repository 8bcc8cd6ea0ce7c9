//! The actix-web middleware.

mod csrf;
mod extract;
mod messages;

use std::borrow::Cow;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpResponse, ResponseError};

use crate::session::LazySession;
use crate::site::error::Error;
use crate::site::settings::{Settings, SettingsError};
use crate::store::contract::IntoSharedStore;
use crate::web::middleware::{ResponseHeaders, SessionMiddleware, message_of};

pub use self::csrf::CsrfTransform;
pub use self::messages::MessagesTransform;

type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;
type OnError = dyn Fn(&Error) -> HttpResponse + Send + Sync;

/// Gives each request a session and saves it after the response; an argument of `App::wrap`. Django's
/// `SessionMiddleware`. Create it once, outside of the closure that builds each worker's application, and
/// clone it into the closure.
///
/// Handlers take [`Session`](crate::Session) or [`LazySession`] as an argument; other middleware finds the
/// latter among the request's extensions. When saving fails, the response is replaced: by a line of plain
/// text with the status of [`Error::status`], or by the response of
/// [`on_error`](SessionTransform::on_error).
///
/// `Option<Session>` is `None` without such a middleware, and also when the session cannot be loaded:
/// actix-web drops the error. `Result<Session, Error>` distinguishes the two.
///
/// If a request passes the same middleware twice, for example on an application and on one of its scopes, it
/// has one session. The outermost middleware saves it, by its own settings. Create the middleware once and
/// clone it. Two middlewares for one cookie with different stores, or of which only one has an index of user
/// sessions, answer each request with [`Error::LayersDiffer`]. A handler gets the session of the innermost
/// middleware.
///
/// A session is saved after the handler has made its response, unless its status is 5xx, and before the body
/// is sent. Later changes are not saved. If a handler calls [`Session::save`](crate::Session::save) itself
/// and then answers with 5xx, and the session was new or had moved to a new key, nobody can open it: the log
/// warns of it.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::{App, test, web};
/// use cloakroom::{Error, MemoryStore, Session, SessionTransform, Settings};
///
/// async fn visit(session: Session) -> Result<String, Error> {
///     let visits = session.edit("visits", |visits: &mut u32| *visits += 1)?;
///     Ok(format!("visit {visits}"))
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let app = App::new().wrap(sessions.clone()).route("/", web::get().to(visit));
///
/// let app = test::init_service(app).await;
/// let response = test::call_service(&app, test::TestRequest::get().uri("/").to_request()).await;
/// assert!(response.headers().contains_key("set-cookie"));
/// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SessionTransform {
    middleware: SessionMiddleware,
    on_error: Arc<OnError>,
}

impl SessionTransform {
    /// Creates the middleware for this store and site.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SessionTransform, Settings};
    ///
    /// let mut settings = Settings::hardened("secret");
    /// assert!(SessionTransform::new(Arc::new(MemoryStore::new()), settings.clone()).is_ok());
    /// settings.cookie_domain = Some("example.com".to_owned());
    /// let error = SessionTransform::new(Arc::new(MemoryStore::new()), settings).unwrap_err();
    /// assert_eq!(error.setting(), "cookie_domain");
    /// ```
    ///
    /// # Errors
    /// When the settings are invalid: [`Settings::validate`].
    pub fn new(store: impl IntoSharedStore, settings: Settings) -> Result<SessionTransform, SettingsError> {
        Ok(SessionMiddleware::new(store, settings)?.into())
    }

    /// Sets the response for a session that could not be saved; see
    /// [`SessionLayer::on_error`](https://docs.rs/cloakroom/latest/cloakroom/struct.SessionLayer.html#method.on_error).
    /// [`Error`] itself answers when [`Session`](crate::Session) as an argument fails.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use actix_web::{App, HttpResponse, test, web};
    /// use cloakroom::{Error, MemoryStore, Session, SessionTransform, Settings};
    ///
    /// /// As if the user logged out elsewhere meanwhile.
    /// async fn interrupted(session: Session) -> Result<&'static str, Error> {
    ///     session.set("visits", 1)?;
    ///     session.save().await?;
    ///     session.delete().await?;
    ///     session.set("visits", 2)?;
    ///     Ok("done")
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let sessions = sessions.on_error(|_| HttpResponse::SeeOther().insert_header(("location", "/login")).finish());
    /// let app = test::init_service(App::new().wrap(sessions).route("/", web::get().to(interrupted))).await;
    /// let response = test::call_service(&app, test::TestRequest::get().uri("/").to_request()).await;
    /// assert_eq!(response.status(), 303);
    /// assert_eq!(response.headers().get("location").unwrap(), "/login");
    /// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn on_error(
        mut self,
        on_error: impl Fn(&Error) -> HttpResponse + Send + Sync + 'static,
    ) -> SessionTransform {
        self.on_error = Arc::new(on_error);
        self
    }

    /// Saves, and updates the response's headers; or returns the response that replaces it.
    async fn finish(
        &self,
        session: &LazySession,
        status: u16,
        headers: &mut HeaderMap,
    ) -> Option<HttpResponse> {
        match self.middleware.finish(session, status).await {
            Ok(finished) => {
                finished.apply(headers);
                None
            }
            Err(error) => Some(self.failed(&error)),
        }
    }

    fn failed(&self, error: &Error) -> HttpResponse {
        let mut instead = (self.on_error)(error);
        self.middleware.finish_with_error(error).apply(instead.headers_mut());
        instead
    }
}

impl From<SessionMiddleware> for SessionTransform {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionTransform { middleware, on_error: Arc::new(plain_text) }
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
        ready(Ok(SessionTransformService { inner, transform: self.clone() }))
    }
}

/// A service wrapped by [`SessionTransform`].
#[derive(Debug)]
pub struct SessionTransformService<S> {
    inner: S,
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
        let transform = self.transform.clone();
        let keys = request.headers().get_all(transform.middleware.header()).map(HeaderValue::as_bytes);
        let session = transform.middleware.begin_inside(request.extensions().get::<LazySession>(), keys);
        let session = match session {
            Ok(session) => session,
            Err(error) => {
                let instead = transform.failed(&error).map_into_right_body();
                return Box::pin(ready(Ok(request.into_response(instead))));
            }
        };
        request.extensions_mut().insert(session.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(mut response) => {
                    let status = response.status().as_u16();
                    Ok(match transform.finish(&session, status, response.headers_mut()).await {
                        None => response.map_into_left_body(),
                        Some(instead) => response.into_response(instead.map_into_right_body()),
                    })
                }
                // Other middleware failed; its error is a response too.
                Err(cause) => {
                    let mut response = cause.error_response();
                    let status = response.status().as_u16();
                    let instead = transform.finish(&session, status, response.headers_mut()).await;
                    Err(InternalError::from_response(cause, instead.unwrap_or(response)).into())
                }
            }
        })
    }
}

impl ResponseHeaders for HeaderMap {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.get_all(name).map(HeaderValue::as_bytes).collect()
    }

    fn remove(&mut self, name: &str) {
        self.remove(name);
    }

    fn append(&mut self, name: &str, value: Cow<'static, [u8]>) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.into_owned()))
        {
            self.append(name, value);
        }
    }
}

fn plain_text(error: &Error) -> HttpResponse {
    HttpResponse::build(error.status_code()).content_type("text/plain; charset=utf-8").body(message_of(error))
}
