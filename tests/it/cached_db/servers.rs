//! On a real cache server, beside the copies that Django puts there.

use cloakroom::chrono::SubsecRound;
use cloakroom::conformance;
use cloakroom::store::Updated;

use super::*;

/// The cache's URL, and the store that is made of it and a new database.
async fn caches() -> Vec<(&'static str, String)> {
    let mut caches = Vec::new();
    #[cfg(feature = "redis")]
    caches.push(("redis", crate::support::servers::redis::url().await));
    #[cfg(feature = "memcached")]
    caches.push(("memcached", crate::support::servers::memcached::url().await));
    caches
}

async fn open(folder: &tempfile::TempDir, cache: &str) -> Arc<dyn SessionStore> {
    let path = folder.path().join("db.sqlite3");
    if !path.exists() {
        SqliteStore::at(&path).create_table(Default::default()).await.unwrap();
    }
    let url = format!("cached_db:sqlite:{}|{cache}", path.display());
    cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_db_conforms_on_cache_servers() {
    for (name, cache) in caches().await {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, &cache).await;
        for check in conformance::CHECKS {
            check.run(&store).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        }
        println!("cached_db on {name}: {0} of {0} conformance checks passed", conformance::CHECKS.len());
    }
}

#[tokio::test]
async fn djangos_late_refill_is_refused_on_cache_servers() {
    for (name, cache) in caches().await {
        let folder = tempfile::tempdir().unwrap();
        let (store, other) = (open(&folder, &cache).await, open(&folder, &cache).await);
        let separator = if cache.contains('?') { '&' } else { '?' };
        let entries = format!("{cache}{separator}engine=cached_db");
        let entries = cloakroom::connect(&entries, &Settings::new("secret")).await.unwrap();
        let (now, session_key) = (Utc::now().trunc_subsecs(0), SessionKey::random().unwrap());
        let data = data(r#"{"a":1}"#);
        let record = Record { data: &data, expire_date: now + TimeDelta::days(14), now };
        let load = async |store: &Arc<dyn SessionStore>| {
            store.load(&session_key, now).await.unwrap().map(|loaded| loaded.data().unwrap().to_json())
        };
        assert!(matches!(store.create(&session_key, record).await.unwrap(), Created::Created(_)));
        let copy = entries.load(&session_key, now).await.unwrap().expect("the copy is where Django looks");
        let age = copy.expire_date.unwrap() - now;
        assert!((TimeDelta::minutes(4)..=TimeDelta::minutes(5)).contains(&age), "{name}: {age}");

        assert!(store.delete(&session_key).await.unwrap());
        assert_eq!(load(&entries).await.as_deref(), Some("{}"), "{name}: Django reads an empty session");
        // What Django does when it read the row before the logout: it overwrites.
        assert!(matches!(entries.update(&session_key, None, record).await.unwrap(), Updated::Updated(_)));
        for store in [&other, &store] {
            assert_eq!(load(store).await, None, "{name}");
            assert_eq!(load(&entries).await.as_deref(), Some("{}"), "{name}");
        }
        println!("{name}: a copy of Django's made after a logout was refused and buried");
    }
}
