//! PgBouncer between the store and PostgreSQL: everything works, and nothing is left on its connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::chrono::Utc;
use cloakroom::store::Updated;
use cloakroom::{PostgresStore, SessionStore, Settings, StoreErrorKind, conformance};

use crate::sql_stores::{a_locked_row_holds_up_nobody_else, assert_error, create, update};
use crate::support::records::{data, now, record};
use crate::support::servers::pgbouncer::{Pool, assert_nothing_is_left, start};
use crate::support::servers::postgres::{self, client, database};

fn settings() -> Settings {
    Settings::new("secret")
}

/// A store with its table in the database of this URL.
async fn store(url: &str, timeout: Duration) -> Arc<dyn SessionStore> {
    let mut options = PostgresStore::options(url).unwrap();
    options.timeout = timeout;
    options.create_table(Default::default()).await.unwrap();
    Arc::new(options.open(&settings()).await.unwrap())
}

/// Does what a site and the command do with a store.
async fn everything_works(url: &str) {
    // It makes the index's table.
    crate::user_sessions::conforms(url).await;
    let options = PostgresStore::options(url).unwrap();
    for _ in 0..2 {
        options.create_table(Default::default()).await.unwrap();
        options.create_user_session_table().await.unwrap();
    }
    let store: Arc<dyn SessionStore> = Arc::new(options.open(&settings()).await.unwrap());
    match conformance::run(&store, &[]).await {
        Ok(summary) => println!("{url}: {summary}"),
        Err(nonconforming) => panic!("{url}:\n{nonconforming}"),
    }
    create(&*store).await;
    assert!(store.count(Utc::now()).await.is_ok());
    assert!(store.clear_expired(Utc::now()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_in_each_mode_and_nothing_is_left() {
    for (mode, size, ignored, query) in [
        ("transaction", 1, "extra_float_digits", ""),
        ("transaction", 4, "options", ""),
        ("transaction", 2, "extra_float_digits", "?pooler=yes"),
        ("session", 12, "extra_float_digits", ""),
        ("session", 12, "options", "?pooler=yes"),
    ] {
        let pool = Pool { mode, size, ignored };
        let direct = database().await;
        let (_server, url) = start(&direct, pool).await;
        everything_works(&format!("{url}{query}")).await;
        assert_nothing_is_left(&direct, &url, pool).await;
        crate::user_table::each_kind_of_id_in_postgres(&direct, &url).await;
        assert_nothing_is_left(&direct, &url, pool).await;
    }
}

/// Much of the table has expired, so that it is swept; then a little of it, along the index of the expiry.
#[tokio::test(flavor = "multi_thread")]
async fn clearing_leaves_nothing_behind() {
    let direct = database().await;
    let (_server, url) = start(&direct, Pool::TRANSACTION).await;
    let store = store(&url, Duration::from_secs(5)).await;
    let raw = client(&direct).await;
    for (step, expired) in [(2, 10_000), (100, 200)] {
        raw.batch_execute(&format!(
            "INSERT INTO django_session SELECT 'key' || n, repeat('x', 400), \
                 now() + CASE n % {step} WHEN 0 THEN interval '-1 day' ELSE interval '1 day' END \
             FROM generate_series(1, 20000) AS n; ANALYZE django_session"
        ))
        .await
        .unwrap();
        assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), expired);
        raw.batch_execute("TRUNCATE django_session").await.unwrap();
    }
    assert_nothing_is_left(&direct, &url, Pool::TRANSACTION).await;
}

/// By `pg_stat_statements`, which counts each execution.
#[tokio::test(flavor = "multi_thread")]
async fn requests_share_statements() {
    let server = postgres::start_counting().await;
    let direct = postgres::url(&server, "postgres");
    let watcher = client(&direct).await;
    watcher.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let (_pooler, url) = start(&direct, Pool::TRANSACTION).await;
    let store = store(&url, Duration::from_secs(5)).await;
    let mut sessions = Vec::new();
    for _ in 0..200 {
        sessions.push(create(&*store).await);
    }
    watcher.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    let saves: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                assert!(store.load(&session.0, now()).await.unwrap().is_some());
                assert!(matches!(update(&*store, &session).await, Ok(Updated::Updated(_))));
            })
        })
        .collect();
    for save in saves {
        save.await.unwrap();
    }
    let count = "SELECT sum(calls)::bigint FROM pg_stat_statements WHERE query LIKE '%django_session%'";
    let count: i64 = watcher.query_one(count, &[]).await.unwrap().get(0);
    println!("{count} statements for 200 loads and 200 saves");
    assert!(count < 100, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_holds_up_nobody_else_behind_a_pooler() {
    let pool = Pool { size: 4, ..Pool::TRANSACTION };
    let direct = database().await;
    let (_server, url) = start(&direct, pool).await;
    let store = store(&url, Duration::from_secs(5)).await;
    let locker = client(&direct).await;
    let lock = async |key: &cloakroom::SessionKey| {
        locker.batch_execute("BEGIN").await.unwrap();
        let sql = "SELECT 1 FROM django_session WHERE session_key = $1 FOR UPDATE";
        locker.query_one(sql, &[&key.as_str()]).await.unwrap();
    };
    let unlock = async || locker.batch_execute("COMMIT").await.unwrap();
    a_locked_row_holds_up_nobody_else(store, lock, unlock).await;
    assert_nothing_is_left(&direct, &url, pool).await;
}

/// Neither by the row's lock nor by one on the whole table; and what was given up is not written later.
#[tokio::test(flavor = "multi_thread")]
async fn no_lock_keeps_a_request_or_a_connection() {
    let pool = Pool { size: 4, ..Pool::TRANSACTION };
    let direct = database().await;
    let (_server, url) = start(&direct, pool).await;
    let store = store(&url, Duration::from_millis(800)).await;
    let session = create(&*store).await;
    let locker = client(&direct).await;
    for lock in ["SELECT 1 FROM django_session FOR UPDATE", "LOCK TABLE django_session"] {
        locker.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
        let start = Instant::now();
        let error = update(&*store, &session).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Unavailable, &["within"]);
        assert!(start.elapsed() < Duration::from_millis(1_500), "{lock}: {:?}", start.elapsed());
        if lock.starts_with("LOCK") {
            let error = store.load(&session.0, now()).await.unwrap_err();
            assert_error(&error, StoreErrorKind::Unavailable, &["within"]);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let waiting: i64 = locker.query_one(waiting, &[]).await.unwrap().get(0);
        assert_eq!(waiting, 0, "{lock}: the server still waits");
        locker.batch_execute("COMMIT").await.unwrap();
        // Its version is still the one that was loaded first.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let loaded = store.load(&session.0, now()).await.unwrap().unwrap();
        assert_eq!(loaded.version, session.1, "{lock}: it was written afterwards");
    }
    assert_nothing_is_left(&direct, &url, pool).await;
}

/// Requests that are given up at any moment, on one connection that all share.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_requests_leave_no_transaction_open() {
    let direct = database().await;
    let (_server, url) = start(&direct, Pool::TRANSACTION).await;
    let store = store(&url, Duration::from_secs(5)).await;
    let session = create(&*store).await;
    for number in 0..400 {
        let patience = Duration::from_micros(20 * (number % 100));
        let _ = tokio::time::timeout(patience, store.load(&session.0, now())).await;
        let changed = data(r#"{"a":3}"#);
        let saved = store.update(&session.0, None, record(&changed));
        let _ = tokio::time::timeout(patience, saved).await;
        let _ = tokio::time::timeout(patience, store.count(Utc::now())).await;
        let options = PostgresStore::options(&url).unwrap();
        if number % 40 == 0 {
            let _ = tokio::time::timeout(patience * 4, options.create_user_session_table()).await;
        }
    }
    assert!(store.load(&session.0, now()).await.unwrap().is_some());
    drop(store);
    assert_nothing_is_left(&direct, &url, Pool::TRANSACTION).await;
}

/// A program's runtime stands still in the middle of a request: everybody else's connection must not wait for it.
#[test]
fn a_runtime_that_nobody_drives_keeps_no_transaction_open() {
    let watching = tokio::runtime::Runtime::new().unwrap();
    let direct = watching.block_on(database());
    let (_server, url) = watching.block_on(start(&direct, Pool::TRANSACTION));
    let watcher = watching.block_on(client(&direct));
    let standing = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = standing.block_on(store(&url, Duration::from_secs(5)));
    let session = standing.block_on(create(&*store));
    for number in 0..300 {
        let patience = Duration::from_micros(10 * number);
        standing.block_on(async {
            let _ = tokio::time::timeout(patience, store.load(&session.0, now())).await;
        });
        std::thread::sleep(Duration::from_millis(3));
        let open = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let open: i64 = watching.block_on(watcher.query_one(open, &[])).unwrap().get(0);
        assert_eq!(open, 0, "after {patience:?}");
    }
    assert!(standing.block_on(store.load(&session.0, now())).unwrap().is_some());
}

/// The pooler is killed, and then the server behind it: errors in time, then everything works again.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_and_a_server_that_come_back_are_used_again() {
    let mut server = postgres::start().await;
    let direct = postgres::url(&server, "postgres");
    let pool = Pool { size: 4, ..Pool::TRANSACTION };
    let (mut pooler, url) = start(&direct, pool).await;
    let store = store(&url, Duration::from_secs(2)).await;
    let session = create(&*store).await;
    for killed in ["pooler", "server"] {
        let process = if killed == "pooler" { &mut pooler } else { &mut server };
        process.send("KILL");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        assert!(store.load(&session.0, now()).await.is_err(), "{killed}");
        let error = update(&*store, &session).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Unavailable, &[]);
        assert!(start.elapsed() < Duration::from_secs(6), "{killed}: {:?}", start.elapsed());
        let process = if killed == "pooler" { &mut pooler } else { &mut server };
        process.send("start");
        pooler.wait_until(async || store.load(&session.0, now()).await.is_ok()).await;
        let loaded = store.load(&session.0, now()).await.unwrap().unwrap();
        assert_eq!(loaded.version, session.1, "{killed}");
    }
    assert!(matches!(update(&*store, &session).await, Ok(Updated::Updated(_))));
    assert_nothing_is_left(&direct, &url, pool).await;
}

/// A pooler that lends a connection for one statement is refused, as is each one where the URL says that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_and_leaves_nothing() {
    let direct = database().await;
    PostgresStore::options(&direct).unwrap().create_table(Default::default()).await.unwrap();
    for (mode, query, words) in [
        ("statement", "", &["statement pooling", "pool_mode"][..]),
        ("statement", "?pooler=yes", &["statement pooling", "pool_mode"]),
        ("transaction", "?pooler=no", &["pooler=no", "PgBouncer"]),
        ("session", "?pooler=no", &["pooler=no", "PgBouncer"]),
    ] {
        for ignored in ["extra_float_digits", "options"] {
            let pool = Pool { mode, size: 1, ignored };
            let (_server, url) = start(&direct, pool).await;
            let options = PostgresStore::options(&format!("{url}{query}")).unwrap();
            let opened = options.clone().open(&settings()).await.unwrap_err();
            let table = options.create_table(Default::default()).await.unwrap_err();
            for error in [opened, table] {
                assert_error(&error, StoreErrorKind::Misconfigured, words);
            }
            if mode != "statement" {
                assert_nothing_is_left(&direct, &url, pool).await;
            }
        }
    }
}

/// The settings in the URL's `options` hold for this store, and for nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_urls_own_settings_apply_to_its_transactions() {
    let direct = database().await;
    client(&direct).await.batch_execute("CREATE SCHEMA shop").await.unwrap();
    for ignored in ["extra_float_digits", "options"] {
        let pool = Pool { ignored, ..Pool::TRANSACTION };
        let (_server, url) = start(&direct, pool).await;
        let of_shop = store(&format!("{url}?options=-c%20search_path%3Dshop"), Duration::from_secs(5)).await;
        let session = create(&*of_shop).await;
        assert!(of_shop.load(&session.0, now()).await.unwrap().is_some());
        let of_all = store(&url, Duration::from_secs(5)).await;
        assert!(of_all.load(&session.0, now()).await.unwrap().is_none());
        assert_nothing_is_left(&direct, &url, pool).await;
    }
}
