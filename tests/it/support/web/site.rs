//! A site for tests, in terms of no web framework: its pages are written once and served by every adapter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cloakroom::{Error, LazySession, RequestHead, Session, SessionMiddleware};
use tokio::sync::mpsc;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Gives up with a status.
type Before = Arc<dyn Fn(Session) -> Boxed<Result<(), u16>> + Send + Sync>;
type OnError = Arc<dyn Fn(&Error, &RequestHead<'_>) -> Answer + Send + Sync>;
type Run<Argument, Result> = Arc<dyn Fn(Argument, Call) -> Boxed<Result> + Send + Sync>;

/// Pages, those of scopes below a prefix, and what stands around all of them.
#[derive(Clone, Default)]
pub(crate) struct Pages {
    pub(crate) pages: Vec<(String, Page)>,
    pub(crate) nested: Vec<(&'static str, Pages)>,
    /// Middleware of the application's own, inside of the layers, that takes the session as a handler does.
    pub(crate) before: Option<Before>,
    /// The innermost first.
    pub(crate) layers: Vec<Layer>,
}

/// One page, by what it names as an argument.
#[derive(Clone)]
pub(crate) enum Page {
    Plain(Run<(), Answer>),
    Lazy(Run<LazySession, Result<Answer, Error>>),
    /// Both extractors, the lazy one first.
    Loaded(Run<(LazySession, Session), Result<Answer, Error>>),
}

/// A session layer with its options.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) middleware: SessionMiddleware,
    pub(crate) on_error: Option<OnError>,
}

/// What a page knows of the request.
pub(crate) struct Call {
    pub(crate) path: String,
    /// The body, as it comes in.
    pub(crate) body: mpsc::Receiver<Vec<u8>>,
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Text(String),
    /// Sent piece by piece, as they come.
    Stream(mpsc::Receiver<Vec<u8>>),
}

impl Pages {
    pub(crate) fn new() -> Pages {
        Pages::default()
    }

    pub(crate) fn page(mut self, path: impl Into<String>, page: Page) -> Pages {
        self.pages.push((path.into(), page));
        self
    }

    pub(crate) fn nest(mut self, prefix: &'static str, pages: Pages) -> Pages {
        self.nested.push((prefix, pages));
        self
    }

    pub(crate) fn before<F: Future<Output = Result<(), u16>> + Send + 'static>(
        mut self,
        before: impl Fn(Session) -> F + Send + Sync + 'static,
    ) -> Pages {
        self.before = Some(Arc::new(move |session| Box::pin(before(session))));
        self
    }

    /// Puts a session layer around all that is there.
    pub(crate) fn layer(mut self, layer: impl Into<Layer>) -> Pages {
        self.layers.push(layer.into());
        self
    }
}

pub(crate) fn plain<A: Into<Answer>, F: Future<Output = A> + Send + 'static>(
    run: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Page {
    Page::Plain(Arc::new(move |(), call| {
        let answer = run(call);
        Box::pin(async move { answer.await.into() })
    }))
}

pub(crate) fn lazy<A: Into<Answer>, F: Future<Output = Result<A, Error>> + Send + 'static>(
    run: impl Fn(LazySession, Call) -> F + Send + Sync + 'static,
) -> Page {
    Page::Lazy(Arc::new(move |session, call| {
        let answer = run(session, call);
        Box::pin(async move { answer.await.map(Into::into) })
    }))
}

pub(crate) fn loaded<A: Into<Answer>, F: Future<Output = Result<A, Error>> + Send + 'static>(
    run: impl Fn(Session, Call) -> F + Send + Sync + 'static,
) -> Page {
    both(move |_, session, call| run(session, call))
}

pub(crate) fn both<A: Into<Answer>, F: Future<Output = Result<A, Error>> + Send + 'static>(
    run: impl Fn(LazySession, Session, Call) -> F + Send + Sync + 'static,
) -> Page {
    Page::Loaded(Arc::new(move |(lazy, session), call| {
        let answer = run(lazy, session, call);
        Box::pin(async move { answer.await.map(Into::into) })
    }))
}

impl From<SessionMiddleware> for Layer {
    fn from(middleware: SessionMiddleware) -> Layer {
        Layer { middleware, on_error: None }
    }
}

impl Layer {
    pub(crate) fn on_error(
        mut self,
        on_error: impl Fn(&Error, &RequestHead<'_>) -> Answer + Send + Sync + 'static,
    ) -> Layer {
        self.on_error = Some(Arc::new(on_error));
        self
    }
}

impl Answer {
    pub(crate) fn status(status: u16) -> Answer {
        Answer { status, ..Answer::from(()) }
    }

    pub(crate) fn stream(pieces: mpsc::Receiver<Vec<u8>>) -> Answer {
        Answer { body: Body::Stream(pieces), ..Answer::from(()) }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: Body::Text(text) }
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Answer {
        text.to_owned().into()
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Answer {
        String::new().into()
    }
}
