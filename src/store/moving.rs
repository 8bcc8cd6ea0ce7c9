//! Two stores, while a site moves from the old one to the new one without downtime.
//!
//! Sessions are read from both. A written session moves to the new store; new ones are created there. In a
//! rolling deployment every process first gets the stores in the other order, `moving:NEW|OLD`, which reads
//! both and writes the old one as before; then every process gets `moving:OLD|NEW`. Processes with either
//! order work side by side: the rules below are the same in both directions.
//!
//! # The rules of a move
//!
//! There is no transaction over two stores, so one write in one store has to decide. A mark in the session's
//! data tells the kind of an entry:
//!
//! | entry | means |
//! |---|---|
//! | a session, perhaps *claimed* by a move | the session |
//! | *provisional*, of a move | the session if the other store forwards to it by the same move; nothing otherwise |
//! | *forward*, of a move | no session; it is the other store's |
//!
//! A move from the old store to the new one is three writes, each by compare-and-swap:
//!
//! 1. *Claim*: the old entry, if it still is what was loaded, becomes the same session with this move's
//!    claim. The decision of every other move then fails, because it needs its own claim. Another move's
//!    claim is taken over only after a short, random wait. Otherwise many concurrent moves would take it from
//!    each other, and none would be decided.
//! 2. *Reserve*: the new store gets the session as provisional. It has no effect yet. Another move's leftover there is
//!    replaced only if this move still holds the claim after seeing it.
//! 3. *Decide*: the claimed entry becomes a forward. From this write on the session belongs to the new store.
//!
//! The caller's own write follows, in the new store and by compare-and-swap with the provisional entry. The
//! forward is then removed, if it is still unchanged.
//!
//! So, if every process that writes these sessions uses this store:
//!
//! - **No lost update.** A write between the load and the claim fails the claim; one between claim and decision
//!   fails the decision; one after the decision fails the caller's write. Each is [`Updated::Changed`], after
//!   which the session is loaded again.
//! - **No return after a logout.** Logout deletes from both stores, the old one first, until a pass finds
//!   nothing, and at least twice. A move whose claim is deleted cannot decide, and its provisional entry has no
//!   effect.
//! - **A crash loses nothing.** Before the decision the old store has the session, after it the new one, in
//!   each case with its whole time to live. Leftovers have no effect, are replaced by the next move, and
//!   expire with their session.
//!
//! # Limits
//!
//! - A process that knows only one of the stores, such as Django, does not see the other store's sessions. For
//!   Django, a session that moved away is gone: its user has to log in again, and a save at that moment fails
//!   (Django answers 400). A Django write before the decision is not lost, because the move fails. But Django's
//!   save does not compare. It is lost if its load was before the decision, and its write comes between the
//!   decision and the removal of the forward, some milliseconds later. Move a site with Django by
//!   `cloakroom copy --record`.
//! - A session that another program has put into both stores, such as `cloakroom copy`, is read from the new
//!   store.
//! - Absence is not atomic over two stores: a session is absent when two consecutive reads of both stores
//!   found the same nothing. To be missed, it would have to move three times, back and forth, in between.
//! - While processes with both orders run, a listing may miss a session that moves backwards meanwhile.
//! - Two `cached_db:` stores must not share entries of one cache: give them different prefixes.

mod entry;
mod list;
mod rest;
mod transfer;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use self::entry::{Entry, Found, Place};
use self::list::BothStores;
use self::transfer::{BEFORE_ALL, Brought, give_way};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::SettingsDigest;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Updated};
use crate::store::listing::{Listed, Listing};
use crate::store::loaded::{Loaded, Version};

pub use self::rest::Moved;

/// Reads two stores and writes the new one, while a site moves from one to the other without downtime. The
/// rules are in the [module](self)'s documentation.
///
/// As a URL it is `moving:OLD|NEW`, or `moving:OLD||NEW` where one of the two is a `cached_db:`.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::Record;
/// use cloakroom::{MemoryStore, MovingStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (old, new) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
/// let store = MovingStore::new(old.clone(), new.clone())?;
/// let (key, now) = (SessionKey::random()?, Utc::now());
/// let mut data = SessionData::from_json(r#"{"visits":1}"#)?;
/// old.create(&key, Record { data: &data, expire_date: now + TimeDelta::hours(1), now }).await?;
///
/// let loaded = store.load(&key, now).await?.unwrap();
/// data.write("visits", &2)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// store.update(&key, Some(&loaded.version), record).await?;
/// assert!(!old.exists(&key, now).await?, "it has moved");
/// assert_eq!(new.load(&key, now).await?.unwrap().data(), Some(&data));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct MovingStore {
    old: Arc<dyn SessionStore>,
    new: Arc<dyn SessionStore>,
}

/// How often a session is read again while other processes move or change it.
const ATTEMPTS: usize = 32;

impl MovingStore {
    /// Creates the store that reads both and writes the new one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, MovingStore, SessionStore, Settings, SignedCookieStore, StoreErrorKind};
    ///
    /// let (old, new) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    /// assert_eq!(MovingStore::new(old.clone(), new)?.name(), "moving");
    /// let cookies = Arc::new(SignedCookieStore::new(&Settings::new("secret")));
    /// assert_eq!(MovingStore::new(old, cookies).unwrap_err().kind(), StoreErrorKind::Misconfigured);
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When one of the two keeps its data in the cookie, or is a `MovingStore` itself.
    pub fn new(old: Arc<dyn SessionStore>, new: Arc<dyn SessionStore>) -> Result<MovingStore, StoreError> {
        let wrong = |message: &str| Err(StoreError::new("moving", StoreErrorKind::Misconfigured, message));
        if old.keeps_data_in_cookie() || new.keeps_data_in_cookie() {
            return wrong(
                "sessions in cookies cannot move to a server or away from it; use a store with a server side for each",
            );
        }
        if old.name() == NAME || new.name() == NAME {
            return wrong("a site moves between two stores; end one move before the next begins");
        }
        Ok(MovingStore { old, new })
    }

    /// Finds the session in either store. `for_update` reads from the places where the stores compare.
    async fn find(
        &self,
        key: &SessionKey,
        now: DateTime<Utc>,
        for_update: bool,
    ) -> Result<Option<Found>, StoreError> {
        let mut before: Option<[Option<Version>; 2]> = None;
        for _ in 0..ATTEMPTS {
            let new = entry_in(&*self.new, key, now, for_update).await?;
            if let Some(Entry::Session(loaded, is_claimed)) = new {
                return Ok(Some(Found::session(Place::New, loaded, is_claimed)));
            }
            let old = entry_in(&*self.old, key, now, for_update).await?;
            let versions = [&new, &old].map(|entry| entry.as_ref().map(|entry| entry.version().clone()));
            match (new, old) {
                (_, Some(Entry::Session(loaded, is_claimed))) => {
                    return Ok(Some(Found::session(Place::Old, loaded, is_claimed)));
                }
                (Some(Entry::Provisional(nonce, loaded)), Some(Entry::Forward(to, forward)))
                    if nonce == to =>
                {
                    return Ok(Some(Found::new(Place::Arriving(forward), loaded)));
                }
                // A process with the other order was moving it, and has decided.
                (Some(Entry::Forward(to, _)), Some(Entry::Provisional(nonce, loaded))) if nonce == to => {
                    return Ok(Some(Found::new(Place::Old, loaded)));
                }
                // It may have moved between the two reads.
                _ if before.as_ref() != Some(&versions) => before = Some(versions),
                _ => return Ok(None),
            }
        }
        Err(busy())
    }
}

const NAME: &str = "moving";

async fn entry_in(
    store: &dyn SessionStore,
    key: &SessionKey,
    now: DateTime<Utc>,
    for_update: bool,
) -> Result<Option<Entry>, StoreError> {
    let loaded = match for_update {
        true => store.load_for_update(key, now).await?,
        false => store.load(key, now).await?,
    };
    Ok(loaded.map(Entry::of))
}

fn busy() -> StoreError {
    let message = "other processes move or change the session again and again; try again";
    StoreError::new(NAME, StoreErrorKind::Unavailable, message)
}

#[async_trait]
impl SessionStore for MovingStore {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The old store may still have the site's former settings.
    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.new.opened_with()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        Ok(self.find(session_key, now, false).await?.map(Found::loaded))
    }

    async fn load_for_update(
        &self,
        session_key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        Ok(self.find(session_key, now, true).await?.map(Found::loaded))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        // An expired session keeps its key.
        if self.old.exists(session_key, BEFORE_ALL).await? {
            return Ok(Created::KeyTaken);
        }
        self.new.create(session_key, record).await
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        for attempt in 0..ATTEMPTS {
            give_way(attempt).await?;
            let found = match expected {
                Some(expected) => Found::expected(expected),
                None => match self.find(session_key, record.now, true).await? {
                    Some(found) => found,
                    None => return Ok(Updated::Missing),
                },
            };
            let outcome = match self.in_new(session_key, found, record).await? {
                Err(outcome) => outcome,
                Ok((version, forward)) => match self.new.update(session_key, Some(&version), record).await? {
                    Updated::Updated(version) => {
                        if let Some(forward) = forward {
                            self.clean_up(&*self.old, session_key, &forward, record.now).await;
                        }
                        return Ok(Updated::Updated(version));
                    }
                    _ => self.missing_or_changed(session_key, record.now).await?,
                },
            };
            match outcome {
                Brought::Missing => return Ok(Updated::Missing),
                _ if expected.is_some() => return Ok(Updated::Changed),
                _ => {}
            }
        }
        Err(busy())
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        for attempt in 0..ATTEMPTS {
            give_way(attempt).await?;
            let found = match expected {
                Some(expected) => Found::expected(expected),
                None => match self.find(session_key, record.now, true).await? {
                    Some(found) => found,
                    None => return Ok(Rotated::Missing),
                },
            };
            if self.old.exists(new_session_key, BEFORE_ALL).await? {
                return Ok(Rotated::KeyTaken);
            }
            let outcome = match self.in_new(session_key, found, record).await? {
                Err(outcome) => outcome,
                Ok((version, forward)) => {
                    match self.new.rotate(session_key, Some(&version), new_session_key, record).await? {
                        Rotated::Rotated(version) => {
                            if let Some(forward) = forward {
                                self.clean_up(&*self.old, session_key, &forward, record.now).await;
                            }
                            return Ok(Rotated::Rotated(version));
                        }
                        Rotated::KeyTaken => return Ok(Rotated::KeyTaken),
                        _ => self.missing_or_changed(session_key, record.now).await?,
                    }
                }
            };
            match outcome {
                Brought::Missing => return Ok(Rotated::Missing),
                _ if expected.is_some() => return Ok(Rotated::Changed),
                _ => {}
            }
        }
        Err(busy())
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let mut existed = false;
        for pass in 0..ATTEMPTS {
            // The old store first: then no move to the new store can be decided any more. A failure in one
            // store must not prevent the deletion in the other.
            let old = self.old.delete(session_key).await;
            let new = self.new.delete(session_key).await;
            let is_found = old? | new?;
            existed |= is_found;
            // A process with the other order may have moved it between the two deletions.
            if !is_found && pass > 0 {
                return Ok(existed);
            }
        }
        Err(busy())
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        match self.find(session_key, now, true).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind() == StoreErrorKind::Unreadable => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let mut is_broken_off = false;
        let of_old = self
            .old
            .clear_expired_with_progress(now, &mut |cleared| {
                let flow = progress(cleared);
                is_broken_off = flow.is_break();
                flow
            })
            .await?;
        if is_broken_off {
            return Ok(of_old);
        }
        let mut both = |cleared| -> ControlFlow<()> { progress(of_old + cleared) };
        Ok(of_old + self.new.clear_expired_with_progress(now, &mut both).await?)
    }

    /// Lists the old store first, so that a session that moves meanwhile is listed.
    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(BothStores::new(self)?))
    }

    async fn close(&self) -> Result<(), StoreError> {
        let old = self.old.close().await;
        self.new.close().await.and(old)
    }
}

impl fmt::Debug for MovingStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MovingStore").field("old", &self.old).field("new", &self.new).finish()
    }
}
