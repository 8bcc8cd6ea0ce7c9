//! Many concurrent requests on one session, as here and as in Django: two sessions side by side, each with
//! its own layer. The layers differ in how a save treats the changes of others.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use cloakroom::{ConcurrentChanges, Error, Key, Session, SessionLayer, Settings, SettingsError};
use serde::Serialize;

use super::Site;
use super::answer::race_page;

/// How long a request works with its session before it is saved.
const WORK: Duration = Duration::from_millis(20);

const COUNTER: Key<u64> = Key::new("counter");

/// The two ways, by their names in addresses.
const WAYS: [(&str, ConcurrentChanges); 2] =
    [("merge", ConcurrentChanges::Merge), ("last-write-wins", ConcurrentChanges::LastWriteWins)];

/// The changes that arrived in a session.
#[derive(Serialize)]
struct Arrived {
    keys: usize,
    counter: u64,
}

pub(super) fn router(site: &Arc<Site>, settings: &Settings) -> Result<Router<Arc<Site>>, SettingsError> {
    let mut router = Router::new().route("/race", get(page));
    for (way, concurrent_changes) in WAYS {
        let mut settings = settings.clone();
        settings.cookie_name = format!("{}-{way}", settings.cookie_name);
        settings.cookie_path = format!("/race/{way}");
        settings.concurrent_changes = concurrent_changes;
        let ways = Router::new()
            .route("/", get(state))
            .route("/start", post(start))
            .route("/clear", post(clear))
            .route("/add/{name}", post(add))
            .layer(SessionLayer::new(Arc::clone(&site.store), settings)?);
        router = router.nest(&format!("/race/{way}"), ways);
    }
    Ok(router)
}

async fn page(State(site): State<Arc<Site>>) -> Response {
    race_page(&site.store_name)
}

async fn state(session: Session) -> Result<Json<Arrived>, Error> {
    Ok(Json(Arrived {
        keys: session.keys().iter().filter(|key| *key != COUNTER.name()).count(),
        counter: session.get(COUNTER)?.unwrap_or(0),
    }))
}

/// Creates the session that the requests then share, if there is none.
async fn start(session: Session) -> Result<StatusCode, Error> {
    if !session.contains_key(COUNTER.name()) {
        session.set(COUNTER, 0)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(session: Session) -> Result<StatusCode, Error> {
    session.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One request: sets its own key, and increments the counter.
async fn add(session: Session, Path(name): Path<String>) -> Result<StatusCode, Error> {
    tokio::time::sleep(WORK).await;
    session.set(format!("request {name}").as_str(), true)?;
    session.modify(COUNTER, |counter| counter.unwrap_or(0) + 1)?;
    Ok(StatusCode::NO_CONTENT)
}
