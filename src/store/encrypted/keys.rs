//! The keys of encrypted sessions.

use std::fmt;
use std::str::FromStr;

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use cloakroom_formats::private::hex;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::site::settings::SettingsError;

/// The purposes for which the cipher's key and the id are derived. The cookies' entries have associated data of their own.
const OF_CIPHER: &[u8] = b"cloakroom session encryption 1";
const OF_ID: &[u8] = b"cloakroom session encryption key id 1";

/// A key that encrypts sessions: 32 random bytes, such as of `openssl rand -hex 32`. Keep it apart from `SECRET_KEY`,
/// from which it is never derived.
///
/// ```
/// use cloakroom::store::EncryptionKey;
///
/// let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// let key: EncryptionKey = text.parse()?;
/// assert_eq!(key.id(), EncryptionKey::from_bytes(std::array::from_fn(|index| index as u8)).id());
/// assert_eq!(format!("{key:?}"), format!("EncryptionKey({})", key.id()));
/// assert!("not 64 hexadecimal digits".parse::<EncryptionKey>().is_err());
/// # Ok::<(), cloakroom::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct EncryptionKey {
    pub(super) cipher: XChaCha20Poly1305,
    id: String,
}

impl EncryptionKey {
    /// Takes the bytes of a key.
    ///
    /// ```
    /// use cloakroom::store::EncryptionKey;
    ///
    /// assert_ne!(EncryptionKey::from_bytes([1; 32]).id(), EncryptionKey::from_bytes([2; 32]).id());
    /// ```
    pub fn from_bytes(bytes: [u8; 32]) -> EncryptionKey {
        let derive = Hkdf::<Sha256>::new(None, &bytes);
        let (mut key, mut id) = ([0; 32], [0; 4]);
        // HKDF fails only for more than 8,160 bytes.
        let _ = derive.expand(OF_CIPHER, &mut key);
        let _ = derive.expand(OF_ID, &mut id);
        EncryptionKey { cipher: XChaCha20Poly1305::new(&key.into()), id: hex(&id) }
    }

    /// The key's public name: 8 hexadecimal digits, which each entry has too.
    ///
    /// ```
    /// use cloakroom::store::EncryptionKey;
    ///
    /// assert_eq!(EncryptionKey::from_bytes([7; 32]).id().len(), 8);
    /// ```
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl FromStr for EncryptionKey {
    type Err = SettingsError;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<EncryptionKey, SettingsError> {
        let text = text.trim();
        let mut bytes = [0; 32];
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).ok();
            *byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or_default();
        }
        if !is_hex {
            let problem = "a key is not 64 hexadecimal digits";
            return Err(SettingsError::new(
                "encryption_keys",
                problem,
                "make one with `openssl rand -hex 32`",
            ));
        }
        Ok(EncryptionKey::from_bytes(bytes))
    }
}

/// Shows the id alone.
impl fmt::Debug for EncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EncryptionKey({})", self.id)
    }
}

/// The keys of a site: the first one encrypts, each one decrypts.
///
/// ```
/// use cloakroom::store::{EncryptionKey, EncryptionKeys};
///
/// let (new, old) = (EncryptionKey::from_bytes([2; 32]), EncryptionKey::from_bytes([1; 32]));
/// let keys = EncryptionKeys::new([new, old])?;
/// // From a variable: keys in hexadecimal digits, with commas between them.
/// let text = ["02".repeat(32), "01".repeat(32)].join(",");
/// assert_eq!(format!("{:?}", text.parse::<EncryptionKeys>()?), format!("{keys:?}"));
/// # Ok::<(), cloakroom::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EncryptionKeys {
    first: EncryptionKey,
    older: Vec<EncryptionKey>,
    accepts_plain: bool,
}

impl EncryptionKeys {
    /// Takes the keys, the one that encrypts first.
    ///
    /// ```
    /// use cloakroom::store::{EncryptionKey, EncryptionKeys};
    ///
    /// assert!(EncryptionKeys::new([]).is_err());
    /// let key = EncryptionKey::from_bytes([7; 32]);
    /// assert!(EncryptionKeys::new([key.clone(), key]).is_err(), "one of the two is meant to be another");
    /// ```
    ///
    /// # Errors
    /// Without a key, and with two of one id.
    pub fn new(keys: impl IntoIterator<Item = EncryptionKey>) -> Result<EncryptionKeys, SettingsError> {
        const SETTING: &str = "encryption_keys";
        let mut keys = keys.into_iter();
        let Some(first) = keys.next() else {
            return Err(SettingsError::new(
                SETTING,
                "there is no key",
                "make one with `openssl rand -hex 32`",
            ));
        };
        let keys = EncryptionKeys { first, older: keys.collect(), accepts_plain: false };
        let mut ids: Vec<&str> = keys.all().map(EncryptionKey::id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(SettingsError::new(SETTING, "a key is given twice", "leave one out"));
        }
        Ok(keys)
    }

    /// Also reads entries that are not encrypted, for the time until the last of them was saved again or has expired. A
    /// session that is saved is encrypted in any case. Until then, whoever can write to the store can plant a session.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::store::{EncryptionKey, EncryptionKeys};
    /// use cloakroom::{EncryptedStore, MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (plain, settings) = (Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let session = Session::new(plain.clone(), settings.clone());
    /// session.set("visits", 1)?;
    /// session.save().await?;
    /// let session_key = session.session_key().unwrap();
    ///
    /// let keys = EncryptionKeys::new([EncryptionKey::from_bytes([7; 32])])?;
    /// let strict = Arc::new(EncryptedStore::new(plain.clone(), keys.clone()));
    /// assert!(Session::open(strict.clone(), settings.clone(), session_key.clone()).await.is_err());
    ///
    /// let moving = Arc::new(EncryptedStore::new(plain, keys.accepting_plain()));
    /// let session = Session::open(moving, settings.clone(), session_key.clone()).await?;
    /// session.set("visits", 2)?;
    /// session.save().await?;
    /// let session = Session::open(strict, settings, session_key).await?;
    /// assert_eq!(session.get("visits")?, Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn accepting_plain(mut self) -> EncryptionKeys {
        self.accepts_plain = true;
        self
    }

    pub(super) fn accepts_plain(&self) -> bool {
        self.accepts_plain
    }

    pub(super) fn first(&self) -> &EncryptionKey {
        &self.first
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &EncryptionKey> {
        std::iter::once(&self.first).chain(&self.older)
    }
}

impl FromStr for EncryptionKeys {
    type Err = SettingsError;

    /// Reads keys of 64 hexadecimal digits, with commas between them.
    fn from_str(text: &str) -> Result<EncryptionKeys, SettingsError> {
        EncryptionKeys::new(text.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?)
    }
}
