//! Columns that the application fills, as Django's custom session models have them.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::table::{Columns, ExtraColumn};
use cloakroom::store::{Created, Record, Rotated, Updated};
use cloakroom::{SessionData, SessionKey, SessionStore, Settings, SqliteStore, StoreErrorKind, conformance};
use rusqlite::Connection;
use rusqlite::types::Value;

/// What Django 5.2 makes of the documented `class CustomSession(AbstractBaseSession)` with
/// `account_id = models.IntegerField(null=True, db_index=True)` in the app `accounts`.
const DOCUMENTED: &str = r#"
CREATE TABLE "accounts_customsession" ("session_key" varchar(40) NOT NULL PRIMARY KEY,
    "session_data" text NOT NULL, "expire_date" datetime NOT NULL, "account_id" integer NULL);
CREATE INDEX "accounts_customsession_expire_date_2f6c4ae4" ON "accounts_customsession" ("expire_date");
CREATE INDEX "accounts_customsession_account_id_1d6bd4d5" ON "accounts_customsession" ("account_id");"#;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn data(json: &str) -> SessionData {
    SessionData::from_json(json).unwrap()
}

fn record(data: &SessionData) -> Record<'_> {
    Record { data, expire_date: now() + TimeDelta::days(1), now: now() }
}

/// The documented `create_model_instance`: `int(data.get("_auth_user_id"))`, or `None`.
fn account_id() -> ExtraColumn {
    ExtraColumn::new("account_id", |data: &SessionData| {
        data.read::<String>("_auth_user_id").ok().flatten().and_then(|id| id.parse::<i64>().ok())
    })
}

fn database(sql: &str) -> (tempfile::TempDir, PathBuf, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    (folder, path, connection)
}

#[tokio::test]
async fn the_documented_model_is_filled_on_each_save() {
    let (_folder, path, connection) = database(DOCUMENTED);
    let stored = |session_key: &SessionKey| -> Option<i64> {
        let sql = "SELECT account_id FROM accounts_customsession WHERE session_key = ?1";
        connection.query_row(sql, [session_key.as_str()], |row| row.get(0)).unwrap()
    };
    let mut options = SqliteStore::options(&path);
    options.table = "accounts_customsession".to_owned();
    options.extra_columns = vec![account_id()];
    let store = options.open(&Settings::new("secret")).await.unwrap();

    let (old, new) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
    let Created::Created(version) = store.create(&old, record(&data("{}"))).await.unwrap() else { panic!() };
    assert_eq!(stored(&old), None, "nobody is logged in");
    let logged_in = data(r#"{"_auth_user_id":"7"}"#);
    let outcome = store.update(&old, Some(&version), record(&logged_in)).await.unwrap();
    let Updated::Updated(current) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stored(&old), Some(7));
    let other = data(r#"{"_auth_user_id":"8"}"#);
    assert_eq!(store.update(&old, Some(&version), record(&other)).await.unwrap(), Updated::Changed);
    assert_eq!(stored(&old), Some(7), "what was not written is not in the column either");
    let outcome = store.rotate(&old, Some(&current), &new, record(&other)).await.unwrap();
    assert!(matches!(outcome, Rotated::Rotated(_)), "{outcome:?}");
    assert_eq!(stored(&new), Some(8));
    store.update(&new, None, record(&data("{}"))).await.unwrap();
    assert_eq!(stored(&new), None, "logged out");
}

#[tokio::test]
async fn a_table_with_names_of_its_own_conforms() {
    let sql = r#"CREATE TABLE "my ""sessions" ("key" varchar(40) PRIMARY KEY, "order" text NOT NULL,
        "ends ""at" datetime NOT NULL, "user name" varchar(50) NULL, "visits" bigint NOT NULL);"#;
    let (_folder, path, connection) = database(sql);
    let mut options = SqliteStore::options(&path);
    options.table = "my \"sessions".to_owned();
    options.columns = Columns {
        session_key: "key".to_owned(),
        session_data: "order".to_owned(),
        expire_date: "ends \"at".to_owned(),
    };
    options.extra_columns = vec![
        ExtraColumn::new("user name", |data: &SessionData| data.read::<String>("user").ok().flatten()),
        ExtraColumn::new("visits", |data: &SessionData| i64::try_from(data.len()).unwrap_or(i64::MAX)),
    ];
    let store: Arc<dyn SessionStore> = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    for check in conformance::CHECKS {
        check.run(&store).await.unwrap();
    }
    let session_key = SessionKey::random().unwrap();
    store.create(&session_key, record(&data(r#"{"user":"Zoë's; DROP","b":1}"#))).await.unwrap();
    let sql = r#"SELECT "user name", visits FROM "my ""sessions" WHERE key = ?1"#;
    let found = connection.query_row(sql, [session_key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(found.unwrap(), (Value::Text("Zoë's; DROP".to_owned()), Value::Integer(2)));
}

#[tokio::test]
async fn a_missing_column_is_told_when_the_store_is_opened() {
    let (_folder, path, _connection) = database(DOCUMENTED);
    let mut options = SqliteStore::options(&path);
    options.table = "accounts_customsession".to_owned();
    options.extra_columns = vec![ExtraColumn::new("user_id", |_: &SessionData| 1_i64)];
    let error = options.open(&Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("has no column user_id"), "{error}");
}

#[tokio::test]
async fn what_a_constraint_refuses_is_an_error_of_each_writing_call() {
    let (_folder, path, _connection) = database(&DOCUMENTED.replace("integer NULL", "integer NOT NULL"));
    let mut options = SqliteStore::options(&path);
    options.table = "accounts_customsession".to_owned();
    options.extra_columns = vec![account_id()];
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let (taken, free) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
    store.create(&taken, record(&data(r#"{"_auth_user_id":"7"}"#))).await.unwrap();
    let nobody = data("{}");
    let errors = [
        store.create(&free, record(&nobody)).await.unwrap_err(),
        store.update(&taken, None, record(&nobody)).await.unwrap_err(),
        store.rotate(&taken, None, &free, record(&nobody)).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("constraint"), "{error}");
    }
    assert!(store.exists(&taken, now()).await.unwrap() && !store.exists(&free, now()).await.unwrap());
}
