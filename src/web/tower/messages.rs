//! The tower layer of messages.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::COOKIE;
use http::{HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::SessionBody;
use super::error_response::plain_text;
use crate::forms::messages::MessageSettings;
use crate::session::LazySession;
use crate::site::boxed::boxed;
use crate::site::error::Error;
use crate::site::settings::Settings;
use crate::web::messages::MessagesMiddleware;

/// Gives each request its [`Messages`](crate::messages::Messages). Django's `MessageMiddleware`. It stands
/// inside the [`SessionLayer`](crate::SessionLayer): in axum, it is added before.
///
/// ```
/// use std::sync::Arc;
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use cloakroom::messages::{MessageSettings, Messages};
/// use cloakroom::{MemoryStore, MessagesLayer, SessionLayer, Settings};
/// use tower::ServiceExt;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("secret");
/// let site: Router = Router::new()
///     .route("/save", get(async |messages: Messages| messages.success("Saved.")))
///     .layer(MessagesLayer::new(&settings, MessageSettings::default()))
///     .layer(SessionLayer::new(Arc::new(MemoryStore::new()), settings)?);
/// let response = site.oneshot(Request::get("/save").body(Body::empty())?).await?;
/// assert!(response.headers()["set-cookie"].to_str()?.starts_with("messages="));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MessagesLayer {
    middleware: MessagesMiddleware,
}

impl MessagesLayer {
    /// Creates a layer of this site: see [`MessagesMiddleware::new`].
    pub fn new(site: &Settings, settings: MessageSettings) -> MessagesLayer {
        MessagesMiddleware::new(site, settings).into()
    }
}

impl From<MessagesMiddleware> for MessagesLayer {
    fn from(middleware: MessagesMiddleware) -> Self {
        MessagesLayer { middleware }
    }
}

impl<S> Layer<S> for MessagesLayer {
    type Service = MessagesService<S>;

    fn layer(&self, inner: S) -> MessagesService<S> {
        MessagesService { inner, middleware: self.middleware.clone() }
    }
}

/// A service wrapped by [`MessagesLayer`].
#[derive(Clone, Debug)]
pub struct MessagesService<S> {
    inner: S,
    middleware: MessagesMiddleware,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for MessagesService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    ResponseBody: Send + 'static,
{
    type Response = Response<SessionBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let middleware = self.middleware.clone();
        let cookies = request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let messages = middleware.begin(cookies, request.extensions().get::<LazySession>());
        request.extensions_mut().insert(messages.clone());
        let answer = self.inner.call(request);
        boxed(|| async move {
            let mut response = answer.await?;
            Ok(match middleware.finish(&messages).await {
                Ok(finished) => {
                    finished.apply(response.headers_mut());
                    response.map(SessionBody::of_handler)
                }
                Err(error) => failed(&error),
            })
        })
    }
}

/// The response in place of the handler's.
pub(super) fn failed<Body>(error: &Error) -> Response<SessionBody<Body>> {
    crate::web::middleware::log_and_describe(error);
    plain_text(error).map(SessionBody::of_error)
}
