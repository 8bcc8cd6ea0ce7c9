//! Rows of `django_session` on PostgreSQL and MariaDB, as real Django releases wrote them: written here and
//! compared as the server prints them, and put there as Django left them and loaded.

use std::sync::Arc;

use cloakroom::chrono::TimeDelta;
use cloakroom::store::table::{MigrationRecord, TableCreation};
use cloakroom::store::{Record, Updated};
use cloakroom::{ManualClock, Session, SessionData, SessionKey, SessionMiddleware, SessionStore, Settings};
use serde_json::{Value as Json, json};

use crate::support::raw_database::{Kind, Raw};
use crate::vectors::codec::python_expiry;
use crate::vectors::db_rows::{compare_at_the_boundary, row_settings};
use crate::vectors::python::Python;
use crate::vectors::{GivenKey, Reproduced, Rule, Vectors, block_on, text, time};

#[cfg(feature = "postgres")]
#[test]
fn db_rows_postgresql() {
    db_rows(Kind::Postgres, "postgresql");
}

#[cfg(feature = "mysql")]
#[test]
fn db_rows_mariadb() {
    db_rows(Kind::Mariadb, "mariadb");
}

fn db_rows(kind: Kind, database: &str) {
    let url = block_on(Raw::database(kind));
    let alias = Rule::new(
        "only the key itself finds its row; MariaDB finds aliases, PostgreSQL fails on a NUL",
        |case| {
            let lookups = case["lookups"].as_array().into_iter().flatten();
            lookups.clone().any(|lookup| lookup["found"] != json!(lookup["key"] == case["stored_key"]))
        },
    );
    Vectors::read("db_rows").only(|case| case["database"] == database).run(&[alias], |case| {
        block_on(async {
            let mut raw = Raw::new(kind, &url).await;
            match text(case, "kind") {
                "schema" => schema(&mut raw, case).await,
                "row" => row(&mut raw, case).await,
                "expiry_boundary" => expiry_boundary(&mut raw, case).await,
                "key_lookup" => return key_lookup(&raw, case).await,
                "migration_row" => migration_row(&mut raw, case).await,
                other => panic!("kind {other}"),
            }
            Reproduced::Exactly
        })
    });
}

/// A store on the table that this library makes.
async fn store(raw: &Raw, settings: &Settings) -> Arc<dyn SessionStore> {
    assert_eq!(raw.create_table(MigrationRecord::IfDjango).await, TableCreation::Created);
    cloakroom::connect(&raw.url, settings).await.unwrap()
}

async fn schema(raw: &mut Raw, case: &Json) {
    assert_eq!(raw.create_table(MigrationRecord::IfDjango).await, TableCreation::Created);
    assert_eq!(raw.create_table(MigrationRecord::IfDjango).await, TableCreation::AlreadyThere);
    if raw.kind == Kind::Mariadb {
        let made = raw.rows("SHOW CREATE TABLE django_session").await;
        assert_eq!(json!([made[0][1]]), case["create_statements"]);
        return;
    }
    let made =
        raw.column("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname").await;
    assert_eq!(json!(made), case["index_definitions"]);
    let columns = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute \
                   WHERE attrelid = 'django_session'::regclass AND attnum > 0 ORDER BY attnum";
    let made: Vec<Json> = raw
        .rows(columns)
        .await
        .into_iter()
        .map(|column| json!({"name": column[0], "type": column[1], "notnull": column[2] == "t"}))
        .collect();
    assert_eq!(json!(made), case["columns"]);
    let constraints = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint \
                       WHERE conrelid = 'django_session'::regclass";
    assert_eq!(json!(raw.rows(constraints).await), case["constraints"]);
}

/// Writes the session as the case says and compares the row; then reads Django's row.
async fn row(raw: &mut Raw, case: &Json) {
    let settings = row_settings(case);
    let now = time(&case["frozen_time"]);
    let store = store(raw, &settings).await;
    let session_key = SessionKey::from_trusted(text(case, "session_key"));
    let middleware = SessionMiddleware::new(Arc::clone(&store), settings)
        .unwrap()
        .with_clock(Arc::new(ManualClock::new(now)))
        .with_key_generator(Arc::new(GivenKey(session_key.clone())));
    let session: Session = middleware.begin([]).load().await.unwrap();
    session.update(case["input"].as_object().unwrap()).unwrap();
    if let Some(expiry) = case["set_expiry_python"].as_str() {
        session.set_expiry(python_expiry(expiry)).unwrap();
    }
    session.save().await.unwrap();
    let all = "SELECT session_key, session_data, expire_date FROM django_session";
    let [key, data, expiry] = ["session_key", "session_data", "expire_date_raw"].map(|name| text(case, name));
    let written = raw.rows(all).await;
    assert_eq!((written.len(), written[0][0].as_str(), written[0][2].as_str()), (1, key, expiry));
    // Other compressors make other bytes.
    if !data.starts_with('.') {
        assert_eq!(written[0][1], data);
    }

    raw.execute("DELETE FROM django_session").await;
    raw.execute(&format!("INSERT INTO django_session VALUES ('{key}', '{data}', '{expiry}')")).await;
    let loaded = store.load(&session_key, now).await.unwrap().expect("Django's row is found");
    assert_eq!(Python::from_session(&loaded.data().unwrap().clone()), Python::from_vector(&case["decoded"]));
    let record =
        Record { data: &loaded.data().unwrap().clone(), expire_date: loaded.expire_date.unwrap(), now };
    let updated = store.update(&session_key, Some(&loaded.version), record).await.unwrap();
    assert!(matches!(updated, Updated::Updated(_)));
    assert_eq!(raw.rows(all).await[0][2], expiry, "the expiry that was read is written as it was");
}

async fn expiry_boundary(raw: &mut Raw, case: &Json) {
    let store = store(raw, &row_settings(case)).await;
    compare_at_the_boundary(case, &*store, async |sql| raw.column(sql).await).await;
}

/// Only the key itself finds its row. Django finds aliases on MariaDB, and fails on a NUL with PostgreSQL.
async fn key_lookup(raw: &Raw, case: &Json) -> Reproduced {
    let store = store(raw, &Settings::new("secret")).await;
    let now = time(&case["frozen_time"]);
    let empty = SessionData::new();
    let record = Record { data: &empty, expire_date: now + TimeDelta::hours(1), now };
    let stored_key = text(case, "stored_key");
    store.create(&SessionKey::from_trusted(stored_key), record).await.unwrap();
    let mut reproduced = Reproduced::Exactly;
    for lookup in case["lookups"].as_array().unwrap() {
        let key = text(lookup, "key");
        let alias = SessionKey::from_trusted(key);
        let found = store.load(&alias, now).await.unwrap().is_some();
        assert_eq!(found, key == stored_key, "{key:?}");
        assert_eq!(store.exists(&alias, now).await.unwrap(), found, "{key:?}");
        if !found {
            assert!(!store.delete(&alias).await.unwrap(), "{key:?} was deleted");
            assert_eq!(store.update(&alias, None, record).await.unwrap(), Updated::Missing, "{key:?}");
        }
        if lookup["found"] != json!(found) {
            reproduced = Reproduced::Differently;
        }
    }
    reproduced
}

async fn migration_row(raw: &mut Raw, case: &Json) {
    assert_eq!(raw.create_table(MigrationRecord::Always).await, TableCreation::Created);
    let row = raw.rows("SELECT app, name, applied FROM django_migrations").await.remove(0);
    assert_eq!([row[0].as_str(), &row[1]], [text(case, "app"), text(case, "name")]);
    // PostgreSQL prints no zeros at a fraction's end.
    let form = |text: &str| {
        let (time, zone) = text.split_once('+').map_or((text, ""), |(time, zone)| (time, zone));
        let time: String =
            time.split('.').next().unwrap_or_default().replace(|digit: char| digit.is_ascii_digit(), "0");
        format!("{time}+{zone}")
    };
    assert_eq!(form(&row[2]), form(text(case, "applied_raw_example")));
}

/// The file that the library's definition equals.
#[test]
fn djangos_sqlmigrate_has_the_definition_for_postgres() {
    let definition = include_str!("../../src/store/sql/postgres/django_session.sql");
    let vectors: Vec<Json> = serde_json::from_str(include_str!("../vectors/db_rows.json")).unwrap();
    let schemas = vectors.iter().filter(|case| case["kind"] == "schema" && case["database"] == "postgresql");
    let mut compared = 0;
    for case in schemas {
        assert!(case["sqlmigrate"].as_str().unwrap().contains(definition), "{}", case["id"]);
        compared += 1;
    }
    assert_eq!(compared, 3);
}
