//! A session as a store has it, and the version with which the store compares it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;

/// An entry as the store has it: a session, or a text that was not signed with this secret.
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::store::{Content, Record};
/// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (store, key, now) = (MemoryStore::new(), SessionKey::random()?, Utc::now());
/// let data = SessionData::from_json(r#"{"visits":1}"#)?;
/// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
/// store.create(&key, record).await?;
/// let loaded = store.load(&key, now).await?.unwrap();
/// assert_eq!((loaded.data(), loaded.expire_date), (Some(&data), Some(record.expire_date)));
/// assert!(matches!(loaded.content, Content::Genuine(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores write it as a literal")]
pub struct Loaded {
    /// The session's data, if the entry is genuine.
    pub content: Content,
    /// Identifies the entry's version, to detect later changes.
    pub version: Version,
    /// The session's expiry, if the store knows it.
    pub expire_date: Option<DateTime<Utc>>,
}

/// The content of a stored entry.
///
/// ```
/// use cloakroom::SessionData;
/// use cloakroom::store::Content;
///
/// assert_eq!(Content::Genuine(SessionData::new()).data(), Some(&SessionData::new()));
/// assert_eq!(Content::NotGenuine.data(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A session.
    Genuine(SessionData),
    /// A text that was not signed with this secret. It acts as a new session, and the stored entry stays as
    /// it is.
    NotGenuine,
}

impl Content {
    /// The data of a genuine entry.
    pub fn data(&self) -> Option<&SessionData> {
        match self {
            Content::Genuine(data) => Some(data),
            Content::NotGenuine => None,
        }
    }

    /// The data of a genuine entry.
    pub fn into_data(self) -> Option<SessionData> {
        match self {
            Content::Genuine(data) => Some(data),
            Content::NotGenuine => None,
        }
    }
}

impl Loaded {
    /// The session's data, where the entry is genuine.
    pub fn data(&self) -> Option<&SessionData> {
        self.content.data()
    }

    /// Whether the entry was signed with this secret, or needs no signature.
    pub fn is_genuine(&self) -> bool {
        self.data().is_some()
    }
}

/// The value that a store compares to detect changes to an entry: the stored bytes themselves, or a number
/// that changes with each write.
///
/// ```
/// use cloakroom::store::Version;
///
/// let (text, number) = (Version::from_bytes(*b"e30:1x"), Version::from_number(7));
/// assert_eq!((text.as_bytes(), text.as_number()), (Some(&b"e30:1x"[..]), None));
/// assert_eq!((number.as_bytes(), number.as_number()), (None, Some(7)));
/// assert_ne!(number, Version::from_number(8));
/// ```
#[derive(Clone)]
pub struct Version(VersionKind);

#[derive(Clone)]
enum VersionKind {
    Bytes(Arc<[u8]>),
    Number(u64),
    /// For a store composed of other stores.
    Composite(Arc<dyn CompositeVersion>),
}

/// The version of a composite store: it contains the other stores' versions.
pub(super) trait CompositeVersion: Any + Send + Sync {
    /// Whether this is the same version.
    fn is(&self, other: &dyn CompositeVersion) -> bool;

    /// The version in the session's own store, if known.
    fn stored(&self) -> Option<&Version>;
}

impl Version {
    /// Creates a version from the stored bytes.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Version {
        Version(VersionKind::Bytes(bytes.into()))
    }

    /// Creates a version from a number.
    pub fn from_number(number: u64) -> Version {
        Version(VersionKind::Number(number))
    }

    /// The stored bytes; `None` when the version is a number.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            VersionKind::Bytes(bytes) => Some(bytes),
            VersionKind::Composite(version) => version.stored()?.as_bytes(),
            VersionKind::Number(_) => None,
        }
    }

    /// The number; `None` when the version is bytes.
    pub fn as_number(&self) -> Option<u64> {
        match self.0 {
            VersionKind::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn composite(version: impl CompositeVersion) -> Version {
        Version(VersionKind::Composite(Arc::new(version)))
    }

    /// Returns the version of one kind of composite store.
    pub(super) fn as_composite<T: CompositeVersion>(&self) -> Option<&T> {
        match &self.0 {
            VersionKind::Composite(version) => (&**version as &dyn Any).downcast_ref(),
            _ => None,
        }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        match (&self.0, &other.0) {
            (VersionKind::Bytes(one), VersionKind::Bytes(other)) => one == other,
            (VersionKind::Number(one), VersionKind::Number(other)) => one == other,
            (VersionKind::Composite(one), VersionKind::Composite(other)) => one.is(&**other),
            _ => false,
        }
    }
}

impl Eq for Version {}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Version(..)")
    }
}
