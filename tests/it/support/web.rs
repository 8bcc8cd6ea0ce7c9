//! Sites in terms of no web framework, served by each adapter.

mod on_actix;
mod on_axum;
mod site;

use axum::body::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

pub(crate) use self::site::{Answer, Call, Layer, Page, Pages, both, lazy, loaded, plain};

/// What serves the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adapter {
    Axum,
    Actix,
}

/// Makes of each case one test for each adapter.
macro_rules! on_every_adapter {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn axum() {
                super::$case($crate::support::web::Adapter::Axum).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn actix() {
                super::$case($crate::support::web::Adapter::Actix).await;
            }
        }
    )*};
}
pub(crate) use on_every_adapter;

impl Adapter {
    /// Serves the pages on a free port of this machine until what comes back is dropped.
    pub(crate) async fn serve(self, pages: Pages) -> Served {
        match self {
            Adapter::Axum => Served {
                address: crate::support::browser::serve(on_axum::router(pages)).await,
                _server: None,
            },
            Adapter::Actix => {
                let (address, server) = on_actix::serve(pages).await;
                Served { address, _server: Some(server) }
            }
        }
    }
}

/// A site that listens.
pub(crate) struct Served {
    pub(crate) address: String,
    _server: Option<on_actix::Server>,
}

impl Served {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

fn stream_of(pieces: mpsc::Receiver<Vec<u8>>) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures_util::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok(Bytes::from(piece)), pieces))
    })
}
