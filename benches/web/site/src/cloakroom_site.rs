//! This library, with Django's defaults, on axum and on actix-web. Both have the same handlers.

use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use axum::{Router, routing::get};
use cloakroom::store::table::MigrationRecord;
use cloakroom::{Error, Key, Session, SessionLayer, SessionStore, SessionTransform, Settings};

use crate::session_data::{NEW, READ, TEXTS};

const COUNT: Key<u64> = Key::new("count");

fn settings() -> Settings {
    Settings::new("the secret of the benchmark's sites")
}

async fn open(store: &str) -> Arc<dyn SessionStore> {
    if store.starts_with("postgres:") || store.starts_with("sqlite:") {
        cloakroom::store::create_table(store, MigrationRecord::default()).await.expect("the table is made");
    }
    cloakroom::connect(store, &settings()).await.expect("the store opens")
}

pub(crate) async fn site(store: &str) -> Router {
    Router::new()
        .route("/untouched", get(async || "ok"))
        .route("/seed", get(seed))
        .route("/read", get(read))
        .route("/count", get(count))
        .route("/new", get(new))
        .route("/login", get(login))
        .route("/user", get(user))
        .layer(SessionLayer::new(open(store).await, settings()).expect("settings that fit"))
}

/// Serves until the process is killed.
pub(crate) fn serve_with_actix(port: u16, store: &str) {
    actix_web::rt::System::new().block_on(async {
        let sessions = SessionTransform::new(open(store).await, settings()).expect("settings that fit");
        let server = HttpServer::new(move || {
            App::new()
                .wrap(sessions.clone())
                .route("/untouched", web::get().to(async || "ok"))
                .route("/seed", web::get().to(seed))
                .route("/read", web::get().to(read))
                .route("/count", web::get().to(count))
                .route("/new", web::get().to(new))
                .route("/login", web::get().to(login))
                .route("/user", web::get().to(user))
        });
        // Two threads, as the others have.
        let server = server.workers(2).bind(("127.0.0.1", port)).expect("a free port").disable_signals();
        server.run().await.expect("actix serves");
    });
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
