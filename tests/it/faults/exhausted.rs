//! All connections, or the one that all share, are taken: whoever waits in vain gets an error in time, and what was
//! given up leaves its connection clean.

use std::time::Instant;

use super::*;
use crate::support::proxy::Fault;

const DEADLINE: Duration = Duration::from_millis(1_200);
const SLACK: Duration = Duration::from_secs(4);

/// Saves rows that somebody has locked, more of them than there are connections to wait on: each ends in time with an
/// error, and afterwards, with the locks gone, all is well. `connections` counts those of the store.
#[cfg(any(feature = "postgres", feature = "mysql"))]
async fn locked_rows(
    name: &str,
    store: Arc<dyn SessionStore>,
    locked: &[SessionKey],
    (connections, most): (impl AsyncFn() -> usize, usize),
    unlock: impl AsyncFnOnce(),
) {
    let mut waiting = tokio::task::JoinSet::new();
    for (number, session_key) in locked.iter().cloned().enumerate() {
        let store = Arc::clone(&store);
        waiting.spawn(async move {
            let start = Instant::now();
            let saving = update(&*store, &session_key, 7);
            if number % 3 == 0 {
                // Given up by its caller.
                assert!(tokio::time::timeout(DEADLINE / 4, saving).await.is_err());
                return Duration::ZERO;
            }
            let error = saving.await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            start.elapsed()
        });
    }
    tokio::time::sleep(DEADLINE / 2).await;
    let waited_on = connections().await;
    assert!(waited_on <= most, "{name}: {waited_on} connections for {} saves", locked.len());
    let slowest = waiting.join_all().await.into_iter().max().unwrap();
    assert!(slowest < DEADLINE + SLACK, "{name}: {slowest:?}");
    // Time for the server to give up what nobody waits for.
    tokio::time::sleep(DEADLINE).await;
    unlock().await;
    for session_key in locked {
        wait_until_healed(name, &*store, session_key).await;
        assert_eq!(load(&*store, session_key).await.unwrap(), 0, "{name}: it was written after all");
        assert!(matches!(update(&*store, session_key, 8).await, Ok(Updated::Updated(_))), "{name}");
        assert_eq!(load(&*store, session_key).await.unwrap(), 8, "{name}");
    }
    let left = connections().await;
    assert!(left <= most, "{name}: {left} connections are left");
    println!(
        "t33: {name}: {} saves of locked rows on {waited_on} connections, the slowest error after {slowest:?} of \
         {DEADLINE:?}",
        locked.len()
    );
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_with_all_connections_taken() {
    use crate::support::servers::postgres::{client, database};
    let url = database().await;
    let mut options = cloakroom::PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = DEADLINE;
    let opened = patiently(async || options.clone().open(&settings()).await).await;
    let store: Arc<dyn SessionStore> = Arc::new(opened);
    let mut locked = Vec::new();
    for _ in 0..12 {
        locked.push(create(&*store).await.0);
    }
    let free = create(&*store).await.0;
    let other = client(&url).await;
    other.batch_execute("BEGIN").await.unwrap();
    for session_key in &locked {
        let lock = "SELECT 1 FROM django_session WHERE session_key = $1 FOR UPDATE";
        other.execute(lock, &[&session_key.as_str()]).await.unwrap();
    }
    let unlock = async || {
        // What nobody has locked is written as ever.
        assert!(matches!(update(&*store, &free, 1).await, Ok(Updated::Updated(_))));
        let at_work = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
        let at_work: i64 = other.query_one(at_work, &[]).await.unwrap().get(0);
        assert_eq!(at_work, 0, "the server still works for nobody");
        other.batch_execute("COMMIT").await.unwrap();
    };
    let watcher = client(&url).await;
    let connections = async || {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        // Two of them are the test's.
        watcher.query_one(open, &[]).await.unwrap().get::<_, i64>(0) as usize - 2
    };
    locked_rows("postgres", Arc::clone(&store), &locked, (connections, 6), unlock).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_with_all_connections_taken() {
    use crate::support::servers::mariadb::{connection, database};
    use mysql_async::prelude::Queryable;
    let url = database().await;
    let mut options = cloakroom::MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = DEADLINE;
    options.connections = 2;
    let opened = patiently(async || options.clone().open(&settings()).await).await;
    let store: Arc<dyn SessionStore> = Arc::new(opened);
    let mut locked = Vec::new();
    for _ in 0..12 {
        locked.push(create(&*store).await.0);
    }
    let mut other = connection(&url).await;
    other.query_drop("BEGIN").await.unwrap();
    for session_key in &locked {
        let lock = "SELECT 1 FROM django_session WHERE session_key = ? FOR UPDATE";
        other.exec_drop(lock, (session_key.as_str(),)).await.unwrap();
    }
    let watcher = tokio::sync::Mutex::new(connection(&url).await);
    let count = async |sql: &str| watcher.lock().await.query_first::<usize, _>(sql).await.unwrap().unwrap();
    let unlock = async || {
        let at_work = "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE db = DATABASE() AND command <> 'Sleep' AND id <> CONNECTION_ID()";
        assert_eq!(count(at_work).await, 0, "the server still works for nobody");
        other.query_drop("COMMIT").await.unwrap();
    };
    // Two of them are the test's.
    let open = "SELECT COUNT(*) - 2 FROM information_schema.processlist WHERE db = DATABASE()";
    locked_rows("mariadb", store, &locked, (async || count(open).await, 2), unlock).await;
}

/// Many at once on connections that answer nothing: all end in time, also those that wait for a connection. What is
/// given up leaves no answer behind for the next.
async fn silence(proxied: Proxied) {
    let (name, store) = (proxied.name, &proxied.store);
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(create(&**store).await.0);
    }
    proxied.proxy.set(Fault::BlackHole);
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..300 {
        let (store, session_key) = (Arc::clone(store), keys[number % keys.len()].clone());
        requests.spawn(async move {
            let start = Instant::now();
            let loading = load(&*store, &session_key);
            if number % 3 == 0 {
                assert!(tokio::time::timeout(DEADLINE / 4, loading).await.is_err());
            } else {
                let error = loading.await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            }
            start.elapsed()
        });
    }
    let slowest = requests.join_all().await.into_iter().max().unwrap();
    assert!(slowest < DEADLINE + SLACK, "{name}: {slowest:?}");
    assert!(proxied.proxy.open() <= 2 * proxied.connections, "{name}: {} connections", proxied.proxy.open());
    // Late answers come now, to questions that nobody asks any more.
    proxied.proxy.set(Fault::None);
    for session_key in &keys {
        wait_until_healed(name, &**store, session_key).await;
        assert_eq!(load(&**store, session_key).await.unwrap(), 0);
    }
    println!(
        "t33: {name}: 300 of 300 requests on silent connections ended, the slowest after {slowest:?} of {DEADLINE:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_on_silent_connections_end_in_time() {
    let mut stores = tokio::task::JoinSet::new();
    for proxied in proxied(DEADLINE).await {
        stores.spawn(silence(proxied));
    }
    stores.join_all().await;
}
