//! The actix-web middleware.

mod auth;
mod csrf;
mod extract;
mod messages;
mod require;

use std::borrow::Cow;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::header::{
    HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE, TRANSFER_ENCODING, VARY,
};
use actix_web::http::{Method, Uri};
use actix_web::{HttpMessage, HttpResponse, ResponseError};

use crate::forms::csrf::RequestHeaders;
use crate::session::LazySession;
use crate::site::boxed::boxed;
use crate::site::error::Error;
use crate::site::settings::{Settings, SettingsError};
use crate::store::contract::IntoSharedStore;
use crate::web::login_redirect::LoginRedirect;
use crate::web::middleware::{ResponseHeaders, SessionMiddleware, body_of};
use crate::web::request_head::RequestHead;

pub use self::auth::AuthTransform;
pub use self::csrf::CsrfTransform;
pub use self::messages::MessagesTransform;
pub use self::require::RequireTransform;

type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;
type ErrorResponse = dyn Fn(&Error, &RequestHead<'_>) -> HttpResponse + Send + Sync;

/// Gives each request a session and saves it after the response; an argument of `App::wrap`. Django's
/// `SessionMiddleware`. Create it once, outside of the closure that builds each worker's application, and
/// clone it into the closure.
///
/// Handlers take [`Session`](crate::Session) or [`LazySession`] as an argument; other middleware finds the
/// latter among the request's extensions. An error of the session, whether of an argument, of a handler's result or of
/// saving, is answered with a line of plain text and the status of [`Error::status`], or with the response of
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
    on_error: Option<Arc<ErrorResponse>>,
    login: Option<Arc<LoginRedirect>>,
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

    /// Sets the response for every [`Error`], in one place: of an argument, of a handler's result, of the middleware
    /// inside of this one, and of saving. The function gets the error and the request's head; the error has already
    /// been logged. The rules are those of
    /// [`SessionLayer::on_error`](https://docs.rs/cloakroom/latest/cloakroom/struct.SessionLayer.html#method.on_error).
    /// An error type of the application's own reaches it if its `error_response` calls that of `Error`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use actix_web::http::StatusCode;
    /// use actix_web::{App, HttpResponse, test, web};
    /// use cloakroom::{MemoryStore, SessionTransform, Settings, auth::UserId};
    ///
    /// async fn orders(user: UserId) -> String {
    ///     format!("the orders of user {}", user.0)
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let sessions = sessions.on_error(|error, request| {
    ///     let body = format!(r#"{{"path":"{}","status":{}}}"#, request.path(), error.status());
    ///     HttpResponse::build(StatusCode::from_u16(error.status()).unwrap()).body(body)
    /// });
    /// let app = test::init_service(App::new().wrap(sessions).route("/orders", web::get().to(orders))).await;
    /// let response = test::call_service(&app, test::TestRequest::get().uri("/orders").to_request()).await;
    /// assert_eq!(response.status(), 401);
    /// assert_eq!(test::read_body(response).await, r#"{"path":"/orders","status":401}"#);
    /// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn on_error(
        self,
        on_error: impl Fn(&Error, &RequestHead<'_>) -> HttpResponse + Send + Sync + 'static,
    ) -> SessionTransform {
        SessionTransform { on_error: Some(Arc::new(on_error)), ..self }
    }

    /// Sends requests without a logged-in user, [`Error::NotLoggedIn`], to the login page. All other errors are
    /// answered as before.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use actix_web::{App, test, web};
    /// use cloakroom::{LoginRedirect, MemoryStore, SessionTransform, Settings, auth::UserId};
    ///
    /// async fn orders(user: UserId) -> String {
    ///     format!("the orders of user {}", user.0)
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let sessions = sessions.redirect_to_login(LoginRedirect::to("/login"));
    /// let app = test::init_service(App::new().wrap(sessions).route("/orders", web::get().to(orders))).await;
    /// let response = test::call_service(&app, test::TestRequest::get().uri("/orders").to_request()).await;
    /// assert_eq!(response.status(), 302);
    /// assert_eq!(response.headers().get("location").unwrap(), "/login?next=/orders");
    /// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn redirect_to_login(self, login: LoginRedirect) -> SessionTransform {
        SessionTransform { login: Some(Arc::new(login)), ..self }
    }

    /// Saves, and updates the response's headers; or returns the response that replaces it.
    async fn finish<B>(
        &self,
        session: &LazySession,
        response: &mut HttpResponse<B>,
        kept: Option<&KeptHead>,
    ) -> Option<HttpResponse> {
        let finished = match self.middleware.finish(session, response.status().as_u16()).await {
            Ok(finished) => finished,
            Err(error) => return Some(self.failed(&error, kept)),
        };
        let mut instead = self.replace(response, session, kept);
        finished.apply(instead.as_mut().map_or(response.headers_mut(), HttpResponse::headers_mut));
        instead
    }

    /// The response after the session was not saved.
    fn failed(&self, error: &Error, kept: Option<&KeptHead>) -> HttpResponse {
        let mut instead = self.answer(error, kept).unwrap_or_else(|| plain_text(error));
        self.middleware.finish_with_error(error).apply(instead.headers_mut());
        instead
    }

    /// Returns what replaces a response that was made of an error. Where several layers share the session, the
    /// outermost does.
    fn replace<B>(
        &self,
        response: &HttpResponse<B>,
        session: &LazySession,
        kept: Option<&KeptHead>,
    ) -> Option<HttpResponse> {
        if kept.is_none() || session.is_shared() {
            return None;
        }
        let mut instead = self.answer(response.extensions().get::<Error>()?, kept)?;
        carry_over(response.headers(), instead.headers_mut());
        Some(instead)
    }

    /// The application's response to this error, or the redirect to its login page.
    fn answer(&self, error: &Error, kept: Option<&KeptHead>) -> Option<HttpResponse> {
        let kept = kept?;
        let request = RequestHead {
            method: kept.method.as_str(),
            path: kept.uri.path(),
            query: kept.uri.query(),
            headers: &kept.headers,
        };
        match self.login.as_ref().and_then(|login| login.location(error, &request)) {
            Some(location) => Some(HttpResponse::Found().insert_header((LOCATION, location)).finish()),
            None => self.on_error.as_ref().map(|respond| respond(error, &request)),
        }
    }

    /// Copies the request's head if an error's response may need it.
    fn keep(&self, request: &ServiceRequest) -> Option<KeptHead> {
        (self.on_error.is_some() || self.login.is_some()).then(|| KeptHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }
}

/// The part of a request that an error's response needs: the handler takes the request.
struct KeptHead {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// Keeps what middleware put on a response: not what describes its body, and nothing that the new response sets.
fn carry_over(headers: &HeaderMap, instead: &mut HeaderMap) {
    let own: Vec<_> = instead.keys().filter(|name| !matches!(**name, SET_COOKIE | VARY)).cloned().collect();
    for (name, value) in headers {
        let is_of_body = name.as_str().starts_with("content-") || *name == TRANSFER_ENCODING;
        if !is_of_body && !own.contains(name) {
            instead.append(name.clone(), value.clone());
        }
    }
}

impl From<SessionMiddleware> for SessionTransform {
    fn from(middleware: SessionMiddleware) -> Self {
        SessionTransform { middleware, on_error: None, login: None }
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
        let kept = transform.keep(&request);
        let keys = request.headers().get_all(transform.middleware.header()).map(HeaderValue::as_bytes);
        let session = transform.middleware.begin_inside(request.extensions().get::<LazySession>(), keys);
        let session = match session {
            Ok(session) => session,
            Err(error) => {
                let instead = transform.failed(&error, kept.as_ref()).map_into_right_body();
                return Box::pin(ready(Ok(request.into_response(instead))));
            }
        };
        request.extensions_mut().insert(session.clone());
        let answer = self.inner.call(request);
        boxed(|| async move {
            match answer.await {
                Ok(mut response) => {
                    Ok(match transform.finish(&session, response.response_mut(), kept.as_ref()).await {
                        None => response.map_into_left_body(),
                        Some(instead) => response.into_response(instead.map_into_right_body()),
                    })
                }
                // Other middleware failed; its error is a response too.
                Err(cause) => {
                    let mut response = cause.error_response();
                    let instead = transform.finish(&session, &mut response, kept.as_ref()).await;
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

/// The default response. The error among its extensions tells the session's middleware to replace it, if it has a
/// function for errors.
fn plain_text(error: &Error) -> HttpResponse {
    let mut response = HttpResponse::build(error.status_code());
    let mut response = response.content_type("text/plain; charset=utf-8").body(body_of(error));
    response.extensions_mut().insert(error.clone());
    response
}

impl RequestHeaders for HeaderMap {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }
}
