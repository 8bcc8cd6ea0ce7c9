//! The codec between a session's data and the signed text that the stores `db`, `file` and `signed_cookies`
//! keep.
//!
//! Modern text (Django 3.1 and later): `base64(json or zlib(json)):timestamp:signature`. Legacy text (before
//! 3.1): base64 of `hexdigest:json`. The signature is verified before anything is decoded.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

use crate::compression::scratch::{self, Scratch};
use crate::session_data::SessionData;
use crate::signing::{
    self, Algorithm, Compression, DEFAULT_MAX_DECOMPRESSED_BYTES, MacKey, SecretKey, Signer, SigningError,
    TimestampSigner, constant_time_equal,
};
use crate::value::{Value, ValueError, normalize_latin1};

/// Which signed text to write. Both are always read.
///
/// ```
/// use cloakroom::chrono::DateTime;
/// use cloakroom::{SessionCodec, SessionData, Settings, TextFormat};
///
/// let mut settings = Settings::new("secret");
/// settings.text_format = TextFormat::Legacy;
/// let (data, now) = (SessionData::from_json(r#"{"a":1}"#)?, DateTime::UNIX_EPOCH);
/// let text = SessionCodec::new(&settings).encode(&data, now)?;
/// // Both formats are read, whichever is written.
/// assert_eq!(SessionCodec::new(&Settings::new("secret")).decode(&text)?.to_json(), r#"{"a":1}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "Django has these two layouts")]
pub enum TextFormat {
    /// Django 3.1 and later.
    #[default]
    Modern,
    /// Django before 3.1, or 3.1 and 3.2 with `DEFAULT_HASHING_ALGORITHM = 'sha1'`. The store
    /// `signed_cookies` writes modern text even then, with a SHA-1 signature, as those releases do.
    Legacy,
}

/// The settings that decide how a site's sessions are signed and written.
///
/// `cloakroom::Settings` contains them: `SessionCodec::new(&settings)`.
///
/// ```
/// use cloakroom::chrono::DateTime;
/// use cloakroom::{SessionCodec, SessionCodecConfig, SessionData, TextFormat};
///
/// let mut config = SessionCodecConfig::new("secret");
/// config.text_format = TextFormat::Legacy;
/// let codec = SessionCodec::new(config);
/// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, DateTime::UNIX_EPOCH)?;
/// assert_eq!(codec.decode(&text)?.to_json(), r#"{"a":1}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionCodecConfig {
    /// `SECRET_KEY`: signs what is written.
    pub secret_key: SecretKey,
    /// `SECRET_KEY_FALLBACKS`: older secrets, which verify but never sign. Default: none.
    pub secret_key_fallbacks: Vec<SecretKey>,
    /// The `__qualname__` of the site's session class, which is part of the salt. Default: `SessionStore`.
    pub session_class: String,
    /// Which signed text to write. Default: modern.
    pub text_format: TextFormat,
    /// When to compress. Default: from 1 kB on.
    pub compression: Compression,
    /// The maximum size of a session as JSON. Larger sessions are neither written nor read. Default: 16 MiB.
    pub max_decompressed_bytes: usize,
}

impl SessionCodecConfig {
    /// Django's defaults.
    pub fn new(secret_key: impl Into<SecretKey>) -> SessionCodecConfig {
        SessionCodecConfig {
            secret_key: secret_key.into(),
            secret_key_fallbacks: Vec::new(),
            session_class: "SessionStore".to_owned(),
            text_format: TextFormat::default(),
            compression: Compression::default(),
            max_decompressed_bytes: DEFAULT_MAX_DECOMPRESSED_BYTES,
        }
    }

    /// The current secret, then the fallbacks.
    fn secrets(&self) -> impl Iterator<Item = &SecretKey> {
        std::iter::once(&self.secret_key).chain(&self.secret_key_fallbacks)
    }

    fn legacy_keys(&self, salt: &str) -> Vec<MacKey> {
        self.secrets().map(|secret| MacKey::derive(Algorithm::Sha1, salt, secret)).collect()
    }
}

/// Why a stored text gives no session.
///
/// ```
/// use cloakroom::chrono::DateTime;
/// use cloakroom::{DecodeError, SessionCodec, Settings, Value};
///
/// let codec = SessionCodec::new(&Settings::new("secret"));
/// assert_eq!(codec.decode("eyJhIjoxfQ:1r31eq:x").unwrap_err(), DecodeError::BadSignature);
/// // Signed, but a list where a session must be a dictionary.
/// let text = codec.encode_json(&Value::from_json("[1]")?, DateTime::UNIX_EPOCH)?;
/// assert!(matches!(codec.decode(&text), Err(DecodeError::Unreadable(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not signed with this secret and salt. Django and this library read it as an empty session.
    #[error("the signature does not match; the text is damaged, or SECRET_KEY or the key salt differs")]
    BadSignature,
    /// Genuine, but older than allowed. Only `signed_cookies` has an age limit.
    #[error("the session expired: {0}")]
    Expired(SigningError),
    /// Genuine, but its content cannot be carried. Django reads such a session as empty, and the next save
    /// overwrites it. Here it is an error and the entry stays.
    #[error("the signature is right, but the session cannot be read: {0}")]
    Unreadable(String),
}

/// Reads and writes the signed text of sessions, with the secrets of one site.
///
/// Django's counterparts are `SessionBase.encode` and `SessionBase.decode`.
///
/// ```
/// use chrono::DateTime;
/// use cloakroom::{SessionCodec, SessionData, Settings};
///
/// let codec = SessionCodec::new(&Settings::new("django-insecure-x"));
/// let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
/// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, now)?;
/// assert!(text.starts_with("eyJhIjoxfQ:1r31eq:"));
/// assert_eq!(codec.decode(&text)?.to_json(), r#"{"a":1}"#);
/// assert!(SessionCodec::new(&Settings::new("another secret")).decode(&text).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SessionCodec {
    modern: TimestampSigner,
    /// The current secret's key, which signs, then the fallbacks' keys.
    legacy: Vec<MacKey>,
    write: TextFormat,
    compression: Compression,
    max_decompressed_bytes: usize,
}

impl SessionCodec {
    /// Creates the codec of the stores `db`, `file` and `cached_db`, whose salt names the session class:
    /// [`SessionCodecConfig::session_class`].
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings};
    ///
    /// let mut settings = Settings::new("secret");
    /// let text = SessionCodec::new(&settings).encode(&SessionData::new(), DateTime::UNIX_EPOCH)?;
    /// // Another session class, another salt.
    /// settings.session_class = "CustomStore".to_owned();
    /// assert!(SessionCodec::new(&settings).decode(&text).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(config: impl Into<SessionCodecConfig>) -> SessionCodec {
        let config = config.into();
        SessionCodec::of(&config, &format!("django.contrib.sessions.{}", config.session_class))
    }

    /// Creates a codec with another salt for modern text, for a session class with its own `key_salt`.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings};
    ///
    /// let settings = Settings::new("secret");
    /// let codec = SessionCodec::with_salt(&settings, "shop.sessions");
    /// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, DateTime::UNIX_EPOCH)?;
    /// assert!(codec.decode(&text).is_ok());
    /// assert!(SessionCodec::new(&settings).decode(&text).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_salt(config: impl Into<SessionCodecConfig>, salt: &str) -> SessionCodec {
        SessionCodec::of(&config.into(), salt)
    }

    fn of(config: &SessionCodecConfig, salt: &str) -> SessionCodec {
        // The legacy salt is the bare class name, without outer classes and dots.
        let class = config.session_class.rsplit('.').next().unwrap_or_default();
        // As in Django 3.1 and 3.2, SHA-1 signatures are accepted too: `signed_cookies` wrote them before.
        let modern =
            config.secrets().fold(Signer::with_salt(&config.secret_key, salt), |signer, secret| {
                signer
                    .also_accepting(&Signer::with_salt(secret, salt))
                    .also_accepting(&Signer::with_algorithm(secret, salt, Algorithm::Sha1))
            });
        SessionCodec {
            modern: modern.into(),
            legacy: config.legacy_keys(&format!("django.contrib.sessions{class}")),
            write: config.text_format,
            compression: config.compression,
            max_decompressed_bytes: config.max_decompressed_bytes,
        }
    }

    /// Creates the codec of the store `signed_cookies`. Django always signs a cookie in the modern layout. On
    /// a site that writes legacy text, Django makes and accepts the cookie's signature with SHA-1.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionCodecConfig, SessionData};
    ///
    /// let codec = SessionCodec::of_signed_cookies(SessionCodecConfig::new("secret"));
    /// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, DateTime::UNIX_EPOCH)?;
    /// assert!(codec.decode(&text).is_ok());
    /// // The salt is the back end's, so that no row of the table serves as a cookie.
    /// assert!(SessionCodec::new(SessionCodecConfig::new("secret")).decode(&text).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_signed_cookies(config: impl Into<SessionCodecConfig>) -> SessionCodec {
        const SALT: &str = "django.contrib.sessions.backends.signed_cookies";
        let config = config.into();
        let codec = SessionCodec::of(&config, SALT);
        if codec.write == TextFormat::Modern {
            return codec;
        }
        let sha1 = Signer::with_algorithm(&config.secret_key, SALT, Algorithm::Sha1);
        let modern = sha1.also_accepting(codec.modern.as_ref()).into();
        SessionCodec { modern, write: TextFormat::Modern, ..codec }
    }

    /// Returns the codec with another salt for legacy text, for a session class that overrides `_hash`. Takes
    /// the secrets from `settings` again. Django's own salt is `django.contrib.sessionsSessionStore`, without
    /// a dot.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings, TextFormat};
    ///
    /// let mut settings = Settings::new("secret");
    /// settings.text_format = TextFormat::Legacy;
    /// let codec = SessionCodec::new(&settings).with_legacy_salt(&settings, "shop.sessions");
    /// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, DateTime::UNIX_EPOCH)?;
    /// assert!(codec.decode(&text).is_ok());
    /// assert!(SessionCodec::new(&settings).decode(&text).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_legacy_salt(mut self, config: impl Into<SessionCodecConfig>, salt: &str) -> SessionCodec {
        self.legacy = config.into().legacy_keys(salt);
        self
    }

    /// Returns the signed text of a session.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings};
    ///
    /// let codec = SessionCodec::new(&Settings::new("secret"));
    /// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, DateTime::UNIX_EPOCH)?;
    /// // base64(json):timestamp:signature
    /// assert!(text.starts_with("eyJhIjoxfQ:0:"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::NotJson`] when it holds a value from a pickle that JSON cannot express, and
    /// [`ValueError::TooLarge`] when its JSON exceeds [`SessionCodecConfig::max_decompressed_bytes`]: it could not be
    /// decoded again.
    pub fn encode(&self, data: &SessionData, now: DateTime<Utc>) -> Result<String, ValueError> {
        self.encode_json_text(&data.json_to_store(",", ":")?, now)
    }

    /// Returns the signed text of a session that is already JSON, without changing its spelling:
    /// [`decode_json`](Self::decode_json) returns the same text. Django expects a dictionary; this takes any
    /// value.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use cloakroom::{SessionCodec, Settings, Value};
    ///
    /// let codec = SessionCodec::new(&Settings::new("django-insecure-x"));
    /// let text = codec.encode_json(&Value::from_json(r#"{"a": 1e5}"#)?, DateTime::UNIX_EPOCH)?;
    /// assert_eq!(codec.decode_json(&text)?, r#"{"a": 1e5}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_json(&self, json: &Value, now: DateTime<Utc>) -> Result<String, ValueError> {
        self.encode_json_text(json.json_to_store()?, now)
    }

    fn encode_json_text(&self, json: &str, now: DateTime<Utc>) -> Result<String, ValueError> {
        // Checked before compression, so that no compression setting decides which sessions can be saved.
        if json.len() > self.max_decompressed_bytes {
            return Err(ValueError::TooLarge { size: json.len(), limit: self.max_decompressed_bytes });
        }
        Ok(match self.write {
            TextFormat::Modern => {
                let mut text = String::new();
                signing::encode_payload_into(&mut text, json, self.compression);
                self.modern.append(&mut text, now);
                text
            }
            TextFormat::Legacy => {
                // The current secret's key always exists.
                let mac = self.legacy.first().map(|key| signing::hex(key.mac(json.as_bytes()).as_ref()));
                signing::encode_standard(format!("{}:{json}", mac.unwrap_or_default()).as_bytes())
            }
        })
    }

    /// The most bytes of text that [`decode`](Self::decode) may read: base64 of the largest JSON, with its
    /// signature.
    #[doc(hidden)]
    pub fn longest_text(&self) -> usize {
        const SIGNATURE: usize = 1_024;
        self.max_decompressed_bytes.div_ceil(3).saturating_mul(4).saturating_add(SIGNATURE)
    }

    /// Decodes a signed text, modern or legacy.
    ///
    /// The dictionary and its plain values are checked at once. For a nested list or dictionary only its end
    /// is located: the signature shows that a holder of the secret wrote it. If it is not JSON,
    /// [`Value::deserialize`] reports that; until it is read, it is written back as it is.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings};
    ///
    /// let data = SessionData::from_json(r#"{"visits":7}"#)?;
    /// let text = SessionCodec::new(&Settings::new("old secret")).encode(&data, DateTime::UNIX_EPOCH)?;
    /// let mut settings = Settings::new("new secret");
    /// settings.secret_key_fallbacks = vec!["old secret".into()];
    /// assert_eq!(SessionCodec::new(&settings).decode(&text)?.read("visits")?, Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DecodeError::BadSignature`] when the text is not genuine, [`DecodeError::Unreadable`] when it is
    /// genuine but cannot be read.
    pub fn decode(&self, text: &str) -> Result<SessionData, DecodeError> {
        scratch::with(|scratch| {
            let json = self.ascii_json(text, None, None, scratch)?;
            SessionData::from_signed_json(&json).map_err(|error| DecodeError::Unreadable(error.to_string()))
        })
    }

    /// Tells which secret signed a text, modern or legacy: 0 for [`SessionCodecConfig::secret_key`], 1 for the first of
    /// [`SessionCodecConfig::secret_key_fallbacks`], and so on; `None` when none of them did. Checks the signature
    /// alone.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings};
    ///
    /// let text = SessionCodec::new(&Settings::new("old secret")).encode(&SessionData::new(), DateTime::UNIX_EPOCH)?;
    /// let mut settings = Settings::new("new secret");
    /// assert_eq!(SessionCodec::new(&settings).signed_by(&text), None);
    /// settings.secret_key_fallbacks = vec!["older secret".into(), "old secret".into()];
    /// assert_eq!(SessionCodec::new(&settings).signed_by(&text), Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signed_by(&self, text: &str) -> Option<usize> {
        // After the signing key, each secret has two keys: one for SHA-256 and one for SHA-1.
        let modern = self.modern.as_ref().verifying_key(text).map(|key| key.saturating_sub(1) / 2);
        modern.or_else(|| {
            let mut buffer = Vec::new();
            let decoded = signing::decode_standard(text, &mut buffer)?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            self.legacy_key(&decoded[..colon], &decoded[colon + 1..])
        })
    }

    /// Decodes a modern text that is no older than `max_age`.
    ///
    /// ```
    /// use cloakroom::chrono::{DateTime, TimeDelta};
    /// use cloakroom::{DecodeError, SessionCodec, SessionData, Settings};
    ///
    /// let codec = SessionCodec::new(&Settings::new("secret"));
    /// let (now, age) = (DateTime::UNIX_EPOCH, Some(TimeDelta::hours(1)));
    /// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, now)?;
    /// assert!(codec.decode_modern(&text, now + TimeDelta::minutes(59), age).is_ok());
    /// let late = codec.decode_modern(&text, now + TimeDelta::minutes(61), age);
    /// assert!(matches!(late, Err(DecodeError::Expired(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`decode`](SessionCodec::decode), and [`DecodeError::Expired`].
    pub fn decode_modern(
        &self,
        text: &str,
        now: DateTime<Utc>,
        max_age: Option<TimeDelta>,
    ) -> Result<SessionData, DecodeError> {
        let json = self.decode_json_as(text, Some(TextFormat::Modern), now, max_age)?;
        SessionData::from_signed_json(&json).map_err(|error| DecodeError::Unreadable(error.to_string()))
    }

    /// Returns the JSON text of a session exactly as it is stored. It may be another value than a dictionary.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{SessionCodec, SessionData, Settings};
    ///
    /// let codec = SessionCodec::new(&Settings::new("secret"));
    /// let text = codec.encode(&SessionData::from_json(r#"{"b": 1.50, "a": []}"#)?, DateTime::UNIX_EPOCH)?;
    /// assert_eq!(codec.decode_json(&text)?, r#"{"b":1.50,"a":[]}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`decode`](SessionCodec::decode).
    pub fn decode_json(&self, text: &str) -> Result<String, DecodeError> {
        scratch::with(|scratch| self.ascii_json(text, None, None, scratch).map(Cow::into_owned))
    }

    /// [`decode_json`](SessionCodec::decode_json) for one format only, or for modern text no older than
    /// `max_age`. Legacy text carries no time.
    ///
    /// ```
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{DecodeError, SessionCodec, SessionData, Settings, TextFormat};
    ///
    /// let (codec, now) = (SessionCodec::new(&Settings::new("secret")), DateTime::UNIX_EPOCH);
    /// let text = codec.encode(&SessionData::from_json(r#"{"a":1}"#)?, now)?;
    /// assert_eq!(codec.decode_json_as(&text, Some(TextFormat::Modern), now, None)?, r#"{"a":1}"#);
    /// let legacy = codec.decode_json_as(&text, Some(TextFormat::Legacy), now, None);
    /// assert_eq!(legacy, Err(DecodeError::BadSignature));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`decode`](SessionCodec::decode), and [`DecodeError::Expired`].
    pub fn decode_json_as(
        &self,
        text: &str,
        format: Option<TextFormat>,
        now: DateTime<Utc>,
        max_age: Option<TimeDelta>,
    ) -> Result<String, DecodeError> {
        let limit = max_age.map(|max_age| (now, max_age));
        scratch::with(|scratch| self.ascii_json(text, format, limit, scratch).map(Cow::into_owned))
    }

    /// Returns the JSON text, in the scratch buffer unless it had to be changed. `limit` is the current time
    /// and the allowed age.
    fn ascii_json<'a>(
        &self,
        text: &str,
        format: Option<TextFormat>,
        limit: Option<(DateTime<Utc>, TimeDelta)>,
        scratch: &'a mut Scratch,
    ) -> Result<Cow<'a, str>, DecodeError> {
        // Without a limit the current time is not used.
        let (now, max_age) = limit.map_or((DateTime::UNIX_EPOCH, None), |(now, age)| (now, Some(age)));
        let payload = match format {
            Some(TextFormat::Legacy) => None,
            _ => match self.modern.unsign(text, now, max_age) {
                Ok(payload) => Some(payload),
                Err(SigningError::BadSignature) if format.is_none() => None,
                Err(SigningError::BadSignature) => return Err(DecodeError::BadSignature),
                Err(expired @ SigningError::SignatureExpired { .. }) => {
                    return Err(DecodeError::Expired(expired));
                }
                Err(other) => return Err(DecodeError::Unreadable(other.to_string())),
            },
        };
        let json = match payload {
            Some(payload) => signing::decode_payload(payload, self.max_decompressed_bytes, scratch)
                .map_err(DecodeError::Unreadable)?,
            None => self.decode_legacy(text, &mut scratch.carried)?,
        };
        let json = normalize_latin1(json).map_err(|error| DecodeError::Unreadable(error.to_string()))?;
        if json.len() > self.max_decompressed_bytes {
            let error = ValueError::TooLarge { size: json.len(), limit: self.max_decompressed_bytes };
            return Err(DecodeError::Unreadable(format!("it {error}")));
        }
        Ok(json)
    }

    /// Returns the JSON bytes of a legacy text. Text that is not base64 carries no signature either.
    fn decode_legacy<'a>(&self, text: &str, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], DecodeError> {
        let decoded = signing::decode_standard(text, buffer).ok_or(DecodeError::BadSignature)?;
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or(DecodeError::BadSignature)?;
        let (digest, json) = (&decoded[..colon], &decoded[colon + 1..]);
        self.legacy_key(digest, json).map(|_| json).ok_or(DecodeError::BadSignature)
    }

    /// Finds the legacy key that made this digest.
    fn legacy_key(&self, digest: &[u8], json: &[u8]) -> Option<usize> {
        let genuine =
            |key: &MacKey| constant_time_equal(signing::hex(key.mac(json).as_ref()).as_bytes(), digest);
        self.legacy.iter().position(genuine)
    }
}

impl std::fmt::Debug for SessionCodec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionCodec(..)")
    }
}
