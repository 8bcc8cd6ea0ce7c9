//! Encrypted sessions: a store around any other.
//!
//! 1. **What is encrypted**: the session's data. Its key, its expiry and the index of user sessions are not: stores look
//!    up and clear by them.
//! 2. **Each write has its own random nonce**, and is bound to the session key: an entry that was copied to another key
//!    does not open. A session in a cookie has no key to be bound to.
//! 3. **The first key writes, all keys read.** The entry names its key, so none is tried.
//! 4. **An entry that does not open is an error** of [`StoreErrorKind::Unreadable`], and never "not found". It stays as
//!    it is.
//! 5. **A plain entry is such an error too**, unless the keys say
//!    [`accepting_plain`](EncryptionKeys::accepting_plain): otherwise whoever can write to the store could plant one.
//!
//! Versions are the inner store's, so saves compare as before.

mod entry;
mod keys;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;

use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::SettingsDigest;
use crate::store::contract::{
    Created, IntoSharedStore, Progress, Record, Rotated, SessionStore, Touched, Updated,
};
use crate::store::listing::{Count, Listed, Listing};
use crate::store::loaded::{Content, Loaded, Version};

pub use self::entry::encryption_key_id;
pub use self::keys::{EncryptionKey, EncryptionKeys};

/// Encrypts the sessions of another store, with XChaCha20-Poly1305. Django cannot read them: see
/// `docs/encryption.md`.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::store::{EncryptionKey, EncryptionKeys};
/// use cloakroom::{EncryptedStore, MemoryStore, Session, SessionStore, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // From `openssl rand -hex 32`, kept apart from `SECRET_KEY`.
/// let key: EncryptionKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".parse()?;
/// let inner = Arc::new(MemoryStore::new());
/// let store = Arc::new(EncryptedStore::new(inner.clone(), EncryptionKeys::new([key])?));
///
/// let session = Session::new(store.clone(), Settings::new("secret"));
/// session.set("iban", "CH93 0076 2011 6238 5295 7")?;
/// session.save().await?;
///
/// let (session_key, now) = (session.session_key().unwrap(), cloakroom::chrono::Utc::now());
/// let stored = inner.load(&session_key, now).await?.unwrap().data().unwrap().to_json();
/// assert!(stored.starts_with(r#"{"_cloakroom_encrypted":"1."#) && !stored.contains("CH93"));
/// let loaded = store.load(&session_key, now).await?.unwrap();
/// assert_eq!(loaded.data().unwrap().to_json(), r#"{"iban":"CH93 0076 2011 6238 5295 7"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct EncryptedStore {
    inner: Arc<dyn SessionStore>,
    keys: EncryptionKeys,
}

impl EncryptedStore {
    /// Creates the store around `inner`.
    ///
    /// ```
    /// use cloakroom::store::{EncryptionKey, EncryptionKeys};
    /// use cloakroom::{EncryptedStore, SessionStore, Settings, SignedCookieStore};
    ///
    /// let keys = EncryptionKeys::new([EncryptionKey::from_bytes([7; 32])])?;
    /// let store = EncryptedStore::new(SignedCookieStore::new(&Settings::new("secret")), keys);
    /// assert!(store.keeps_data_in_cookie(), "the user cannot read the cookie any more");
    /// assert_eq!(store.name(), "signed_cookies", "the inner store's");
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    pub fn new(inner: impl IntoSharedStore, keys: EncryptionKeys) -> EncryptedStore {
        EncryptedStore { inner: inner.into_shared_store(), keys }
    }

    /// The key that an entry is bound to.
    fn bound_to<'a>(&self, session_key: &'a SessionKey) -> Option<&'a SessionKey> {
        Some(session_key).filter(|_| !self.inner.keeps_data_in_cookie())
    }

    fn seal(&self, session_key: &SessionKey, record: Record<'_>) -> Result<SessionData, StoreError> {
        entry::seal(self.keys.first(), self.bound_to(session_key), record.data, self.name())
    }

    fn open(&self, session_key: &SessionKey, mut loaded: Loaded) -> Result<Loaded, StoreError> {
        if let Content::Genuine(data) = loaded.content {
            let opened = entry::open(&self.keys, self.bound_to(session_key), data);
            let opened = opened.map_err(|error| {
                StoreError::new(
                    self.name(),
                    StoreErrorKind::Unreadable,
                    format!("{error}; the entry was left"),
                )
            })?;
            loaded.content = Content::Genuine(opened);
        }
        Ok(loaded)
    }
}

#[async_trait]
impl SessionStore for EncryptedStore {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn keeps_data_in_cookie(&self) -> bool {
        self.inner.keeps_data_in_cookie()
    }

    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.inner.opened_with()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let loaded = self.inner.load(session_key, now).await?;
        loaded.map(|loaded| self.open(session_key, loaded)).transpose()
    }

    async fn load_for_update(
        &self,
        session_key: &SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        let loaded = self.inner.load_for_update(session_key, now).await?;
        loaded.map(|loaded| self.open(session_key, loaded)).transpose()
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let data = self.seal(session_key, record)?;
        self.inner.create(session_key, Record { data: &data, ..record }).await
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let data = self.seal(session_key, record)?;
        self.inner.update(session_key, expected, Record { data: &data, ..record }).await
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let data = self.seal(new_session_key, record)?;
        self.inner.rotate(session_key, expected, new_session_key, Record { data: &data, ..record }).await
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        // Some stores write the data again.
        let data = self.seal(session_key, record)?;
        self.inner.touch(session_key, version, Record { data: &data, ..record }).await
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.inner.delete(session_key).await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.inner.exists(session_key, now).await
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        self.inner.live_among(session_keys, now).await
    }

    async fn clear_expired(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        self.inner.clear_expired(now).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.inner.clear_expired_with_progress(now, progress).await
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(Opening { store: self, inner: self.inner.list()? }))
    }

    /// As the inner store counts, without opening an entry.
    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.inner.count(now).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

impl fmt::Debug for EncryptedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("EncryptedStore").field(&self.inner).field(&self.keys).finish()
    }
}

/// The inner store's listing, with its entries opened.
struct Opening<'a> {
    store: &'a EncryptedStore,
    inner: Box<dyn Listing<Listed> + 'a>,
}

#[async_trait]
impl Listing<Listed> for Opening<'_> {
    async fn next_page(
        &mut self,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Listed>>, StoreError> {
        let page = self.inner.next_page(limit, now).await?;
        let open = |listed: Listed| {
            let session = listed.session.and_then(|loaded| self.store.open(&listed.session_key, loaded));
            Listed { session, ..listed }
        };
        Ok(page.map(|page| page.into_iter().map(open).collect()))
    }
}
