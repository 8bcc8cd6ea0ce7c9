//! This library, with Django's defaults.

use axum::{Router, routing::get};
use cloakroom::store::table::MigrationRecord;
use cloakroom::{Error, Key, Session, SessionLayer, Settings};

use crate::session_data::{NEW, READ, TEXTS};

const COUNT: Key<u64> = Key::new("count");

pub(crate) async fn site(store: &str) -> Router {
    let settings = Settings::new("the secret of the benchmark's sites");
    if store.starts_with("postgres:") || store.starts_with("sqlite:") {
        cloakroom::store::create_table(store, MigrationRecord::default()).await.expect("the table is made");
    }
    let store = cloakroom::connect(store, &settings).await.expect("the store opens");
    Router::new()
        .route("/untouched", get(async || "ok"))
        .route("/seed", get(seed))
        .route("/read", get(read))
        .route("/count", get(count))
        .route("/new", get(new))
        .route("/login", get(login))
        .route("/user", get(user))
        .layer(SessionLayer::new(store, settings).expect("settings that fit"))
}

async fn seed(session: Session) -> Result<&'static str, Error> {
    for (key, text) in TEXTS {
        session.set(key, text)?;
    }
    session.set(COUNT, 0)?;
    Ok("ok")
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get(READ)?.unwrap_or_default())
}

async fn count(session: Session) -> Result<String, Error> {
    let count = session.modify(COUNT, |count| count.unwrap_or_default() + 1)?;
    Ok(count.to_string())
}

async fn new(session: Session) -> Result<&'static str, Error> {
    for (key, text) in NEW {
        session.set(key, text)?;
    }
    Ok("ok")
}

async fn login(session: Session) -> Result<&'static str, Error> {
    session.cycle_key()?;
    session.set("user", "12345")?;
    Ok("ok")
}

async fn user(session: Session) -> Result<String, Error> {
    Ok(session.get("user")?.unwrap_or_default())
}
