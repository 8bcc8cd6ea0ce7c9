//! Moves the sessions that nobody writes.

use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;

use super::entry::{Found, Place};
use super::{MovingStore, NAME, busy};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::contract::{Progress, Record, SessionStore, Updated};
use crate::store::loaded::Content;

/// The counts of a [`MovingStore::move_rest`] call.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use cloakroom::chrono::Utc;
/// use cloakroom::store::moving::Moved;
/// use cloakroom::{MemoryStore, MovingStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = MovingStore::new(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()))?;
/// let moved = store.move_rest(Utc::now(), &mut |_| ControlFlow::Continue(())).await?;
/// assert_eq!((moved.moved, moved.left), (0, 0));
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Sessions that are now in the new store.
    pub moved: u64,
    /// Live sessions that stayed in the old store: unreadable, not signed with this secret, without a known
    /// expiry, or refused by the new store.
    pub left: u64,
}

impl MovingStore {
    /// Moves every session that is still in the old store, while the site runs: those that nobody has written
    /// since the move began. Afterwards the new store can be used alone. `progress` receives how many were
    /// looked at, and can stop it.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use std::sync::Arc;
    /// use cloakroom::chrono::{TimeDelta, Utc};
    /// use cloakroom::store::Record;
    /// use cloakroom::{MemoryStore, MovingStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (old, new) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    /// let (key, now, data) = (SessionKey::random()?, Utc::now(), SessionData::new());
    /// old.create(&key, Record { data: &data, expire_date: now + TimeDelta::hours(1), now }).await?;
    /// let moved = MovingStore::new(old.clone(), new.clone())?
    ///     .move_rest(now, &mut |_| ControlFlow::Continue(()))
    ///     .await?;
    /// assert_eq!((moved.moved, moved.left), (1, 0));
    /// assert!(!old.exists(&key, now).await? && new.exists(&key, now).await?);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When a store fails, or the old one cannot list its sessions. Sessions moved until then stay moved.
    pub async fn move_rest(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<Moved, StoreError> {
        let (mut moved, mut looked_at, mut listing) = (Moved::default(), 0, self.old.list()?);
        while let Some(page) = listing.next_page(PAGE, now).await? {
            let mut page = page.into_iter();
            let mut under_way = JoinSet::new();
            loop {
                while under_way.len() < AT_ONCE
                    && let Some(listed) = page.next()
                {
                    looked_at += 1;
                    if !listed.is_expired(now) {
                        let store = MovingStore { old: Arc::clone(&self.old), new: Arc::clone(&self.new) };
                        under_way.spawn(async move {
                            store.move_one(&listed.session_key, listed.expire_date, now).await
                        });
                    }
                }
                let Some(outcome) = under_way.join_next().await else { break };
                let outcome = outcome.map_err(|error| {
                    let message = "a move was broken off";
                    StoreError::new(NAME, StoreErrorKind::Unavailable, message).with_source(error)
                })?;
                match outcome {
                    Ok(Some(true)) => moved.moved += 1,
                    Ok(Some(false)) => moved.left += 1,
                    Ok(None) => {}
                    Err(error)
                        if matches!(error.kind(), StoreErrorKind::Unreadable | StoreErrorKind::Refused) =>
                    {
                        moved.left += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            if let ControlFlow::Break(()) = progress(looked_at) {
                break;
            }
        }
        Ok(moved)
    }

    /// Whether the session was moved; `None` when it is not in the old store.
    async fn move_one(
        &self,
        key: &crate::SessionKey,
        expire_date: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<bool>, StoreError> {
        for _ in 0..super::ATTEMPTS {
            let Some(mut found) = self.find(key, now, true).await? else { return Ok(None) };
            if found.place == Place::New {
                return Ok(None);
            }
            found.expire_date = found.expire_date.or(expire_date);
            let Found { content: Content::Genuine(ref data), expire_date: Some(expire_date), .. } = found
            else {
                return Ok(Some(false));
            };
            let data = data.clone();
            let record = Record { data: &data, expire_date, now };
            let expected = found.loaded().version;
            match self.update(key, Some(&expected), record).await? {
                Updated::Updated(_) => return Ok(Some(true)),
                Updated::Missing => return Ok(None),
                Updated::Changed => {}
            }
        }
        Err(busy())
    }
}

/// How many sessions are moved concurrently.
const AT_ONCE: usize = 16;

/// How many sessions are in memory at a time.
const PAGE: usize = 500;
