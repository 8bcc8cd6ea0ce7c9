//! Rows of `django_session` on SQLite.

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::signing::Compression;
use cloakroom::store::sqlite::MigrationRecord;
use cloakroom::store::{Created, Record, Updated};
use cloakroom::{ManualClock, Session, SessionKey, SessionMiddleware, SessionStore, Settings, SqliteStore};
use rusqlite::Connection;
use serde_json::Value as Json;
use std::sync::Arc;
use tempfile::TempDir;

use super::codec::python_expiry;
use super::python::Python;
use super::{GivenKey, Reproduced, Vectors, block_on, settings, text, time, time_zone, version};

#[test]
fn db_rows_sqlite() {
    Vectors::read("db_rows").only(|case| case["database"] == "sqlite").run(&[], |case| {
        match text(case, "kind") {
            "schema" => schema(case),
            "row" => block_on(row(case)),
            "expiry_boundary" => block_on(expiry_boundary(case)),
            "key_lookup" => block_on(key_lookup(case)),
            "migration_row" => block_on(migration_row(case)),
            other => panic!("kind {other}"),
        }
        Reproduced::Exactly
    });
}

struct Database {
    folder: TempDir,
}

impl Database {
    /// A file with the table that this library makes.
    async fn new() -> Database {
        let database = Database { folder: tempfile::tempdir().unwrap() };
        SqliteStore::at(database.path()).create_table(MigrationRecord::IfDjango).await.unwrap();
        database
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("db.sqlite3")
    }

    fn connection(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

fn schema(case: &Json) {
    let database = block_on(Database::new());
    let mut expected: Vec<String> = case["create_statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement.as_str().unwrap().to_owned())
        .collect();
    expected.sort();
    let made = database.texts("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql");
    assert_eq!(made, expected);
    let indexes = database.texts("SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name");
    assert_eq!(serde_json::json!(indexes), case["indexes"]);
}

pub(crate) fn row_settings(case: &Json) -> Settings {
    let mut settings = settings(case);
    settings.compression = Compression::Always;
    settings.time_zone = time_zone(case["use_tz"].as_bool().unwrap(), text(case, "time_zone"));
    if let Some(age) = case["session_cookie_age"].as_i64() {
        settings.cookie_age = TimeDelta::seconds(age);
    }
    if version(case) < (3, 1) {
        settings.text_format = cloakroom::TextFormat::Legacy;
    }
    settings
}

/// Writes the session as the case says and compares the row; then reads Django's row.
async fn row(case: &Json) {
    let settings = row_settings(case);
    let now = time(&case["frozen_time"]);
    let database = Database::new().await;
    let store: Arc<dyn SessionStore> =
        Arc::new(SqliteStore::at(database.path()).open(&settings).await.unwrap());
    let middleware = SessionMiddleware::new(Arc::clone(&store), settings.clone())
        .unwrap()
        .with_clock(Arc::new(ManualClock::new(now)))
        .with_key_generator(Arc::new(GivenKey(SessionKey::from_trusted(text(case, "session_key")))));
    let session: Session = middleware.begin([]).load().await.unwrap();
    session.update(case["input"].as_object().unwrap()).unwrap();
    if let Some(expiry) = case["set_expiry_python"].as_str() {
        session.set_expiry(python_expiry(expiry)).unwrap();
    }
    session.save().await.unwrap();
    let connection = database.connection();
    let written: (String, String, String) = connection
        .query_row("SELECT session_key, session_data, expire_date FROM django_session", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(written.0, text(case, "session_key"));
    assert_eq!(written.2, text(case, "expire_date_raw"));
    // Before 4.1 Django kept a date of set_expiry outside of JSON's reach; and other compressors differ.
    if !text(case, "session_data").starts_with('.') {
        assert_eq!(written.1, text(case, "session_data"));
    }
    let column_type: String =
        connection.query_row("SELECT typeof(expire_date) FROM django_session", [], |row| row.get(0)).unwrap();
    assert_eq!(column_type, text(case, "expire_date_type"));

    let django = (text(case, "session_data"), text(case, "expire_date_raw"));
    connection.execute("UPDATE django_session SET session_data = ?1, expire_date = ?2", django).unwrap();
    let session_key = SessionKey::from_trusted(text(case, "session_key"));
    let loaded = store.load(&session_key, now).await.unwrap().expect("Django's row is found");
    assert_eq!(Python::from_session(&loaded.data().unwrap().clone()), Python::from_vector(&case["decoded"]));
    let record =
        Record { data: &loaded.data().unwrap().clone(), expire_date: loaded.expire_date.unwrap(), now };
    let updated = store.update(&session_key, Some(&loaded.version), record).await.unwrap();
    assert!(matches!(updated, Updated::Updated(_)));
    let again: String =
        connection.query_row("SELECT expire_date FROM django_session", [], |row| row.get(0)).unwrap();
    assert_eq!(again, text(case, "expire_date_raw"), "the expiry that was read is written as it was");
}

async fn expiry_boundary(case: &Json) {
    let database = Database::new().await;
    let store = SqliteStore::at(database.path()).open(&row_settings(case)).await.unwrap();
    compare_at_the_boundary(case, &store, async |sql| database.texts(sql)).await;
}

/// What loads around the moment of expiry, and what is cleared then. The query gives a column as the database prints it.
pub(crate) async fn compare_at_the_boundary(
    case: &Json,
    store: &dyn SessionStore,
    mut query: impl AsyncFnMut(&'static str) -> Vec<String>,
) {
    let now: DateTime<Utc> = time(&case["frozen_time"]);
    let empty = cloakroom::SessionData::new();
    let rows = case["rows"].as_array().unwrap();
    for row in rows {
        let session_key = SessionKey::from_trusted(text(row, "session_key"));
        let offset: f64 = row["expire_date_minus_now"].to_string().parse().unwrap();
        let expire_date = now + TimeDelta::microseconds((offset * 1e6).round() as i64);
        let created = store.create(&session_key, Record { data: &empty, expire_date, now }).await.unwrap();
        assert!(matches!(created, Created::Created(_)));
    }
    assert_eq!(
        query("SELECT expire_date FROM django_session ORDER BY session_key").await,
        rows.iter().map(|row| text(row, "expire_date_raw")).collect::<Vec<_>>()
    );
    for row in rows {
        let session_key = SessionKey::from_trusted(text(row, "session_key"));
        let loads = store.load(&session_key, now).await.unwrap().is_some();
        assert_eq!(loads, row["loads"].as_bool().unwrap(), "{} loads", row["expire_date_raw"]);
    }
    store.clear_expired(now).await.unwrap();
    let kept = rows.iter().filter(|row| row["kept_by_clear_expired"] == true);
    let kept: Vec<_> = kept.map(|row| text(row, "session_key")).collect();
    assert_eq!(query("SELECT session_key FROM django_session ORDER BY session_key").await, kept);
}

async fn key_lookup(case: &Json) {
    let database = Database::new().await;
    let settings = Settings::new("secret");
    let store = SqliteStore::at(database.path()).open(&settings).await.unwrap();
    let now = time(&case["frozen_time"]);
    let empty = cloakroom::SessionData::new();
    let record = Record { data: &empty, expire_date: now + TimeDelta::hours(1), now };
    store.create(&SessionKey::from_trusted(text(case, "stored_key")), record).await.unwrap();
    for lookup in case["lookups"].as_array().unwrap() {
        let key = text(lookup, "key");
        let found = store.load(&SessionKey::from_trusted(key), now).await.unwrap().is_some();
        assert_eq!(found, lookup["found"].as_bool().unwrap(), "{key:?}");
        let may_be_asked = settings.session_key_format.parse(key).is_some();
        assert!(may_be_asked || !found || key == text(case, "stored_key"), "{key:?} reaches a store");
    }
}

async fn migration_row(case: &Json) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(MigrationRecord::Always).await.unwrap();
    let connection = Connection::open(&options.path).unwrap();
    let row: (String, String, String) = connection
        .query_row("SELECT app, name, applied FROM django_migrations", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!((row.0.as_str(), row.1.as_str()), (text(case, "app"), text(case, "name")));
    let form = |text: &str| text.replace(|character: char| character.is_ascii_digit(), "0");
    let expected = form(text(case, "applied_raw_example"));
    assert!(form(&row.2) == expected || form(&row.2) == expected.split('.').next().unwrap(), "{}", row.2);
    if let Some(statement) = case["create_statement"].as_str() {
        let made: String = connection
            .query_row("SELECT sql FROM sqlite_master WHERE name = 'django_migrations'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(made, statement);
    }
}
