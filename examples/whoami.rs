//! The endpoint of docs/from-django.md: knows who is logged in to the Django site.
//!
//! SECRET_KEY=… STORE=sqlite:db.sqlite3 cargo run --example whoami

use std::env;

use axum::{Router, routing::get};
use cloakroom::{Session, SessionLayer, Settings, auth, connect};

async fn whoami(session: Session) -> Result<String, cloakroom::Error> {
    let visits = session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1)?;
    Ok(match auth::user_id(&session)? {
        Some(id) => format!("user {id}, visit {visits}\n"),
        None => format!("nobody, visit {visits}\n"),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::new(env::var("SECRET_KEY")?);
    let store = connect(&env::var("STORE")?, &settings).await?;
    let app = Router::new().route("/whoami", get(whoami)).layer(SessionLayer::new(store, settings)?);
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    Ok(axum::serve(listener, app).await?)
}
