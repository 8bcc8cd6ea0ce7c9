//! A real cache server in front of a database is killed or stopped, and comes back with what it had.

use std::time::Instant;

use cloakroom::store::Rotated;
use cloakroom::store::cache::CacheEngine;
use cloakroom::{CachedDbStore, Session, SqliteStore};

use super::*;

/// How long a call to the cache takes at the most.
const TIMEOUT: Duration = Duration::from_millis(500);
/// How long a copy is believed.
const COPY_AGE: Duration = Duration::from_secs(3);

struct Site {
    name: &'static str,
    server: Server,
    database: Arc<dyn SessionStore>,
    /// Two processes on the same database and cache.
    store: Arc<CachedDbStore>,
    other: Arc<CachedDbStore>,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new(name: &'static str, server: Server, caches: [Arc<dyn SessionStore>; 2]) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteStore::at(folder.path().join("db.sqlite3"));
        options.create_table(Default::default()).await.unwrap();
        let database: Arc<dyn SessionStore> = Arc::new(options.open(&settings()).await.unwrap());
        let [store, other] = caches.map(|cache| {
            let mut options = CachedDbStore::options(Arc::clone(&database), cache);
            options.copy_age = COPY_AGE;
            Arc::new(options.build().unwrap())
        });
        Site { name, server, database, store, other, _folder: folder }
    }

    #[cfg(feature = "redis")]
    async fn on_redis() -> Site {
        use crate::support::servers::redis::{start_durable, url_of};
        let server = start_durable().await;
        let open = async || {
            let mut options = cloakroom::RedisStore::options(&url_of(&server)).unwrap();
            options.format.engine = CacheEngine::CachedDb;
            options.timeout = TIMEOUT;
            Arc::new(options.open(&settings()).await.unwrap()) as Arc<dyn SessionStore>
        };
        let caches = [open().await, open().await];
        Site::new("redis", server, caches).await
    }

    #[cfg(feature = "memcached")]
    async fn on_memcached() -> Site {
        let server = crate::support::servers::memcached::start().await;
        let open = async || {
            let address = format!("127.0.0.1:{}", server.port);
            let mut options = cloakroom::MemcachedStore::at([address]);
            options.format.engine = CacheEngine::CachedDb;
            options.timeout = TIMEOUT;
            Arc::new(options.open(&settings()).await.unwrap()) as Arc<dyn SessionStore>
        };
        let caches = [open().await, open().await];
        Site::new("memcached", server, caches).await
    }

    async fn all() -> Vec<Site> {
        vec![
            #[cfg(feature = "redis")]
            Site::on_redis().await,
            #[cfg(feature = "memcached")]
            Site::on_memcached().await,
        ]
    }

    async fn send(&mut self, signal: &str) {
        self.server.send(signal);
        // Nobody tells when a signal has arrived.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_cache_dead_or_silent_sessions_work_from_the_database() {
    for mut site in Site::all().await {
        for (signal, back) in [("STOP", "CONT"), ("KILL", "start")] {
            let name = site.name;
            let key = create(&*site.store).await.0;
            assert_eq!(load(&*site.other, &key).await.unwrap(), 0);
            site.send(signal).await;
            let start = Instant::now();
            assert_eq!(load(&*site.store, &key).await.unwrap(), 0, "{name} {signal}");
            assert!(
                matches!(update(&*site.store, &key, 1).await, Ok(Updated::Updated(_))),
                "{name} {signal}"
            );
            let new = create(&*site.store).await.0;
            let moved = SessionKey::random().unwrap();
            let outcome = site.store.rotate(&new, None, &moved, record(&data_of(&moved, 2))).await.unwrap();
            assert!(matches!(outcome, Rotated::Rotated(_)), "{name} {signal}");
            assert_eq!(load(&*site.store, &moved).await.unwrap(), 2, "{name} {signal}");
            let session = Session::new(Arc::clone(&site.store) as _, settings());
            session.set("a", 1).unwrap();
            session.save().await.unwrap();
            let first = start.elapsed();
            // What has kept one waiting is not waited for by all.
            let start = Instant::now();
            for number in 0..20 {
                assert_eq!(load(&*site.store, &key).await.unwrap(), 1, "{name} {signal}");
                assert!(matches!(update(&*site.store, &moved, number).await, Ok(Updated::Updated(_))));
            }
            let forty = start.elapsed();
            assert!(forty < 8 * TIMEOUT, "{name} {signal}: 40 requests took {forty:?}");
            site.send(back).await;
            // What was saved meanwhile is what this process reads, whatever the cache still has; and the cache is
            // used again, so that the database is not needed for what it has.
            let start = Instant::now();
            loop {
                assert_eq!(load(&*site.store, &key).await.unwrap(), 1, "{name} {signal}: an old copy");
                if site.store.load(&key, Utc::now()).await.unwrap().unwrap().expire_date.is_none() {
                    break;
                }
                assert!(
                    start.elapsed() < Duration::from_secs(15),
                    "{name} {signal}: the cache is not used again"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!(
                "t34: {name} {signal}: 6 of 6 kinds of requests in {first:?}, the next 40 in {forty:?}; the cache was used \
                 again after {:?}",
                start.elapsed()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_with_the_cache_silent_is_told_and_the_old_copy_ends_in_time() {
    for mut site in Site::all().await {
        // memcached has nothing any more when it is killed.
        let signals: &[_] =
            if site.name == "redis" { &[("STOP", "CONT"), ("KILL", "start")] } else { &[("STOP", "CONT")] };
        for (signal, back) in signals {
            let name = site.name;
            let key = create(&*site.store).await.0;
            let copied = Instant::now();
            assert_eq!(load(&*site.other, &key).await.unwrap(), 0);
            site.send(signal).await;
            let error = site.store.delete(&key).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{name} {signal}");
            assert!(error.to_string().contains("gone from the database"), "{error}");
            assert!(!site.database.exists(&key, Utc::now()).await.unwrap(), "{name} {signal}");
            site.send(back).await;
            let mut seen = 0;
            while site.other.load(&key, Utc::now()).await.unwrap().is_some() {
                seen += 1;
                let age = copied.elapsed();
                assert!(age < COPY_AGE + Duration::from_secs(2), "{name} {signal}: believed after {age:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let gone = copied.elapsed();
            // Nobody saves what is logged out.
            let by_other = site.other.load_for_update(&key, Utc::now()).await.unwrap();
            assert!(by_other.is_none(), "{name} {signal}");
            assert!(site.store.load(&key, Utc::now()).await.unwrap().is_none(), "{name} {signal}");
            assert_eq!(update(&*site.other, &key, 9).await.unwrap(), Updated::Missing, "{name} {signal}");
            println!(
                "t35: {name} {signal}: the old copy was read {seen} times, and was gone {gone:?} after it was made"
            );
        }
    }
}
