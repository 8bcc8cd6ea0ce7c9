//! `spawn_cleaner`, in time that passes as soon as everybody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom::spawn_cleaner;
use cloakroom::store::{Created, Loaded, Progress, Record, Rotated, Updated, Version};
use cloakroom::{
    Clock, ManualClock, MemoryStore, SessionData, SessionKey, SessionStore, StoreError, StoreErrorKind,
    async_trait,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::support::watched_store::WatchedStore;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at_unix_seconds(1_700_000_000))
}

/// Waits until the store was called, and tells how long that took.
async fn next_round(store: &WatchedStore) -> Duration {
    let start = Instant::now();
    while store.calls().is_empty() {
        sleep(Duration::from_secs(1)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn clears_what_expired_by_the_clock() {
    let (clock, store) = (clock(), Arc::new(MemoryStore::new()));
    let (data, now) = (SessionData::new(), clock.now());
    let (soon, later) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
    for (session_key, hours) in [(&soon, 1), (&later, 9)] {
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(hours), now };
        store.create(session_key, record).await.unwrap();
    }
    let cleaner = spawn_cleaner(store.clone(), clock.clone(), HOUR);
    sleep(HOUR * 3).await;
    assert!(store.load(&soon, now).await.unwrap().is_some(), "the clock stood still");
    clock.advance(TimeDelta::hours(2));
    sleep(HOUR * 3).await;
    assert!(store.load(&soon, now).await.unwrap().is_none());
    assert!(store.load(&later, now).await.unwrap().is_some());
    cleaner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn waits_differ_and_stay_near_the_interval() {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let cleaner = spawn_cleaner(store.clone(), clock(), HOUR);
    let first = next_round(&store).await;
    assert!(first <= HOUR, "the first round comes within the interval: {first:?}");
    let mut waits = Vec::new();
    for _ in 0..20 {
        waits.push(next_round(&store).await);
    }
    // Looked at each second, so a second either way.
    let tenth = HOUR / 10 + Duration::from_secs(1);
    assert!(waits.iter().all(|wait| wait.abs_diff(HOUR) <= tenth), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait != waits[0]), "they march in step: {waits:?}");
    cleaner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn goes_on_after_an_error() {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    store.fail(Some(("clear_expired", StoreErrorKind::Unavailable)));
    let cleaner = spawn_cleaner(store.clone(), clock(), HOUR);
    next_round(&store).await;
    store.fail(None);
    assert!(!cleaner.is_finished());
    let wait = next_round(&store).await;
    assert!(wait > HOUR / 2, "the next round is not sooner than usual: {wait:?}");
    cleaner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stops_at_once_while_it_waits() {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let cleaner = spawn_cleaner(store.clone(), clock(), HOUR * 1_000);
    let start = Instant::now();
    cleaner.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(HOUR * 3_000).await;
    assert!(store.calls().is_empty(), "it went on after it was stopped");
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_the_batch_under_way_and_begins_no_other() {
    let store = Arc::new(Batches::default());
    let cleaner = spawn_cleaner(store.clone(), clock(), HOUR);
    store.go_on.add_permits(1);
    store.began(2).await;
    let stopped = tokio::spawn(cleaner.stop());
    sleep(HOUR).await;
    assert!(!stopped.is_finished(), "it did not wait for the batch");
    assert_eq!(store.ended.load(Ordering::SeqCst), 1);
    store.go_on.add_permits(10);
    stopped.await.unwrap();
    assert_eq!(store.ended.load(Ordering::SeqCst), 2, "the second batch ended");
    assert_eq!(store.begun.load(Ordering::SeqCst), 2, "and none after it began");
}

#[tokio::test(start_paused = true)]
async fn dropping_ends_it_where_it_is() {
    let store = Arc::new(Batches::default());
    let cleaner = spawn_cleaner(store.clone(), clock(), HOUR);
    store.began(1).await;
    drop(cleaner);
    sleep(HOUR * 3).await;
    assert_eq!(Arc::strong_count(&store), 1, "the task is gone");
    assert_eq!(store.ended.load(Ordering::SeqCst), 0);
}

/// A store that has a million batches to clear, each of which waits until it may go on.
#[derive(Debug)]
struct Batches {
    begun: AtomicU64,
    ended: AtomicU64,
    go_on: Semaphore,
}

impl Default for Batches {
    fn default() -> Self {
        Batches { begun: AtomicU64::new(0), ended: AtomicU64::new(0), go_on: Semaphore::new(0) }
    }
}

impl Batches {
    async fn began(&self, batch: u64) {
        while self.begun.load(Ordering::SeqCst) < batch {
            sleep(Duration::from_secs(1)).await;
        }
    }
}

fn not_asked_for<T>() -> Result<T, StoreError> {
    Err(StoreError::new("batches", StoreErrorKind::Refused, "this store only clears"))
}

#[async_trait]
impl SessionStore for Batches {
    async fn load(&self, _: &SessionKey, _: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        not_asked_for()
    }

    async fn create(&self, _: &SessionKey, _: Record<'_>) -> Result<Created, StoreError> {
        not_asked_for()
    }

    async fn update(
        &self,
        _: &SessionKey,
        _: Option<&Version>,
        _: Record<'_>,
    ) -> Result<Updated, StoreError> {
        not_asked_for()
    }

    async fn rotate(
        &self,
        _: &SessionKey,
        _: Option<&Version>,
        _: &SessionKey,
        _: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        not_asked_for()
    }

    async fn delete(&self, _: &SessionKey) -> Result<bool, StoreError> {
        not_asked_for()
    }

    async fn exists(&self, _: &SessionKey, _: DateTime<Utc>) -> Result<bool, StoreError> {
        not_asked_for()
    }

    async fn clear_expired_with_progress(
        &self,
        _: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        for batch in 1..=1_000_000 {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.go_on.acquire().await.unwrap().forget();
            self.ended.fetch_add(1, Ordering::SeqCst);
            if progress(batch).is_break() {
                return Ok(batch);
            }
        }
        Ok(1_000_000)
    }
}
