//! Lists all sessions of a store, page by page.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::loaded::Loaded;

/// A session in a listing by [`SessionStore::list`](super::SessionStore::list): live, expired, not genuine or
/// unreadable.
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
/// let page = store.list()?.next_page(100, now).await?.unwrap();
/// assert_eq!(page[0].session_key, key);
/// assert_eq!(page[0].session.as_ref().unwrap().data(), Some(&data));
/// assert!(!page[0].is_expired(now));
/// assert!(page[0].is_expired(record.expire_date));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores write it as a literal")]
pub struct Listed {
    /// Its key.
    pub session_key: SessionKey,
    /// Its expiry, if the store knows it.
    pub expire_date: Option<DateTime<Utc>>,
    /// The session, or why it cannot be read: an error of [`StoreErrorKind::Unreadable`](crate::StoreErrorKind::Unreadable).
    pub session: Result<Loaded, StoreError>,
}

impl Listed {
    /// Whether it has expired, so that only the listing shows it.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expire_date.is_some_and(|expire_date| expire_date <= now)
    }
}

/// The number of sessions in a store, from [`SessionStore::count`](super::SessionStore::count).
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
#[expect(clippy::exhaustive_structs, reason = "stores write it as a literal")]
pub struct Count {
    /// Sessions that have not expired.
    pub live: u64,
    /// Sessions that have expired and can be cleared.
    pub expired: u64,
    /// Entries that could not be read, for a store that reads each entry. A database counts rows and reads
    /// none.
    pub unreadable: u64,
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
impl Count {
    /// Computes it from the numbers of live rows and of all rows.
    pub(super) fn of((live, all): (i64, i64)) -> Count {
        Count { live: live.unsigned_abs(), expired: (all - live).unsigned_abs(), unreadable: 0 }
    }
}

/// The position in a listing. Each store keeps in it the state to continue; a cursor belongs to the store
/// that moved it.
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::{MemoryStore, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, now) = (MemoryStore::new(), Utc::now());
/// let (mut sessions, mut listing) = (0, store.list()?);
/// while let Some(page) = listing.next_page(500, now).await? {
///     sessions += page.len();
/// }
/// assert_eq!(sessions, 0);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Listing<T>: Send {
    /// Returns the next items, about `limit` of them; `None` at the end. A page may be empty before the end.
    ///
    /// # Errors
    /// When the store fails. The listing has not advanced: call again to retry.
    async fn next_page(&mut self, limit: usize, now: DateTime<Utc>) -> Result<Option<Vec<T>>, StoreError>;
}

/// A store that finds each page from the place where the previous one ended. [`Pages`] turns it into a
/// [`Listing`].
///
/// ```
/// use cloakroom::chrono::{DateTime, Utc};
/// use cloakroom::store::{Listing, Paged, Pages};
/// use cloakroom::{StoreError, async_trait};
///
/// /// Lists the numbers up to itself.
/// struct Numbers(u32);
///
/// #[async_trait]
/// impl Paged<u32> for Numbers {
///     type Place = u32;
///
///     async fn page(
///         &self,
///         after: Option<&u32>,
///         limit: usize,
///         _now: DateTime<Utc>,
///     ) -> Result<(Vec<u32>, Option<u32>), StoreError> {
///         let page: Vec<u32> = (after.map_or(1, |after| after + 1)..=self.0).take(limit).collect();
///         let last = page.last().copied().filter(|last| *last < self.0);
///         Ok((page, last))
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let numbers = Numbers(5);
/// let mut listing = Pages::of(&numbers);
/// assert_eq!(listing.next_page(3, Utc::now()).await?, Some(vec![1, 2, 3]));
/// assert_eq!(listing.next_page(3, Utc::now()).await?, Some(vec![4, 5]));
/// assert_eq!(listing.next_page(3, Utc::now()).await?, None);
/// # Ok::<(), StoreError>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Paged<T>: Sync {
    /// The place where a page ends.
    type Place: Send + Sync;

    /// Returns the page after this place, or the first one, of about `limit` items, at least one. Also
    /// returns the place where it ends, unless it is the last page.
    ///
    /// # Errors
    /// When the store fails.
    async fn page(
        &self,
        after: Option<&Self::Place>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<(Vec<T>, Option<Self::Place>), StoreError>;
}

/// The [`Listing`] of a [`Paged`] store.
pub struct Pages<'a, S: Paged<T> + ?Sized, T> {
    store: &'a S,
    position: Position<S::Place>,
}

enum Position<P> {
    Start,
    After(P),
    End,
}

impl<'a, S: Paged<T> + ?Sized, T> Pages<'a, S, T> {
    /// Creates a listing from the beginning.
    pub fn of(store: &'a S) -> Self {
        Pages { store, position: Position::Start }
    }
}

#[async_trait]
impl<S: Paged<T> + ?Sized, T: Send> Listing<T> for Pages<'_, S, T> {
    async fn next_page(&mut self, limit: usize, now: DateTime<Utc>) -> Result<Option<Vec<T>>, StoreError> {
        let after = match &self.position {
            Position::Start => None,
            Position::After(place) => Some(place),
            Position::End => return Ok(None),
        };
        let (page, end) = self.store.page(after, limit.max(1), now).await?;
        self.position = end.map_or(Position::End, Position::After);
        Ok(Some(page))
    }
}

impl<S: Paged<T> + ?Sized, T> fmt::Debug for Pages<'_, S, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.position {
            Position::Start => "Pages(start)",
            Position::After(_) => "Pages(..)",
            Position::End => "Pages(end)",
        })
    }
}

/// The end of a page in the order of the keys. A page that is not full is the last.
pub(super) fn end_of<T, P>(page: &[T], limit: usize, place: impl Fn(&T) -> P) -> Option<P> {
    page.last().filter(|_| page.len() >= limit).map(place)
}

impl Listed {
    /// The session's place in the order of the keys.
    pub(super) fn place(&self) -> SessionKey {
        self.session_key.clone()
    }
}
