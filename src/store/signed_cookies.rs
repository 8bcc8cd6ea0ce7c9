//! Sessions without a server side: the cookie itself holds the signed data. Django's `signed_cookies`.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::{DecodeError, SessionCodec};

use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::{Settings, SettingsDigest};
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Updated};
use crate::store::loaded::{Content, Loaded, Version};

/// Keeps each session in its user's cookie, readable by the user, and signed so that it cannot be changed.
///
/// No server can revoke such a session: a copy of the cookie stays valid until it is
/// [`cookie_age`](Settings::cookie_age) old, even after logout. Of two concurrent requests the later cookie
/// wins. The session's own expiry is ignored, as in Django.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Session, Settings, SignedCookieStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("secret");
/// let session = Session::new(Arc::new(SignedCookieStore::new(&settings)), settings);
/// session.set("a", 1)?;
/// session.save().await?;
/// assert!(session.session_key().unwrap().as_str().starts_with("eyJhIjoxfQ:"));
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
pub struct SignedCookieStore {
    codec: SessionCodec,
    max_age: TimeDelta,
    cookie_name: String,
    opened_with: SettingsDigest,
}

/// The longest cookie name and value together that browsers keep; attributes have their own limit.
const MAX_COOKIE_LENGTH: usize = 4_096;

impl SignedCookieStore {
    /// Creates the store of a site, with Django's salt and the settings' cookie age.
    ///
    /// ```
    /// use cloakroom::{SessionStore, Settings, SignedCookieStore};
    ///
    /// let store = SignedCookieStore::new(&Settings::new("the site's SECRET_KEY"));
    /// assert_eq!(store.name(), "signed_cookies");
    /// assert!(store.keeps_data_in_cookie(), "no server side");
    /// ```
    pub fn new(settings: &Settings) -> SignedCookieStore {
        SignedCookieStore {
            codec: SessionCodec::of_signed_cookies(settings),
            max_age: settings.cookie_age,
            cookie_name: settings.cookie_name.clone(),
            opened_with: SettingsDigest::of_files_and_cookies(settings),
        }
    }

    fn sign(&self, record: Record<'_>) -> Result<Version, StoreError> {
        let text = self.codec.encode(record.data, record.now);
        let text = text.map_err(|error| StoreError::not_carried("signed_cookies", error))?;
        let length = self.cookie_name.len() + text.len();
        if length > MAX_COOKIE_LENGTH {
            let message = format!(
                "the session takes {length} bytes with the cookie's name, and a cookie holds \
                 {MAX_COOKIE_LENGTH}; keep less in it, or use a store on the server"
            );
            return Err(StoreError::new("signed_cookies", StoreErrorKind::Refused, message));
        }
        Ok(Version::from_bytes(text.into_bytes()))
    }
}

#[async_trait]
impl SessionStore for SignedCookieStore {
    fn name(&self) -> &'static str {
        "signed_cookies"
    }

    fn opened_with(&self) -> Option<&SettingsDigest> {
        Some(&self.opened_with)
    }

    fn keeps_data_in_cookie(&self) -> bool {
        true
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let text = session_key.as_str();
        match self.codec.decode_modern(text, now, Some(self.max_age)) {
            Ok(data) => Ok(Some(Loaded {
                content: Content::Genuine(data),
                version: Version::from_bytes(text.as_bytes()),
                expire_date: None,
            })),
            // The cookie is the only copy of the session, so it must not be mistaken for an ended one and
            // deleted.
            Err(DecodeError::BadSignature) if text.matches(':').count() >= 2 => Ok(Some(Loaded {
                content: Content::NotGenuine,
                version: Version::from_bytes(text.as_bytes()),
                expire_date: None,
            })),
            Err(DecodeError::BadSignature | DecodeError::Expired(_)) => Ok(None),
            Err(error) => {
                let message = format!("{error}; the cookie was left as it is");
                Err(StoreError::new("signed_cookies", StoreErrorKind::Unreadable, message).with_source(error))
            }
        }
    }

    async fn create(&self, _session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        self.sign(record).map(Created::Created)
    }

    async fn update(
        &self,
        _session_key: &SessionKey,
        _expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        self.sign(record).map(Updated::Updated)
    }

    async fn rotate(
        &self,
        _session_key: &SessionKey,
        _expected: Option<&Version>,
        _new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        self.sign(record).map(Rotated::Rotated)
    }

    async fn delete(&self, _session_key: &SessionKey) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn exists(&self, _session_key: &SessionKey, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn clear_expired_with_progress(
        &self,
        _now: DateTime<Utc>,
        _progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        Ok(0)
    }
}

impl fmt::Debug for SignedCookieStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SignedCookieStore")
    }
}
