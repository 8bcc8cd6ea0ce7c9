//! The copies in the cache: reading them, and deciding what may replace them.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::SessionData;

use super::distrust::Distrust;
use super::pause::Pause;
use crate::site::clock::Clock;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Record, SessionStore, Updated};
use crate::store::loaded::{CompositeVersion, Content, Loaded, Version};

/// The maximum difference between the clocks of a cache and its users, and from rounding.
const SLACK: TimeDelta = TimeDelta::seconds(2);

/// The version of a `CachedDbStore`: the data, and the versions behind it as far as they are known.
pub(crate) struct CopyVersion {
    pub(super) content: Content,
    /// The row's version; `None` when the data came from the cache, which does not know it.
    pub(super) database: Option<Version>,
    /// The copy's version.
    pub(super) cache: Option<Version>,
}

impl CompositeVersion for CopyVersion {
    fn is(&self, other: &dyn CompositeVersion) -> bool {
        (other as &dyn Any).downcast_ref::<CopyVersion>().is_some_and(|other| self.content == other.content)
    }

    /// A caller that reads the stored bytes wants the row's, which this version does not have.
    fn stored(&self) -> Option<&Version> {
        None
    }
}

impl CopyVersion {
    pub(super) fn of(content: Content, database: Option<Version>, cache: Option<Version>) -> Version {
        Version::composite(CopyVersion { content, database, cache })
    }

    pub(super) fn from(version: &Version) -> Option<&CopyVersion> {
        version.as_composite()
    }
}

/// The state of a session's place in the cache.
pub(super) enum Seen {
    Nothing,
    /// A tombstone, or the copy of an empty session: they cannot be distinguished. It carries no information,
    /// and nobody replaces it: the next writer removes it before asking the database.
    Empty,
    Copy(Version),
    /// The cache failed.
    Unknown,
}

/// The outcome of putting a copy into the cache.
pub(super) enum Put {
    Done(Version),
    /// Something else was put there meanwhile.
    Conflict,
    Failed,
}

pub(super) struct Copies {
    pub(super) cache: Arc<dyn SessionStore>,
    pub(super) copy_age: TimeDelta,
    pub(super) tombstone_age: TimeDelta,
    /// How long after looking an empty place may be filled: a tombstone put there meanwhile still exists
    /// then.
    pub(super) fill_within: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) distrust: Distrust,
    pub(super) pause: Pause,
}

impl Copies {
    /// Returns the state of this session's place, and the copy if there is one, trusted or not.
    pub(super) async fn look(&self, session_key: &SessionKey, now: DateTime<Utc>) -> (Seen, Option<Loaded>) {
        if !self.pause.may_ask() {
            return (Seen::Unknown, None);
        }
        match self.pause.watch(self.cache.load(session_key, now)).await {
            Ok(None) => (Seen::Nothing, None),
            Ok(Some(copy)) => match copy.data() {
                None => (Seen::Copy(copy.version), None),
                Some(data) if data.is_empty() => (Seen::Empty, None),
                // The database stores such an object as plain JSON: the member of an `Enum`, whose class JSON
                // cannot express.
                Some(data) if !data.is_json() => (Seen::Empty, None),
                Some(_) => (Seen::Copy(copy.version.clone()), Some(copy)),
            },
            // Such as a pickle of other types than plain ones: the row may still be readable.
            Err(error) if error.kind() == StoreErrorKind::Unreadable => (Seen::Empty, None),
            Err(error) => {
                warn(&error);
                (Seen::Unknown, None)
            }
        }
    }

    /// Returns the state of this session's place before the database is written.
    pub(super) async fn look_before_writing(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Seen {
        match self.look(session_key, now).await.0 {
            // Otherwise Django would read it until it expires.
            Seen::Empty => match self.pause.watch(self.cache.delete(session_key)).await {
                Ok(_) => Seen::Nothing,
                Err(error) => {
                    warn(&error);
                    Seen::Unknown
                }
            },
            seen => seen,
        }
    }

    /// Whether this copy can replace reading the row.
    pub(super) fn believes(&self, session_key: &SessionKey, copy: &Loaded, now: DateTime<Utc>) -> bool {
        let latest = now.checked_add_signed(self.copy_age + SLACK).unwrap_or(DateTime::<Utc>::MAX_UTC);
        copy.expire_date.is_none_or(|expire_date| expire_date <= latest)
            && !self.distrust.contains(session_key)
    }

    /// Puts a copy where `seen` was at `start`, and nowhere else.
    pub(super) async fn put(
        &self,
        session_key: &SessionKey,
        record: Record<'_>,
        seen: Seen,
        start: Instant,
    ) -> Put {
        let age = if record.data.is_empty() { self.tombstone_age } else { self.copy_age };
        let end = record.now.checked_add_signed(age).unwrap_or(record.expire_date);
        let record = Record { expire_date: record.expire_date.min(end), ..record };
        let outcome = match seen {
            Seen::Nothing if start.elapsed() >= self.fill_within => Ok(Put::Conflict),
            Seen::Nothing if !self.pause.may_ask() => Ok(Put::Failed),
            Seen::Nothing => match self.pause.watch(self.cache.create(session_key, record)).await {
                Ok(Created::Created(version)) => Ok(Put::Done(version)),
                Ok(Created::KeyTaken) => Ok(Put::Conflict),
                Err(error) => Err(error),
            },
            Seen::Copy(_) if !self.pause.may_ask() => Ok(Put::Failed),
            Seen::Copy(version) => {
                let update = self.cache.update(session_key, Some(&version), record);
                match self.pause.watch(update).await {
                    Ok(Updated::Updated(version)) => Ok(Put::Done(version)),
                    Ok(Updated::Missing | Updated::Changed) => Ok(Put::Conflict),
                    Err(error) => Err(error),
                }
            }
            Seen::Empty => Ok(Put::Conflict),
            Seen::Unknown => Ok(Put::Failed),
        };
        outcome.unwrap_or_else(|error| {
            warn(&error);
            Put::Failed
        })
    }

    /// Replaces the copy by a tombstone; without `always` only if there is something. When the cache fails,
    /// the copy is not trusted for a while.
    pub(super) async fn bury(&self, session_key: &SessionKey, always: bool) {
        if !self.pause.may_ask() {
            self.distrust.add(session_key);
        } else if let Err(error) = self.try_to_bury(session_key, always).await {
            warn(&error);
            self.distrust.add(session_key);
        }
    }

    /// Replaces the copy by a tombstone, even while the cache is paused: a logout must try.
    pub(super) async fn try_to_bury(&self, session_key: &SessionKey, always: bool) -> Result<(), StoreError> {
        const ATTEMPTS: usize = 8;
        let (empty, now) = (SessionData::new(), self.clock.now());
        let expire_date = now.checked_add_signed(self.tombstone_age).unwrap_or(now);
        let tombstone = Record { data: &empty, expire_date, now };
        for _ in 0..ATTEMPTS {
            match self.pause.watch(self.cache.update(session_key, None, tombstone)).await? {
                Updated::Updated(_) => return Ok(()),
                Updated::Missing if !always => return Ok(()),
                Updated::Missing | Updated::Changed => {}
            }
            let create = self.cache.create(session_key, tombstone);
            if matches!(self.pause.watch(create).await?, Created::Created(_)) {
                return Ok(());
            }
        }
        let message = "the session's copy comes and goes; it could not be replaced";
        Err(StoreError::new("cached_db", StoreErrorKind::Unavailable, message))
    }
}

fn warn(error: &StoreError) {
    tracing::warn!(store = "cached_db", %error, "the cache failed; sessions come from the database");
}
