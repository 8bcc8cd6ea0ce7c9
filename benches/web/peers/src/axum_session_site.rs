//! axum_session, with the stores of axum_session_sqlx and axum_session_redispool.
//!
//! By default it answers from the memory of the process for an hour and does not see what other processes write
//! meanwhile: `axum_session-cached`. `axum_session` has that turned off, as several processes need it.

use axum::{Router, routing::get};
use axum_session::{DatabasePool, Session, SessionConfig, SessionLayer, SessionNullPool, SessionStore};
use axum_session_redispool::SessionRedisPool;
use axum_session_sqlx::SessionPgPool;
use redis_pool::SingleRedisPool;
use sqlx_of_axum_session::postgres::PgPoolOptions;

use crate::session_data::{NEW, READ, TEXTS};

pub(crate) async fn site(contender: &str, store: &str) -> Router {
    let mut config = SessionConfig::default();
    if contender == "axum_session" && store != "memory:" {
        config = config.with_memory_lifetime(time::Duration::ZERO);
    }
    match store.split(':').next() {
        Some("postgres") => {
            let pool = PgPoolOptions::new().max_connections(16).connect(store).await;
            routes::<SessionPgPool>(Some(pool.expect("PostgreSQL answers").into()), config).await
        }
        Some("redis") => {
            let client = redis::Client::open(store).expect("a URL of Redis");
            let pool = SingleRedisPool::from(client);
            routes::<SessionRedisPool>(Some(pool.into()), config).await
        }
        _ => routes::<SessionNullPool>(None, config).await,
    }
}

async fn routes<P: Pool>(pool: Option<P>, config: SessionConfig) -> Router {
    let store = SessionStore::<P>::new(pool, config).await.expect("the store opens");
    Router::new()
        .route("/untouched", get(async || "ok"))
        .route("/seed", get(seed::<P>))
        .route("/read", get(read::<P>))
        .route("/count", get(count::<P>))
        .route("/new", get(new::<P>))
        .route("/login", get(login::<P>))
        .route("/user", get(user::<P>))
        .layer(SessionLayer::new(store))
}

trait Pool: DatabasePool + Clone + std::fmt::Debug + Send + Sync + 'static {}
impl<P: DatabasePool + Clone + std::fmt::Debug + Send + Sync + 'static> Pool for P {}

async fn seed<P: Pool>(session: Session<P>) -> &'static str {
    for (key, text) in TEXTS {
        session.set(key, text);
    }
    session.set("count", 0);
    "ok"
}

async fn read<P: Pool>(session: Session<P>) -> String {
    session.get(READ).unwrap_or_default()
}

async fn count<P: Pool>(session: Session<P>) -> String {
    let count = session.get::<u64>("count").unwrap_or_default() + 1;
    session.set("count", count);
    count.to_string()
}

async fn new<P: Pool>(session: Session<P>) -> &'static str {
    for (key, text) in NEW {
        session.set(key, text);
    }
    "ok"
}

async fn login<P: Pool>(session: Session<P>) -> &'static str {
    session.renew();
    session.set("user", "12345");
    "ok"
}

async fn user<P: Pool>(session: Session<P>) -> String {
    session.get("user").unwrap_or_default()
}
