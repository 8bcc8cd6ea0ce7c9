//! `list` and `count`, beside what the conformance suite asks of every store.

use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{Count, Listed, Record};
use cloakroom::{
    FileStore, MemoryStore, SessionCodec, SessionData, SessionKey, SessionStore, Settings, SignedCookieStore,
    SqliteStore, StoreErrorKind, Value,
};

use crate::support::stores;

async fn create(store: &dyn SessionStore) -> SessionKey {
    let (session_key, now) = (SessionKey::random().unwrap(), Utc::now());
    let data = SessionData::from_json(r#"{"a":1}"#).unwrap();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.create(&session_key, record).await.unwrap();
    session_key
}

async fn list(store: &dyn SessionStore, limit: usize) -> Vec<Listed> {
    let (mut listed, mut listing) = (Vec::new(), store.list().unwrap());
    while let Some(page) = listing.next_page(limit, Utc::now()).await.unwrap() {
        listed.extend(page);
    }
    listed
}

fn keys(listed: &[Listed]) -> Vec<SessionKey> {
    let mut keys: Vec<_> = listed.iter().map(|listed| listed.session_key.clone()).collect();
    keys.sort();
    keys
}

/// While tasks add and remove others all the time.
async fn lists_each_once(store: Arc<dyn SessionStore>) {
    let mut staying = Vec::new();
    for _ in 0..100 {
        staying.push(create(&*store).await);
    }
    staying.sort();
    let busy = [(); 2].map(|()| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                let session_key = create(&*store).await;
                tokio::task::yield_now().await;
                store.delete(&session_key).await.unwrap();
            }
        })
    });
    for limit in [1, 10, 33, 1_000] {
        let mut found = keys(&list(&*store, limit).await);
        found.retain(|key| staying.binary_search(key).is_ok());
        assert_eq!(found.len(), 100, "pages of {limit}");
        assert!(found == staying, "each once");
    }
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_lists_each_session_once() {
    lists_each_once(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_lists_each_session_once() {
    let folder = tempfile::tempdir().unwrap();
    lists_each_once(Arc::new(sqlite(folder.path()).await)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_lists_each_session_once() {
    lists_each_once(stores::new_postgres().await).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb_lists_each_session_once() {
    lists_each_once(stores::new_mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_db_lists_each_session_once() {
    let folder = tempfile::tempdir().unwrap();
    lists_each_once(stores::new_cached_db(folder.path()).await).await;
}

async fn sqlite(folder: &std::path::Path) -> SqliteStore {
    let options = SqliteStore::at(folder.join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    options.open(&Settings::new("secret")).await.unwrap()
}

fn unreadable_text() -> String {
    let codec = SessionCodec::new(&Settings::new("secret"));
    codec.encode_json(&Value::from_json("[1,2]").unwrap(), Utc::now()).unwrap()
}

fn check_sorts(listed: &[Listed], good: &SessionKey) {
    let find = |key: &str| listed.iter().find(|listed| listed.session_key.as_str() == key).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(find(good.as_str()).session.as_ref().unwrap().is_genuine());
    assert!(!find("forged00").session.as_ref().unwrap().is_genuine());
    let error = find("unreadable").session.as_ref().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    assert!(!format!("{error} {listed:?}").contains(good.as_str()));
}

#[tokio::test]
async fn sqlite_lists_what_is_not_genuine_and_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path()).await;
    let good = create(&store).await;
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    for (key, data) in [("forged00", "forged:1:2".to_owned()), ("unreadable", unreadable_text())] {
        let sql = "INSERT INTO django_session VALUES (?1, ?2, '9999-12-31 00:00:00')";
        connection.execute(sql, [key, &data]).unwrap();
    }
    check_sorts(&list(&store, 2).await, &good);
    assert_eq!(store.count(Utc::now()).await.unwrap(), Count { live: 3, expired: 0, unreadable: 0 });
}

#[tokio::test]
async fn files_lists_what_is_not_genuine_and_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::at(folder.path()).open(&Settings::new("secret")).await.unwrap();
    let good = create(&store).await;
    for (name, data) in [
        ("sessionidforged00", "forged:1:2".to_owned()),
        ("sessionidunreadable", unreadable_text()),
        ("sessionid../x", String::new()),
        ("notes.txt", String::new()),
        ("sessionidUPPER", String::new()),
    ] {
        let _ = std::fs::write(folder.path().join(name), data);
    }
    check_sorts(&list(&store, 2).await, &good);
    assert_eq!(store.count(Utc::now()).await.unwrap(), Count { live: 2, expired: 0, unreadable: 1 });
}

/// The key prefix is a pattern's characters, and other entries lie beside.
#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_lists_its_own_entries_alone() {
    let url = crate::support::servers::redis::url().await;
    let settings = Settings::new("secret");
    let tricky = cloakroom::connect(&format!("{url}[a-z]*?"), &settings).await.unwrap();
    let like = cloakroom::connect(&format!("{url}b"), &settings).await.unwrap();
    let (one, _) = (create(&*tricky).await, create(&*like).await);
    let mut copies = cloakroom::RedisStore::options(&url).unwrap();
    copies.format.engine = cloakroom::store::cache::CacheEngine::CachedDb;
    create(&copies.open(&settings).await.unwrap()).await;
    let listed = list(&*tricky, 10).await;
    assert!(keys(&listed) == [one]);
    assert!(!listed[0].is_expired(Utc::now()) && listed[0].is_expired(Utc::now() + TimeDelta::hours(2)));
    assert_eq!(tricky.count(Utc::now()).await.unwrap(), Count { live: 1, expired: 0, unreadable: 0 });
}

#[tokio::test]
async fn a_listing_of_cookies_is_refused() {
    let store = SignedCookieStore::new(&Settings::new("secret"));
    let error = store.list().err().unwrap();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    assert!(error.to_string().contains("cannot list"), "{error}");
    assert_eq!(store.count(Utc::now()).await.unwrap_err().kind(), StoreErrorKind::Unsupported);
}
