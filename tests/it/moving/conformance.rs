//! The suite of all stores, with new sessions in the new store, and with all sessions begun in the old one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{
    Count, Created, Listed, Listing, Loaded, Progress, Record, Rotated, Updated, Version,
};
use cloakroom::{
    FileStore, MemoryStore, MovingStore, SessionKey, SessionStore, Settings, SqliteStore, StoreError,
    conformance,
};

use super::process;
use crate::support::stores::{new_cached_db, new_memcached, new_postgres, new_redis};

/// A site on which sessions begin in the old store, as a process makes them that knows it alone.
struct BegunInOld {
    old: Arc<dyn SessionStore>,
    moving: Arc<MovingStore>,
}

impl fmt::Debug for BegunInOld {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BegunInOld")
    }
}

#[async_trait]
impl SessionStore for BegunInOld {
    async fn create(&self, key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        if self.moving.exists(key, DateTime::UNIX_EPOCH).await? {
            return Ok(Created::KeyTaken);
        }
        let Created::Created(version) = self.old.create(key, record).await? else {
            return Ok(Created::KeyTaken);
        };
        let loaded = self.moving.load_for_update(key, record.now.min(Utc::now())).await?;
        Ok(Created::Created(loaded.map_or(version, |loaded| loaded.version)))
    }

    async fn load(&self, key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        self.moving.load(key, now).await
    }

    async fn load_for_update(
        &self,
        key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        self.moving.load_for_update(key, now).await
    }

    async fn update(
        &self,
        key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        self.moving.update(key, expected, record).await
    }

    async fn rotate(
        &self,
        key: &SessionKey,
        expected: Option<&Version>,
        new_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        self.moving.rotate(key, expected, new_key, record).await
    }

    async fn delete(&self, key: &SessionKey) -> Result<bool, StoreError> {
        self.moving.delete(key).await
    }

    async fn exists(&self, key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.moving.exists(key, now).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.moving.clear_expired_with_progress(now, progress).await
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        self.moving.list()
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.moving.count(now).await
    }
}

async fn conform(name: &str, old: Arc<dyn SessionStore>, new: Arc<dyn SessionStore>) {
    let moving = process(&old, &new);
    let stores: [Arc<dyn SessionStore>; 2] =
        [Arc::<MovingStore>::clone(&moving), Arc::new(BegunInOld { old, moving })];
    for store in stores {
        match conformance::run(&store, &[]).await {
            Ok(summary) => println!("{name}, {store:?}: {summary}"),
            Err(nonconforming) => panic!("{name}, {store:?}:\n{nonconforming}"),
        }
    }
}

pub(super) async fn new_sqlite(folder: &std::path::Path) -> Arc<dyn SessionStore> {
    let options = SqliteStore::at(folder.join("new.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    Arc::new(options.open(&Settings::new("secret")).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_to_memory() {
    conform("memory to memory", Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_redis() {
    let folder = tempfile::tempdir().unwrap();
    conform("sqlite to redis", new_sqlite(folder.path()).await, new_redis("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_redis() {
    conform("postgres to redis", new_postgres().await, new_redis("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_to_postgres() {
    conform("redis to postgres", new_redis("").await, new_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_to_sqlite() {
    let (files, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = FileStore::at(files.path()).open(&Settings::new("secret")).await.unwrap();
    conform("files to sqlite", Arc::new(files), new_sqlite(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memcached_to_cached_db() {
    let folder = tempfile::tempdir().unwrap();
    conform("memcached to cached_db", new_memcached().await, new_cached_db(folder.path()).await).await;
}
