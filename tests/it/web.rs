//! Requests over HTTP through the session layers. One list of cases: each is written once, against a site in terms of
//! no web framework, and run over TCP against every adapter.

mod bad_cookies;
mod cookies;
#[cfg(feature = "encryption")]
mod encrypted;
mod failures;
mod former_cookies;
mod handlers;
mod hang_ups;
mod hardened;
mod header_transport;
mod interrupted;
mod layers;
mod other_layers;
mod proxy;
mod real_stores;
mod round_trips;
mod secrecy;
mod sites;
mod streams;
mod user_id;
mod vary;
mod wrong_secret;

use std::sync::Arc;

use cloakroom::{Error, ManualClock, MemoryStore, Session, SessionMiddleware, SessionStore, Settings, auth};

use crate::support::browser::Browser;
use crate::support::watched_store::WatchedStore;
use crate::support::web::{
    Adapter, Answer, Call, Layer, Page, Pages, Served, both, lazy, loaded, on_every_adapter, plain,
};

/// 14 November 2023, 22:13:20.
const NOW: i64 = 1_700_000_000;
const USER: auth::User<'static> = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };

/// A site with a store that is watched and a clock that stands still.
struct Site {
    served: Served,
    store: Arc<WatchedStore>,
    clock: Arc<ManualClock>,
}

impl Site {
    async fn start(on: Adapter, pages: Pages) -> Site {
        Site::start_with(on, pages, Settings::new("secret")).await
    }

    async fn start_with(on: Adapter, pages: Pages, settings: Settings) -> Site {
        Site::start_on(on, Arc::new(MemoryStore::new()), pages, settings).await
    }

    async fn start_on(on: Adapter, store: Arc<dyn SessionStore>, pages: Pages, settings: Settings) -> Site {
        Site::start_layered(on, store, pages, settings, |layer| layer).await
    }

    async fn start_layered(
        on: Adapter,
        store: Arc<dyn SessionStore>,
        pages: Pages,
        settings: Settings,
        options: impl FnOnce(Layer) -> Layer,
    ) -> Site {
        let store = WatchedStore::new(store);
        let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
        let layer = options(middleware(&store, &clock, settings).into());
        let served = on.serve(pages.layer(layer)).await;
        Site { served, store, clock }
    }

    fn url(&self, path: &str) -> String {
        self.served.url(path)
    }

    /// A browser whose session holds a visit, with the calls forgotten that this took.
    async fn visitor(&self) -> Browser {
        let mut browser = Browser::new();
        browser.get(self.url("/visit")).await.ok();
        self.store.calls();
        browser
    }
}

fn middleware(store: &Arc<WatchedStore>, clock: &Arc<ManualClock>, settings: Settings) -> SessionMiddleware {
    let middleware = SessionMiddleware::new(Arc::clone(store), settings).unwrap();
    middleware.with_clock(Arc::clone(clock) as _)
}

/// What most tests need: reading, changing, logging in and out.
fn pages() -> Pages {
    Pages::new()
        .page("/untouched", plain(|_| async { "no session here" }))
        .page("/read", loaded(|session, _| read(session)))
        .page("/visit", loaded(|session, _| visit(session)))
        .page("/login", loaded(|session, _| async move { auth::login(&session, USER).await }))
        .page("/logout", loaded(|session, _| async move { auth::logout(&session).await }))
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get::<u32>("visits")?.map_or("none".to_owned(), |visits| visits.to_string()))
}

async fn visit(session: Session) -> Result<String, Error> {
    let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
    session.set("visits", visits)?;
    Ok(visits.to_string())
}

/// A page that waits at a gate with a changed session, and the gate.
fn slow(page: impl Fn(&Session) -> Result<(), Error> + Clone + Send + Sync + 'static) -> (Page, Gate) {
    let gate: Gate = Arc::new(tokio::sync::Barrier::new(2));
    let waits = Arc::clone(&gate);
    let slow = loaded(move |session, _| {
        let (page, waits) = (page.clone(), Arc::clone(&waits));
        async move {
            page(&session)?;
            waits.wait().await;
            waits.wait().await;
            Ok("the handler's own")
        }
    });
    (slow, gate)
}

/// Where a slow request and the test meet.
type Gate = Arc<tokio::sync::Barrier>;

/// The reply to a slow page while which the same browser asks for another.
async fn slow_while(
    site: &Site,
    gate: &Gate,
    browser: &mut Browser,
    path: &str,
) -> crate::support::browser::Reply {
    let (mut other, url) = (browser.clone(), site.url("/slow"));
    let slow = tokio::spawn(async move { other.get(url).await });
    gate.wait().await;
    browser.get(site.url(path)).await.ok();
    gate.wait().await;
    slow.await.unwrap()
}
