//! Sessions in this process, for tests and for single-process services that may lose them on restart.

mod user_sessions;

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;

use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::listing::{Count, Listed, Listing, Paged, Pages, end_of};
use crate::store::loaded::{Content, Loaded, Version};

/// Keeps sessions in memory. Django's counterpart is the cache back end on `LocMemCache`.
///
/// Expired sessions stay until [`clear_expired`](SessionStore::clear_expired) runs.
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::{Created, Record};
/// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// assert!(matches!(store.create(&key, record).await?, Created::Created(_)));
/// assert_eq!(store.create(&key, record).await?, Created::KeyTaken);
/// assert!(store.load(&key, now + TimeDelta::hours(1)).await?.is_none(), "it has expired");
/// assert_eq!(store.clear_expired(now + TimeDelta::hours(2)).await?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    next_version: AtomicU64,
    user_sessions: user_sessions::Index,
}

type Shard = HashMap<SessionKey, Slot>;

struct Slot {
    data: SessionData,
    expire_date: DateTime<Utc>,
    version: u64,
}

/// Requests for different sessions rarely share one of this many locks.
const SHARDS: usize = 64;

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> MemoryStore {
        MemoryStore {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            next_version: AtomicU64::new(1),
            user_sessions: user_sessions::Index::default(),
        }
    }

    fn index(&self, session_key: &SessionKey) -> usize {
        (self.hasher.hash_one(session_key) % SHARDS as u64) as usize
    }

    fn shard(&self, session_key: &SessionKey) -> &Mutex<Shard> {
        &self.shards[self.index(session_key)]
    }

    fn slot(&self, record: Record<'_>) -> Slot {
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        Slot { data: record.data.clone(), expire_date: record.expire_date, version }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

/// Lists shard by shard, each in the order of its keys.
#[async_trait]
impl Paged<Listed> for MemoryStore {
    type Place = SessionKey;

    async fn page(
        &self,
        after: Option<&SessionKey>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<SessionKey>), StoreError> {
        let mut after = after.cloned();
        let first = after.as_ref().map_or(0, |after| self.index(after));
        let mut page: Vec<Listed> = Vec::new();
        for shard in &self.shards[first..] {
            let shard = crate::site::lock::lock(shard);
            let after = after.take();
            let is_next = |key: &&SessionKey| after.as_ref().is_none_or(|after| *key > after);
            let mut keys: Vec<&SessionKey> = shard.keys().filter(is_next).collect();
            keys.sort_unstable();
            keys.truncate(limit - page.len());
            page.extend(keys.into_iter().filter_map(|key| Some(shard.get(key)?.listed(key))));
            if page.len() == limit {
                break;
            }
        }
        let end = end_of(&page, limit, Listed::place);
        Ok((page, end))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryStore")
    }
}

impl Slot {
    fn is(&self, expected: Option<&Version>) -> bool {
        expected.is_none_or(|version| version.as_number() == Some(self.version))
    }

    fn loaded(&self) -> Loaded {
        Loaded {
            content: Content::Genuine(self.data.clone()),
            version: Version::from_number(self.version),
            expire_date: Some(self.expire_date),
        }
    }

    fn listed(&self, session_key: &SessionKey) -> Listed {
        let session = Ok(self.loaded());
        Listed { session_key: session_key.clone(), expire_date: Some(self.expire_date), session }
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let shard = crate::site::lock::lock(self.shard(session_key));
        Ok(shard.get(session_key).filter(|slot| slot.expire_date > now).map(Slot::loaded))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        match crate::site::lock::lock(self.shard(session_key)).entry(session_key.clone()) {
            Entry::Occupied(_) => Ok(Created::KeyTaken),
            Entry::Vacant(vacant) => {
                Ok(Created::Created(Version::from_number(vacant.insert(self.slot(record)).version)))
            }
        }
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        match crate::site::lock::lock(self.shard(session_key)).get_mut(session_key) {
            None => Ok(Updated::Missing),
            Some(slot) if !slot.is(expected) => Ok(Updated::Changed),
            Some(slot) => {
                *slot = self.slot(record);
                Ok(Updated::Updated(Version::from_number(slot.version)))
            }
        }
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let (old, new) = (self.index(session_key), self.index(new_session_key));
        // Takes both locks in ascending order, so that two rotations cannot deadlock.
        let mut lower = crate::site::lock::lock(&self.shards[old.min(new)]);
        let mut higher = (old != new).then(|| crate::site::lock::lock(&self.shards[old.max(new)]));
        let taken = match &higher {
            Some(higher) if new > old => higher.contains_key(new_session_key),
            _ => lower.contains_key(new_session_key),
        };
        let old_shard = match &mut higher {
            Some(higher) if old > new => &mut **higher,
            _ => &mut *lower,
        };
        match old_shard.get(session_key) {
            None => return Ok(Rotated::Missing),
            Some(slot) if !slot.is(expected) => return Ok(Rotated::Changed),
            Some(_) if taken => return Ok(Rotated::KeyTaken),
            Some(_) => old_shard.remove(session_key),
        };
        let slot = self.slot(record);
        let version = Version::from_number(slot.version);
        let new_shard = match &mut higher {
            Some(higher) if new > old => &mut **higher,
            _ => &mut *lower,
        };
        new_shard.insert(new_session_key.clone(), slot);
        Ok(Rotated::Rotated(version))
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        Ok(match crate::site::lock::lock(self.shard(session_key)).get_mut(session_key) {
            Some(slot) if slot.is(Some(version)) => {
                slot.expire_date = record.expire_date;
                Touched::Extended
            }
            _ => Touched::Stale,
        })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        Ok(crate::site::lock::lock(self.shard(session_key)).remove(session_key).is_some())
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let shard = crate::site::lock::lock(self.shard(session_key));
        Ok(shard.get(session_key).is_some_and(|slot| slot.expire_date > now))
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let is_live = |session_key: &&SessionKey| {
            let shard = crate::site::lock::lock(self.shard(session_key));
            shard.get(*session_key).is_some_and(|slot| slot.expire_date > now)
        };
        Ok(session_keys.iter().filter(is_live).cloned().collect())
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let clear = |shard: &Mutex<Shard>| {
            let mut shard = crate::site::lock::lock(shard);
            let before = shard.len();
            shard.retain(|_, slot| slot.expire_date >= now);
            (before - shard.len()) as u64
        };
        let cleared = self.shards.iter().map(clear).sum();
        // All work is done: there is nothing left to stop.
        let _ = progress(cleared);
        Ok(cleared)
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(Pages::<_, Listed>::of(self)))
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        let mut count = Count::default();
        for shard in &self.shards {
            let shard = crate::site::lock::lock(shard);
            let live = shard.values().filter(|slot| slot.expire_date > now).count();
            count.live += live as u64;
            count.expired += (shard.len() - live) as u64;
        }
        Ok(count)
    }
}
