//! Counts visits in a session, with actix-web:
//!
//! ```sh
//! cloakroom create-table --store sqlite:db.sqlite3
//! SECRET_KEY='the secret' cargo run --example actix --features actix
//! ```

use actix_web::{App, HttpServer, web};
use cloakroom::{Key, Session, SessionTransform, Settings, connect};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

const VISITS: Key<u32> = Key::new("visits");

pub(crate) async fn visit(session: Session) -> Result<String, cloakroom::Error> {
    // Counts right also when the same visitor sends many requests at once.
    let visits = session.edit(VISITS, |visits| *visits += 1)?;
    Ok(format!("visit {visits}"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // INFO and above, unless RUST_LOG says otherwise.
    let levels = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(levels).init();
    let settings = Settings::from_env()?;
    let store = connect("sqlite:db.sqlite3", &settings).await?;
    let sessions = SessionTransform::new(store, settings)?;
    let server = HttpServer::new(move || App::new().wrap(sessions.clone()).route("/", web::get().to(visit)));
    Ok(server.bind("127.0.0.1:3000")?.run().await?)
}
