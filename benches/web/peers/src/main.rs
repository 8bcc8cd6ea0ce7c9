//! The sites of `scripts/bench web` made with other session libraries, each as its documents recommend:
//! `bench-web-peers CONTENDER PORT STORE`. All have the routes of `../site`.

mod actix;
mod axum_session_site;
#[path = "../../serve.rs"]
mod serve;
#[path = "../../session_data.rs"]
mod session_data;
mod tower_sessions_site;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("actix-session") => actix::serve(),
        Some("axum_session" | "axum_session-cached") => serve::serve(axum_session_site::site),
        _ => serve::serve(tower_sessions_site::site),
    }
}
