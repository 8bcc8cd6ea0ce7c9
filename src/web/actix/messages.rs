//! The actix-web middleware of messages.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::header::{COOKIE, HeaderMap, HeaderValue};
use actix_web::{HttpMessage, HttpResponse, ResponseError};

use super::LocalFuture;
use crate::forms::messages::{LazyMessages, MessageSettings};
use crate::session::LazySession;
use crate::site::boxed::boxed;
use crate::site::settings::Settings;
use crate::web::messages::MessagesMiddleware;

/// Gives each request its [`Messages`](crate::messages::Messages). Django's `MessageMiddleware`. It stands
/// inside the [`SessionTransform`](crate::SessionTransform): `wrap` it before.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::{App, test, web};
/// use cloakroom::messages::{MessageSettings, Messages};
/// use cloakroom::{MemoryStore, MessagesTransform, SessionTransform, Settings};
///
/// async fn save(messages: Messages) -> &'static str {
///     messages.success("Saved.");
///     "saved"
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let settings = Settings::new("secret");
/// let messages = MessagesTransform::new(&settings, MessageSettings::default());
/// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), settings)?;
/// let app = test::init_service(App::new().wrap(messages).wrap(sessions).route("/", web::get().to(save))).await;
/// let response = test::call_service(&app, test::TestRequest::get().uri("/").to_request()).await;
/// assert!(response.headers().get("set-cookie").unwrap().to_str().unwrap().starts_with("messages="));
/// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MessagesTransform {
    middleware: MessagesMiddleware,
}

impl MessagesTransform {
    /// Creates the middleware of this site: see [`MessagesMiddleware::new`].
    pub fn new(site: &Settings, settings: MessageSettings) -> MessagesTransform {
        MessagesMiddleware::new(site, settings).into()
    }

    /// Updates the response's headers, or returns the response that replaces it.
    async fn finish(&self, messages: &LazyMessages, headers: &mut HeaderMap) -> Option<HttpResponse> {
        match self.middleware.finish(messages).await {
            Ok(finished) => {
                finished.apply(headers);
                None
            }
            Err(error) => Some(error.error_response()),
        }
    }
}

impl From<MessagesMiddleware> for MessagesTransform {
    fn from(middleware: MessagesMiddleware) -> Self {
        MessagesTransform { middleware }
    }
}

impl<S, B> Transform<S, ServiceRequest> for MessagesTransform
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = MessagesTransformService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(MessagesTransformService { inner, transform: self.clone() }))
    }
}

/// A service wrapped by [`MessagesTransform`].
#[derive(Debug)]
pub struct MessagesTransformService<S> {
    inner: S,
    transform: MessagesTransform,
}

impl<S, B> Service<ServiceRequest> for MessagesTransformService<S>
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
        let cookies = request.headers().get_all(COOKIE).map(HeaderValue::as_bytes);
        let messages = transform.middleware.begin(cookies, request.extensions().get::<LazySession>());
        request.extensions_mut().insert(messages.clone());
        let answer = self.inner.call(request);
        boxed(|| async move {
            match answer.await {
                Ok(mut response) => Ok(match transform.finish(&messages, response.headers_mut()).await {
                    None => response.map_into_left_body(),
                    Some(instead) => response.into_response(instead.map_into_right_body()),
                }),
                // Other middleware failed; its error is a response too.
                Err(cause) => {
                    let mut response = cause.error_response();
                    let instead = transform.finish(&messages, response.headers_mut()).await;
                    Err(InternalError::from_response(cause, instead.unwrap_or(response)).into())
                }
            }
        })
    }
}
