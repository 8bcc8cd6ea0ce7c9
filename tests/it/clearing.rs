//! `clear_expired_with_progress`: the stores that clear in batches tell after each, and can be broken off.

use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::TimeDelta;
use cloakroom::store::Record;
use cloakroom::{
    Clock, FileStore, MemoryStore, SessionData, SessionKey, SessionStore, Settings, SqliteStore, SystemClock,
};

/// Creates this many sessions, and tells what progress there was until it was broken off after a number of
/// batches.
async fn clear(store: &dyn SessionStore, sessions: usize, batches: usize) -> Vec<u64> {
    let (data, now) = (SessionData::new(), SystemClock.now());
    for _ in 0..sessions {
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
    }
    let mut told = Vec::new();
    let mut progress = |cleared| {
        told.push(cleared);
        if told.len() == batches { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let later = now + TimeDelta::days(30);
    let cleared = store.clear_expired_with_progress(later, &mut progress).await.unwrap();
    assert_eq!(told.last(), Some(&cleared), "what was told last is what was cleared");
    told
}

#[tokio::test]
async fn memory_tells_once() {
    assert_eq!(clear(&MemoryStore::new(), 5, 9).await, [5]);
}

#[tokio::test]
async fn sqlite_tells_after_each_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = SqliteStore::options(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    assert_eq!(clear(&*store, 5, 9).await, [2, 4, 5]);
    assert_eq!(clear(&*store, 5, 2).await, [2, 4], "broken off");
    assert_eq!(clear(&*store, 0, 9).await, [1], "the one that was left");
}

#[tokio::test]
async fn files_are_cleared_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = FileStore::options(folder.path());
    options.durable = false;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let told = clear(&store, 1_100, 1).await;
    assert_eq!(told, [1_000], "broken off");
    assert_eq!(clear(&store, 0, 9).await, [100], "those that were left");
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_tells_after_each_batch() {
    let mut options = cloakroom::PostgresStore::options(&crate::servers::postgres::database().await).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_eq!(clear(&store, 5, 9).await, [2, 4, 5]);
    assert_eq!(clear(&store, 5, 2).await, [2, 4], "broken off");
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mariadb_tells_after_each_batch() {
    let mut options = cloakroom::MysqlStore::options(&crate::servers::mariadb::database().await).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_eq!(clear(&store, 5, 9).await, [2, 4, 5]);
    assert_eq!(clear(&store, 5, 2).await, [2, 4], "broken off");
}
