//! Database and cache: what one has and the other has not, in whatever order it happens.

mod copies;
mod dead_cache;
mod gated;
mod late;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod servers;

use std::sync::Arc;

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::cached_db::CachedDbOptions;
use cloakroom::store::{Created, Loaded, Record};
use cloakroom::{CachedDbStore, ManualClock, MemoryStore, SessionKey, SessionStore, Settings, SqliteStore};

use self::gated::{Gated, Side};
use crate::support::records::{data, now, record};

fn key() -> SessionKey {
    SessionKey::from_trusted("abcdefgh12345678abcdefgh12345678")
}

/// A database in SQLite and a cache in memory, both to be held up, and stores on them as processes have them.
struct Site {
    database: Arc<Gated>,
    cache: Arc<Gated>,
    store: Arc<CachedDbStore>,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteStore::at(folder.path().join("db.sqlite3"));
        options.create_table(Default::default()).await.unwrap();
        let database = Gated::new(Arc::new(options.open(&Settings::new("secret")).await.unwrap()));
        let cache = Gated::new(Arc::new(MemoryStore::new()));
        let store = process(&database, &cache);
        Site { database, cache, store, _folder: folder }
    }

    /// Another process on the same database and cache.
    fn process(&self) -> Arc<CachedDbStore> {
        process(&self.database, &self.cache)
    }

    /// With a session that is in both, `{"a":1}`.
    async fn with_session() -> Site {
        let site = Site::new().await;
        let created = site.store.create(&key(), record(&data(r#"{"a":1}"#))).await.unwrap();
        assert!(matches!(created, Created::Created(_)));
        site
    }

    async fn cached(&self) -> Option<Loaded> {
        self.cache.load(&key(), now()).await.unwrap()
    }

    async fn cached_json(&self) -> Option<String> {
        self.cached().await.map(|copy| copy.data().unwrap().to_json())
    }

    /// Puts into the cache what Django puts there: with the session's whole age.
    async fn django_caches(&self, json: &str) {
        self.cache.delete(&key()).await.unwrap();
        self.cache.create(&key(), record(&data(json))).await.unwrap();
    }

    fn forget_calls(&self) {
        self.database.calls();
        self.cache.calls();
    }

    async fn forget_copy(&self) {
        self.cache.delete(&key()).await.unwrap();
    }
}

fn process(database: &Arc<Gated>, cache: &Arc<Gated>) -> Arc<CachedDbStore> {
    let mut options: CachedDbOptions =
        CachedDbStore::options(Arc::clone(database) as _, Arc::clone(cache) as _);
    options.clock = Arc::new(ManualClock::new(now()));
    Arc::new(options.build().unwrap())
}

async fn load(store: &Arc<CachedDbStore>) -> Option<String> {
    load_at(store, now()).await
}

async fn load_at(store: &Arc<CachedDbStore>, now: DateTime<Utc>) -> Option<String> {
    store.load(&key(), now).await.unwrap().map(|loaded| loaded.data().unwrap().to_json())
}

/// Runs a call in the background until it is held up at this gate.
async fn up_to_the_gate<T: Send + 'static>(
    gated: &Gated,
    call: &'static str,
    side: Side,
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    gated.hold(call, side);
    let work = tokio::spawn(work);
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, gated.reached.notified()).await.expect("the call that waits at the gate");
    work
}
