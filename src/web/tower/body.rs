//! The body of a response: the handler's, or that of the error response that replaces it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed through a [`SessionLayer`](crate::SessionLayer): the handler's, of
    /// any type, or that of the [`ErrorResponse`](crate::ErrorResponse) that replaces it. So the layer can
    /// wrap any other layer, and allocates nothing for the body.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use cloakroom::{MemoryStore, SessionLayer, Settings};
    /// use tower::{ServiceBuilder, ServiceExt};
    /// use tower_http::{compression::CompressionLayer, trace::TraceLayer};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let sessions = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let layers = ServiceBuilder::new().layer(sessions).layer(TraceLayer::new_for_http()).layer(CompressionLayer::new());
    /// let site: Router = Router::new().route("/", get(async || "hello")).layer(layers);
    /// assert_eq!(site.oneshot(Request::get("/").body(Body::empty())?).await?.status(), 200);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[derive(Clone, Debug)]
    pub struct SessionBody<B, E = String> {
        #[pin]
        either: Either<B, E>,
    }
}

pin_project! {
    #[derive(Clone, Debug)]
    #[project = Projected]
    enum Either<B, E> {
        Handler { #[pin] body: B },
        Error { #[pin] body: E },
        Empty,
    }
}

impl<B, E> SessionBody<B, E> {
    pub(super) fn of_handler(body: B) -> Self {
        SessionBody { either: Either::Handler { body } }
    }

    pub(super) fn of_error(body: E) -> Self {
        SessionBody { either: Either::Error { body } }
    }

    pub(super) fn empty() -> Self {
        SessionBody { either: Either::Empty }
    }
}

impl<B, E> Body for SessionBody<B, E>
where
    B: Body,
    E: Body<Data = B::Data>,
    B::Error: Into<BoxError>,
    E::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let frame = match self.project().either.project() {
            Projected::Handler { body } => {
                ready!(body.poll_frame(context)).map(|frame| frame.map_err(Into::into))
            }
            Projected::Error { body } => {
                ready!(body.poll_frame(context)).map(|frame| frame.map_err(Into::into))
            }
            Projected::Empty => None,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.either {
            Either::Handler { body } => body.is_end_stream(),
            Either::Error { body } => body.is_end_stream(),
            Either::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.either {
            Either::Handler { body } => body.size_hint(),
            Either::Error { body } => body.size_hint(),
            Either::Empty => SizeHint::with_exact(0),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// For layers that respond by themselves, such as a timeout.
impl<B: Default, E> Default for SessionBody<B, E> {
    fn default() -> Self {
        SessionBody::of_handler(B::default())
    }
}
