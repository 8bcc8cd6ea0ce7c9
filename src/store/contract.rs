//! The contract between sessions and their stores.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;

use super::listing::{Count, Listed, Listing};
use super::loaded::{Loaded, Version};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::SettingsDigest;

/// Keeps sessions. These are the contract's terms; the suite in `cloakroom::conformance` checks them:
///
/// - *Absent* is `None` or an outcome, never an error; after an error the state is unknown.
/// - *Expired* is absent: an entry is present while `expire_date > now`. One that expires exactly now is
///   absent, but `clear_expired` does not remove it yet.
/// - *Not genuine* (the signature does not match) is present as
///   [`Content::NotGenuine`](super::loaded::Content::NotGenuine). The session acts as new, and the stored entry stays as
///   it is.
/// - *Unreadable* (genuine, but cannot be carried without loss) is an error of
///   [`StoreErrorKind::Unreadable`]; the entry stays.
/// - *Refused*: data that a load would not give back is not written. The call fails with
///   [`StoreErrorKind::Refused`] and the previous entry stays.
/// - *Atomic*: each writing call happens completely or not at all, for this process and for others. It never
///   restores a deleted session.
/// - *Acknowledged* is written: when a writing call returns, every later load by anyone sees it.
/// - The time is a parameter: a store that lets the server expire entries derives their time to live from it.
/// - Dropping a call's future leaves the store consistent; the call may or may not have happened.
///
/// Store implementers need this trait alone; applications use [`Session`](crate::Session).
///
/// # A store of your own
/// Seven methods are required. This one keeps sessions in a map, compares them by a number, and passes the suite:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
///
/// use cloakroom::chrono::{DateTime, Utc};
/// use cloakroom::store::{Content, Created, Loaded, Progress, Record, Rotated, Updated, Version};
/// use cloakroom::{SessionData, SessionKey, SessionStore, StoreError, async_trait};
///
/// #[derive(Debug, Default)]
/// struct Shelf(Mutex<Entries>);
///
/// #[derive(Debug, Default)]
/// struct Entries {
///     entries: HashMap<SessionKey, (SessionData, DateTime<Utc>, u64)>,
///     writes: u64,
/// }
///
/// impl Entries {
///     /// Puts a session under its key, in a version that no entry ever had.
///     fn put(&mut self, session_key: &SessionKey, record: Record<'_>) -> Version {
///         self.writes += 1;
///         let entry = (record.data.clone(), record.expire_date, self.writes);
///         self.entries.insert(session_key.clone(), entry);
///         Version::from_number(self.writes)
///     }
///
///     /// Whether the entry is the one that the caller expects; none when there is no entry.
///     fn is(&self, session_key: &SessionKey, expected: Option<&Version>) -> Option<bool> {
///         let (_, _, version) = self.entries.get(session_key)?;
///         Some(expected.is_none_or(|expected| *expected == Version::from_number(*version)))
///     }
/// }
///
/// #[async_trait]
/// impl SessionStore for Shelf {
///     async fn load(&self, key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
///         let shelf = self.0.lock().unwrap();
///         let live = shelf.entries.get(key).filter(|(_, expire_date, _)| *expire_date > now);
///         Ok(live.map(|(data, expire_date, version)| Loaded {
///             content: Content::Genuine(data.clone()),
///             version: Version::from_number(*version),
///             expire_date: Some(*expire_date),
///         }))
///     }
///
///     async fn create(&self, key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
///         let mut shelf = self.0.lock().unwrap();
///         // An expired session keeps its key until it is cleared.
///         if shelf.entries.contains_key(key) {
///             return Ok(Created::KeyTaken);
///         }
///         Ok(Created::Created(shelf.put(key, record)))
///     }
///
///     async fn update(
///         &self,
///         key: &SessionKey,
///         expected: Option<&Version>,
///         record: Record<'_>,
///     ) -> Result<Updated, StoreError> {
///         let mut shelf = self.0.lock().unwrap();
///         match shelf.is(key, expected) {
///             None => Ok(Updated::Missing),
///             Some(false) => Ok(Updated::Changed),
///             Some(true) => Ok(Updated::Updated(shelf.put(key, record))),
///         }
///     }
///
///     async fn rotate(
///         &self,
///         key: &SessionKey,
///         expected: Option<&Version>,
///         new_key: &SessionKey,
///         record: Record<'_>,
///     ) -> Result<Rotated, StoreError> {
///         // One lock: at no time is the session under both keys or under none.
///         let mut shelf = self.0.lock().unwrap();
///         match shelf.is(key, expected) {
///             None => Ok(Rotated::Missing),
///             Some(false) => Ok(Rotated::Changed),
///             Some(true) if shelf.entries.contains_key(new_key) => Ok(Rotated::KeyTaken),
///             Some(true) => {
///                 shelf.entries.remove(key);
///                 Ok(Rotated::Rotated(shelf.put(new_key, record)))
///             }
///         }
///     }
///
///     async fn delete(&self, key: &SessionKey) -> Result<bool, StoreError> {
///         Ok(self.0.lock().unwrap().entries.remove(key).is_some())
///     }
///
///     async fn exists(&self, key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
///         Ok(self.load(key, now).await?.is_some())
///     }
///
///     async fn clear_expired_with_progress(
///         &self,
///         now: DateTime<Utc>,
///         progress: &mut Progress<'_>,
///     ) -> Result<u64, StoreError> {
///         let cleared = {
///             let entries = &mut self.0.lock().unwrap().entries;
///             let before = entries.len();
///             entries.retain(|_, (_, expire_date, _)| *expire_date >= now);
///             (before - entries.len()) as u64
///         };
///         let _ = progress(cleared);
///         Ok(cleared)
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // The feature `conformance`, for tests.
/// let shelf: Arc<dyn SessionStore> = Arc::new(Shelf::default());
/// cloakroom::conformance::run(&shelf, &[]).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[async_trait]
pub trait SessionStore: Send + Sync + fmt::Debug + 'static {
    /// A short name for logs and traces, such as `sqlite`. Default: `other`.
    ///
    /// ```
    /// # use cloakroom::{MemoryStore, SessionStore};
    ///
    /// assert_eq!(MemoryStore::new().name(), "memory");
    /// ```
    fn name(&self) -> &'static str {
        "other"
    }

    /// Whether the cookie holds the session itself and not a key to it. Then a writing call returns the new
    /// cookie as the version, and the cookie replaces the session key. A version that is not UTF-8 is an error of
    /// the save. The store ignores the key of a writing call, which may be empty.
    ///
    /// ```
    /// # use cloakroom::{MemoryStore, SessionStore, Settings, SignedCookieStore};
    ///
    /// assert!(SignedCookieStore::new(&Settings::new("secret")).keeps_data_in_cookie());
    /// assert!(!MemoryStore::new().keeps_data_in_cookie());
    /// ```
    fn keeps_data_in_cookie(&self) -> bool {
        false
    }

    /// The settings with which the store was opened, so that a layer with others is refused. Default: `None`, for a
    /// store that uses none.
    ///
    /// ```
    /// # use cloakroom::{MemoryStore, SessionStore, Settings, SignedCookieStore};
    ///
    /// let store = SignedCookieStore::new(&Settings::new("secret"));
    /// assert!(store.opened_with().unwrap().check(&Settings::new("another")).is_err());
    /// assert!(MemoryStore::new().opened_with().is_none(), "it signs nothing");
    /// ```
    fn opened_with(&self) -> Option<&SettingsDigest> {
        None
    }

    /// Loads the session under this key. Django's `SessionBase.load`.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// assert!(store.load(&key, now).await?.is_none(), "absent is no error");
    /// store.create(&key, record).await?;
    /// assert_eq!(store.load(&key, now).await?.unwrap().data().unwrap().read("visits")?, Some(1));
    /// assert!(store.load(&key, record.expire_date).await?.is_none(), "it ends exactly then");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError>;

    /// Loads the session from the place where updates are compared, to replay changes after
    /// [`Updated::Changed`]. It differs from `load` only for a store that loads from copies.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// let loaded = store.load_for_update(&key, now).await?.unwrap();
    /// assert_eq!(loaded.version, store.load(&key, now).await?.unwrap().version);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn load_for_update(
        &self,
        session_key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        self.load(session_key, now).await
    }

    /// Stores a new session, unless the key is taken: by a live session, an expired one or an unreadable one.
    /// Django's `save(must_create=True)`.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::{Created, Record};
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// assert!(matches!(store.create(&key, record).await?, Created::Created(_)));
    /// let tomorrow = Record { now: now + TimeDelta::days(1), expire_date: now + TimeDelta::days(2), ..record };
    /// assert_eq!(store.create(&key, tomorrow).await?, Created::KeyTaken, "an expired session keeps its key");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError>;

    /// Replaces a session if it is still in the version `expected`; without `expected` in any case. Never
    /// creates one. Django's `save()` is this without `expected`.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::{Record, Updated};
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// let data = SessionData::from_json(r#"{"visits":2}"#)?;
    /// let Updated::Updated(version) = store.update(&key, None, Record { data: &data, ..record }).await? else {
    ///     panic!("it is there");
    /// };
    /// let loaded = store.load(&key, now).await?.unwrap();
    /// assert_eq!((&loaded.version, loaded.data()), (&version, Some(&data)));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError>;

    /// Replaces a session as [`update`](SessionStore::update) does, and moves it to another key in the same
    /// step: it is never under both keys or under neither. Part of Django's `cycle_key`.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::{Record, Rotated};
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// let taken = SessionKey::random()?;
    /// store.create(&key, record).await?;
    /// store.create(&taken, record).await?;
    /// assert_eq!(store.rotate(&key, None, &taken, record).await?, Rotated::KeyTaken);
    /// assert!(store.exists(&key, now).await?, "nothing was written");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError>;

    /// Gives a session that is in this version another expiry; `record` holds its unchanged data. A store that
    /// can writes no data. The default replaces the session by [`update`](SessionStore::update).
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::{Record, Touched};
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// let loaded = store.load(&key, now).await?.unwrap();
    /// let later = Record { expire_date: now + TimeDelta::days(1), ..record };
    /// assert_eq!(store.touch(&key, &loaded.version, later).await?, Touched::Extended);
    /// assert!(store.exists(&key, now + TimeDelta::hours(2)).await?);
    /// store.delete(&key).await?;
    /// assert_eq!(store.touch(&key, &loaded.version, later).await?, Touched::Stale, "nothing is restored");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        Ok(match self.update(session_key, Some(version), record).await? {
            Updated::Updated(_) => Touched::Extended,
            Updated::Missing | Updated::Changed => Touched::Stale,
        })
    }

    /// Removes a session permanently; returns whether there was one. Django's `delete`.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// assert!(store.delete(&key).await?);
    /// assert!(!store.delete(&key).await?, "it is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError>;

    /// Whether an unexpired session has this key. Django's `exists` counts expired ones too.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// assert!(store.exists(&key, now).await?);
    /// assert!(!store.exists(&key, now + TimeDelta::hours(1)).await?, "it has expired");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Returns those of these keys under which an unexpired session is stored, as [`exists`](SessionStore::exists)
    /// says of each. The default asks for one after the other; a store that can asks for all in one round trip.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, now) = (MemoryStore::new(), Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// let (here, gone) = (SessionKey::random()?, SessionKey::random()?);
    /// store.create(&here, record).await?;
    /// let live = store.live_among(&[here.clone(), gone.clone()], now).await?;
    /// assert!(live.contains(&here) && !live.contains(&gone));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let mut live = HashSet::new();
        for session_key in session_keys {
            if self.exists(session_key, now).await? {
                live.insert(session_key.clone());
            }
        }
        Ok(live)
    }

    /// Removes the sessions that expired before `now`, in batches that block nobody for long. Returns how
    /// many. Does nothing where the server expires entries by itself. Django's `clear_expired`.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// assert_eq!(store.clear_expired(now).await?, 0);
    /// assert_eq!(store.clear_expired(now + TimeDelta::days(1)).await?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn clear_expired(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        self.clear_expired_with_progress(now, &mut |_cleared| ControlFlow::Continue(())).await
    }

    /// Like [`clear_expired`](SessionStore::clear_expired), and reports the number of removed sessions to
    /// `progress` after each batch; when `progress` breaks, it stops there. A store that removes them in one
    /// step reports once.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// let mut told = Vec::new();
    /// let mut progress = |cleared| {
    ///     told.push(cleared);
    ///     ControlFlow::Continue(())
    /// };
    /// store.clear_expired_with_progress(now + TimeDelta::days(1), &mut progress).await?;
    /// assert_eq!(told, [1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError>;

    /// Lists all sessions, page by page.
    ///
    /// - Everything stored is listed, including entries that are expired, not genuine, or unreadable.
    /// - An entry that exists from the first call to the last is listed, regardless of other changes. Stores
    ///   that list in the order of their keys (the databases) list it once, others at least once.
    ///
    /// ```
    /// # use cloakroom::chrono::Utc;
    /// # use cloakroom::{MemoryStore, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, now) = (MemoryStore::new(), Utc::now());
    /// let (mut live, mut listing) = (0, store.list()?);
    /// while let Some(page) = listing.next_page(500, now).await? {
    ///     live += page.iter().filter(|listed| !listed.is_expired(now)).count();
    /// }
    /// assert_eq!(live, 0);
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Of [`StoreErrorKind::Unsupported`] where a store cannot know its sessions, such as sessions in
    /// cookies.
    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        let message = "this store cannot list its sessions; it finds a session only by its key";
        Err(StoreError::new("", StoreErrorKind::Unsupported, message))
    }

    /// Counts the sessions. One statement in a database; elsewhere it takes as long as a listing.
    ///
    /// ```
    /// # use cloakroom::chrono::{TimeDelta, Utc};
    /// # use cloakroom::store::Record;
    /// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
    /// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
    /// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&key, record).await?;
    /// assert_eq!(store.count(now).await?.live, 1);
    /// let tomorrow = store.count(now + TimeDelta::days(1)).await?;
    /// assert_eq!((tomorrow.live, tomorrow.expired), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`list`](SessionStore::list).
    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        let (mut count, mut listing) = (Count::default(), self.list()?);
        while let Some(page) = listing.next_page(LISTING_PAGE, now).await? {
            for listed in page {
                *match &listed.session {
                    _ if listed.is_expired(now) => &mut count.expired,
                    Err(_) => &mut count.unreadable,
                    Ok(_) => &mut count.live,
                } += 1;
            }
        }
        Ok(count)
    }

    /// Closes all connections and files that the store can open again. Call it before the process ends, if
    /// the store is not dropped (in a static, or leaked). With SQLite, the database's file alone then
    /// contains everything; other stores have nothing to do. The store stays usable.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("db.sqlite3");
    /// # use cloakroom::{SessionStore, Settings, SqliteStore};
    ///
    /// SqliteStore::at(&path).create_table(Default::default()).await?;
    /// let store = SqliteStore::at(&path).open(&Settings::new("secret")).await?;
    /// store.close().await?;
    /// assert!(!folder.path().join("db.sqlite3-wal").exists());
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When acknowledged data is safe, but could not be moved to its final place, as on a full disk.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store that can be shared between requests: any store, or one that is already in an [`Arc`].
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionMiddleware, SessionStore, Settings};
///
/// assert!(SessionMiddleware::new(MemoryStore::new(), Settings::new("secret")).is_ok());
/// let shared: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
/// assert!(SessionMiddleware::new(Arc::clone(&shared), Settings::new("secret")).is_ok());
/// ```
pub trait IntoSharedStore {
    /// Returns the store behind an `Arc`.
    fn into_shared_store(self) -> Arc<dyn SessionStore>;
}

impl<S: SessionStore> IntoSharedStore for S {
    fn into_shared_store(self) -> Arc<dyn SessionStore> {
        Arc::new(self)
    }
}

impl<S: SessionStore> IntoSharedStore for Arc<S> {
    fn into_shared_store(self) -> Arc<dyn SessionStore> {
        self
    }
}

impl IntoSharedStore for Arc<dyn SessionStore> {
    fn into_shared_store(self) -> Arc<dyn SessionStore> {
        self
    }
}

/// Page size of the default `count`.
const LISTING_PAGE: usize = 500;

/// Receives the number of expired sessions removed so far, and decides whether to go on.
///
/// ```
/// use std::ops::ControlFlow;
/// use cloakroom::store::Progress;
///
/// let mut so_far = 0;
/// let progress: &mut Progress<'_> = &mut |cleared| {
///     so_far = cleared;
///     if cleared < 10_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
/// };
/// assert!(progress(1_000).is_continue());
/// assert!(progress(10_000).is_break());
/// assert_eq!(so_far, 10_000);
/// ```
pub type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + Send + 'a;

/// A session to write.
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::Record;
/// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// store.create(&key, record).await?;
/// let later = Record { expire_date: now + TimeDelta::weeks(2), ..record };
/// store.update(&key, None, later).await?;
/// assert!(store.exists(&key, now + TimeDelta::days(1)).await?);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "sessions hand all of it to stores")]
pub struct Record<'a> {
    /// The data.
    pub data: &'a SessionData,
    /// The session's expiry.
    pub expire_date: DateTime<Utc>,
    /// The current time.
    pub now: DateTime<Utc>,
}

/// The outcome of [`SessionStore::create`].
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
/// let Created::Created(version) = store.create(&key, record).await? else { panic!("a random key is free") };
/// assert_eq!(store.load(&key, now).await?.unwrap().version, version);
/// assert_eq!(store.create(&key, record).await?, Created::KeyTaken);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every caller handles each outcome")]
pub enum Created {
    /// The session is stored, in this version.
    Created(Version),
    /// The key is taken; nothing was written. Django raises `CreateError`.
    KeyTaken,
}

/// The outcome of [`SessionStore::update`].
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::{Record, Updated};
/// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// assert_eq!(store.update(&key, None, record).await?, Updated::Missing, "nothing is created");
/// store.create(&key, record).await?;
/// let loaded = store.load(&key, now).await?.unwrap();
/// let first = store.update(&key, Some(&loaded.version), record).await?;
/// assert!(matches!(first, Updated::Updated(_)));
/// assert_eq!(store.update(&key, Some(&loaded.version), record).await?, Updated::Changed, "too late");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every caller handles each outcome")]
pub enum Updated {
    /// The session is replaced, now in this version.
    Updated(Version),
    /// There is no such session; nothing was written. Django raises `UpdateError`.
    Missing,
    /// The session is no longer in the expected version; nothing was written.
    Changed,
}

/// The outcome of [`SessionStore::touch`].
///
/// ```
/// # use cloakroom::chrono::{TimeDelta, Utc};
/// # use cloakroom::store::{Record, Touched};
/// # use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// # let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// # let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// store.create(&key, record).await?;
/// let loaded = store.load(&key, now).await?.unwrap();
/// let later = Record { expire_date: now + TimeDelta::days(1), ..record };
/// assert_eq!(store.touch(&key, &loaded.version, later).await?, Touched::Extended);
/// assert!(store.exists(&key, now + TimeDelta::hours(2)).await?);
/// store.delete(&key).await?;
/// assert_eq!(store.touch(&key, &loaded.version, later).await?, Touched::Stale, "nothing is restored");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every caller handles each outcome")]
pub enum Touched {
    /// The session has the new expiry.
    Extended,
    /// No session is there in this version: it was deleted, or another request saved it, which also extended
    /// it. Nothing was written.
    Stale,
}

/// The outcome of [`SessionStore::rotate`].
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::{Record, Rotated};
/// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// let new_key = SessionKey::random()?;
/// assert_eq!(store.rotate(&key, None, &new_key, record).await?, Rotated::Missing);
/// store.create(&key, record).await?;
/// assert!(matches!(store.rotate(&key, None, &new_key, record).await?, Rotated::Rotated(_)));
/// assert!(store.load(&key, now).await?.is_none());
/// assert!(store.load(&new_key, now).await?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every caller handles each outcome")]
pub enum Rotated {
    /// The session is under the new key alone, in this version.
    Rotated(Version),
    /// There is no session under the old key; nothing was written.
    Missing,
    /// The session is no longer in the expected version; nothing was written.
    Changed,
    /// The new key is taken; nothing was written.
    KeyTaken,
}
