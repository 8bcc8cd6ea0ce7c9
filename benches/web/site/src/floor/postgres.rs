//! PostgreSQL: a pool of 16 connections, prepared statements, Django's table.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::{Router, routing::get};
use chrono::{DateTime, TimeDelta, Utc};
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::NoTls;

use super::{AGE, Data, Signer, key_of, new_key, set_cookie};

type WithCookie = ([(HeaderName, String); 1], &'static str);

const SELECT: &str = "SELECT session_data FROM django_session WHERE session_key = $1 AND expire_date > $2";
const INSERT: &str =
    "INSERT INTO django_session (session_key, session_data, expire_date) VALUES ($1, $2, $3)";
const UPDATE: &str = "UPDATE django_session SET session_data = $2, expire_date = $3 WHERE session_key = $1";
const MOVE: &str =
    "UPDATE django_session SET session_data = $2, expire_date = $3, session_key = $4 WHERE session_key = $1";
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS django_session (session_key varchar(40) NOT NULL PRIMARY KEY, \
     session_data text NOT NULL, expire_date timestamp with time zone NOT NULL);
     CREATE INDEX IF NOT EXISTS session_key_like ON django_session (session_key varchar_pattern_ops);
     CREATE INDEX IF NOT EXISTS expire_date ON django_session (expire_date)";

#[derive(Clone)]
struct Store {
    pool: Pool,
    signer: Signer,
}

pub(crate) async fn site(url: &str) -> Router {
    let config: tokio_postgres::Config = url.parse().expect("a URL of PostgreSQL");
    let manager =
        Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let pool = Pool::builder(manager).max_size(16).build().expect("a pool");
    let store = Store { pool, signer: Signer::new() };
    store.client().await.batch_execute(TABLE).await.expect("the table is made");
    Router::new()
        .route("/seed", get(seed))
        .route("/read", get(read))
        .route("/count", get(count))
        .route("/new", get(new))
        .route("/login", get(login))
        .route("/user", get(user))
        .with_state(store)
}

fn expire_date() -> DateTime<Utc> {
    Utc::now() + TimeDelta::seconds(AGE)
}

impl Store {
    async fn client(&self) -> Client {
        self.pool.get().await.expect("a connection")
    }

    async fn load(&self, key: &str) -> Option<String> {
        let client = self.client().await;
        let statement = client.prepare_cached(SELECT).await.expect("the statement is right");
        let row = client.query_opt(&statement, &[&key, &Utc::now()]).await.expect("PostgreSQL answers")?;
        Some(self.signer.open(row.get(0)))
    }

    async fn insert(&self, data: &Data<'_>) -> String {
        let (key, text) = (new_key(), self.signer.sign(data));
        let client = self.client().await;
        let statement = client.prepare_cached(INSERT).await.expect("the statement is right");
        client.execute(&statement, &[&key, &text, &expire_date()]).await.expect("the session is saved");
        key
    }
}

async fn seed(State(store): State<Store>) -> WithCookie {
    (set_cookie(&store.insert(&Data::seed()).await), "ok")
}

async fn read(State(store): State<Store>, headers: HeaderMap) -> String {
    let json = store.load(key_of(&headers)).await.expect("the session is there");
    Data::parse(&json).name.to_owned()
}

async fn count(State(store): State<Store>, headers: HeaderMap) -> String {
    let key = key_of(&headers);
    let json = store.load(key).await.expect("the session is there");
    let mut data = Data::parse(&json);
    data.count += 1;
    let text = store.signer.sign(&data);
    let client = store.client().await;
    let statement = client.prepare_cached(UPDATE).await.expect("the statement is right");
    let saved =
        client.execute(&statement, &[&key, &text, &expire_date()]).await.expect("the session is saved");
    assert_eq!(saved, 1);
    data.count.to_string()
}

async fn new(State(store): State<Store>) -> WithCookie {
    (set_cookie(&store.insert(&Data::new()).await), "ok")
}

async fn login(State(store): State<Store>, headers: HeaderMap) -> WithCookie {
    let (key, new_key) = (key_of(&headers), new_key());
    let json = store.load(key).await.expect("the session is there");
    let mut data = Data::parse(&json);
    data.user = "12345";
    let text = store.signer.sign(&data);
    let client = store.client().await;
    let statement = client.prepare_cached(MOVE).await.expect("the statement is right");
    let moved = client.execute(&statement, &[&key, &text, &expire_date(), &new_key]).await;
    assert_eq!(moved.expect("the session is saved"), 1);
    (set_cookie(&new_key), "ok")
}

async fn user(State(store): State<Store>, headers: HeaderMap) -> String {
    let json = store.load(key_of(&headers)).await;
    json.map(|json| Data::parse(&json).user.to_owned()).unwrap_or_default()
}
