//! Every store, against the one suite. A store is one line.

use std::sync::Arc;

#[cfg(feature = "mysql")]
use cloakroom::MysqlStore;
#[cfg(feature = "postgres")]
use cloakroom::PostgresStore;
use cloakroom::{CachedDbStore, FileStore, MemoryStore, SessionStore, Settings, SqliteStore, conformance};

async fn conforms(name: &str, store: Arc<dyn SessionStore>) {
    for check in conformance::CHECKS {
        check.run(&store).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
    println!(
        "{name}: {} of {} conformance checks passed",
        conformance::CHECKS.len(),
        conformance::CHECKS.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conforms("memory", Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::options(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    conforms("sqlite", Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path(), &Settings::new("secret")).await.unwrap();
    conforms("file", Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_db() {
    let folder = tempfile::tempdir().unwrap();
    conforms("cached_db", new_cached_db(folder.path()).await).await;
}

/// A store on a new database in this folder, with a cache of its own.
pub(crate) async fn new_cached_db(folder: &std::path::Path) -> Arc<dyn SessionStore> {
    let options = SqliteStore::options(folder.join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let database = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    Arc::new(CachedDbStore::new(database, Arc::new(MemoryStore::new())).unwrap())
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    conforms("postgres", new_postgres().await).await;
}

/// A store on an empty database of its own.
#[cfg(feature = "postgres")]
pub(crate) async fn new_postgres() -> Arc<dyn SessionStore> {
    let url = crate::servers::postgres::database().await;
    let options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    Arc::new(options.open(&Settings::new("secret")).await.unwrap())
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    conforms("mariadb", new_mariadb().await).await;
}

/// A store on an empty database of its own.
#[cfg(feature = "mysql")]
pub(crate) async fn new_mariadb() -> Arc<dyn SessionStore> {
    let url = crate::servers::mariadb::database().await;
    let options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    Arc::new(options.open(&Settings::new("secret")).await.unwrap())
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    conforms("redis", new_redis("").await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_with_json_and_zlib() {
    conforms("redis with json and zlib", new_redis("&serializer=json&compressor=zlib").await).await;
}

/// A store under a key prefix of its own.
#[cfg(feature = "redis")]
pub(crate) async fn new_redis(query: &str) -> Arc<dyn SessionStore> {
    let url = crate::servers::redis::url().await + query;
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}

#[cfg(feature = "redis-cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster() {
    conforms("redis cluster", new_redis_cluster().await).await;
}

/// A store under a key prefix of its own.
#[cfg(feature = "redis-cluster")]
pub(crate) async fn new_redis_cluster() -> Arc<dyn SessionStore> {
    let url = crate::servers::redis::cluster_url().await;
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn memcached() {
    conforms("memcached", new_memcached().await).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn three_memcached_servers() {
    use crate::servers::memcached::start;
    let servers = [start().await, start().await, start().await];
    let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
    let store = cloakroom::MemcachedStore::options(addresses).open(&Settings::new("secret")).await.unwrap();
    conforms("three memcached servers", Arc::new(store)).await;
}

/// A store under a key prefix of its own.
#[cfg(feature = "memcached")]
pub(crate) async fn new_memcached() -> Arc<dyn SessionStore> {
    let url = crate::servers::memcached::url().await;
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}
