//! The sites of `scripts/bench web` made with this library, and with nothing but a driver: the floors.
//! `bench-web-site CONTENDER PORT STORE`. All have these routes:
//!
//! - `/untouched`: the session is not looked at.
//! - `/read`: one key is read.
//! - `/count`: a counter in the session is raised.
//! - `/new`: three keys are put into a new session.
//! - `/login`: the session moves to a new key, and who the user is goes into it; `/user` says who.
//! - `/seed`: makes the session that the others find.

mod cloakroom_site;
mod floor;
#[path = "../../serve.rs"]
mod serve;
#[path = "../../session_data.rs"]
mod session_data;

use axum::{Router, routing::get};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [contender @ ("cloakroom-actix" | "cloakroom-cookie"), port, store] =
        arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        let store = if contender == "cloakroom-cookie" { "cookie:" } else { store };
        return cloakroom_site::serve_with_actix(port.parse().expect("a port"), store);
    }
    serve::serve(async |contender: &str, store: &str| match (contender, store.split(':').next()) {
        ("cloakroom", _) => cloakroom_site::site(store).await,
        (_, Some("postgres")) => floor::postgres::site(store).await,
        (_, Some("redis")) => floor::redis::site(store).await,
        (_, Some("sqlite")) => floor::sqlite::site(store),
        _ => untouched(),
    });
}

/// In memory, the floor is a handler that answers `ok`, on as many routes as the others have.
fn untouched() -> Router {
    let routes = ["/untouched", "/seed", "/read", "/count", "/new", "/login", "/user"];
    routes.into_iter().fold(Router::new(), |site, path| site.route(path, get(async || "ok")))
}
