//! `django.core.signing`: text that carries a signature, and usually the time it was signed.
//!
//! ```
//! use cloakroom::signing::{self, SecretKey, TimestampSigner};
//! use chrono::{DateTime, TimeDelta};
//!
//! let secret = SecretKey::from("x");
//! let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
//!
//! let token = signing::dumps(&("invite", 7), &secret, "my.salt", now)?;
//! let later = now + TimeDelta::hours(1);
//! let (what, id): (String, u32) =
//!     signing::loads(&token, &secret, "my.salt", later, Some(TimeDelta::days(1)))?;
//! assert_eq!((what.as_str(), id), ("invite", 7));
//! assert!(signing::loads::<(String, u32)>(&token, &secret, "other.salt", later, None).is_err());
//! # Ok::<(), signing::SigningError>(())
//! ```

pub mod base62;
mod base64;
mod payload;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::compression::scratch;
use crate::value::{Value, normalize_latin1};

pub(crate) use base64::encode_url_safe_into;
#[doc(hidden)]
pub use base64::{decode_standard, encode_standard};
pub use payload::{Compression, DEFAULT_MAX_DECOMPRESSED_BYTES};
pub(crate) use payload::{decode_payload, encode_payload_into};

/// A `SECRET_KEY`. `Debug` does not show it.
///
/// ```
/// use cloakroom::signing::SecretKey;
///
/// let secret = SecretKey::from("the site's SECRET_KEY");
/// assert_eq!(secret.as_bytes(), b"the site's SECRET_KEY");
/// assert_eq!(format!("{secret:?}"), "SecretKey(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Box<[u8]>);

impl SecretKey {
    /// The secret's bytes; text is used as UTF-8, as Django does.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for SecretKey {
    fn from(text: &str) -> Self {
        SecretKey(text.as_bytes().into())
    }
}

impl From<String> for SecretKey {
    fn from(text: String) -> Self {
        SecretKey(text.into_bytes().into())
    }
}

impl From<&[u8]> for SecretKey {
    fn from(bytes: &[u8]) -> Self {
        SecretKey(bytes.into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(..)")
    }
}

/// The HMAC's hash, by its name in Python's `hashlib`.
///
/// ```
/// use cloakroom::signing::{Algorithm, SigningError};
///
/// assert_eq!("sha1".parse::<Algorithm>()?, Algorithm::Sha1);
/// assert_eq!(Algorithm::default(), Algorithm::Sha256);
/// assert!("crc32".parse::<Algorithm>().is_err());
/// # Ok::<(), SigningError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Algorithm {
    Md5,
    Sha1,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

impl std::str::FromStr for Algorithm {
    type Err = SigningError;

    fn from_str(name: &str) -> Result<Self, SigningError> {
        Ok(match name {
            "md5" => Algorithm::Md5,
            "sha1" => Algorithm::Sha1,
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err(SigningError::UnknownAlgorithm(name.to_owned())),
        })
    }
}

/// Why a text could not be signed, or was not accepted.
///
/// ```
/// use cloakroom::signing::{SecretKey, Signer, SigningError};
///
/// let signer = Signer::new(&SecretKey::from("x"));
/// assert_eq!(signer.unsign("unsigned"), Err(SigningError::BadSignature));
/// assert!(matches!(signer.separated_by("-"), Err(SigningError::UnsafeSeparator(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The signature is missing, or was made with another secret or salt. Django's `BadSignature`.
    #[error("the signature does not match; the text was changed, or signed with another secret or salt")]
    BadSignature,
    /// Genuine, but signed longer ago than allowed. Django's `SignatureExpired`.
    #[error("signed {age} seconds ago, more than the {max_age} seconds allowed")]
    SignatureExpired {
        /// The signature's age in whole seconds.
        age: i64,
        /// The age allowed in seconds.
        max_age: i64,
    },
    /// Genuine, but the timestamp is missing or not base 62. Django raises `ValueError`.
    #[error("genuine, but without a readable timestamp; was it signed by a plain Signer?")]
    BadTimestamp,
    /// Genuine, but its payload cannot be read.
    #[error("genuine, but the payload cannot be read: {0}")]
    BadPayload(String),
    /// The separator could be part of a signature. Django raises `ValueError`.
    #[error("unsafe separator {0:?}: it must not be empty or consist of only A-z0-9-_=")]
    UnsafeSeparator(String),
    /// No such hash. Django's `InvalidAlgorithm`.
    #[error("{0:?} is not a known algorithm; use md5, sha1, sha256, sha384 or sha512")]
    UnknownAlgorithm(String),
    /// The value to sign has no counterpart in JSON.
    #[error(transparent)]
    Value(#[from] crate::ValueError),
}

/// A prepared HMAC key: the work that does not depend on the message is already done.
#[derive(Clone)]
pub(crate) enum MacKey {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

/// The result of an HMAC.
pub(crate) struct MacOutput {
    bytes: [u8; 64],
    length: usize,
}

impl AsRef<[u8]> for MacOutput {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl MacKey {
    /// Django's `salted_hmac` key: the hash of salt and secret concatenated.
    pub(crate) fn derive(algorithm: Algorithm, key_salt: &str, secret: &SecretKey) -> MacKey {
        fn key<D: Digest>(key_salt: &str, secret: &SecretKey) -> impl AsRef<[u8]> + use<D> {
            D::new().chain_update(key_salt.as_bytes()).chain_update(secret.as_bytes()).finalize()
        }
        // HMAC takes keys of any length; these have the hash's length.
        fn mac<M: KeyInit>(key: impl AsRef<[u8]>) -> M {
            #[allow(clippy::expect_used)]
            M::new_from_slice(key.as_ref()).expect("HMAC takes keys of any length")
        }
        match algorithm {
            Algorithm::Md5 => MacKey::Md5(mac(key::<Md5>(key_salt, secret))),
            Algorithm::Sha1 => MacKey::Sha1(mac(key::<Sha1>(key_salt, secret))),
            Algorithm::Sha256 => MacKey::Sha256(mac(key::<Sha256>(key_salt, secret))),
            Algorithm::Sha384 => MacKey::Sha384(mac(key::<Sha384>(key_salt, secret))),
            Algorithm::Sha512 => MacKey::Sha512(mac(key::<Sha512>(key_salt, secret))),
        }
    }

    pub(crate) fn mac(&self, message: &[u8]) -> MacOutput {
        fn run<M: Mac + Clone>(key: &M, message: &[u8]) -> MacOutput {
            let digest = key.clone().chain_update(message).finalize().into_bytes();
            let mut output = MacOutput { bytes: [0; 64], length: digest.len() };
            output.bytes[..digest.len()].copy_from_slice(&digest);
            output
        }
        match self {
            MacKey::Md5(key) => run(key, message),
            MacKey::Sha1(key) => run(key, message),
            MacKey::Sha256(key) => run(key, message),
            MacKey::Sha384(key) => run(key, message),
            MacKey::Sha512(key) => run(key, message),
        }
    }

    /// Whether this is the message's signature in URL-safe base64. Compares the text in constant time:
    /// another base64 spelling of the same bytes is refused.
    fn verify_base64(&self, message: &[u8], signature: &str) -> bool {
        let (expected, length) = base64::encode_url_safe_short(self.mac(message).as_ref());
        constant_time_equal(&expected[..length], signature.as_bytes())
    }
}

/// Compares in constant time. Django's `constant_time_compare`.
///
/// ```
/// use cloakroom::signing::constant_time_equal;
///
/// assert!(constant_time_equal(b"abc", b"abc"));
/// assert!(!constant_time_equal(b"abc", b"abd"));
/// assert!(!constant_time_equal(b"0123456789", b"0123x56789"));
/// assert!(!constant_time_equal(b"abc", b"ab"));
/// ```
pub fn constant_time_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    // A signature is 43 bytes; comparing byte by byte would take a fifth of the HMAC's time.
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let pairs = left.iter().zip(right);
    let equal = pairs.fold(left_rest.ct_eq(right_rest), |equal, (left, right)| {
        equal & u64::from_ne_bytes(*left).ct_eq(&u64::from_ne_bytes(*right))
    });
    equal.into()
}

/// Computes the HMAC of a value with a key derived from salt and secret. Django's
/// `django.utils.crypto.salted_hmac`.
///
/// ```
/// use cloakroom::signing::{Algorithm, SecretKey, salted_hmac};
///
/// let mac = salted_hmac("salt", b"value", &SecretKey::from("x"), Algorithm::Sha1);
/// assert_eq!(mac.len(), 20);
/// ```
pub fn salted_hmac(key_salt: &str, value: &[u8], secret: &SecretKey, algorithm: Algorithm) -> Vec<u8> {
    MacKey::derive(algorithm, key_salt, secret).mac(value).as_ref().to_vec()
}

/// [`salted_hmac`] in hexadecimal, as the session auth hash and the legacy session format use it.
///
/// ```
/// use cloakroom::signing::{Algorithm, SecretKey, salted_hmac_hex};
///
/// let mac = salted_hmac_hex("salt", b"value", &SecretKey::from("x"), Algorithm::Sha256);
/// assert_eq!(mac.len(), 64);
/// ```
pub fn salted_hmac_hex(key_salt: &str, value: &[u8], secret: &SecretKey, algorithm: Algorithm) -> String {
    hex(MacKey::derive(algorithm, key_salt, secret).mac(value).as_ref())
}

#[doc(hidden)]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// [`salted_hmac`] in URL-safe base64 without `=`. Django's `signing.base64_hmac`.
///
/// ```
/// use cloakroom::signing::{Algorithm, SecretKey, base64_hmac};
///
/// let mac = base64_hmac("salt", b"value", &SecretKey::from("x"), Algorithm::Sha256);
/// assert_eq!(mac.len(), 43);
/// ```
pub fn base64_hmac(salt: &str, value: &[u8], secret: &SecretKey, algorithm: Algorithm) -> String {
    let mut out = String::new();
    encode_url_safe_into(&mut out, &salted_hmac(salt, value, secret, algorithm));
    out
}

/// Signs text: `value:signature`. Django's `signing.Signer`.
///
/// ```
/// use cloakroom::signing::{SecretKey, Signer};
///
/// let signer = Signer::new(&SecretKey::from("x"));
/// let signed = signer.sign("hello");
/// assert_eq!(signer.unsign(&signed)?, "hello");
/// assert!(signer.unsign("hello:AAAA").is_err());
/// # Ok::<(), cloakroom::signing::SigningError>(())
/// ```
#[derive(Clone)]
pub struct Signer {
    signing_key: MacKey,
    /// Keys that verify but never sign.
    verifying_keys: Vec<MacKey>,
    separator: String,
}

impl Signer {
    /// Django's default salt of `Signer`.
    pub const SALT: &'static str = "django.core.signing.Signer";

    /// Creates a signer with Django's defaults: its own salt, `:` and SHA-256.
    pub fn new(secret: &SecretKey) -> Signer {
        Signer::with_salt(secret, Signer::SALT)
    }

    /// Creates a signer whose signatures are valid only for this salt.
    ///
    /// ```
    /// use cloakroom::signing::{SecretKey, Signer};
    ///
    /// let secret = SecretKey::from("x");
    /// let signed = Signer::with_salt(&secret, "invite").sign("7");
    /// assert!(Signer::with_salt(&secret, "invite").unsign(&signed).is_ok());
    /// assert!(Signer::with_salt(&secret, "reset").unsign(&signed).is_err());
    /// ```
    pub fn with_salt(secret: &SecretKey, salt: &str) -> Signer {
        Signer::with_algorithm(secret, salt, Algorithm::Sha256)
    }

    /// Creates a signer with another hash than SHA-256.
    ///
    /// ```
    /// use cloakroom::signing::{Algorithm, SecretKey, Signer};
    ///
    /// let signer = Signer::with_algorithm(&SecretKey::from("x"), "salt", Algorithm::Sha512);
    /// assert_eq!(signer.signature("7").len(), 86);
    /// ```
    pub fn with_algorithm(secret: &SecretKey, salt: &str, algorithm: Algorithm) -> Signer {
        Signer {
            signing_key: MacKey::derive(algorithm, &format!("{salt}signer"), secret),
            verifying_keys: Vec::new(),
            separator: ":".to_owned(),
        }
    }

    /// Also accepts the signatures of another signer: an older secret (`SECRET_KEY_FALLBACKS`), or SHA-1
    /// signatures as in Django 3.1 and 3.2. The other signer's keys never sign here.
    ///
    /// ```
    /// use cloakroom::signing::{SecretKey, Signer};
    ///
    /// let (old, new) = (Signer::new(&SecretKey::from("old")), Signer::new(&SecretKey::from("new")));
    /// let signed = old.sign("7");
    /// assert!(new.unsign(&signed).is_err());
    /// let signer = new.clone().also_accepting(&old);
    /// assert_eq!(signer.unsign(&signed)?, "7");
    /// assert_eq!(signer.sign("7"), new.sign("7"), "it signs with the new secret");
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    #[must_use]
    pub fn also_accepting(mut self, other: &Signer) -> Signer {
        self.verifying_keys.push(other.signing_key.clone());
        self.verifying_keys.extend(other.verifying_keys.iter().cloned());
        self
    }

    /// Sets another separator between value and signature.
    ///
    /// ```
    /// use cloakroom::signing::{SecretKey, Signer};
    ///
    /// let signer = Signer::new(&SecretKey::from("x")).separated_by("/")?;
    /// assert!(signer.sign("7").starts_with("7/"));
    /// assert!(signer.separated_by("-").is_err());
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    ///
    /// # Errors
    /// [`SigningError::UnsafeSeparator`] when the separator could be part of a signature. As in Django, the
    /// check counts everything from `A` to `z` as unsafe, including `[`, `\`, `]`, `^` and the backtick.
    pub fn separated_by(mut self, separator: &str) -> Result<Signer, SigningError> {
        let unsafe_byte = |byte: u8| matches!(byte, b'A'..=b'z' | b'0'..=b'9' | b'-' | b'=');
        let before_newline = separator.strip_suffix('\n').unwrap_or(separator);
        if before_newline.bytes().all(unsafe_byte) {
            return Err(SigningError::UnsafeSeparator(separator.to_owned()));
        }
        self.separator = separator.to_owned();
        Ok(self)
    }

    /// Returns the value's signature alone.
    ///
    /// ```
    /// use cloakroom::signing::{SecretKey, Signer};
    ///
    /// let signer = Signer::new(&SecretKey::from("x"));
    /// assert_eq!(signer.sign("7"), format!("7:{}", signer.signature("7")));
    /// ```
    pub fn signature(&self, value: &str) -> String {
        let mut out = String::new();
        encode_url_safe_into(&mut out, self.signing_key.mac(value.as_bytes()).as_ref());
        out
    }

    /// Returns the value with its signature.
    pub fn sign(&self, value: &str) -> String {
        let mut out = String::with_capacity(value.len() + 48);
        out.push_str(value);
        self.append_signature(&mut out);
        out
    }

    pub(crate) fn append_signature(&self, text: &mut String) {
        let mac = self.signing_key.mac(text.as_bytes());
        text.push_str(&self.separator);
        encode_url_safe_into(text, mac.as_ref());
    }

    /// Verifies a signed text and returns its value.
    ///
    /// ```
    /// use cloakroom::signing::{SecretKey, Signer, SigningError};
    ///
    /// let signer = Signer::new(&SecretKey::from("x"));
    /// let signed = signer.sign("hello");
    /// assert_eq!(signer.unsign(&signed)?, "hello");
    /// assert_eq!(signer.unsign(&signed.replace("hello", "hallo")), Err(SigningError::BadSignature));
    /// # Ok::<(), SigningError>(())
    /// ```
    ///
    /// # Errors
    /// [`SigningError::BadSignature`].
    pub fn unsign<'a>(&self, signed: &'a str) -> Result<&'a str, SigningError> {
        let (value, signature) = self.split_last(signed).ok_or(SigningError::BadSignature)?;
        let genuine = std::iter::once(&self.signing_key)
            .chain(&self.verifying_keys)
            .any(|key| key.verify_base64(value.as_bytes(), signature));
        if genuine { Ok(value) } else { Err(SigningError::BadSignature) }
    }

    /// Finds the key that made the signature: 0 is the signing key, then come the verifying keys.
    pub(crate) fn verifying_key(&self, signed: &str) -> Option<usize> {
        let (value, signature) = self.split_last(signed)?;
        let mut keys = std::iter::once(&self.signing_key).chain(&self.verifying_keys);
        keys.position(|key| key.verify_base64(value.as_bytes(), signature))
    }

    /// Splits the text at the last separator.
    fn split_last<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        match self.separator.as_bytes() {
            // Searching for a character is several times faster than searching for a one-character string.
            [separator] => text.rsplit_once(char::from(*separator)),
            _ => text.rsplit_once(&*self.separator),
        }
    }

    /// Signs any value as JSON in base64, without a time. Django's `Signer.sign_object`.
    ///
    /// ```
    /// use cloakroom::signing::{Compression, SecretKey, Signer};
    ///
    /// let signer = Signer::new(&SecretKey::from("x"));
    /// let signed = signer.sign_object(&("invite", 7), Compression::Never)?;
    /// assert_eq!(signer.unsign_object::<(String, u32)>(&signed)?, ("invite".to_owned(), 7));
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    ///
    /// # Errors
    /// [`SigningError::Value`] when the value has no counterpart in JSON.
    pub fn sign_object<T: Serialize + ?Sized>(
        &self,
        value: &T,
        compression: Compression,
    ) -> Result<String, SigningError> {
        let mut out = String::new();
        encode_payload_into(&mut out, Value::serialize(value)?.json(), compression);
        self.append_signature(&mut out);
        Ok(out)
    }

    /// Reads the output of [`sign_object`](Signer::sign_object). Django's `Signer.unsign_object`.
    ///
    /// ```
    /// use cloakroom::signing::{Compression, SecretKey, Signer};
    ///
    /// let signer = Signer::new(&SecretKey::from("x"));
    /// let signed = signer.sign_object(&[1, 2], Compression::Never)?;
    /// assert_eq!(signer.unsign_object::<Vec<u32>>(&signed)?, [1, 2]);
    /// assert!(signer.unsign_object::<String>(&signed).is_err(), "genuine, but a list");
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    ///
    /// # Errors
    /// [`SigningError::BadSignature`], or [`SigningError::BadPayload`] for genuine text that is not a `T`.
    pub fn unsign_object<T: DeserializeOwned>(&self, signed: &str) -> Result<T, SigningError> {
        read_payload(self.unsign(signed)?)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signer(..)")
    }
}

/// Signs text with the time: `value:timestamp:signature`. Django's `signing.TimestampSigner`.
///
/// ```
/// use chrono::{DateTime, TimeDelta};
/// use cloakroom::signing::{SecretKey, SigningError, TimestampSigner};
///
/// let signer = TimestampSigner::new(&SecretKey::from("x"));
/// let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
/// let signed = signer.sign("hello", now);
/// assert!(signed.starts_with("hello:1r31eq:"));
///
/// let minute = Some(TimeDelta::minutes(1));
/// assert_eq!(signer.unsign(&signed, now, minute)?, "hello");
/// let late = signer.unsign(&signed, now + TimeDelta::minutes(2), minute);
/// assert_eq!(late, Err(SigningError::SignatureExpired { age: 120, max_age: 60 }));
/// # Ok::<(), SigningError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TimestampSigner(Signer);

impl TimestampSigner {
    /// Django's default salt of `TimestampSigner`.
    pub const SALT: &'static str = "django.core.signing.TimestampSigner";

    /// Creates a signer with Django's defaults.
    pub fn new(secret: &SecretKey) -> TimestampSigner {
        TimestampSigner(Signer::with_salt(secret, TimestampSigner::SALT))
    }

    /// Creates Django's `get_cookie_signer`, for `HttpResponse.set_signed_cookie`. For the salt see
    /// [`signed_cookie_salt`].
    ///
    /// ```
    /// use cloakroom::chrono::Utc;
    /// use cloakroom::signing::{SecretKey, TimestampSigner, signed_cookie_salt};
    ///
    /// let (secret, salt, now) = (SecretKey::from("x"), signed_cookie_salt("theme", ""), Utc::now());
    /// let signer = TimestampSigner::for_cookies(&secret, &salt);
    /// let cookie = signer.sign("dark", now);
    /// assert_eq!(signer.unsign(&cookie, now, None)?, "dark");
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    pub fn for_cookies(secret: &SecretKey, salt: &str) -> TimestampSigner {
        let secret = SecretKey([b"django.http.cookies", secret.as_bytes()].concat().into());
        TimestampSigner(Signer::with_salt(&secret, salt))
    }

    /// Creates the signer of the cookie `name` in Django's `set_signed_cookie` and `get_signed_cookie`. It signs
    /// with the newer salt; whether cookies of the older one are read is Django's setting
    /// `SIGNED_COOKIE_LEGACY_SALT_FALLBACK`.
    ///
    /// ```
    /// use cloakroom::chrono::Utc;
    /// use cloakroom::signing::{LegacySalt, SecretKey, TimestampSigner, legacy_signed_cookie_salt};
    ///
    /// let (secret, now) = (SecretKey::from("x"), Utc::now());
    /// let old = TimestampSigner::for_cookies(&secret, &legacy_signed_cookie_salt("theme", "")).sign("dark", now);
    /// let of = |legacy| TimestampSigner::for_signed_cookie(&secret, "theme", "", legacy);
    /// assert_eq!(of(LegacySalt::Accept).unsign(&old, now, None)?, "dark");
    /// assert!(of(LegacySalt::Refuse).unsign(&old, now, None).is_err());
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    pub fn for_signed_cookie(
        secret: &SecretKey,
        name: &str,
        salt: &str,
        legacy_salt: LegacySalt,
    ) -> TimestampSigner {
        let signer = TimestampSigner::for_cookies(secret, &signed_cookie_salt(name, salt));
        match legacy_salt {
            LegacySalt::Refuse => signer,
            LegacySalt::Accept => {
                let old = TimestampSigner::for_cookies(secret, &legacy_signed_cookie_salt(name, salt));
                signer.also_accepting(&old)
            }
        }
    }

    /// Also accepts the signatures of another signer: see [`Signer::also_accepting`].
    ///
    /// ```
    /// use cloakroom::chrono::Utc;
    /// use cloakroom::signing::{SecretKey, TimestampSigner};
    ///
    /// let [old, new] = ["old", "new"].map(|secret| TimestampSigner::new(&SecretKey::from(secret)));
    /// let (signed, now) = (old.sign("7", Utc::now()), Utc::now());
    /// assert_eq!(new.also_accepting(&old).unsign(&signed, now, None)?, "7");
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    #[must_use]
    pub fn also_accepting(self, other: &TimestampSigner) -> TimestampSigner {
        TimestampSigner(self.0.also_accepting(&other.0))
    }

    /// Django's salt when `get_cookie_signer` is called without one.
    pub const COOKIE_SALT: &'static str = "django.core.signing.get_cookie_signer";

    /// Returns the value, the time in base 62, and the signature over both.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::signing::{SecretKey, TimestampSigner};
    ///
    /// let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    /// let signed = TimestampSigner::new(&SecretKey::from("x")).sign("hello", now);
    /// assert!(signed.starts_with("hello:1r31eq:"));
    /// ```
    pub fn sign(&self, value: &str, now: DateTime<Utc>) -> String {
        let mut out = String::with_capacity(value.len() + 56);
        out.push_str(value);
        self.append(&mut out, now);
        out
    }

    pub(crate) fn append(&self, text: &mut String, now: DateTime<Utc>) {
        text.push_str(&self.0.separator);
        base62::encode_into(text, i128::from(now.timestamp()));
        self.0.append_signature(text);
    }

    /// Verifies a signed text and returns its value, if it is no older than `max_age`. Signing cuts the time
    /// to whole seconds; this clock keeps its fraction. An age of exactly `max_age` passes, and so does a
    /// time in the future.
    ///
    /// ```
    /// use cloakroom::chrono::{TimeDelta, Utc};
    /// use cloakroom::signing::{SecretKey, TimestampSigner};
    ///
    /// let (signer, now, hour) = (TimestampSigner::new(&SecretKey::from("x")), Utc::now(), TimeDelta::hours(1));
    /// let signed = signer.sign("hello", now);
    /// assert_eq!(signer.unsign(&signed, now, Some(hour))?, "hello");
    /// assert!(signer.unsign(&signed, now + hour * 2, Some(hour)).is_err());
    /// # Ok::<(), cloakroom::signing::SigningError>(())
    /// ```
    ///
    /// # Errors
    /// [`SigningError::BadSignature`]; [`SigningError::BadTimestamp`] and [`SigningError::SignatureExpired`]
    /// for genuine text.
    pub fn unsign<'a>(
        &self,
        signed: &'a str,
        now: DateTime<Utc>,
        max_age: Option<TimeDelta>,
    ) -> Result<&'a str, SigningError> {
        let stamped = self.0.unsign(signed)?;
        let (value, timestamp) = self.0.split_last(stamped).ok_or(SigningError::BadTimestamp)?;
        let signed_at = base62::decode_saturating(timestamp).ok_or(SigningError::BadTimestamp)?;
        if let Some(max_age) = max_age {
            let age = i128::from(now.timestamp_micros()).saturating_sub(signed_at.saturating_mul(1_000_000));
            let allowed = i128::from(max_age.num_microseconds().unwrap_or(i64::MAX));
            if age > allowed {
                let age = i64::try_from(age / 1_000_000).unwrap_or(i64::MAX);
                return Err(SigningError::SignatureExpired { age, max_age: max_age.num_seconds() });
            }
        }
        Ok(value)
    }
}

impl AsRef<Signer> for TimestampSigner {
    fn as_ref(&self) -> &Signer {
        &self.0
    }
}

impl From<Signer> for TimestampSigner {
    fn from(signer: Signer) -> Self {
        TimestampSigner(signer)
    }
}

/// Whether signed cookies with the salt of older releases are read: Django's setting
/// `SIGNED_COOKIE_LEGACY_SALT_FALLBACK`.
///
/// ```
/// use cloakroom::signing::LegacySalt;
///
/// assert_eq!(LegacySalt::default(), LegacySalt::Refuse, "as in Django 6.1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacySalt {
    /// They are read: the setting's default in Django 5.2 and 6.0. Such a cookie may have been made for another
    /// name; see [`signed_cookie_salt`].
    Accept,
    /// They are refused: the default in Django 6.1.
    #[default]
    Refuse,
}

/// Returns the salt under which Django signs the cookie `name` in `set_signed_cookie`.
///
/// Before a security fix in the 5.2 series the salt was the name and the application's salt concatenated, so
/// that cookie `ab` with salt `c` verified as cookie `a` with salt `bc`; see [`legacy_signed_cookie_salt`].
/// Django 5.2 and 6.0 read cookies of either salt. Django 6.1 reads this salt alone, unless its settings say
/// otherwise: see [`TimestampSigner::for_signed_cookie`].
///
/// ```
/// use cloakroom::signing::{legacy_signed_cookie_salt, signed_cookie_salt};
///
/// assert_ne!(signed_cookie_salt("ab", "c"), signed_cookie_salt("a", "bc"));
/// assert_eq!(legacy_signed_cookie_salt("ab", "c"), legacy_signed_cookie_salt("a", "bc"));
/// ```
pub fn signed_cookie_salt(name: &str, salt: &str) -> String {
    format!("django.http.cookies.v2:{}:{salt}{name}", salt.chars().count())
}

/// Returns the salt of older releases for `set_signed_cookie`.
///
/// ```
/// assert_eq!(cloakroom::signing::legacy_signed_cookie_salt("theme", "salt"), "themesalt");
/// ```
pub fn legacy_signed_cookie_salt(name: &str, salt: &str) -> String {
    format!("{name}{salt}")
}

/// Django's default salt of [`dumps`] and [`loads`].
pub const DUMPS_SALT: &str = "django.core.signing";

/// Signs any value as JSON in base64, with the time. Django's `signing.dumps`; for `compress=True` see
/// [`Signer::sign_object`] and [`Compression`].
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::signing::{DUMPS_SALT, SecretKey, dumps, loads};
///
/// let (secret, now) = (SecretKey::from("x"), Utc::now());
/// let token = dumps(&["invite", "7"], &secret, DUMPS_SALT, now)?;
/// assert_eq!(loads::<Vec<String>>(&token, &secret, DUMPS_SALT, now, None)?, ["invite", "7"]);
/// # Ok::<(), cloakroom::signing::SigningError>(())
/// ```
///
/// # Errors
/// [`SigningError::Value`] when the value has no counterpart in JSON.
pub fn dumps<T: Serialize + ?Sized>(
    value: &T,
    secret: &SecretKey,
    salt: &str,
    now: DateTime<Utc>,
) -> Result<String, SigningError> {
    dumps_compressed(value, secret, salt, now, Compression::Never)
}

/// [`dumps`] with Django's `compress=True`, or with a limit below which compressing is not tried.
///
/// ```
/// use chrono::Utc;
/// use cloakroom::signing::{Compression, SecretKey, dumps_compressed, loads};
///
/// let (secret, now, long) = (SecretKey::from("x"), Utc::now(), "wool ".repeat(100));
/// let token = dumps_compressed(&long, &secret, "salt", now, Compression::Always)?;
/// assert!(token.starts_with('.') && token.len() < long.len());
/// assert_eq!(loads::<String>(&token, &secret, "salt", now, None)?, long);
/// # Ok::<(), cloakroom::signing::SigningError>(())
/// ```
///
/// # Errors
/// As [`dumps`].
pub fn dumps_compressed<T: Serialize + ?Sized>(
    value: &T,
    secret: &SecretKey,
    salt: &str,
    now: DateTime<Utc>,
    compression: Compression,
) -> Result<String, SigningError> {
    let mut out = String::new();
    encode_payload_into(&mut out, Value::serialize(value)?.json(), compression);
    TimestampSigner(Signer::with_salt(secret, salt)).append(&mut out, now);
    Ok(out)
}

/// Verifies and reads the output of [`dumps`], from here or from Django. Django's `signing.loads`.
///
/// ```
/// use cloakroom::chrono::{TimeDelta, Utc};
/// use cloakroom::signing::{DUMPS_SALT, SecretKey, dumps, loads};
///
/// let (secret, now) = (SecretKey::from("x"), Utc::now());
/// let token = dumps(&["invite", "7"], &secret, DUMPS_SALT, now)?;
/// let (day, later) = (Some(TimeDelta::days(1)), now + TimeDelta::days(2));
/// assert_eq!(loads::<Vec<String>>(&token, &secret, DUMPS_SALT, now, day)?, ["invite", "7"]);
/// assert!(loads::<Vec<String>>(&token, &secret, DUMPS_SALT, later, day).is_err());
/// # Ok::<(), cloakroom::signing::SigningError>(())
/// ```
///
/// # Errors
/// [`SigningError::BadSignature`], [`SigningError::SignatureExpired`], and for genuine text that is not a `T`
/// [`SigningError::BadTimestamp`] or [`SigningError::BadPayload`].
pub fn loads<T: DeserializeOwned>(
    signed: &str,
    secret: &SecretKey,
    salt: &str,
    now: DateTime<Utc>,
    max_age: Option<TimeDelta>,
) -> Result<T, SigningError> {
    read_payload(TimestampSigner(Signer::with_salt(secret, salt)).unsign(signed, now, max_age)?)
}

fn read_payload<T: DeserializeOwned>(payload: &str) -> Result<T, SigningError> {
    let value = scratch::with(|scratch| {
        let json = decode_payload(payload, DEFAULT_MAX_DECOMPRESSED_BYTES, scratch)?;
        let json = normalize_latin1(json).map_err(|error| error.to_string())?;
        Value::from_json(&json).map_err(|error| error.to_string())
    });
    value
        .and_then(|value| value.deserialize().map_err(|error| error.to_string()))
        .map_err(SigningError::BadPayload)
}
