//! Many requests at once on one session, here and as in Django: two sessions side by side, each with a layer of its
//! own, which differ in what a save does about the changes of others.

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

/// The two ways, by the names that stand in the addresses.
const WAYS: [(&str, ConcurrentChanges); 2] =
    [("merge", ConcurrentChanges::Merge), ("last-write-wins", ConcurrentChanges::LastWriteWins)];

/// What arrived in a session.
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

/// Makes the session that the requests then share, unless there is one.
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

/// One request: a key of its own, and one more on the counter.
async fn add(session: Session, Path(name): Path<String>) -> Result<StatusCode, Error> {
    tokio::time::sleep(WORK).await;
    session.set(format!("request {name}").as_str(), true)?;
    session.modify(COUNTER, |counter| counter.unwrap_or(0) + 1)?;
    Ok(StatusCode::NO_CONTENT)
}
