//! Requests over HTTP through the session layer, to an axum site that listens.

mod bad_cookies;
mod cookies;
mod failures;
mod handlers;
mod interrupted;
mod round_trips;
mod vary;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use cloakroom::{
    Error, ManualClock, MemoryStore, Session, SessionLayer, SessionMiddleware, SessionStore, Settings, auth,
};

use crate::browser::{Browser, serve};
use crate::watched_store::WatchedStore;

/// 14 November 2023, 22:13:20.
const NOW: i64 = 1_700_000_000;
const USER: auth::User<'static> = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };

/// A site with a store that is watched and a clock that stands still.
struct Site {
    address: String,
    store: Arc<WatchedStore>,
    clock: Arc<ManualClock>,
}

impl Site {
    async fn start(routes: Router) -> Site {
        Site::start_with(routes, Settings::new("secret")).await
    }

    async fn start_with(routes: Router, settings: Settings) -> Site {
        Site::start_on(Arc::new(MemoryStore::new()), routes, settings).await
    }

    async fn start_on(store: Arc<dyn SessionStore>, routes: Router, settings: Settings) -> Site {
        let store = WatchedStore::new(store);
        let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
        let address = serve(routes.layer(layer(&store, &clock, settings))).await;
        Site { address, store, clock }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// A browser whose session holds a visit, with the calls forgotten that this took.
    async fn visitor(&self) -> Browser {
        let mut browser = Browser::new();
        browser.get(self.url("/visit")).await.ok();
        self.store.calls();
        browser
    }
}

fn layer(store: &Arc<WatchedStore>, clock: &Arc<ManualClock>, settings: Settings) -> SessionLayer {
    SessionMiddleware::new(Arc::clone(store) as _, settings).with_clock(Arc::clone(clock) as _).into()
}

/// What most tests need: reading, changing, logging in and out.
fn routes() -> Router {
    Router::new()
        .route("/untouched", get(|| async { "no session here" }))
        .route("/read", get(read))
        .route("/visit", get(visit))
        .route("/login", get(|session: Session| async move { auth::login(&session, USER).await }))
        .route("/logout", get(|session: Session| async move { auth::logout(&session).await }))
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get::<u32>("visits")?.map_or("none".to_owned(), |visits| visits.to_string()))
}

async fn visit(session: Session) -> Result<String, Error> {
    let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
    session.set("visits", visits)?;
    Ok(visits.to_string())
}
