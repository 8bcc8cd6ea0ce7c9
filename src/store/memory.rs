//! Sessions in this process, for tests and for single-process services that may lose them on restart.

mod user_sessions;

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::site::error::StoreError;
use crate::site::lock::lock;
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

type Shard = HashTable<Slot>;

struct Slot {
    session_key: SessionKey,
    /// The key's hash. A growing table needs it again, and the key's text is elsewhere in memory.
    hash: u64,
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

    fn hash(&self, session_key: &SessionKey) -> u64 {
        self.hasher.hash_one(session_key)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[index(hash)])
    }

    /// Looks at a session that is there.
    fn find<R>(&self, session_key: &SessionKey, look: impl FnOnce(&Slot) -> R) -> Option<R> {
        let hash = self.hash(session_key);
        self.shard(hash).find(hash, |slot| slot.session_key == *session_key).map(look)
    }

    fn is_live(&self, session_key: &SessionKey, now: DateTime<Utc>) -> bool {
        self.find(session_key, |slot| slot.expire_date > now) == Some(true)
    }

    fn slot(&self, session_key: &SessionKey, hash: u64, record: Record<'_>) -> Slot {
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        let (session_key, data) = (session_key.clone(), record.data.clone());
        Slot { session_key, hash, data, expire_date: record.expire_date, version }
    }
}

/// The number of a shard. A table finds a place by the lowest bits, and tells slots apart by the highest.
fn index(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
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
        let first = after.as_ref().map_or(0, |after| index(self.hash(after)));
        let mut page: Vec<Listed> = Vec::new();
        for shard in &self.shards[first..] {
            let shard = lock(shard);
            let after = after.take();
            let is_next = |slot: &&Slot| after.as_ref().is_none_or(|after| slot.session_key > *after);
            let mut slots: Vec<&Slot> = shard.iter().filter(is_next).collect();
            slots.sort_unstable_by_key(|slot| &slot.session_key);
            slots.truncate(limit - page.len());
            page.extend(slots.into_iter().map(Slot::listed));
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

    fn listed(&self) -> Listed {
        let session = Ok(self.loaded());
        Listed { session_key: self.session_key.clone(), expire_date: Some(self.expire_date), session }
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        Ok(self.find(session_key, |slot| (slot.expire_date > now).then(|| slot.loaded())).flatten())
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let hash = self.hash(session_key);
        let slot = self.slot(session_key, hash, record);
        let version = Version::from_number(slot.version);
        Ok(match self.shard(hash).entry(hash, |slot| slot.session_key == *session_key, |slot| slot.hash) {
            Entry::Occupied(_) => Created::KeyTaken,
            Entry::Vacant(vacant) => {
                vacant.insert(slot);
                Created::Created(version)
            }
        })
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let hash = self.hash(session_key);
        let new = self.slot(session_key, hash, record);
        let version = Version::from_number(new.version);
        let mut shard = self.shard(hash);
        let before = match shard.find_mut(hash, |slot| slot.session_key == *session_key) {
            None => return Ok(Updated::Missing),
            Some(slot) if !slot.is(expected) => return Ok(Updated::Changed),
            Some(slot) => mem::replace(slot, new),
        };
        drop(shard);
        // Freed without the lock.
        drop(before);
        Ok(Updated::Updated(version))
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let (hash, new_hash) = (self.hash(session_key), self.hash(new_session_key));
        let new = self.slot(new_session_key, new_hash, record);
        let version = Version::from_number(new.version);
        let is_old = |slot: &Slot| slot.session_key == *session_key;
        let is_new = |slot: &Slot| slot.session_key == *new_session_key;
        let (from, to) = (index(hash), index(new_hash));
        // Takes both locks in ascending order, so that two rotations cannot deadlock.
        let mut lower = lock(&self.shards[from.min(to)]);
        let mut higher = (from != to).then(|| lock(&self.shards[from.max(to)]));
        let (old_shard, new_shard) = match &mut higher {
            None => (&mut *lower, None),
            Some(higher) if from > to => (&mut **higher, Some(&mut *lower)),
            Some(higher) => (&mut *lower, Some(&mut **higher)),
        };
        let is_taken = new_shard.as_deref().unwrap_or(old_shard).find(new_hash, is_new).is_some();
        let before = match old_shard.find_entry(hash, is_old) {
            Err(_) => return Ok(Rotated::Missing),
            Ok(slot) if !slot.get().is(expected) => return Ok(Rotated::Changed),
            Ok(_) if is_taken => return Ok(Rotated::KeyTaken),
            Ok(slot) => slot.remove().0,
        };
        new_shard.unwrap_or(old_shard).insert_unique(new_hash, new, |slot| slot.hash);
        drop((lower, higher));
        drop(before);
        Ok(Rotated::Rotated(version))
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let hash = self.hash(session_key);
        Ok(match self.shard(hash).find_mut(hash, |slot| slot.session_key == *session_key) {
            Some(slot) if slot.is(Some(version)) => {
                slot.expire_date = record.expire_date;
                Touched::Extended
            }
            _ => Touched::Stale,
        })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let hash = self.hash(session_key);
        let mut shard = self.shard(hash);
        let found = shard.find_entry(hash, |slot| slot.session_key == *session_key);
        let removed = found.ok().map(|slot| slot.remove().0);
        drop(shard);
        Ok(removed.is_some())
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(self.is_live(session_key, now))
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let is_live = |session_key: &&SessionKey| self.is_live(session_key, now);
        Ok(session_keys.iter().filter(is_live).cloned().collect())
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let clear = |shard: &Mutex<Shard>| {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|slot| slot.expire_date >= now);
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
            let shard = lock(shard);
            let live = shard.iter().filter(|slot| slot.expire_date > now).count();
            count.live += live as u64;
            count.expired += (shard.len() - live) as u64;
        }
        Ok(count)
    }
}
