//! Counts visits in a session, with actix-web:
//!
//! ```sh
//! cloakroom create-table --store sqlite:db.sqlite3
//! SECRET_KEY='the secret' cargo run --example actix --features actix
//! ```

use actix_web::{App, HttpServer, web};
use cloakroom::{Key, Session, SessionTransform, Settings, connect};

const VISITS: Key<u32> = Key::new("visits");

async fn visit(session: Session) -> Result<String, cloakroom::Error> {
    // Counts right also when the same visitor sends many requests at once.
    let visits = session.modify(VISITS, |visits| visits.unwrap_or(0) + 1)?;
    Ok(format!("visit {visits}"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::new(std::env::var("SECRET_KEY")?);
    let store = connect("sqlite:db.sqlite3", &settings).await?;
    let sessions = SessionTransform::new(store, settings)?;
    let server = HttpServer::new(move || App::new().wrap(sessions.clone()).route("/", web::get().to(visit)));
    Ok(server.bind("127.0.0.1:3000")?.run().await?)
}
