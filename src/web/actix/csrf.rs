//! The actix-web middleware against forged requests.

use std::fmt;
use std::future::{Ready, poll_fn, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::{InternalError, PayloadError};
use actix_web::http::Uri;
use actix_web::http::header::{COOKIE, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use futures_util::StreamExt;
use futures_util::stream::{Stream, iter};

use super::LocalFuture;
use crate::forms::csrf::{
    BadForm, CsrfReason, CsrfRequest, CsrfSettings, FormReader, LazyCsrf, RequestHeaders,
};
use crate::session::LazySession;
use crate::site::boxed::boxed;
use crate::site::error::Error;
use crate::site::settings::{Settings, SettingsError};
use crate::web::csrf::{CsrfMiddleware, CsrfStep, REFUSED};

type OnRefused = dyn Fn(&CsrfReason) -> HttpResponse + Send + Sync;

/// Gives each request its [`Csrf`](crate::csrf::Csrf) token, and answers forged requests with 403. Django's
/// `CsrfViewMiddleware`. It stands inside the [`SessionTransform`](crate::SessionTransform), if there is one:
/// `wrap` it before.
///
/// A form is read as far as its token, and the handler reads it again from the start, out of memory.
///
/// ```
/// use actix_web::{App, test, web};
/// use cloakroom::csrf::{Csrf, CsrfSettings};
/// use cloakroom::{CsrfTransform, Error, Settings};
///
/// async fn form(csrf: Csrf) -> Result<String, Error> {
///     Ok(format!("<form method=\"post\">{}<button>Buy</button></form>", csrf.field()?))
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let csrf = CsrfTransform::new(&Settings::new("secret"), CsrfSettings::default())?;
/// let app = App::new().wrap(csrf).route("/", web::get().to(form)).route("/", web::post().to(async || "bought"));
/// let app = test::init_service(app).await;
/// let page = test::call_service(&app, test::TestRequest::get().uri("/").to_request()).await;
/// assert!(page.headers().get("set-cookie").unwrap().to_str().unwrap().starts_with("csrftoken="));
/// let refused = test::call_service(&app, test::TestRequest::post().uri("/").to_request()).await;
/// assert_eq!(refused.status(), 403);
/// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct CsrfTransform {
    middleware: CsrfMiddleware,
    on_refused: Arc<OnRefused>,
}

impl CsrfTransform {
    /// Creates the middleware of this site: see [`CsrfMiddleware::new`].
    ///
    /// # Errors
    /// As [`CsrfMiddleware::new`].
    pub fn new(site: &Settings, settings: CsrfSettings) -> Result<CsrfTransform, SettingsError> {
        Ok(CsrfMiddleware::new(site, settings)?.into())
    }

    /// Sets the response for a refused request, in place of a line of plain text. Django's
    /// `CSRF_FAILURE_VIEW`.
    #[must_use]
    pub fn on_refused(
        self,
        on_refused: impl Fn(&CsrfReason) -> HttpResponse + Send + Sync + 'static,
    ) -> CsrfTransform {
        CsrfTransform { on_refused: Arc::new(on_refused), ..self }
    }

    /// Checks the request, and puts its body back; returns the response that answers it in place of the
    /// handler.
    async fn examine(
        &self,
        csrf: &LazyCsrf,
        request: &mut ServiceRequest,
    ) -> Result<Option<HttpResponse>, Error> {
        let mut payload = request.take_payload();
        let head = Head { headers: request.headers(), uri: request.uri() };
        let facts = CsrfRequest {
            method: request.method().as_str(),
            path: request.path(),
            is_secure: request.app_config().secure(),
            port: None,
            headers: &head,
        };
        let step = match self.middleware.examine(csrf, &facts).await? {
            CsrfStep::Read(mut form) => {
                let (read, outcome) = read(&mut payload, &mut form).await;
                let read = iter(read.into_iter().map(Ok::<_, PayloadError>));
                payload = Payload::from(read.chain(payload).boxed_local());
                match outcome {
                    Ok(()) => self.middleware.examine_form(csrf, &facts, form).await?,
                    Err(bad) => CsrfStep::Bad(bad),
                }
            }
            step => step,
        };
        request.set_payload(payload);
        Ok(match step {
            CsrfStep::Accepted => None,
            CsrfStep::Refused(reason) => Some((self.on_refused)(&reason)),
            CsrfStep::Bad(bad) => Some(HttpResponse::BadRequest().body(bad.to_string())),
            CsrfStep::Read(_) => Some(HttpResponse::BadRequest().body(BadForm::Unreadable.to_string())),
        })
    }

    /// Updates the response's headers, or returns the response that replaces it.
    async fn finish(&self, csrf: &LazyCsrf, headers: &mut HeaderMap) -> Option<HttpResponse> {
        match self.middleware.finish(csrf).await {
            Ok(finished) => {
                finished.apply(headers);
                None
            }
            Err(error) => Some(error.error_response()),
        }
    }
}

/// Reads as much of the body as the form needs.
async fn read(payload: &mut Payload, form: &mut FormReader) -> (Vec<Bytes>, Result<(), BadForm>) {
    let mut pieces = Vec::new();
    loop {
        let piece = match poll_fn(|context| std::pin::Pin::new(&mut *payload).poll_next(context)).await {
            None => return (pieces, Ok(())),
            Some(Err(_)) => return (pieces, Err(BadForm::Unreadable)),
            Some(Ok(piece)) => piece,
        };
        let outcome = form.push(&piece);
        pieces.push(piece);
        match outcome {
            Ok(true) => {}
            Ok(false) => return (pieces, Ok(())),
            Err(bad) => return (pieces, Err(bad)),
        }
    }
}

/// The headers of a request. HTTP/2 has the host in the URI.
struct Head<'a> {
    headers: &'a HeaderMap,
    uri: &'a Uri,
}

impl RequestHeaders for Head<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let header = self.headers.get(name).map(HeaderValue::as_bytes);
        let authority = || self.uri.authority().map(|authority| authority.as_str().as_bytes());
        header.or_else(|| if name == "host" { authority() } else { None })
    }
}

impl From<CsrfMiddleware> for CsrfTransform {
    fn from(middleware: CsrfMiddleware) -> Self {
        let page = |_: &CsrfReason| {
            HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(REFUSED)
        };
        CsrfTransform { middleware, on_refused: Arc::new(page) }
    }
}

impl fmt::Debug for CsrfTransform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CsrfTransform").field("middleware", &self.middleware).finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for CsrfTransform
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = CsrfTransformService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(CsrfTransformService { inner: Rc::new(inner), transform: self.clone() }))
    }
}

/// A service wrapped by [`CsrfTransform`].
#[derive(Debug)]
pub struct CsrfTransformService<S> {
    inner: Rc<S>,
    transform: CsrfTransform,
}

impl<S, B> Service<ServiceRequest> for CsrfTransformService<S>
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

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (transform, inner) = (self.transform.clone(), Rc::clone(&self.inner));
        let cookies = request.headers().get_all(COOKIE).map(HeaderValue::as_bytes);
        let csrf = transform.middleware.begin(cookies, request.extensions().get::<LazySession>());
        boxed(|| async move {
            let instead = |request: ServiceRequest, response: HttpResponse| {
                Ok(request.into_response(response.map_into_right_body()))
            };
            let csrf = match csrf {
                Ok(csrf) => csrf,
                Err(error) => return instead(request, error.error_response()),
            };
            request.extensions_mut().insert(csrf.clone());
            match transform.examine(&csrf, &mut request).await {
                Ok(None) => {}
                Ok(Some(mut response)) => {
                    let failed = transform.finish(&csrf, response.headers_mut()).await;
                    return instead(request, failed.unwrap_or(response));
                }
                Err(error) => return instead(request, error.error_response()),
            }
            match inner.call(request).await {
                Ok(mut response) => Ok(match transform.finish(&csrf, response.headers_mut()).await {
                    None => response.map_into_left_body(),
                    Some(instead) => response.into_response(instead.map_into_right_body()),
                }),
                // Other middleware failed; its error is a response too.
                Err(cause) => {
                    let mut response = cause.error_response();
                    let instead = transform.finish(&csrf, response.headers_mut()).await;
                    Err(InternalError::from_response(cause, instead.unwrap_or(response)).into())
                }
            }
        })
    }
}
