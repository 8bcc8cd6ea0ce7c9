//! actix-session, which loads at every request, with its stores: cookies and Redis.

use actix_session::storage::{CookieSessionStore, RedisSessionStore, SessionStore};
use actix_session::{Session, SessionGetError, SessionInsertError, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::{App, Error, HttpServer, web::get};

use crate::session_data::{NEW, READ, TEXTS};

pub(crate) fn serve() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [port, store] = arguments.as_slice() else { panic!("usage: CONTENDER PORT STORE") };
    let port: u16 = port.parse().expect("a port");
    actix_web::rt::System::new().block_on(async {
        if store.starts_with("redis:") {
            let store = RedisSessionStore::new(store).await.expect("Redis answers");
            run(port, move || store.clone()).await;
        } else {
            run(port, CookieSessionStore::default).await;
        }
    });
}

async fn run<S: SessionStore + 'static>(port: u16, store: impl Fn() -> S + Clone + Send + 'static) {
    // The same after a restart, as in production.
    let key = Key::from(&[7; 64]);
    let server = HttpServer::new(move || {
        App::new()
            .wrap(SessionMiddleware::builder(store(), key.clone()).cookie_secure(false).build())
            .route("/untouched", get().to(async || "ok"))
            .route("/seed", get().to(seed))
            .route("/read", get().to(read))
            .route("/count", get().to(count))
            .route("/new", get().to(new))
            .route("/login", get().to(login))
            .route("/user", get().to(user))
    });
    // Two threads, as the others have.
    let server = server.workers(2).bind(("127.0.0.1", port)).expect("a free port").disable_signals();
    server.run().await.expect("actix serves");
}

async fn seed(session: Session) -> Result<&'static str, SessionInsertError> {
    for (key, text) in TEXTS {
        session.insert(key, text)?;
    }
    session.insert("count", 0)?;
    Ok("ok")
}

async fn read(session: Session) -> Result<String, SessionGetError> {
    Ok(session.get(READ)?.unwrap_or_default())
}

async fn count(session: Session) -> Result<String, Error> {
    let count = session.get::<u64>("count")?.unwrap_or_default() + 1;
    session.insert("count", count)?;
    Ok(count.to_string())
}

async fn new(session: Session) -> Result<&'static str, SessionInsertError> {
    for (key, text) in NEW {
        session.insert(key, text)?;
    }
    Ok("ok")
}

async fn login(session: Session) -> Result<&'static str, SessionInsertError> {
    session.renew();
    session.insert("user", "12345")?;
    Ok("ok")
}

async fn user(session: Session) -> Result<String, SessionGetError> {
    Ok(session.get("user")?.unwrap_or_default())
}
