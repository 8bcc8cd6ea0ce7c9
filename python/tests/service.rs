//! The Rust service of `test_site_servers`: the same views as the Django site's, on the same sessions.
//!
//! SECRET_KEY=… STORE=… LISTEN=127.0.0.1:3000 site_visits

use std::env;
use std::time::Duration;

use axum::{Router, extract::Path, routing::get};
use cloakroom::{Session, SessionLayer, Settings, connect};

/// Loads the session, takes its time, and leaves a key and a count.
async fn visit(session: Session, Path(key): Path<String>) -> Result<(), cloakroom::Error> {
    session.get::<bool>(&key)?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    session.set(&key, true)?;
    session.modify::<u32>("count", |count| count.unwrap_or(0) + 1)?;
    Ok(())
}

/// The keys of the session, and the user's id.
async fn keys(session: Session) -> Result<String, cloakroom::Error> {
    let mut keys: Vec<_> = session.data().iter().map(|(key, _)| key).collect();
    keys.sort();
    Ok(keys.join(" "))
}

async fn sign_out(session: Session) -> Result<(), cloakroom::Error> {
    session.flush().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_env()?;
    let store = connect(&env::var("STORE")?, &settings).await?;
    let app = Router::new()
        .route("/visit/{key}", get(visit))
        .route("/keys", get(keys))
        .route("/sign_out", get(sign_out))
        .layer(SessionLayer::new(store, settings)?);
    let listener = tokio::net::TcpListener::bind(env::var("LISTEN")?).await?;
    Ok(axum::serve(listener, app).await?)
}
