//! A session as a store has it, and the version by which the store compares it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;

/// A session as the store has it.
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
/// let loaded = store.load(&key, now).await?.unwrap();
/// assert_eq!((loaded.data, loaded.expire_date), (data.clone(), Some(record.expire_date)));
/// assert!(loaded.genuine);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its data; empty when not genuine.
    pub data: SessionData,
    /// What is stored, to tell later whether it still is.
    pub version: Version,
    /// When it ends, where the store knows.
    pub expire_date: Option<DateTime<Utc>>,
    /// Whether what is stored was signed with this secret.
    pub genuine: bool,
}

/// What a store compares to tell whether an entry is still what was loaded: the stored bytes themselves,
/// or a number that changes with each write.
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
    /// Of a store that is made of other stores.
    Composite(Arc<dyn CompositeVersion>),
}

/// The version of a store that is made of other stores: it holds theirs.
pub(super) trait CompositeVersion: Any + Send + Sync {
    /// Whether this is the same version.
    fn is(&self, other: &dyn CompositeVersion) -> bool;

    /// The version that the session's own store has, where it is known.
    fn stored(&self) -> Option<&Version>;
}

impl Version {
    /// A version that is the stored bytes.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Version {
        Version(VersionKind::Bytes(bytes.into()))
    }

    /// A version that is a number.
    pub fn from_number(number: u64) -> Version {
        Version(VersionKind::Number(number))
    }

    /// The stored bytes; none when the version is a number.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            VersionKind::Bytes(bytes) => Some(bytes),
            VersionKind::Composite(version) => version.stored()?.as_bytes(),
            VersionKind::Number(_) => None,
        }
    }

    /// The number; none when the version is bytes.
    pub fn as_number(&self) -> Option<u64> {
        match self.0 {
            VersionKind::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn composite(version: impl CompositeVersion) -> Version {
        Version(VersionKind::Composite(Arc::new(version)))
    }

    /// The version of one kind of composite store.
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
