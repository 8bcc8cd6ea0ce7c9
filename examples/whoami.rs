//! The endpoint of docs/from-django.md: knows who is logged in to the Django site.
//!
//! SECRET_KEY=… STORE=sqlite:db.sqlite3 cargo run --example whoami

use std::env;

use axum::{Router, routing::get};
use cloakroom::{Session, SessionLayer, Settings, auth, connect};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

async fn whoami(session: Session) -> Result<String, cloakroom::Error> {
    let visits = session.edit("visits", |visits: &mut u32| *visits += 1)?;
    Ok(match auth::user_id(&session)? {
        Some(id) => format!("user {id}, visit {visits}\n"),
        None => format!("nobody, visit {visits}\n"),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // INFO and above, unless RUST_LOG says otherwise.
    let levels = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(levels).init();
    let settings = Settings::from_env()?;
    let store = env::var("STORE")
        .map_err(|_| "STORE is not set: it is the store's URL, such as sqlite:db.sqlite3")?;
    let store = connect(&store, &settings).await?;
    let app = Router::new().route("/whoami", get(whoami)).layer(SessionLayer::new(store, settings)?);
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    Ok(axum::serve(listener, app).await?)
}
