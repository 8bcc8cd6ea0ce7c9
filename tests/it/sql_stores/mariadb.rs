//! MariaDB.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{Created, Updated};
use cloakroom::{MysqlStore, SessionKey, SessionStore, Settings, StoreError, StoreErrorKind};
use mysql_async::prelude::Queryable;

use super::*;
use crate::support::servers::mariadb::{USER, connection, database, start, url};
use crate::support::stores::new_mariadb;

async fn open(url: &str) -> Result<MysqlStore, StoreError> {
    MysqlStore::open(url, &Settings::new("secret")).await
}

#[tokio::test]
async fn a_server_or_table_that_is_not_as_it_should_be_is_told() {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let url = database().await;
    let error = open(&url).await.unwrap_err();
    let words = ["no table django_session", "`cloakroom create-table`", "127.0.0.1:"];
    assert_error(&error, Misconfigured, &words);

    let mut raw = connection(&url).await;
    for (definition, words) in [
        (
            "session_key varchar(40) PRIMARY KEY, expire_date datetime(6)",
            ["no column session_data", "right table?"],
        ),
        (
            "session_key varchar(40) PRIMARY KEY, session_data longtext, expire_date bigint",
            ["expire_date of django_session is of another type", "datetime(6)"],
        ),
    ] {
        raw.query_drop(format!("CREATE TABLE django_session ({definition})")).await.unwrap();
        assert_error(&open(&url).await.unwrap_err(), Misconfigured, &words);
        raw.query_drop("DROP TABLE django_session").await.unwrap();
    }

    let wrong = url.replace("open-sesame-8731", "open-sesame-wrong");
    assert_error(
        &open(&wrong).await.unwrap_err(),
        Misconfigured,
        &["Access denied", USER, "check user and password"],
    );
    let wrong = url.replace("/test_", "/nothing_");
    assert_error(&open(&wrong).await.unwrap_err(), Misconfigured, &["Unknown database", "CREATE DATABASE"]);
    let wrong = url.rsplit_once('/').unwrap().0;
    assert_error(&open(wrong).await.unwrap_err(), Misconfigured, &["names no database"]);
    for wrong in ["mysql://u:open-sesame@host:open-sesame/db", "mysql://u:open-sesame/@host/db?x=open-sesame"]
    {
        assert_error(&open(wrong).await.unwrap_err(), Misconfigured, &["mysql://user:password@host"]);
    }
    let closed = format!("mariadb://u:open-sesame@127.0.0.1:{}/db", crate::support::servers::free_port());
    let words = ["database db at 127.0.0.1", "refused", "is the server running"];
    assert_error(&open(&closed).await.unwrap_err(), Unavailable, &words);
    let (_silent, port) = crate::support::servers::silent();
    let mut options = MysqlStore::options(&format!("mysql://u:open-sesame@127.0.0.1:{port}/db")).unwrap();
    options.timeout = Duration::from_millis(200);
    let error = options.open(&Settings::new("secret")).await.unwrap_err();
    assert_error(&error, Unavailable, &[&format!("127.0.0.1:{port}")]);
}

#[tokio::test]
async fn what_is_missing_later_is_told_and_mended() {
    let url = database().await;
    let options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_no_secret(&format!("{store:?}"));
    let session = create(&store).await;
    let mut raw = connection(&url).await;
    raw.query_drop("RENAME TABLE django_session TO elsewhere").await.unwrap();
    let error = store.load(&session.0, now()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no table django_session"]);
    let error = update(&store, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no table django_session"]);
    raw.query_drop("RENAME TABLE elsewhere TO django_session").await.unwrap();
    raw.query_drop("ALTER TABLE django_session MODIFY session_data mediumtext NOT NULL").await.unwrap();
    assert!(store.load(&session.0, now()).await.unwrap().is_some());

    raw.query_drop("CREATE USER reader@'%' IDENTIFIED BY 'open-sesame-8731'").await.unwrap();
    raw.query_drop("GRANT SELECT ON django_session TO reader@'%'").await.unwrap();
    let reader = open(&url.replace(USER, "reader")).await.unwrap();
    assert!(reader.load(&session.0, now()).await.unwrap().is_some());
    let error = update(&reader, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["denied", "GRANT SELECT, INSERT"]);
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));
}

#[tokio::test]
async fn other_names_for_table_and_columns() {
    let mut options = MysqlStore::options(&database().await).unwrap();
    options.table = "my `sessions`".to_owned();
    options.columns.session_key = "Key".to_owned();
    options.columns.session_data = "select".to_owned();
    options.columns.expire_date = "ends at".to_owned();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let session = create(&store).await;
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));
    assert_eq!(store.clear_expired(now() + TimeDelta::days(15)).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row() {
    let url = database().await;
    let options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    let other = tokio::sync::Mutex::new(connection(&url).await);
    a_locked_row_holds_up_nobody_else(
        store,
        async |session_key: &SessionKey| {
            let mut other = other.lock().await;
            other.query_drop("BEGIN").await.unwrap();
            let lock = "SELECT 1 FROM django_session WHERE session_key = ? FOR UPDATE";
            other.exec_drop(lock, (session_key.as_str(),)).await.unwrap();
        },
        async || other.lock().await.query_drop("COMMIT").await.unwrap(),
    )
    .await;
}

/// The cleaner has found an expired row and waits for it while somebody renews it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_renewed_while_the_cleaner_waits_for_it_survives() {
    let url = database().await;
    let options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    let (session, other_session) = (create(&*store).await, create(&*store).await);
    let mut other = connection(&url).await;
    other.query_drop("BEGIN").await.unwrap();
    let renew = "UPDATE django_session SET expire_date = '2099-01-01' WHERE session_key = ?";
    other.exec_drop(renew, (session.0.as_str(),)).await.unwrap();
    let cleaning = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.clear_expired(now() + TimeDelta::days(15)).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!cleaning.is_finished(), "it does not wait");
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(cleaning.await.unwrap().unwrap(), 1, "the other one");
    assert!(store.load(&session.0, now()).await.unwrap().is_some());
    assert!(store.load(&other_session.0, now()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_locked_for_longer_than_the_deadline() {
    let url = database().await;
    let mut options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = Duration::from_millis(1_500);
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let session = create(&store).await;
    let mut other = connection(&url).await;
    other.query_drop("BEGIN").await.unwrap();
    let lock = "SELECT 1 FROM django_session WHERE session_key = ? FOR UPDATE";
    other.exec_drop(lock, (session.0.as_str(),)).await.unwrap();
    let error = update(&store, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["nothing was written within 1.5 seconds"]);
    other.query_drop("COMMIT").await.unwrap();
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));
}

/// The usual collation takes the alias for the key, so that it is taken; but it finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_a_key_finds_nothing() {
    let store = new_mariadb().await;
    let key = SessionKey::from_trusted("abcdefgh12345678abcdefgh1234567e");
    store.create(&key, record(&data(r#"{"mine":1}"#))).await.unwrap();
    let text = key.as_str();
    for alias in [text.to_uppercase(), format!("{text} "), text.replace('e', "é"), text.replace('a', "á")] {
        let alias = SessionKey::from_trusted(alias);
        assert!(store.load(&alias, now()).await.unwrap().is_none());
        assert!(!store.exists(&alias, now()).await.unwrap());
        assert!(!store.delete(&alias).await.unwrap());
        assert_eq!(store.update(&alias, None, record(&data("{}"))).await.unwrap(), Updated::Missing);
        let new_key = SessionKey::random().unwrap();
        let rotated = store.rotate(&alias, None, &new_key, record(&data("{}"))).await.unwrap();
        assert_eq!(rotated, cloakroom::store::Rotated::Missing);
        assert_eq!(store.create(&alias, record(&data("{}"))).await.unwrap(), Created::KeyTaken);
    }
    assert_eq!(store.load(&key, now()).await.unwrap().unwrap().data().unwrap().to_json(), r#"{"mine":1}"#);
}

/// Stored texts that differ in case only are different texts.
#[tokio::test(flavor = "multi_thread")]
async fn stored_data_is_compared_byte_by_byte() {
    let url = database().await;
    let options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let session = create(&store).await;
    let mut raw = connection(&url).await;
    raw.query_drop("UPDATE django_session SET session_data = UPPER(session_data)").await.unwrap();
    assert_eq!(update(&store, &session).await.unwrap(), Updated::Changed);
}

/// Without `CLIENT_FOUND_ROWS` this would be "missing", and the user's request a 400.
#[tokio::test(flavor = "multi_thread")]
async fn saving_identical_data_is_no_interruption() {
    let store = new_mariadb().await;
    let session = create(&*store).await;
    for expected in [None, Some(&session.1)] {
        let outcome = store.update(&session.0, expected, record(&data(r#"{"a":1}"#))).await.unwrap();
        assert!(matches!(outcome, Updated::Updated(_)), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_in_the_key_finds_nothing() {
    let store = new_mariadb().await;
    let (before, nul) =
        (SessionKey::from_trusted("abcdefgh"), SessionKey::from_trusted("abcdefgh\0ijklmnop"));
    store.create(&before, record(&data("{}"))).await.unwrap();
    assert!(store.load(&nul, now()).await.unwrap().is_none());
    assert!(!store.delete(&nul).await.unwrap());
    assert!(store.load(&before, now()).await.unwrap().is_some(), "what stands before the NUL is another key");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests() {
    cancelled_requests_hurt_nobody(new_mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_beyond_python() {
    expiries_beyond_python_are_refused(new_mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    what_is_refused_costs_nobody_else(new_mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_each_acknowledged_write_is_there() {
    let server = start().await;
    let options = MysqlStore::options(&url(&server, "mysql")).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    killed_and_started_again(Arc::new(store), server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_keeps_the_deadline() {
    let server = start().await;
    let mut options = MysqlStore::options(&url(&server, "mysql")).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = Duration::from_millis(500);
    let store = options.clone().open(&Settings::new("secret")).await.unwrap();
    stopped(Arc::new(store), server, options.timeout).await;
}

/// An account or a server that wants TLS, where the server has none to offer.
#[tokio::test]
async fn a_server_that_wants_tls_is_told_from_a_wrong_password() {
    let server = start().await;
    let url = url(&server, "mysql");
    MysqlStore::options(&url).unwrap().create_table(Default::default()).await.unwrap();
    let mut raw = connection(&url).await;
    raw.query_drop("CREATE USER guarded@'%' IDENTIFIED BY 'open-sesame-8731' REQUIRE SSL").await.unwrap();
    raw.query_drop("GRANT ALL ON mysql.* TO guarded@'%'").await.unwrap();
    let error = open(&url.replacen(USER, "guarded", 1)).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["Access denied", "REQUIRE SSL"]);
    raw.query_drop("SET GLOBAL require_secure_transport = ON").await.unwrap();
    let error = open(&url).await.unwrap_err();
    let words = ["require_secure_transport", "`ssl-mode=REQUIRED`"];
    assert_error(&error, StoreErrorKind::Misconfigured, &words);
}
