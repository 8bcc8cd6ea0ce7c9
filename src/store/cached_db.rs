//! A database with a cache in front of it: Django's `cached_db` back end.
//!
//! The database decides; the cache holds copies. These guarantees hold under any concurrency:
//!
//! 1. Every write goes to the database first, with its comparison. A failing cache prevents no session from
//!    being read, created or saved.
//! 2. A copy is put into the cache only where there is none, or in place of one that was seen *before* the
//!    database was read or written. So a late writer never overwrites a newer copy.
//! 3. Logout removes the row, then replaces the copy by a tombstone, an empty session, for
//!    [`tombstone_age`](CachedDbOptions::tombstone_age). This library never replaces a tombstone. Django
//!    reads it as an empty session, and cannot save it as the row is gone. This store ignores an empty copy
//!    and asks the database.
//! 4. A copy lives for at most [`copy_age`](CachedDbOptions::copy_age). A copy with a longer remaining life
//!    comes from Django: then the database is asked as well, and the copy is replaced or, when the row is
//!    gone, by a tombstone. `RedisStore` and `MemcachedStore` with the engine `cached_db` report the
//!    remaining life. A cache that does not report it is trusted.
//! 5. When the cache fails while a copy should be replaced or removed, this process trusts no copy of that
//!    session for `copy_age`. Other processes may see the old copy until it expires, which takes at most
//!    `copy_age` if this library made it. Logout reports the failure as an error, with the row gone: call it
//!    again.
//! 6. A cache that fails only after it has kept a request waiting is then asked by one request a second until
//!    it answers. The other requests treat it as failed at once. A logout always asks it.
//! 7. A cache that is down when the store is opened by a URL is not an error: see
//!    [`open_cache`](super::open_cache).
//!
//! So after a successful logout the session is gone at once, for every process of this library with the same
//! cache. After a logout that reported an error, and with a cache that is not shared (`memory:` in several
//! processes), it is gone within `copy_age`.

mod copy;
mod distrust;
mod late_cache;
mod pause;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use self::copy::{Copies, Put, Seen};
use self::distrust::Distrust;
use self::pause::Pause;
use crate::site::clock::{Clock, SystemClock};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::SettingsDigest;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Updated};
use crate::store::listing::{Count, Listed, Listing};
use crate::store::loaded::{Content, Loaded, Version};

pub(super) use self::copy::CopyVersion;
pub(super) use self::late_cache::{LateCache, OpeningCache};

/// The time after which no reader puts a copy into an empty place. `django-cloakroom`, the Python package, marks a change
/// for twice this time, and a marker that is gone by then would let an older copy in.
const FILL_WITHIN: Duration = Duration::from_secs(5);

/// Keeps sessions in a database, and copies of active sessions in a cache. Django's `cached_db` back end.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{CachedDbStore, MemoryStore, Session, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // Usually a `PostgresStore` and a `RedisStore`.
/// let (database, cache) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
/// let store = CachedDbStore::new(database, cache)?;
/// let session = Session::new(Arc::new(store), Settings::new("secret"));
/// session.set("visits", 1)?;
/// session.save().await?;
/// assert_eq!(session.get("visits")?, Some(1));
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
pub struct CachedDbStore {
    database: Arc<dyn SessionStore>,
    copies: Copies,
}

/// The parts of a [`CachedDbStore`], and how long it trusts the cache.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use cloakroom::{CachedDbStore, MemoryStore, SessionStore};
///
/// let mut options = CachedDbStore::options(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
/// assert_eq!(options.copy_age, Duration::from_secs(5 * 60));
/// options.copy_age = Duration::from_secs(30);
/// assert_eq!(options.build()?.name(), "cached_db");
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct CachedDbOptions {
    /// The sessions' store: any store with a server side.
    pub database: Arc<dyn SessionStore>,
    /// The copies' store: any store with a server side. `RedisStore` and `MemcachedStore` must have the
    /// engine `cached_db`, to share the copies with Django and to tell who made them.
    pub cache: Arc<dyn SessionStore>,
    /// How long a copy lives before the database is asked again. It is also the maximum age of an old copy
    /// after the cache failed. Default: 5 minutes.
    pub copy_age: Duration,
    /// How long a tombstone replaces a logged-out session's copy. A reader that has waited for the database
    /// for half of this time, or for 5 seconds, no longer puts a copy into the cache. Default: 1 minute.
    pub tombstone_age: Duration,
    /// The clock for calls whose contract passes no time. Default: the machine's clock.
    pub clock: Arc<dyn Clock>,
}

impl CachedDbOptions {
    /// Creates the store.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{CachedDbStore, MemoryStore, Settings, SignedCookieStore, StoreErrorKind};
    ///
    /// let cookies = Arc::new(SignedCookieStore::new(&Settings::new("secret")));
    /// let error = CachedDbStore::options(cookies, Arc::new(MemoryStore::new())).build().unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// ```
    ///
    /// # Errors
    /// When one of the two keeps its data in the cookie.
    pub fn build(self) -> Result<CachedDbStore, StoreError> {
        if self.database.keeps_data_in_cookie() || self.cache.keeps_data_in_cookie() {
            let message = "a store that keeps sessions in cookies can be neither database nor cache; use one with \
                a server side for each";
            return Err(StoreError::new("cached_db", StoreErrorKind::Misconfigured, message));
        }
        let whole = |age: Duration| TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let copies = Copies {
            cache: self.cache,
            copy_age: whole(self.copy_age),
            tombstone_age: whole(self.tombstone_age),
            fill_within: (self.tombstone_age / 2).min(FILL_WITHIN),
            clock: self.clock,
            distrust: Distrust::new(self.copy_age),
            pause: Pause::new(),
        };
        Ok(CachedDbStore { database: self.database, copies })
    }
}

impl CachedDbStore {
    /// Returns the options for these two stores, which can be changed before [`CachedDbOptions::build`].
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use cloakroom::{CachedDbStore, MemoryStore, SessionStore};
    ///
    /// let mut options = CachedDbStore::options(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    /// options.tombstone_age = Duration::from_secs(10);
    /// let store = options.build()?;
    /// assert_eq!(store.name(), "cached_db");
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    pub fn options(database: Arc<dyn SessionStore>, cache: Arc<dyn SessionStore>) -> CachedDbOptions {
        CachedDbOptions {
            database,
            cache,
            copy_age: Duration::from_secs(5 * 60),
            tombstone_age: Duration::from_secs(60),
            clock: Arc::new(SystemClock),
        }
    }

    /// Creates a store with the default options.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{CachedDbStore, MemoryStore, SessionStore};
    ///
    /// let store = CachedDbStore::new(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()))?;
    /// assert!(!store.keeps_data_in_cookie());
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// As [`CachedDbOptions::build`].
    pub fn new(
        database: Arc<dyn SessionStore>,
        cache: Arc<dyn SessionStore>,
    ) -> Result<CachedDbStore, StoreError> {
        CachedDbStore::options(database, cache).build()
    }

    /// Loads the session from the database, and puts a copy where `seen` was.
    async fn load_row(
        &self,
        session_key: &SessionKey,
        now: DateTime<Utc>,
        seen: Seen,
        start: Instant,
    ) -> Result<Option<Loaded>, StoreError> {
        let Some(mut row) = self.database.load(session_key, now).await? else {
            if matches!(seen, Seen::Copy(_)) {
                self.copies.bury(session_key, false).await;
            }
            return Ok(None);
        };
        let mut cache = None;
        let is_worth_a_copy =
            row.data().is_some_and(|data| !(data.is_empty() && matches!(seen, Seen::Nothing)));
        if let Some(record) = record(&row, now).filter(|_| is_worth_a_copy)
            && let Put::Done(version) = self.copies.put(session_key, record, seen, start).await
        {
            cache = Some(version);
        }
        row.version = CopyVersion::of(row.content.clone(), Some(row.version), cache);
        Ok(Some(row))
    }

    /// The version for the database's comparison: that of the row from which the copy was made.
    async fn expected_row(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        now: DateTime<Utc>,
    ) -> Result<Expected, StoreError> {
        let Some(expected) = expected else { return Ok(Expected::Row(None)) };
        let Some(copy) = CopyVersion::from(expected) else {
            return Ok(Expected::Row(Some(expected.clone())));
        };
        if let Some(row) = &copy.database {
            return Ok(Expected::Row(Some(row.clone())));
        }
        match self.database.load(session_key, now).await? {
            None => Ok(Expected::Missing),
            Some(row) if row.is_genuine() && row.content == copy.content => {
                Ok(Expected::Row(Some(row.version)))
            }
            Some(_) => {
                // Repaired, so that the next load does not find the same old copy.
                self.repair(session_key, now).await;
                Ok(Expected::Changed)
            }
        }
    }

    /// The cache's state before the database is written: from the loaded version, or by asking.
    async fn seen(&self, session_key: &SessionKey, expected: Option<&Version>, now: DateTime<Utc>) -> Seen {
        match expected.and_then(CopyVersion::from).and_then(|copy| copy.cache.clone()) {
            Some(version) => Seen::Copy(version),
            None => self.copies.look_before_writing(session_key, now).await,
        }
    }

    /// Puts the data just written into the cache; if another writer came in between, puts the database's
    /// data.
    async fn publish(
        &self,
        session_key: &SessionKey,
        record: Record<'_>,
        seen: Seen,
        start: Instant,
    ) -> Option<Version> {
        match self.copies.put(session_key, record, seen, start).await {
            Put::Done(version) => return Some(version),
            Put::Conflict => self.repair(session_key, record.now).await,
            Put::Failed => self.copies.distrust.add(session_key),
        }
        None
    }

    /// Replaces the copy by the row's data, or by a tombstone.
    async fn repair(&self, session_key: &SessionKey, now: DateTime<Utc>) {
        const ATTEMPTS: usize = 16;
        for _ in 0..ATTEMPTS {
            let start = Instant::now();
            let (seen, _) = self.copies.look(session_key, now).await;
            match seen {
                // Both send every reader to the database.
                Seen::Nothing | Seen::Empty => return,
                Seen::Unknown => break,
                Seen::Copy(_) => {}
            }
            let row = match self.database.load(session_key, now).await {
                Ok(Some(row)) if row.is_genuine() => row,
                Ok(_) => return self.copies.bury(session_key, false).await,
                Err(_) => break,
            };
            let Some(record) = record(&row, now) else { break };
            match self.copies.put(session_key, record, seen, start).await {
                Put::Done(_) => return,
                Put::Conflict => {}
                Put::Failed => break,
            }
        }
        self.copies.distrust.add(session_key);
    }
}

/// The record to put into the cache for a row, if the database tells its expiry.
fn record(row: &Loaded, now: DateTime<Utc>) -> Option<Record<'_>> {
    Some(Record { data: row.data()?, expire_date: row.expire_date?, now })
}

/// The result of a comparison in the database.
enum Expected {
    /// The row must be in this version, if one is given.
    Row(Option<Version>),
    Missing,
    Changed,
}

#[async_trait]
impl SessionStore for CachedDbStore {
    fn name(&self) -> &'static str {
        "cached_db"
    }

    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.database.opened_with()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let start = Instant::now();
        let (seen, copy) = self.copies.look(session_key, now).await;
        match copy.filter(|copy| self.copies.believes(session_key, copy, now)) {
            Some(copy) => {
                let version = CopyVersion::of(copy.content.clone(), None, Some(copy.version));
                // The copy's expiry is not the session's.
                Ok(Some(Loaded { content: copy.content, version, expire_date: None }))
            }
            None => self.load_row(session_key, now, seen, start).await,
        }
    }

    async fn load_for_update(
        &self,
        session_key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        let start = Instant::now();
        let (seen, _) = self.copies.look(session_key, now).await;
        self.load_row(session_key, now, seen, start).await
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let start = Instant::now();
        let Created::Created(row) = self.database.create(session_key, record).await? else {
            return Ok(Created::KeyTaken);
        };
        let cache = self.publish(session_key, record, Seen::Nothing, start).await;
        Ok(Created::Created(CopyVersion::of(Content::Genuine(record.data.clone()), Some(row), cache)))
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let start = Instant::now();
        let seen = self.seen(session_key, expected, record.now).await;
        let outcome = match self.expected_row(session_key, expected, record.now).await? {
            Expected::Row(row) => self.database.update(session_key, row.as_ref(), record).await?,
            Expected::Missing => Updated::Missing,
            Expected::Changed => Updated::Changed,
        };
        Ok(match outcome {
            Updated::Updated(row) => {
                let cache = self.publish(session_key, record, seen, start).await;
                Updated::Updated(CopyVersion::of(Content::Genuine(record.data.clone()), Some(row), cache))
            }
            Updated::Missing => {
                // The empty place may come from a tombstone that was removed to write in its place.
                self.copies.bury(session_key, matches!(seen, Seen::Nothing)).await;
                Updated::Missing
            }
            Updated::Changed => Updated::Changed,
        })
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let start = Instant::now();
        let outcome = match self.expected_row(session_key, expected, record.now).await? {
            Expected::Row(row) => {
                self.database.rotate(session_key, row.as_ref(), new_session_key, record).await?
            }
            Expected::Missing => Rotated::Missing,
            Expected::Changed => Rotated::Changed,
        };
        Ok(match outcome {
            Rotated::Rotated(row) => {
                // A failing cache is not an error here: an error would keep the new key from the client.
                self.copies.bury(session_key, true).await;
                let cache = self.publish(new_session_key, record, Seen::Nothing, start).await;
                Rotated::Rotated(CopyVersion::of(Content::Genuine(record.data.clone()), Some(row), cache))
            }
            Rotated::Missing => {
                self.copies.bury(session_key, false).await;
                Rotated::Missing
            }
            other => other,
        })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let existed = self.database.delete(session_key).await?;
        match self.copies.try_to_bury(session_key, existed).await {
            Ok(()) => Ok(existed),
            Err(error) => {
                self.copies.distrust.add(session_key);
                let message = format!(
                    "the session is gone from the database, but its copy could not be removed from the cache; other \
                     processes may still read it, for {} seconds at the most if this library put it there, and until \
                     the session would have expired if Django did. Call again once the cache is back",
                    self.copies.copy_age.num_seconds()
                );
                Err(StoreError::new("cached_db", error.kind(), message).with_source(error))
            }
        }
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.database.exists(session_key, now).await
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        self.database.live_among(session_keys, now).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let cleared = self.database.clear_expired_with_progress(now, progress).await?;
        if let Err(error) = self.copies.cache.clear_expired(now).await {
            tracing::warn!(store = "cached_db", %error, "expired copies could not be cleared");
        }
        Ok(cleared)
    }

    /// Lists the database: a copy without a row is not a session.
    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        self.database.list()
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.database.count(now).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.database.close().await?;
        self.copies.cache.close().await
    }
}

impl fmt::Debug for CachedDbStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CachedDbStore")
            .field("database", &self.database)
            .field("cache", &self.copies.cache)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CachedDbOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CachedDbOptions")
            .field("database", &self.database)
            .field("cache", &self.cache)
            .field("copy_age", &self.copy_age)
            .field("tombstone_age", &self.tombstone_age)
            .finish_non_exhaustive()
    }
}
