//! Moves a session from the old store to the new one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::SessionData;

use super::entry::{self, Entry, Found, Nonce, Place};
use super::{ATTEMPTS, MovingStore, busy};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Record, Rotated, SessionStore, Updated};
use crate::store::loaded::Version;

/// A conditional deletion moves the entry to a key that nobody has, for at most this long.
const AWAY: TimeDelta = TimeDelta::seconds(60);

/// A load at this time finds expired sessions too, with their version.
pub(super) const BEFORE_ALL: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// The backoff, in attempts, before another move's claim is taken over.
const CLAIMED: usize = 4;

/// Waits before an attempt, longer after more attempts, so that one of many competitors succeeds.
pub(super) async fn give_way(attempt: usize) -> Result<(), StoreError> {
    // Outside of a runtime there are no timers.
    if attempt == 0 || tokio::runtime::Handle::try_current().is_err() {
        return Ok(());
    }
    let limit = 1_000_u64 << attempt.min(6);
    let random = entry::random_key()?
        .as_str()
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    tokio::time::sleep(Duration::from_micros(limit / 4 + random % limit)).await;
    Ok(())
}

/// The outcome of moving a session.
pub(super) enum Brought {
    /// It is now in the new store, in this version, and the old store's entry forwards to it.
    Over {
        version: Version,
        forward: Version,
    },
    Missing,
    Changed,
}

/// The outcome of reserving the key in the new store.
enum Reserved {
    Reserved(Version),
    /// The new store has another session there, or the claim is lost.
    Taken,
}

impl MovingStore {
    /// Moves a session that is in the old store, with its data as it was found.
    pub(super) async fn bring_over(
        &self,
        key: &SessionKey,
        found: &Found,
        record: Record<'_>,
    ) -> Result<Brought, StoreError> {
        if found.is_claimed {
            // Moves that keep taking each other's claims would all fail. A claim whose process died delays
            // this one only briefly.
            give_way(CLAIMED).await?;
        }
        let nonce = Nonce::random()?;
        let expire_date = found.expire_date.unwrap_or(record.expire_date);
        let as_found = |data| Record { data, expire_date, now: record.now };
        // From here on no other move of this session can be decided.
        let empty = SessionData::new();
        // Only an update without an expected version replaces an entry that is not genuine.
        let stored = found.content.data().unwrap_or(&empty);
        let data = entry::claimed(stored, &nonce)?;
        let claim = match self.old.update(key, Some(&found.version), as_found(&data)).await? {
            Updated::Updated(claim) => claim,
            Updated::Missing | Updated::Changed => return self.missing_or_changed(key, record.now).await,
        };
        let data = entry::provisional(stored, &nonce)?;
        let version = match self.reserve(key, as_found(&data), &nonce).await? {
            Reserved::Reserved(version) => version,
            Reserved::Taken => return self.missing_or_changed(key, record.now).await,
        };
        // This write decides: before it the old store has the session, after it the new one.
        let data = entry::forward(&nonce)?;
        match self.old.update(key, Some(&claim), as_found(&data)).await? {
            Updated::Updated(forward) => Ok(Brought::Over { version, forward }),
            Updated::Missing | Updated::Changed => {
                self.clean_up(&*self.new, key, &version, record.now).await;
                self.missing_or_changed(key, record.now).await
            }
        }
    }

    /// Puts the session in the new store, where it has no effect yet.
    ///
    /// Another move's leftover there is replaced if the claim is still ours *after* it was seen. That move
    /// had its own claim before it left anything, so it has lost its claim and cannot decide any more. If our
    /// claim is lost, the entry stays: the next move may have decided on it.
    async fn reserve(
        &self,
        key: &SessionKey,
        record: Record<'_>,
        nonce: &Nonce,
    ) -> Result<Reserved, StoreError> {
        for _ in 0..ATTEMPTS {
            if let Created::Created(version) = self.new.create(key, record).await? {
                return Ok(Reserved::Reserved(version));
            }
            let there = match self.new.load_for_update(key, BEFORE_ALL).await? {
                Some(there) => there,
                None => continue,
            };
            let has_expired = there.expire_date.is_some_and(|end| end <= record.now);
            let version = match Entry::of(there) {
                // The store's client sent the creation twice.
                Entry::Provisional(own, there) if own == *nonce => {
                    return Ok(Reserved::Reserved(there.version));
                }
                Entry::Session(..) if !has_expired => return Ok(Reserved::Taken),
                other => other.version().clone(),
            };
            let claimed = self.old.load_for_update(key, BEFORE_ALL).await?;
            if !claimed
                .is_some_and(|claimed| claimed.data().is_some_and(|data| entry::is_claimed(data, nonce)))
            {
                return Ok(Reserved::Taken);
            }
            if let Updated::Updated(version) = self.new.update(key, Some(&version), record).await? {
                return Ok(Reserved::Reserved(version));
            }
        }
        Err(busy())
    }

    /// The outcome of a write that found an unexpected entry: another process may have moved the session.
    pub(super) async fn missing_or_changed(
        &self,
        key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Brought, StoreError> {
        let found = self.find(key, now, true).await?;
        Ok(if found.is_some() { Brought::Changed } else { Brought::Missing })
    }

    /// Finds where to write a session in the new store, after moving it if it is in the old one.
    pub(super) async fn in_new(
        &self,
        key: &SessionKey,
        found: Found,
        record: Record<'_>,
    ) -> Result<Result<(Version, Option<Version>), Brought>, StoreError> {
        Ok(match found.place {
            Place::New => Ok((found.version, None)),
            Place::Arriving(forward) => Ok((found.version, Some(forward))),
            Place::Old => match self.bring_over(key, &found, record).await? {
                Brought::Over { version, forward } => Ok((version, Some(forward))),
                other => Err(other),
            },
        })
    }

    /// Removes a move's leftover, if it is unchanged. A leftover that cannot be removed has no effect and
    /// expires with its session.
    pub(super) async fn clean_up(
        &self,
        store: &dyn SessionStore,
        key: &SessionKey,
        version: &Version,
        now: DateTime<Utc>,
    ) {
        if let Err(error) = delete_if(store, key, version, now).await {
            tracing::debug!(store = "moving", %error, "what a move has left could not be removed");
        }
    }
}

/// Deletes an entry if it is still in this version. Moving it to another key is the only conditional way to
/// remove an entry from its key.
async fn delete_if(
    store: &dyn SessionStore,
    key: &SessionKey,
    version: &Version,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let away = entry::random_key()?;
    let data: SessionData = entry::forward(&Nonce::random()?)?;
    let record = Record { data: &data, expire_date: now + AWAY, now };
    if let Rotated::Rotated(_) = store.rotate(key, Some(version), &away, record).await? {
        store.delete(&away).await?;
    }
    Ok(())
}
