//! Going through all sessions of a store, page by page.

use std::any::Any;
use std::fmt;

use chrono::{DateTime, Utc};

use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::loaded::Loaded;

/// A session as [`SessionStore::list`](super::SessionStore::list) finds it: live, expired, not genuine or
/// unreadable.
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::{Cursor, Record};
/// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// store.create(&key, record).await?;
/// let page = store.list(&mut Cursor::start(), 100, now).await?;
/// assert_eq!(page[0].session_key, key);
/// assert_eq!(page[0].session.as_ref().unwrap().data, data);
/// assert!(!page[0].is_expired(now));
/// assert!(page[0].is_expired(record.expire_date));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Listed {
    /// Its key.
    pub session_key: SessionKey,
    /// When it ends or ended, where the store knows.
    pub expire_date: Option<DateTime<Utc>>,
    /// What is stored, or why it cannot be read: an error of [`StoreErrorKind::Unreadable`].
    pub session: Result<Loaded, StoreError>,
}

impl Listed {
    /// Whether it has expired, and so is absent for everything but the listing.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expire_date.is_some_and(|expire_date| expire_date <= now)
    }
}

/// How many sessions a store has, as [`SessionStore::count`](super::SessionStore::count) tells.
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::store::Count;
/// use cloakroom::{MemoryStore, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let count = MemoryStore::new().count(Utc::now()).await?;
/// assert_eq!(count, Count { live: 0, expired: 0, unreadable: 0 });
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that have not expired.
    pub live: u64,
    /// Those that have expired, and wait to be cleared.
    pub expired: u64,
    /// Those that a store which reads each entry could not read. A database counts rows and reads none.
    pub unreadable: u64,
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
impl Count {
    /// From the live rows and all rows, as a database counts them.
    pub(super) fn of((live, all): (i64, i64)) -> Count {
        Count { live: live.unsigned_abs(), expired: (all - live).unsigned_abs(), unreadable: 0 }
    }
}

/// How far a listing has come. Each store keeps in it what it needs to go on; a cursor belongs to the store
/// that moved it.
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::store::Cursor;
/// use cloakroom::{MemoryStore, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, mut cursor) = (MemoryStore::new(), Cursor::start());
/// assert!(!cursor.is_done());
/// while !cursor.is_done() {
///     assert!(store.list(&mut cursor, 100, Utc::now()).await?.is_empty());
/// }
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
#[derive(Default)]
pub struct Cursor(Place);

#[derive(Default)]
enum Place {
    #[default]
    Start,
    At(Box<dyn Any + Send + Sync>),
    End,
}

impl Cursor {
    /// The cursor of a listing that begins.
    pub fn start() -> Cursor {
        Cursor::default()
    }

    /// Whether everything has been listed.
    pub fn is_done(&self) -> bool {
        matches!(self.0, Place::End)
    }

    /// For stores: where the last call came to; none at the start.
    ///
    /// ```
    /// use cloakroom::store::Cursor;
    ///
    /// let mut cursor = Cursor::start();
    /// assert_eq!(cursor.place::<u64>()?, None);
    /// cursor.move_to(Some(42_u64));
    /// assert_eq!(cursor.place::<u64>()?, Some(&42));
    /// assert!(cursor.place::<String>().is_err(), "another store's");
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When another kind of store moved this cursor.
    pub fn place<T: Any>(&self) -> Result<Option<&T>, StoreError> {
        match &self.0 {
            Place::Start | Place::End => Ok(None),
            Place::At(place) => place.downcast_ref().map(Some).ok_or_else(|| {
                let message = "the cursor is of another store's listing; begin with `Cursor::start()`";
                StoreError::new("", StoreErrorKind::Misconfigured, message)
            }),
        }
    }

    /// For stores: sets where the next call goes on; none at the end.
    ///
    /// ```
    /// use cloakroom::store::Cursor;
    ///
    /// let mut cursor = Cursor::start();
    /// cursor.move_to(Some("the last key of this page".to_owned()));
    /// assert!(!cursor.is_done());
    /// cursor.move_to::<String>(None);
    /// assert!(cursor.is_done());
    /// ```
    pub fn move_to<T: Any + Send + Sync>(&mut self, place: Option<T>) {
        self.0 = place.map_or(Place::End, |place| Place::At(Box::new(place)));
    }

    /// For stores that list in the order of their keys: the next page goes on after the last of this one. A page that is
    /// not full is the last.
    pub(super) fn move_after<T, P: Any + Send + Sync>(
        &mut self,
        page: &[T],
        limit: usize,
        place: impl Fn(&T) -> P,
    ) {
        let last = page.last().filter(|_| page.len() >= limit.max(1));
        self.move_to(last.map(place));
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Place::Start => "Cursor(start)",
            Place::At(_) => "Cursor(..)",
            Place::End => "Cursor(end)",
        })
    }
}
