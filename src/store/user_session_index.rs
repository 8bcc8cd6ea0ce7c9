//! The contract between user sessions and the index that keeps their entries.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};

use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::Listing;

/// The maximum number of characters in a user's id, in every store.
pub const MAX_USER_ID: usize = 255;
/// The maximum number of characters in an address; the rest is cut off.
///
/// ```
/// use cloakroom::user_sessions::{Client, MAX_ADDRESS};
///
/// let client = Client::new(Some(&"x".repeat(100)), None);
/// assert_eq!(client.address().unwrap().len(), MAX_ADDRESS);
/// ```
pub const MAX_ADDRESS: usize = 64;
/// The maximum number of characters in a user agent; the rest is cut off.
pub const MAX_USER_AGENT: usize = 255;

/// Where a request came from, as reported by the application: only the application knows it behind a proxy.
///
/// Text longer than a column is cut, control characters are removed, and an empty text counts as unknown.
///
/// ```
/// use cloakroom::user_sessions::Client;
///
/// let client = Client::new(Some("192.0.2.7"), Some("Mozilla/5.0 (X11; Linux x86_64)\n"));
/// assert_eq!(client.address(), Some("192.0.2.7"));
/// assert_eq!(client.user_agent(), Some("Mozilla/5.0 (X11; Linux x86_64)"));
/// assert_eq!(Client::new(None, Some(&"x".repeat(1_000))).user_agent().unwrap().len(), 255);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    address: Option<String>,
    user_agent: Option<String>,
}

impl Client {
    /// Creates a client with this address and this `User-Agent`, as far as they are known.
    pub fn new(address: Option<&str>, user_agent: Option<&str>) -> Client {
        Client { address: kept(address, MAX_ADDRESS), user_agent: kept(user_agent, MAX_USER_AGENT) }
    }

    /// The address, usually an IP address.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The browser's `User-Agent`.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

fn kept(text: Option<&str>, limit: usize) -> Option<String> {
    let text: String = text?.chars().filter(|character| !character.is_control()).take(limit).collect();
    (!text.is_empty()).then_some(text)
}

/// An index entry: one session of one user. The two together identify the entry.
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::{MemoryStore, SessionKey};
/// use cloakroom::user_sessions::{Client, Entry, UserSessionIndex};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let entry = Entry::new("7", SessionKey::random()?, Utc::now(), Client::default());
/// assert_eq!(entry.first_seen, entry.last_seen);
/// let index = MemoryStore::new();
/// index.put(&entry, None).await?;
/// assert_eq!(index.of_user("7").await?, [entry]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "indexes write it as a literal")]
pub struct Entry {
    /// The user's id, as Django stores it in the session.
    pub user_id: String,
    /// The session.
    pub session_key: SessionKey,
    /// When the user was first seen in the session.
    pub first_seen: DateTime<Utc>,
    /// When the user was last seen in the session.
    pub last_seen: DateTime<Utc>,
    /// The client of the last request that reported one.
    pub client: Client,
}

impl Entry {
    /// Creates an entry for a user who is seen now. Indexes keep times to the microsecond.
    pub fn new(
        user_id: impl Into<String>,
        session_key: SessionKey,
        now: DateTime<Utc>,
        client: Client,
    ) -> Entry {
        let now = now.trunc_subsecs(6);
        Entry { user_id: user_id.into(), session_key, first_seen: now, last_seen: now, client }
    }
}

impl Entry {
    /// The entry's place in the order of users and keys.
    pub(super) fn place(&self) -> (String, SessionKey) {
        (self.user_id.clone(), self.session_key.clone())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("user_id", &self.user_id)
            .field("first_seen", &self.first_seen)
            .field("last_seen", &self.last_seen)
            .finish_non_exhaustive()
    }
}

/// Keeps track of each user's sessions, beside the sessions themselves. It may contain sessions that are
/// gone, and miss some that live: the [`SessionStore`](crate::SessionStore) decides which sessions exist.
///
/// These stores of this library implement it too: SQLite, PostgreSQL, MySQL, Redis and memory. Each call is
/// atomic for each entry, across processes too.
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::{MemoryStore, SessionKey};
/// use cloakroom::user_sessions::{Client, Entry, UserSessionIndex};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (index, session_key) = (MemoryStore::new(), SessionKey::random()?);
/// index.fill(&[Entry::new("7", session_key.clone(), Utc::now(), Client::default())]).await?;
/// assert_eq!(index.of_user("7").await?.len(), 1);
/// index.remove(&[("7", &session_key)]).await?;
/// assert!(index.of_user("7").await?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[async_trait]
pub trait UserSessionIndex: Send + Sync + fmt::Debug + 'static {
    /// Checks that the index is usable: its table exists.
    async fn check(&self) -> Result<(), StoreError>;

    /// Records that a user was seen in a session. An existing entry keeps its first time, gets the later of
    /// the two last times, and takes over the known parts of the new client. A missing entry takes its first
    /// time and the unknown parts of the client from the entry of the key in `moved_from`, if that exists.
    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError>;

    /// Adds missing entries, and leaves the others as they are.
    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError>;

    /// Returns all entries of a user, in any order.
    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError>;

    /// Removes these entries, each a user's id and a session; missing ones are ignored.
    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError>;

    /// Lists all entries of all users, page by page. An entry that exists from the first call to the last is
    /// listed at least once.
    fn entries(&self) -> Box<dyn Listing<Entry> + '_>;
}
