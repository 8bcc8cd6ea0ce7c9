//! PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{Rotated, Updated};
use cloakroom::{PostgresStore, SessionKey, SessionStore, Settings, StoreError, StoreErrorKind};

use super::*;
use crate::support::servers::postgres::{USER, client, database, start, url};
use crate::support::stores::new_postgres;

async fn open(url: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(url, &Settings::new("secret")).await
}

#[tokio::test]
async fn a_server_or_table_that_is_not_as_it_should_be_is_told() {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let url = database().await;
    let error = open(&url).await.unwrap_err();
    let words = ["no table django_session", "`cloakroom create-table`", "127.0.0.1:"];
    assert_error(&error, Misconfigured, &words);

    let raw = client(&url).await;
    for (definition, words) in [
        (
            "session_key varchar(40) PRIMARY KEY, expire_date timestamptz",
            ["no column session_data", "right table?"],
        ),
        (
            "session_key varchar(40) PRIMARY KEY, session_data text, expire_date text",
            ["expire_date of django_session is of type text", "timestamp with time zone"],
        ),
    ] {
        raw.batch_execute(&format!("CREATE TABLE django_session ({definition})")).await.unwrap();
        assert_error(&open(&url).await.unwrap_err(), Misconfigured, &words);
        raw.batch_execute("DROP TABLE django_session").await.unwrap();
    }

    let wrong = url.replace("open-sesame-8731", "open-sesame-wrong");
    let words = ["password authentication failed", USER, "check user and password"];
    assert_error(&open(&wrong).await.unwrap_err(), Misconfigured, &words);
    let wrong = url.replace("/test_", "/nothing_");
    assert_error(&open(&wrong).await.unwrap_err(), Misconfigured, &["does not exist", "createdb"]);
    let wrong = format!("{url}?sslmode=require");
    assert_error(&open(&wrong).await.unwrap_err(), Misconfigured, &["TLS", "sslmode"]);
    let wrong = "postgres://u:open-sesame@host:open-sesame/db";
    assert_error(&open(wrong).await.unwrap_err(), Misconfigured, &["`port` is not a port number"]);
    let wrong = "postgresq://u:open-sesame@host/db";
    let error = PostgresStore::options(wrong).unwrap_err();
    assert_error(&error, Misconfigured, &["postgres://user:password@host"]);
    let closed = format!("postgres://u:open-sesame@127.0.0.1:{}/db", crate::support::servers::free_port());
    let words = ["database db at 127.0.0.1", "refused", "is the server running"];
    assert_error(&open(&closed).await.unwrap_err(), Unavailable, &words);
    let (_silent, port) = crate::support::servers::silent();
    let mut options =
        PostgresStore::options(&format!("postgres://u:open-sesame@127.0.0.1:{port}/db")).unwrap();
    options.timeout = Duration::from_millis(200);
    let error = options.open(&Settings::new("secret")).await.unwrap_err();
    assert_error(&error, Unavailable, &[&format!("127.0.0.1:{port}")]);
}

#[tokio::test]
async fn what_is_missing_later_is_told_and_mended() {
    let url = database().await;
    let options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_no_secret(&format!("{store:?}"));
    let session = create(&store).await;
    let raw = client(&url).await;
    raw.batch_execute("ALTER TABLE django_session RENAME TO elsewhere").await.unwrap();
    let error = store.load(&session.0, now()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no table django_session"]);
    let error = update(&store, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no table django_session"]);
    raw.batch_execute("ALTER TABLE elsewhere RENAME TO django_session").await.unwrap();
    assert!(store.load(&session.0, now()).await.unwrap().is_some());
    // The statements were prepared for another type.
    raw.batch_execute("ALTER TABLE django_session ALTER session_data TYPE varchar(100000)").await.unwrap();
    assert!(store.load(&session.0, now()).await.unwrap().is_some());
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));

    let limited = url.replace(USER, "reader");
    raw.batch_execute(
        "CREATE ROLE reader LOGIN PASSWORD 'open-sesame-8731'; GRANT SELECT ON django_session TO reader",
    )
    .await
    .unwrap();
    let store = open(&limited).await.unwrap();
    assert!(store.load(&session.0, now()).await.unwrap().is_some());
    let error = update(&store, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["permission denied", "GRANT SELECT, INSERT"]);
}

#[tokio::test]
async fn other_names_for_table_and_columns() {
    let mut options = PostgresStore::options(&database().await).unwrap();
    options.table = "my \"sessions\"".to_owned();
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
    let options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    let other = client(&url).await;
    a_locked_row_holds_up_nobody_else(
        store,
        async |session_key: &SessionKey| {
            other.batch_execute("BEGIN").await.unwrap();
            let lock = "SELECT 1 FROM django_session WHERE session_key = $1 FOR UPDATE";
            other.query_one(lock, &[&session_key.as_str()]).await.unwrap();
        },
        async || other.batch_execute("COMMIT").await.unwrap(),
    )
    .await;
}

/// A table with partitions by the key, as docs/scaling.md makes one. Rows of different partitions lie at the same
/// place, each in its own, and a new key moves a row from one to another.
#[tokio::test]
async fn a_table_with_partitions() {
    let url = database().await;
    let options = PostgresStore::options(&url).unwrap();
    let raw = client(&url).await;
    raw.batch_execute(
        "CREATE TABLE django_session (session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, \
             expire_date timestamp with time zone NOT NULL) PARTITION BY HASH (session_key); \
         CREATE INDEX ON django_session (expire_date); \
         CREATE TABLE django_session_0 PARTITION OF django_session FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE django_session_1 PARTITION OF django_session FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    )
    .await
    .unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let mut live = Vec::new();
    for number in 0..100 {
        let session = create(&store).await;
        if number % 2 == 0 {
            let expire = "UPDATE django_session SET expire_date = '2001-01-01' WHERE session_key = $1";
            raw.execute(expire, &[&session.0.as_str()]).await.unwrap();
        } else {
            live.push(session);
        }
    }
    let expired = now() - TimeDelta::days(1);
    assert_eq!(store.clear_expired(expired).await.unwrap(), 50);
    for session in live {
        assert!(store.load(&session.0, now()).await.unwrap().is_some(), "a live session was removed");
        assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));
        let (new_key, data) = (SessionKey::random().unwrap(), data("{}"));
        let rotated = store.rotate(&session.0, None, &new_key, record(&data)).await.unwrap();
        assert!(matches!(rotated, Rotated::Rotated(_)));
        assert!(store.load(&session.0, now()).await.unwrap().is_none());
        assert!(store.delete(&new_key).await.unwrap());
    }
}

/// The cleaner passes by a row that somebody is renewing.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_being_renewed_survives_the_cleaner() {
    let url = database().await;
    let options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let (session, other_session) = (create(&store).await, create(&store).await);
    let other = client(&url).await;
    other.batch_execute("BEGIN").await.unwrap();
    let renew = "UPDATE django_session SET expire_date = '2099-01-01' WHERE session_key = $1";
    other.execute(renew, &[&session.0.as_str()]).await.unwrap();
    let cleaning = store.clear_expired(now() + TimeDelta::days(15));
    let cleared = tokio::time::timeout(Duration::from_secs(3), cleaning).await.expect("it does not wait");
    assert_eq!(cleared.unwrap(), 1, "the other one");
    other.batch_execute("COMMIT").await.unwrap();
    assert!(store.load(&session.0, now()).await.unwrap().is_some());
    assert!(store.load(&other_session.0, now()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_locked_for_longer_than_the_deadline() {
    let url = database().await;
    let mut options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = Duration::from_secs(1);
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let session = create(&store).await;
    let other = client(&url).await;
    other.batch_execute("BEGIN; LOCK TABLE django_session IN ROW SHARE MODE").await.unwrap();
    let lock = "SELECT 1 FROM django_session WHERE session_key = $1 FOR UPDATE";
    other.query_one(lock, &[&session.0.as_str()]).await.unwrap();
    let error = update(&store, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["within 1 seconds"]);
    let error = store.delete(&session.0).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["within 1 seconds"]);
    assert_eq!(store.clear_expired(now() + TimeDelta::days(15)).await.unwrap(), 0, "a locked row is left");
    other.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));
}

/// Times that only PostgreSQL has, put there by others.
#[tokio::test]
async fn infinite_expiries() {
    let url = database().await;
    let options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let raw = client(&url).await;
    for (time, there) in
        [("infinity", true), ("294276-12-31 UTC", true), ("-infinity", false), ("4000-01-01 BC", false)]
    {
        let session = create(&store).await;
        let set = format!("UPDATE django_session SET expire_date = '{time}' WHERE session_key = $1");
        raw.execute(&set, &[&session.0.as_str()]).await.unwrap();
        assert_eq!(store.load(&session.0, now()).await.unwrap().is_some(), there, "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_in_the_key_finds_nothing() {
    let store = new_postgres().await;
    let nul = SessionKey::from_trusted("abcdefgh\0ijklmnop");
    assert!(store.load(&nul, now()).await.unwrap().is_none());
    assert!(!store.exists(&nul, now()).await.unwrap());
    assert!(!store.delete(&nul).await.unwrap());
    assert_eq!(store.update(&nul, None, record(&data("{}"))).await.unwrap(), Updated::Missing);
    let error = store.create(&nul, record(&data("{}"))).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Refused, &["NUL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests() {
    cancelled_requests_hurt_nobody(new_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_beyond_python() {
    expiries_beyond_python_are_refused(new_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    what_is_refused_costs_nobody_else(new_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_each_acknowledged_write_is_there() {
    let server = start().await;
    let options = PostgresStore::options(&url(&server, "postgres")).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    killed_and_started_again(Arc::new(store), server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_keeps_the_deadline() {
    let server = start().await;
    let mut options = PostgresStore::options(&url(&server, "postgres")).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = Duration::from_millis(500);
    let store = options.clone().open(&Settings::new("secret")).await.unwrap();
    stopped(Arc::new(store), server, options.timeout).await;
}
