//! A cache that was down when the store was opened: the first request that finds it back opens it.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::error::{StoreError, StoreErrorKind};
use crate::session_key::SessionKey;
use crate::settings::Settings;
use crate::store::{
    Count, Created, Cursor, Listed, Loaded, Progress, Record, Rotated, SessionStore, Updated, Version,
    connect,
};

/// Opens the cache for a [`CachedDbStore`](crate::CachedDbStore) by its URL. As [`connect`](crate::connect), but for
/// two things: of Redis and memcached it takes the entries of the engine `cached_db`, unless the URL says otherwise; and a
/// cache that is down is no error. Then a warning names it, sessions come from the database, and the first request that
/// finds the cache back opens it.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::store::cached_db::open_cache;
/// use cloakroom::{CachedDbStore, MemoryStore, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // Usually `redis://…`.
/// let cache = open_cache("memory:", &Settings::new("secret")).await?;
/// let store = CachedDbStore::new(Arc::new(MemoryStore::new()), cache)?;
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`connect`](crate::connect), but for [`StoreErrorKind::Unavailable`].
pub async fn open_cache(url: &str, settings: &Settings) -> Result<Arc<dyn SessionStore>, StoreError> {
    let url = connect::cached_db_cache(url);
    match connect::connect(&url, settings).await {
        Err(error) if error.kind() == StoreErrorKind::Unavailable => {
            tracing::warn!(
                store = "cached_db",
                %error,
                "the cache is down at the start; sessions come from the database until it is back"
            );
            Ok(Arc::new(LateCache::new(url.into_owned(), settings.clone())))
        }
        opened => opened,
    }
}

struct LateCache {
    url: String,
    settings: Settings,
    cache: OnceLock<Arc<dyn SessionStore>>,
    /// Held by the one request that opens the cache for all; why the last attempt failed.
    failed: tokio::sync::Mutex<Option<(StoreErrorKind, String)>>,
    attempts: AtomicU64,
}

impl LateCache {
    fn new(url: String, settings: Settings) -> LateCache {
        let (cache, failed) = (OnceLock::new(), tokio::sync::Mutex::new(None));
        LateCache { url, settings, cache, failed, attempts: AtomicU64::new(0) }
    }

    /// The cache, opened by now. Whoever waits for an attempt shares its failure.
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
        // Opening a `cached_db:` opens its cache: the type would contain itself.
        let opening: Pin<Box<dyn Future<Output = _> + Send + '_>> =
            Box::pin(connect::connect(&self.url, &self.settings));
        let opened = opening.await;
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

    async fn clear_expired(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        self.cache().await?.clear_expired(now).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.cache().await?.clear_expired_with_progress(now, progress).await
    }

    async fn list(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<Listed>, StoreError> {
        self.cache().await?.list(cursor, limit, now).await
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

impl fmt::Debug for LateCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        let scheme = self.url.split(':').next().unwrap_or_default();
        formatter
            .debug_struct("LateCache")
            .field("scheme", &scheme)
            .field("cache", &self.cache.get())
            .finish_non_exhaustive()
    }
}
