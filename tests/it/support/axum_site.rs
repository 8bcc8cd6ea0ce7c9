//! An axum site that shares its sessions with Django, and does as it does under each path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::extract::{Json, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use chrono::{DateTime, TimeDelta};
use cloakroom::{
    Error, Expiry, Moment, Session, SessionData, SessionLayer, SessionStore, Settings, SqliteStore, auth,
};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::browser::serve;

#[derive(Clone)]
struct Site {
    users: Users,
    store: Arc<dyn SessionStore>,
    /// Where so many requests wait for each other.
    gates: Arc<Mutex<HashMap<usize, Arc<Barrier>>>>,
}

/// Serves the site on this database; gives its address.
pub(crate) async fn start(database: &Path, settings: Settings) -> String {
    let store: Arc<dyn SessionStore> = Arc::new(SqliteStore::at(database).open(&settings).await.unwrap());
    start_on(store, Users::Table(database.to_owned()), settings).await
}

/// Where the site looks for its users.
#[derive(Clone)]
pub(crate) enum Users {
    /// In Django's table, in a file of SQLite.
    Table(PathBuf),
    /// There is but this one.
    One(UserRow),
}

/// Serves the site on any store; gives its address.
pub(crate) async fn start_on(store: Arc<dyn SessionStore>, users: Users, settings: Settings) -> String {
    let site = Site { users, store: Arc::clone(&store), gates: Arc::default() };
    let router = Router::new()
        .route("/whoami", get(whoami))
        .route("/login", post(login))
        .route("/logout", get(logout))
        .route("/cycle_key", get(cycle_key))
        .route("/put", post(put))
        .route("/steps", post(steps))
        .route("/put_rust_values", get(put_rust_values))
        .route("/count/{number}", get(count))
        .route("/set_expiry", post(set_expiry))
        .route("/expiry", get(expiry))
        .layer(SessionLayer::new(store, settings).unwrap())
        .with_state(site);
    serve(router).await
}

/// A row of `auth_user`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct UserRow {
    id: String,
    username: String,
    password: String,
}

impl Site {
    fn user(&self, column: &str, value: &str) -> Option<UserRow> {
        let database = match &self.users {
            Users::Table(database) => database,
            Users::One(user) => {
                let own = if column == "id" { &user.id } else { &user.username };
                return (own == value).then(|| user.clone());
            }
        };
        let connection = Connection::open(database).unwrap();
        let sql = format!("SELECT CAST(id AS TEXT), username, password FROM auth_user WHERE {column} = ?1");
        connection
            .query_row(&sql, [value], |row| {
                Ok(UserRow { id: row.get(0)?, username: row.get(1)?, password: row.get(2)? })
            })
            .optional()
            .unwrap()
    }
}

impl UserRow {
    /// For a site where nobody logs in.
    pub(crate) fn nobody() -> UserRow {
        UserRow { id: String::new(), username: String::new(), password: String::new() }
    }

    fn as_user(&self) -> auth::User<'_> {
        auth::User { id: &self.id, password: &self.password, backend: auth::MODEL_BACKEND }
    }
}

async fn whoami(State(site): State<Site>, session: Session) -> Result<Json<Value>, Error> {
    let mut username = None;
    if let Some(user) = auth::user_id(&session)?.and_then(|id| site.user("id", &id))
        && auth::verify_user(&session, user.as_user()).await?
    {
        username = Some(user.username);
    }
    Ok(Json(json!({ "user": username, "session": session.data().to_json() })))
}

async fn login(State(site): State<Site>, session: Session, body: Bytes) -> Result<(), Error> {
    let form: Value = serde_json::from_slice(&body).unwrap();
    let user = site.user("username", form["username"].as_str().unwrap()).unwrap();
    auth::login(&session, user.as_user()).await
}

async fn logout(session: Session) -> Result<(), Error> {
    auth::logout(&session).await
}

async fn cycle_key(session: Session) -> Result<(), Error> {
    session.cycle_key()
}

async fn put(session: Session, body: String) -> Result<(), Error> {
    for (key, value) in SessionData::from_json(&body).unwrap().iter() {
        session.set_value(&key, value.clone());
    }
    Ok(())
}

/// Calls these methods of the session one after the other.
async fn steps(session: Session, body: Bytes) -> Result<StatusCode, Error> {
    for step in serde_json::from_slice::<Vec<&str>>(&body).unwrap() {
        match step {
            "set" => session.set("set", 1)?,
            "get" => _ = session.get::<u32>("set")?,
            "fail" => return Ok(StatusCode::INTERNAL_SERVER_ERROR),
            "flush" => session.flush().await?,
            "delete" => _ = session.delete().await?,
            "clear" => session.clear(),
            "cycle_key" => session.cycle_key()?,
            "create" => session.create()?,
            "save" => session.save().await?,
            other => panic!("no method {other}"),
        }
    }
    Ok(StatusCode::OK)
}

/// How Python's `json.dumps` writes what `put_rust_values` puts.
pub(crate) const RUST_VALUES: &str = concat!(
    r#""text":"Zo\u00eb's \ud83e\udde5 \"coat\"\n\u007f","tenth":0.1,"tiny":1e-05,"large":1e+16,"whole":2.0,"#,
    r#""big":-170141183460469231731687303715884105728,"nothing":null,"#,
    r#""nested":{"numbers":[1,[2,[]]],"deep":{"yes":true}}"#
);

/// The part of [`RUST_VALUES`] that MessagePack cannot hold.
pub(crate) const RUST_BIG_INTEGER: &str = r#""big":-170141183460469231731687303715884105728,"#;

async fn put_rust_values(session: Session) -> Result<(), Error> {
    session.set("text", "Zoë's 🧥 \"coat\"\n\u{7f}")?;
    session.set("tenth", 0.1)?;
    session.set("tiny", 0.000_01)?;
    session.set("large", 1e16)?;
    session.set("whole", 2.0)?;
    session.set("big", i128::MIN)?;
    session.set("nothing", ())?;
    session.set("nested", json!({ "numbers": [1, [2, []]], "deep": { "yes": true } }))
}

#[derive(Deserialize)]
struct Together {
    /// How many such requests wait for each other after loading.
    together: Option<usize>,
}

/// Each number its own key, and all of them one counter.
async fn count(
    State(site): State<Site>,
    session: Session,
    axum::extract::Path(number): axum::extract::Path<u32>,
    Query(Together { together }): Query<Together>,
) -> Result<(), Error> {
    session.set(&format!("key {number}"), number)?;
    session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1)?;
    if let Some(size) = together {
        let gate = Arc::clone(
            site.gates.lock().unwrap().entry(size).or_insert_with(|| Arc::new(Barrier::new(size))),
        );
        gate.wait().await;
    }
    Ok(())
}

async fn set_expiry(session: Session, body: Bytes) -> Result<(), Error> {
    let form: Value = serde_json::from_slice(&body).unwrap();
    let value = &form["value"];
    session.set_expiry(match form["kind"].as_str().unwrap() {
        "seconds" => Expiry::from(value.as_i64().unwrap()),
        "timedelta" => Expiry::from(TimeDelta::seconds(value.as_i64().unwrap())),
        "datetime" => match Moment::from_isoformat(value.as_str().unwrap()).unwrap() {
            Moment::Aware(moment) => Expiry::At(moment),
            Moment::Naive(wall_clock) => Expiry::AtWallClock(wall_clock),
        },
        "default" => Expiry::Default,
        kind => panic!("{kind}"),
    })
}

#[derive(Deserialize)]
struct Modified {
    modification: String,
}

async fn expiry(
    State(site): State<Site>,
    session: Session,
    Query(modified): Query<Modified>,
) -> Result<Json<Value>, Error> {
    let modification = Moment::from_isoformat(&modified.modification).unwrap();
    let settings = session.settings();
    let row = site.store.load(&session.session_key().unwrap(), DateTime::UNIX_EPOCH).await?.unwrap();
    Ok(Json(json!({
        "age": session.get_expiry_age_from(modification)?.whole_seconds(),
        "date": session.get_expiry_date_from(modification)?.isoformat(),
        "at_browser_close": session.get_expire_at_browser_close(),
        "expire_date": Moment::at(row.expire_date.unwrap(), settings.time_zone).isoformat(),
    })))
}
