//! SQLite: 16 connections on blocking threads, write-ahead log, each commit on the disk, Django's table.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::{Router, routing::get};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::Semaphore;

use super::{AGE, Data, Signer, key_of, new_key, set_cookie};

type WithCookie = ([(HeaderName, String); 1], &'static str);

const CONNECTIONS: usize = 16;
const SELECT: &str = "SELECT session_data FROM django_session WHERE session_key = ?1 AND expire_date > ?2";
const INSERT: &str =
    "INSERT INTO django_session (session_key, session_data, expire_date) VALUES (?1, ?2, ?3)";
const UPDATE: &str = "UPDATE django_session SET session_data = ?2, expire_date = ?3 WHERE session_key = ?1";
const MOVE: &str =
    "UPDATE django_session SET session_data = ?2, expire_date = ?3, session_key = ?4 WHERE session_key = ?1";
const TABLE: &str = "PRAGMA journal_mode = WAL;
     CREATE TABLE IF NOT EXISTS django_session (session_key varchar(40) NOT NULL PRIMARY KEY, \
     session_data text NOT NULL, expire_date datetime NOT NULL);
     CREATE INDEX IF NOT EXISTS expire_date ON django_session (expire_date)";

#[derive(Clone)]
struct Store {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    signer: Signer,
}

pub(crate) fn site(url: &str) -> Router {
    let path = url.strip_prefix("sqlite:").expect("a URL of SQLite");
    let open = |_| {
        let connection = Connection::open(path).expect("the file opens");
        connection.busy_timeout(Duration::from_secs(5)).expect("a time limit");
        connection.pragma_update(None, "synchronous", "FULL").expect("a known setting");
        connection.execute_batch(TABLE).expect("the table is made");
        connection
    };
    let idle = Arc::new(Mutex::new((0..CONNECTIONS).map(open).collect()));
    let store = Store { idle, permits: Arc::new(Semaphore::new(CONNECTIONS)), signer: Signer::new() };
    Router::new()
        .route("/seed", get(seed))
        .route("/read", get(read))
        .route("/count", get(count))
        .route("/new", get(new))
        .route("/login", get(login))
        .route("/user", get(user))
        .with_state(store)
}

fn time(seconds: i64) -> String {
    let time = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

impl Store {
    async fn with<T: Send + 'static>(&self, task: impl FnOnce(&Connection) -> T + Send + 'static) -> T {
        let _permit = self.permits.acquire().await.expect("never closed");
        let idle = Arc::clone(&self.idle);
        let run = move || {
            let connection = idle.lock().expect("no panic").pop().expect("a connection for each permit");
            let result = task(&connection);
            idle.lock().expect("no panic").push(connection);
            result
        };
        tokio::task::spawn_blocking(run).await.expect("no panic")
    }

    async fn load(&self, key: &str) -> Option<String> {
        let key = key.to_owned();
        let text = self
            .with(move |connection| {
                let mut statement = connection.prepare_cached(SELECT).expect("the statement is right");
                statement
                    .query_row([key, time(0)], |row| row.get::<_, String>(0))
                    .optional()
                    .expect("the file is read")
            })
            .await;
        text.map(|text| self.signer.open(&text))
    }

    async fn insert(&self, data: &Data<'_>) -> String {
        let (key, text) = (new_key(), self.signer.sign(data));
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(INSERT).expect("the statement is right");
            statement.execute([&key, &text, &time(AGE)]).expect("the session is saved");
            key
        })
        .await
    }

    async fn update(&self, key: &str, new_key: Option<String>, data: &Data<'_>) {
        let (key, text) = (key.to_owned(), self.signer.sign(data));
        self.with(move |connection| {
            let prepare = |text| connection.prepare_cached(text).expect("the statement is right");
            let saved = match new_key {
                None => prepare(UPDATE).execute([key, text, time(AGE)]),
                Some(new_key) => prepare(MOVE).execute([key, text, time(AGE), new_key]),
            };
            assert_eq!(saved.expect("the session is saved"), 1);
        })
        .await;
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
    store.update(key, None, &data).await;
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
    store.update(key, Some(new_key.clone()), &data).await;
    (set_cookie(&new_key), "ok")
}

async fn user(State(store): State<Store>, headers: HeaderMap) -> String {
    let json = store.load(key_of(&headers)).await;
    json.map(|json| Data::parse(&json).user.to_owned()).unwrap_or_default()
}
