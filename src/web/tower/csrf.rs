//! The tower layer against forged requests.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, request};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::SessionBody;
use super::messages::failed;
use crate::forms::csrf::{
    BadForm, CsrfReason, CsrfRequest, CsrfSettings, FormReader, LazyCsrf, RequestHeaders,
};
use crate::session::LazySession;
use crate::site::boxed::boxed;
use crate::site::error::Error;
use crate::site::settings::{Settings, SettingsError};
use crate::web::csrf::{CsrfMiddleware, CsrfStep, REFUSED};

type OnRefused = dyn Fn(&CsrfReason) -> Response<String> + Send + Sync;

/// Gives each request its [`Csrf`](crate::csrf::Csrf) token, and answers forged requests with 403. Django's
/// `CsrfViewMiddleware`. It stands inside the [`SessionLayer`](crate::SessionLayer), if there is one: in axum,
/// it is added before. It guards the routes that are inside of it.
///
/// A form is read as far as its token, and the handler reads it again from the start, out of memory.
///
/// ```
/// use axum::{Router, body::Body, http::Request, response::Html, routing::get};
/// use cloakroom::csrf::{Csrf, CsrfSettings};
/// use cloakroom::{CsrfLayer, Error, Settings};
/// use tower::ServiceExt;
///
/// async fn form(csrf: Csrf) -> Result<Html<String>, Error> {
///     Ok(Html(format!("<form method=\"post\">{}<button>Buy</button></form>", csrf.field()?)))
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let site: Router = Router::new()
///     .route("/buy", get(form).post(async |body: String| body))
///     .layer(CsrfLayer::new(&Settings::new("secret"), CsrfSettings::default())?);
///
/// let page = site.clone().oneshot(Request::get("/buy").body(Body::empty())?).await?;
/// let cookie = page.headers()["set-cookie"].to_str()?.split(';').next().unwrap().to_owned();
/// let page = String::from_utf8(axum::body::to_bytes(page.into_body(), 1_000).await?.to_vec())?;
/// let token = page.split("value=\"").nth(1).unwrap().split('"').next().unwrap();
///
/// let post = |fields: String| {
///     let request = Request::post("/buy").header("cookie", &cookie);
///     request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(fields))
/// };
/// let bought = site.clone().oneshot(post(format!("tea=1&csrfmiddlewaretoken={token}"))?).await?;
/// assert_eq!(bought.status(), 200);
/// assert!(axum::body::to_bytes(bought.into_body(), 1_000).await?.starts_with(b"tea=1&"), "read again");
/// assert_eq!(site.oneshot(post("tea=1".to_owned())?).await?.status(), 403);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct CsrfLayer {
    middleware: CsrfMiddleware,
    on_refused: Arc<OnRefused>,
}

impl CsrfLayer {
    /// Creates a layer of this site: see [`CsrfMiddleware::new`].
    ///
    /// # Errors
    /// As [`CsrfMiddleware::new`].
    pub fn new(site: &Settings, settings: CsrfSettings) -> Result<CsrfLayer, SettingsError> {
        Ok(CsrfMiddleware::new(site, settings)?.into())
    }

    /// Sets the response for a refused request, in place of a line of plain text. Django's
    /// `CSRF_FAILURE_VIEW`.
    #[must_use]
    pub fn on_refused(
        self,
        on_refused: impl Fn(&CsrfReason) -> Response<String> + Send + Sync + 'static,
    ) -> CsrfLayer {
        CsrfLayer { on_refused: Arc::new(on_refused), ..self }
    }

    /// Checks the request; gives it back with its body, or what answers it.
    async fn examine<B: FormBody>(
        &self,
        csrf: &LazyCsrf,
        request: Request<B>,
    ) -> Result<Result<Request<B>, Response<String>>, Error> {
        let (parts, mut body) = request.into_parts();
        let head = Head { headers: &parts.headers, uri: &parts.uri };
        let facts = facts(&parts, &head);
        let step = match self.middleware.examine(csrf, &facts).await? {
            CsrfStep::Read(mut form) => {
                let (read, outcome) = read(&mut body, &mut form).await;
                body = B::replay(read, body);
                match outcome {
                    Ok(()) => self.middleware.examine_form(csrf, &facts, form).await?,
                    Err(bad) => CsrfStep::Bad(bad),
                }
            }
            step => step,
        };
        Ok(match step {
            CsrfStep::Accepted => Ok(Request::from_parts(parts, body)),
            CsrfStep::Refused(reason) => Err((self.on_refused)(&reason)),
            CsrfStep::Bad(bad) => Err(plain(StatusCode::BAD_REQUEST, bad.to_string())),
            CsrfStep::Read(_) => Err(plain(StatusCode::BAD_REQUEST, BadForm::Unreadable.to_string())),
        })
    }
}

fn facts<'a>(parts: &'a request::Parts, head: &'a Head<'a>) -> CsrfRequest<'a> {
    CsrfRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        is_secure: parts.uri.scheme_str() == Some("https"),
        port: None,
        headers: head,
    }
}

/// Reads as much of the body as the form needs.
async fn read<B: FormBody>(body: &mut B, form: &mut FormReader) -> (Vec<Bytes>, Result<(), BadForm>) {
    let mut pieces = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| pin!(&mut *body).poll_frame(context)).await;
        let piece = match frame {
            None => return (pieces, Ok(())),
            Some(Err(_)) => return (pieces, Err(BadForm::Unreadable)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => piece,
                // Trailers end a body.
                Err(_) => return (pieces, Ok(())),
            },
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

fn plain(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
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

/// The body of a request that can be read again from the start. That of axum is one, with the feature `axum`.
///
/// ```
/// use cloakroom::FormBody;
/// use http_body::Body as _;
///
/// let rest = axum::body::Body::from("&b=2");
/// let body = axum::body::Body::replay(vec!["a=".into(), "1".into()], rest);
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// assert_eq!(axum::body::to_bytes(body, 100).await?, "a=1&b=2");
/// # Ok::<(), axum::Error>(()) }).unwrap();
/// ```
pub trait FormBody: Body<Data = Bytes> + Unpin + Sized {
    /// Returns a body of these pieces, which were read, and of the rest.
    fn replay(read: Vec<Bytes>, rest: Self) -> Self;
}

impl From<CsrfMiddleware> for CsrfLayer {
    fn from(middleware: CsrfMiddleware) -> Self {
        let on_refused = Arc::new(|_: &CsrfReason| plain(StatusCode::FORBIDDEN, REFUSED.to_owned()));
        CsrfLayer { middleware, on_refused }
    }
}

impl fmt::Debug for CsrfLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CsrfLayer").field("middleware", &self.middleware).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for CsrfLayer {
    type Service = CsrfService<S>;

    fn layer(&self, inner: S) -> CsrfService<S> {
        CsrfService { inner, layer: self.clone() }
    }
}

/// A service wrapped by [`CsrfLayer`].
#[derive(Clone, Debug)]
pub struct CsrfService<S> {
    inner: S,
    layer: CsrfLayer,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for CsrfService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    RequestBody: FormBody + Send + 'static,
    ResponseBody: Send + 'static,
{
    type Response = Response<SessionBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let layer = self.layer.clone();
        let cookies = request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let csrf = layer.middleware.begin(cookies, request.extensions().get::<LazySession>());
        // The service that is ready handles the request.
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        boxed(|| async move {
            let csrf = match csrf {
                Ok(csrf) => csrf,
                Err(error) => return Ok(failed(&error)),
            };
            request.extensions_mut().insert(csrf.clone());
            let mut response = match layer.examine(&csrf, request).await {
                Ok(Ok(request)) => inner.call(request).await?.map(SessionBody::of_handler),
                Ok(Err(instead)) => instead.map(SessionBody::of_error),
                Err(error) => return Ok(failed(&error)),
            };
            Ok(match layer.middleware.finish(&csrf).await {
                Ok(finished) => {
                    finished.apply(response.headers_mut());
                    response
                }
                Err(error) => failed(&error),
            })
        })
    }
}
