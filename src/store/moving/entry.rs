//! Entries of either store, with their marks of a move.

use std::any::Any;

use chrono::{DateTime, Utc};
use cloakroom_formats::{SessionData, Value};

use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::loaded::{CompositeVersion, Content, Loaded, Version};

/// The session key that holds the mark.
const MARK: &str = "_cloakroom_moving";

const CLAIMED: &str = "claimed";
const PROVISIONAL: &str = "provisional";
const FORWARD: &str = "forward";

/// Identifies a move.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Nonce(String);

impl Nonce {
    pub(super) fn random() -> Result<Nonce, StoreError> {
        Ok(Nonce(random_key()?.as_str().to_owned()))
    }
}

/// Generates a key that nobody has.
pub(super) fn random_key() -> Result<SessionKey, StoreError> {
    SessionKey::random().map_err(|error: Error| {
        let message = "the system gives no random numbers";
        StoreError::new("moving", StoreErrorKind::Unavailable, message).with_source(error)
    })
}

/// An entry of one of the two stores.
pub(super) enum Entry {
    /// A session, regardless of the other store; and whether a move has claimed it.
    Session(Loaded, bool),
    /// A session if the other store forwards to it; nothing otherwise.
    Provisional(Nonce, Loaded),
    /// No session here: it belongs to the other store.
    Forward(Nonce, Version),
}

impl Entry {
    /// Reads the mark, and removes it from the data.
    pub(super) fn of(mut loaded: Loaded) -> Entry {
        let Content::Genuine(data) = &mut loaded.content else { return Entry::Session(loaded, false) };
        let Ok(Some(mark)) = data.read::<String>(MARK) else { return Entry::Session(loaded, false) };
        let Some((word, nonce)) = mark.split_once(' ') else { return Entry::Session(loaded, false) };
        let nonce = Nonce(nonce.to_owned());
        data.remove(MARK);
        match word {
            PROVISIONAL => Entry::Provisional(nonce, loaded),
            FORWARD => Entry::Forward(nonce, loaded.version),
            _ => Entry::Session(loaded, true),
        }
    }

    pub(super) fn version(&self) -> &Version {
        match self {
            Entry::Session(loaded, _) | Entry::Provisional(_, loaded) => &loaded.version,
            Entry::Forward(_, version) => version,
        }
    }
}

/// Whether this move holds the claim on an entry with this stored data.
pub(super) fn is_claimed(stored: &SessionData, nonce: &Nonce) -> bool {
    stored.read::<String>(MARK).is_ok_and(|mark| mark == Some(format!("{CLAIMED} {}", nonce.0)))
}

/// Returns the data of a session with a move's claim.
pub(super) fn claimed(data: &SessionData, nonce: &Nonce) -> Result<SessionData, StoreError> {
    marked(data.clone(), CLAIMED, nonce)
}

/// Returns the provisional data for the place that the session moves to.
pub(super) fn provisional(data: &SessionData, nonce: &Nonce) -> Result<SessionData, StoreError> {
    marked(data.clone(), PROVISIONAL, nonce)
}

/// Returns the data of the entry that stays at the place that the session moved from.
pub(super) fn forward(nonce: &Nonce) -> Result<SessionData, StoreError> {
    marked(SessionData::new(), FORWARD, nonce)
}

fn marked(mut data: SessionData, word: &str, nonce: &Nonce) -> Result<SessionData, StoreError> {
    let mark = Value::serialize(&format!("{word} {}", nonce.0))
        .map_err(|error| StoreError::not_carried("moving", error))?;
    data.insert(MARK, mark);
    Ok(data)
}

/// The store in which a session was found.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the new store.
    New,
    /// In the new store, while the old store still holds this entry, which forwards to it.
    Arriving(Version),
    /// In the old store.
    Old,
}

/// A session, and its place.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) content: Content,
    /// The version in its own store.
    pub(super) version: Version,
    pub(super) expire_date: Option<DateTime<Utc>>,
    /// Whether another move is in progress, or was when its process died.
    pub(super) is_claimed: bool,
}

impl Found {
    pub(super) fn new(place: Place, loaded: Loaded) -> Found {
        let Loaded { content, version, expire_date } = loaded;
        Found { place, content, version, expire_date, is_claimed: false }
    }

    pub(super) fn session(place: Place, loaded: Loaded, is_claimed: bool) -> Found {
        Found { is_claimed, ..Found::new(place, loaded) }
    }

    /// The session as the caller of [`MovingStore`](super::MovingStore) gets it.
    pub(super) fn loaded(self) -> Loaded {
        Loaded {
            content: self.content.clone(),
            expire_date: self.expire_date,
            version: match self.place {
                Place::New => self.version,
                Place::Arriving(_) | Place::Old => Version::composite(MovingVersion(self)),
            },
        }
    }

    /// Converts the version that the caller has loaded. The new store's versions are used unchanged.
    pub(super) fn expected(version: &Version) -> Found {
        match version.as_composite() {
            Some(MovingVersion(found)) => found.clone(),
            None => Found {
                place: Place::New,
                content: Content::Genuine(SessionData::new()),
                version: version.clone(),
                expire_date: None,
                is_claimed: false,
            },
        }
    }
}

/// The version of a session that must be moved before it is written.
struct MovingVersion(Found);

impl CompositeVersion for MovingVersion {
    fn is(&self, other: &dyn CompositeVersion) -> bool {
        (other as &dyn Any)
            .downcast_ref::<MovingVersion>()
            .is_some_and(|other| (&self.0.place, &self.0.version) == (&other.0.place, &other.0.version))
    }

    fn stored(&self) -> Option<&Version> {
        Some(&self.0.version)
    }
}
