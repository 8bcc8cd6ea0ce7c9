//! A store whose process stops, or is put off, at a chosen call. The calls that are made go to the store itself.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Created, Listed, Listing, Loaded, Progress, Record, Rotated, Updated, Version};
use cloakroom::{SessionKey, SessionStore, StoreError, StoreErrorKind};

use crate::support::random::Random;

/// When the process stops, and how long it is put off before and after each of its calls.
#[derive(Clone)]
pub(super) struct Process {
    writes_left: Arc<AtomicI64>,
    random: Option<Arc<Mutex<Random>>>,
}

impl Process {
    /// One that stops before the write with this number.
    pub(super) fn stopping(before: i64) -> Process {
        Process { writes_left: Arc::new(before.into()), random: None }
    }

    /// One that is put off by chance, as the system does it.
    pub(super) fn put_off(seed: u64) -> Process {
        Process { writes_left: Arc::new(i64::MAX.into()), random: Some(Arc::new(Mutex::new(Random(seed)))) }
    }

    pub(super) fn with(&self, store: &Arc<dyn SessionStore>) -> Arc<dyn SessionStore> {
        Arc::new(Halting { store: Arc::clone(store), process: self.clone() })
    }

    async fn wait(&self) {
        let turns = self.random.as_ref().map_or(0, |random| {
            let mut random = random.lock().unwrap();
            // Now and then it is stopped for as long as others need for whole requests.
            let limit = if random.percent(3) { 200 } else { 6 };
            random.below(limit)
        });
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.random.is_some() {
            // The clock stands still otherwise.
            tokio::time::advance(std::time::Duration::from_micros(300)).await;
        }
    }

    /// Nothing more is done by a process that is dead.
    async fn before(&self, is_write: bool) -> Result<(), StoreError> {
        self.wait().await;
        let left = self.writes_left.fetch_sub(i64::from(is_write), Ordering::SeqCst);
        if left > 0 { Ok(()) } else { Err(StoreError::new("halting", StoreErrorKind::Unavailable, "dead")) }
    }
}

struct Halting {
    store: Arc<dyn SessionStore>,
    process: Process,
}

impl fmt::Debug for Halting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(formatter)
    }
}

macro_rules! call {
    ($self:ident, $is_write:expr, $call:ident($($argument:expr),*)) => {{
        $self.process.before($is_write).await?;
        let outcome = $self.store.$call($($argument),*).await;
        $self.process.wait().await;
        outcome
    }};
}

#[async_trait]
impl SessionStore for Halting {
    async fn load(&self, key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        call!(self, false, load(key, now))
    }

    async fn load_for_update(
        &self,
        key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        call!(self, false, load_for_update(key, now))
    }

    async fn create(&self, key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        call!(self, true, create(key, record))
    }

    async fn update(
        &self,
        key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        call!(self, true, update(key, expected, record))
    }

    async fn rotate(
        &self,
        key: &SessionKey,
        expected: Option<&Version>,
        new_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        call!(self, true, rotate(key, expected, new_key, record))
    }

    async fn delete(&self, key: &SessionKey) -> Result<bool, StoreError> {
        call!(self, true, delete(key))
    }

    async fn exists(&self, key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        call!(self, false, exists(key, now))
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        call!(self, true, clear_expired_with_progress(now, progress))
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        self.store.list()
    }
}
