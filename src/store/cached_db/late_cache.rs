//! Opens a cache that was down when the store was opened: the first request that finds it back opens it.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Updated};
use crate::store::listing::{Count, Listed, Listing};
use crate::store::loaded::{Loaded, Version};

/// An attempt to open the cache.
pub(in crate::store) type OpeningCache =
    Pin<Box<dyn Future<Output = Result<Arc<dyn SessionStore>, StoreError>> + Send>>;

type OpenCache = dyn Fn() -> OpeningCache + Send + Sync;

pub(in crate::store) struct LateCache {
    open: Box<OpenCache>,
    cache: OnceLock<Arc<dyn SessionStore>>,
    /// Held by the one request that opens the cache for all; contains the last attempt's failure.
    failed: tokio::sync::Mutex<Option<(StoreErrorKind, String)>>,
    attempts: AtomicU64,
}

impl LateCache {
    pub(in crate::store) fn new(open: Box<OpenCache>) -> LateCache {
        let (cache, failed) = (OnceLock::new(), tokio::sync::Mutex::new(None));
        LateCache { open, cache, failed, attempts: AtomicU64::new(0) }
    }

    /// Returns the opened cache. Requests that wait for an attempt share its failure.
    async fn cache(&self) -> Result<&dyn SessionStore, StoreError> {
        if let Some(cache) = self.cache.get() {
            return Ok(&**cache);
        }
        let before = self.attempts.load(Ordering::Relaxed);
        let mut failed = self.failed.lock().await;
        if let Some(cache) = self.cache.get() {
            return Ok(&**cache);
        }
        if self.attempts.load(Ordering::Relaxed) != before
            && let Some((kind, message)) = &*failed
        {
            return Err(StoreError::new("cached_db", *kind, message));
        }
        let opened = (self.open)().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        match opened {
            Ok(cache) => {
                tracing::info!(store = "cached_db", "the cache that was down at the start is in use");
                Ok(&**self.cache.get_or_init(|| cache))
            }
            Err(error) => {
                *failed = Some((error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

#[async_trait]
impl SessionStore for LateCache {
    fn name(&self) -> &'static str {
        self.cache.get().map_or("late cache", |cache| cache.name())
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        self.cache().await?.load(session_key, now).await
    }

    async fn load_for_update(
        &self,
        session_key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        self.cache().await?.load_for_update(session_key, now).await
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        self.cache().await?.create(session_key, record).await
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        self.cache().await?.update(session_key, expected, record).await
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        self.cache().await?.rotate(session_key, expected, new_session_key, record).await
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.cache().await?.delete(session_key).await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.cache().await?.exists(session_key, now).await
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        self.cache().await?.live_among(session_keys, now).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.cache().await?.clear_expired_with_progress(now, progress).await
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(LateListing { late: self, listing: None }))
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.cache().await?.count(now).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        match self.cache.get() {
            Some(cache) => cache.close().await,
            None => Ok(()),
        }
    }
}

/// Opens the cache for its first page.
struct LateListing<'a> {
    late: &'a LateCache,
    listing: Option<Box<dyn Listing<Listed> + 'a>>,
}

#[async_trait]
impl Listing<Listed> for LateListing<'_> {
    async fn next_page(
        &mut self,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Listed>>, StoreError> {
        let listing = match &mut self.listing {
            Some(listing) => listing,
            empty => empty.insert(self.late.cache().await?.list()?),
        };
        listing.next_page(limit, now).await
    }
}

impl fmt::Debug for LateCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LateCache").field("cache", &self.cache.get()).finish_non_exhaustive()
    }
}
