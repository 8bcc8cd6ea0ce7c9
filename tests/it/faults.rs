//! What happens to stores: killed, stopped, cut off, exhausted, and with clocks that are wrong. Short forms of the tests
//! run in `scripts/test`, the long ones by `scripts/soak`.

mod clocks;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod dead_cache;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod down_at_start;
mod exhausted;
mod fail_over;
mod idle;
mod killed;
mod mixed_up;
mod restarts;
mod stalled;
#[cfg(any(feature = "mysql", feature = "redis"))]
mod too_large;

use std::sync::Arc;
use std::time::Duration;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record, Updated, Version};
use cloakroom::{SessionData, SessionKey, SessionStore, Settings, StoreError, StoreErrorKind};

use crate::support::proxy::Proxy;
use crate::support::servers::Server;
use crate::support::soak::given;

fn settings() -> Settings {
    Settings::new("secret")
}

/// A session that says whose it is, so that another's data under its key shows.
fn data_of(session_key: &SessionKey, number: usize) -> SessionData {
    SessionData::from_json(&format!(r#"{{"me":"{}","number":{number}}}"#, session_key.as_str())).unwrap()
}

fn record(data: &SessionData) -> Record<'_> {
    let now = Utc::now();
    Record { data, expire_date: now + TimeDelta::days(1), now }
}

/// Checks that this is the session's own data; gives its number.
#[track_caller]
fn number_of(session_key: &SessionKey, data: &SessionData) -> usize {
    assert_eq!(data.read::<String>("me").unwrap().as_deref(), Some(session_key.as_str()), "another's data");
    data.read("number").unwrap().unwrap()
}

/// Opens a store whose deadline is short, on a machine that may be busy with a server's start.
async fn patiently<T>(open: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let start = std::time::Instant::now();
    loop {
        match open().await {
            Ok(opened) => return opened,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn create(store: &dyn SessionStore) -> (SessionKey, Version) {
    let session_key = SessionKey::random().unwrap();
    match store.create(&session_key, record(&data_of(&session_key, 0))).await.unwrap() {
        Created::Created(version) => (session_key, version),
        Created::KeyTaken => panic!("a random key is taken"),
    }
}

/// The session's number, which must be there.
async fn load(store: &dyn SessionStore, session_key: &SessionKey) -> Result<usize, StoreError> {
    let loaded = store.load(session_key, Utc::now()).await?.expect("the session is gone");
    Ok(number_of(session_key, &loaded.data().unwrap().clone()))
}

async fn update(
    store: &dyn SessionStore,
    session_key: &SessionKey,
    number: usize,
) -> Result<Updated, StoreError> {
    store.update(session_key, None, record(&data_of(session_key, number))).await
}

/// A store on a server of its own with a proxy between.
struct Proxied {
    name: &'static str,
    store: Arc<dyn SessionStore>,
    proxy: Proxy,
    server: Server,
    /// How long a request waits at the most.
    deadline: Duration,
    /// How many connections the store opens at the most.
    connections: usize,
}

#[cfg(feature = "postgres")]
async fn postgres(deadline: Duration) -> Proxied {
    use crate::support::servers::postgres::{start, url};
    let server = start().await;
    let proxy = Proxy::before(server.port).await;
    let mut options =
        cloakroom::PostgresStore::options(&proxy.url(&url(&server, "postgres"), server.port)).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = deadline;
    let store = Arc::new(patiently(async || options.clone().open(&settings()).await).await);
    // One that reads, one that writes, four for locked rows.
    Proxied { name: "postgres", store, proxy, server, deadline, connections: 6 }
}

#[cfg(feature = "mysql")]
async fn mariadb(deadline: Duration) -> Proxied {
    use crate::support::servers::mariadb::{start, url};
    let server = start().await;
    let proxy = Proxy::before(server.port).await;
    let mut options =
        cloakroom::MysqlStore::options(&proxy.url(&url(&server, "mysql"), server.port)).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.timeout = deadline;
    let connections = options.connections;
    let store = Arc::new(patiently(async || options.clone().open(&settings()).await).await);
    Proxied { name: "mariadb", store, proxy, server, deadline, connections }
}

#[cfg(feature = "redis")]
async fn redis(deadline: Duration) -> Proxied {
    use crate::support::servers::redis::{start, url_of};
    let server = start().await;
    let proxy = Proxy::before(server.port).await;
    let mut options = cloakroom::RedisStore::options(&proxy.url(&url_of(&server), server.port)).unwrap();
    options.timeout = deadline;
    let store = Arc::new(patiently(async || options.clone().open(&settings()).await).await);
    Proxied { name: "redis", store, proxy, server, deadline, connections: 1 }
}

#[cfg(feature = "memcached")]
async fn memcached(deadline: Duration) -> Proxied {
    let server = crate::support::servers::memcached::start().await;
    let proxy = Proxy::before(server.port).await;
    let mut options = cloakroom::MemcachedStore::at([format!("127.0.0.1:{}", proxy.port)]);
    options.timeout = deadline;
    let connections = options.connections;
    let store = Arc::new(patiently(async || options.clone().open(&settings()).await).await);
    Proxied { name: "memcached", store, proxy, server, deadline, connections }
}

/// All of them.
async fn proxied(deadline: Duration) -> Vec<Proxied> {
    vec![
        #[cfg(feature = "postgres")]
        postgres(deadline).await,
        #[cfg(feature = "mysql")]
        mariadb(deadline).await,
        #[cfg(feature = "redis")]
        redis(deadline).await,
        #[cfg(feature = "memcached")]
        memcached(deadline).await,
    ]
}

/// Waits until the store serves this session again.
async fn wait_until_healed(name: &str, store: &dyn SessionStore, session_key: &SessionKey) -> Duration {
    let start = std::time::Instant::now();
    loop {
        match store.load(session_key, Utc::now()).await {
            Ok(Some(loaded)) => {
                number_of(session_key, &loaded.data().unwrap().clone());
                return start.elapsed();
            }
            Ok(None) => panic!("{name}: the session is gone"),
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{name}: {error}");
                assert!(start.elapsed() < Duration::from_secs(20), "{name}: it does not heal: {error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
