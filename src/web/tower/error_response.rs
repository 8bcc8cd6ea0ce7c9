//! The response in place of the handler's, when something is wrong with the session.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, TRANSFER_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::SessionBody;
use crate::forms::csrf::RequestHeaders;
use crate::session::LazySession;
use crate::site::error::Error;
use crate::web::login_redirect::LoginRedirect;
use crate::web::middleware::body_of;
use crate::web::request_head::RequestHead;

/// Creates the response to an error of the session. Any function from `&Error` and `&RequestHead` to a response
/// implements it; see [`SessionLayer::on_error`](crate::SessionLayer::on_error). Its body may have another type than
/// the handler's: [`SessionBody`] is either.
///
/// ```
/// use cloakroom::{Error, ErrorResponse, RequestHead};
/// use http::{HeaderMap, Response};
///
/// struct Json;
///
/// impl ErrorResponse for Json {
///     type Body = String;
///
///     fn error_response(&self, error: &Error, _: &RequestHead<'_>) -> Response<String> {
///         let mut response = Response::new(format!(r#"{{"status":{}}}"#, error.status()));
///         *response.status_mut() = error.status().try_into().unwrap_or_default();
///         response
///     }
/// }
///
/// let headers = HeaderMap::new();
/// let response = Json.error_response(&Error::Interrupted, &RequestHead::new("GET", "/", &headers));
/// assert_eq!((response.status().as_u16(), response.body().as_str()), (400, r#"{"status":400}"#));
/// ```
pub trait ErrorResponse: Send + Sync + 'static {
    /// The response's body.
    type Body;

    /// Whether the layer keeps requests' heads for it, and replaces the responses of failed arguments and results.
    /// False for [`PlainText`] alone, which makes those responses itself.
    #[doc(hidden)]
    const REPLACES: bool = true;

    /// Creates the response. The error has already been logged.
    fn error_response(&self, error: &Error, request: &RequestHead<'_>) -> Response<Self::Body>;
}

impl<Body, F: Fn(&Error, &RequestHead<'_>) -> Response<Body> + Send + Sync + 'static> ErrorResponse for F {
    type Body = Body;

    fn error_response(&self, error: &Error, request: &RequestHead<'_>) -> Response<Body> {
        self(error, request)
    }
}

/// Answers with a line of plain text from [`message_of`](crate::middleware::message_of), and the status from
/// [`Error::status`]. In a debug build the text names a missing layer.
///
/// ```
/// use cloakroom::{Error, ErrorResponse, PlainText, RequestHead};
/// use http::HeaderMap;
///
/// let headers = HeaderMap::new();
/// let response = PlainText.error_response(&Error::NotLoggedIn, &RequestHead::new("GET", "/", &headers));
/// assert_eq!(response.status(), 401);
/// assert_eq!(response.body(), "Please log in.");
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct PlainText;

impl ErrorResponse for PlainText {
    type Body = String;

    const REPLACES: bool = false;

    fn error_response(&self, error: &Error, _: &RequestHead<'_>) -> Response<String> {
        plain_text(error)
    }
}

/// The default response. The error among its extensions tells the session layer to replace it, if it has a function
/// for errors.
pub(super) fn plain_text(error: &Error) -> Response<String> {
    let mut response = Response::new(body_of(error).into_owned());
    *response.status_mut() =
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.extensions_mut().insert(error.clone());
    response
}

/// How a layer answers errors.
#[derive(Debug)]
pub(super) struct OnError<E> {
    pub(super) respond: Arc<E>,
    pub(super) login: Option<LoginRedirect>,
}

/// The part of a request that an error's response needs: the handler takes the request.
pub(super) struct KeptHead {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl<E: ErrorResponse> OnError<E> {
    /// Copies the request's head if an error's response may need it.
    #[inline]
    pub(super) fn keep<B>(&self, request: &Request<B>) -> Option<Box<KeptHead>> {
        (E::REPLACES || self.login.is_some()).then(|| {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            Box::new(KeptHead { method, uri, headers: request.headers().clone() })
        })
    }

    /// Returns the response to this error.
    #[cold]
    #[inline(never)]
    pub(super) fn answer<B>(
        &self,
        error: &Error,
        kept: Option<&KeptHead>,
    ) -> Response<SessionBody<B, E::Body>> {
        let request = kept.map_or(RequestHead::new("", "", &()), |kept| RequestHead {
            method: kept.method.as_str(),
            path: kept.uri.path(),
            query: kept.uri.query(),
            headers: &kept.headers,
        });
        let location = self.login.as_ref().and_then(|login| login.location(error, &request));
        match location.map(HeaderValue::try_from) {
            Some(Ok(location)) => {
                let mut response = Response::new(SessionBody::empty());
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(LOCATION, location);
                response
            }
            _ => self.respond.error_response(error, &request).map(SessionBody::of_error),
        }
    }

    /// Replaces a response that was made of an error. Where several layers share the session, the outermost does. Apart
    /// from the path of requests for which nothing was kept.
    #[cold]
    #[inline(never)]
    #[expect(
        clippy::boxed_local,
        reason = "by value it is copied in the path of requests without an error, too"
    )]
    pub(super) fn replace<B>(
        &self,
        response: Box<Response<B>>,
        session: &LazySession,
        kept: &KeptHead,
    ) -> Response<SessionBody<B, E::Body>> {
        match response.extensions().get::<Error>() {
            Some(error) if !session.is_shared() => {
                let mut instead = self.answer(error, Some(kept));
                carry_over(response.headers(), instead.headers_mut());
                instead
            }
            _ => response.map(SessionBody::of_handler),
        }
    }
}

/// Keeps what layers put on a response: not what describes its body, and nothing that the new response sets.
fn carry_over(headers: &HeaderMap, instead: &mut HeaderMap) {
    let own: Vec<_> = instead.keys().filter(|name| !matches!(**name, SET_COOKIE | VARY)).cloned().collect();
    for (name, value) in headers {
        let is_of_body = name.as_str().starts_with("content-") || *name == TRANSFER_ENCODING;
        if !is_of_body && !own.contains(name) {
            instead.append(name, value.clone());
        }
    }
}

impl RequestHeaders for HeaderMap {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }
}
