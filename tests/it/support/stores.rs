//! Stores that hold nothing yet, one of each kind or all of them.

use std::sync::Arc;

#[cfg(feature = "mysql")]
use cloakroom::MysqlStore;
#[cfg(feature = "postgres")]
use cloakroom::PostgresStore;
use cloakroom::{CachedDbStore, FileStore, MemoryStore, SessionStore, Settings, SqliteStore};

/// One of each kind, each with what must live as long as it.
pub(crate) async fn all() -> Vec<(&'static str, Arc<dyn SessionStore>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let sqlite = options.open(&Settings::new("secret")).await.unwrap();
    let mut stores: Vec<(&'static str, Arc<dyn SessionStore>, Option<tempfile::TempDir>)> =
        vec![("memory", Arc::new(MemoryStore::new()), None), ("sqlite", Arc::new(sqlite), Some(folder))];
    let folder = tempfile::tempdir().unwrap();
    let mut options = FileStore::at(folder.path());
    // Waiting for the disk changes nothing here but the time that it takes.
    options.durable = false;
    stores.push(("file", Arc::new(options.open(&Settings::new("secret")).await.unwrap()), Some(folder)));
    let folder = tempfile::tempdir().unwrap();
    let mut options = FileStore::at(folder.path());
    (options.durable, options.cache) = (false, Some(Default::default()));
    stores.push(("filecache", Arc::new(options.open(&Settings::new("secret")).await.unwrap()), Some(folder)));
    let folder = tempfile::tempdir().unwrap();
    stores.push(("cached_db", new_cached_db(folder.path()).await, Some(folder)));
    #[cfg(feature = "postgres")]
    stores.push(("postgres", new_postgres().await, None));
    #[cfg(feature = "mysql")]
    stores.push(("mariadb", new_mariadb().await, None));
    #[cfg(feature = "redis")]
    stores.push(("redis", new_redis("").await, None));
    #[cfg(feature = "redis-cluster")]
    stores.push(("redis cluster", new_redis_cluster().await, None));
    #[cfg(feature = "memcached")]
    stores.push(("memcached", new_memcached().await, None));
    stores
}

/// A store on a new database in this folder, with a cache of its own.
pub(crate) async fn new_cached_db(folder: &std::path::Path) -> Arc<dyn SessionStore> {
    let options = SqliteStore::at(folder.join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let database = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    Arc::new(CachedDbStore::new(database, Arc::new(MemoryStore::new())).unwrap())
}

/// A store on the table that a URL names, which is made.
pub(crate) async fn new_table(url: &str) -> Arc<dyn SessionStore> {
    cloakroom::store::create_table(url, Default::default()).await.unwrap();
    cloakroom::connect(url, &Settings::new("secret")).await.unwrap()
}

/// A store on an empty database of its own.
#[cfg(feature = "postgres")]
pub(crate) async fn new_postgres() -> Arc<dyn SessionStore> {
    let url = crate::support::servers::postgres::database().await;
    let options = PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    Arc::new(options.open(&Settings::new("secret")).await.unwrap())
}

/// A store on an empty database of its own.
#[cfg(feature = "mysql")]
pub(crate) async fn new_mariadb() -> Arc<dyn SessionStore> {
    let url = crate::support::servers::mariadb::database().await;
    let options = MysqlStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    Arc::new(options.open(&Settings::new("secret")).await.unwrap())
}

/// A store under a key prefix of its own.
#[cfg(feature = "redis")]
pub(crate) async fn new_redis(query: &str) -> Arc<dyn SessionStore> {
    let url = crate::support::servers::redis::url().await + query;
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}

/// A store under a key prefix of its own.
#[cfg(feature = "redis-cluster")]
pub(crate) async fn new_redis_cluster() -> Arc<dyn SessionStore> {
    let url = crate::support::servers::redis::cluster_url().await;
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}

/// A store under a key prefix of its own.
#[cfg(feature = "memcached")]
pub(crate) async fn new_memcached() -> Arc<dyn SessionStore> {
    let url = crate::support::servers::memcached::url().await;
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}

/// The stores that processes share, by their URLs. A memory store is one process's by nature.
pub(crate) async fn shared_by_processes(folder: &std::path::Path) -> Vec<(&'static str, String)> {
    let sqlite = |name: &str| format!("sqlite:{}", folder.join(name).display());
    let mut stores = vec![("sqlite", sqlite("db.sqlite3"))];
    for scheme in ["file", "filecache"] {
        let files = folder.join(scheme);
        std::fs::create_dir(&files).unwrap();
        std::fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        stores.push((scheme, format!("{scheme}:{}", files.display())));
    }
    #[cfg(feature = "postgres")]
    stores.push(("postgres", crate::support::servers::postgres::database().await));
    #[cfg(feature = "mysql")]
    stores.push(("mariadb", crate::support::servers::mariadb::database().await));
    #[cfg(feature = "redis")]
    stores.push(("redis", crate::support::servers::redis::url().await));
    #[cfg(feature = "redis-cluster")]
    stores.push(("redis cluster", crate::support::servers::redis::cluster_url().await));
    #[cfg(feature = "memcached")]
    stores.push(("memcached", crate::support::servers::memcached::url().await));
    #[cfg(feature = "redis")]
    {
        let redis = crate::support::servers::redis::url().await;
        stores.push(("cached_db", format!("cached_db:{}|{redis}", sqlite("cached.sqlite3"))));
    }
    for (_, url) in &stores {
        let database = url.strip_prefix("cached_db:").unwrap_or(url).split('|').next().unwrap();
        if ["sqlite", "postgres", "mysql"].iter().any(|scheme| database.starts_with(scheme)) {
            cloakroom::store::create_table(database, Default::default()).await.unwrap();
        }
    }
    stores
}
