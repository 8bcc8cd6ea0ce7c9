//! tower-sessions, with the stores of tower-sessions-sqlx-store and tower-sessions-redis-store.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tower_sessions::session;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer, SessionStore};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};
use tower_sessions_sqlx_store::{PostgresStore, SqliteStore};

use crate::session_data::{NEW, READ, TEXTS};

pub(crate) async fn site(contender: &str, store: &str) -> Router {
    match store.split(':').next() {
        Some("postgres") => {
            // As many connections as the floor has. The ping before each use is the pool's default.
            let pool = PgPoolOptions::new().max_connections(16);
            let pool = pool.test_before_acquire(contender != "tower-sessions-no-ping");
            let store = PostgresStore::new(pool.connect(store).await.expect("PostgreSQL answers"));
            store.migrate().await.expect("the table is made");
            routes(store)
        }
        Some("redis") => {
            // Six connections, as in the store's example.
            let config = Config::from_url(store).expect("a URL of Redis");
            let pool = Pool::new(config, None, None, None, 6).expect("a pool");
            pool.init().await.expect("Redis answers");
            routes(RedisStore::new(pool))
        }
        Some("sqlite") => {
            let options: SqliteConnectOptions = store.parse().expect("a URL of SQLite");
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(5));
            let pool = SqlitePoolOptions::new().connect_with(options).await.expect("the file opens");
            let store = SqliteStore::new(pool);
            store.migrate().await.expect("the table is made");
            routes(store)
        }
        _ => routes(MemoryStore::default()),
    }
}

fn routes<S: SessionStore + Clone>(store: S) -> Router {
    Router::new()
        .route("/untouched", get(async || "ok"))
        .route("/seed", get(seed))
        .route("/read", get(read))
        .route("/count", get(count))
        .route("/new", get(new))
        .route("/login", get(login))
        .route("/user", get(user))
        .layer(SessionManagerLayer::new(store).with_secure(false))
}

/// The library's error is no answer by itself.
struct Error(session::Error);

impl From<session::Error> for Error {
    fn from(error: session::Error) -> Error {
        Error(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

async fn seed(session: Session) -> Result<&'static str, Error> {
    for (key, text) in TEXTS {
        session.insert(key, text).await?;
    }
    session.insert("count", 0).await?;
    Ok("ok")
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get(READ).await?.unwrap_or_default())
}

async fn count(session: Session) -> Result<String, Error> {
    let count = session.get::<u64>("count").await?.unwrap_or_default() + 1;
    session.insert("count", count).await?;
    Ok(count.to_string())
}

async fn new(session: Session) -> Result<&'static str, Error> {
    for (key, text) in NEW {
        session.insert(key, text).await?;
    }
    Ok("ok")
}

async fn login(session: Session) -> Result<&'static str, Error> {
    session.cycle_id().await?;
    session.insert("user", "12345").await?;
    Ok("ok")
}

async fn user(session: Session) -> Result<String, Error> {
    Ok(session.get("user").await?.unwrap_or_default())
}
