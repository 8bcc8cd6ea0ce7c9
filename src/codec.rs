//! Between a session's data and the signed text that the stores `db`, `file` and `signed_cookies` keep.
//!
//! Modern text (Django 3.1 and later): `base64(json or zlib(json)):timestamp:signature`. Legacy text (before
//! 3.1): base64 of `hexdigest:json`. The signature is checked before anything is decoded.

pub(crate) mod pickle;

use chrono::{DateTime, TimeDelta, Utc};

use crate::session_data::SessionData;
use crate::settings::Settings;
use crate::signing::{
    self, Algorithm, Compression, MacKey, Signer, SigningError, TimestampSigner, constant_time_equal,
};
use crate::value::{ValueError, normalize_latin1};

/// Which text to write. Both are read always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextFormat {
    /// Django 3.1 and later.
    #[default]
    Modern,
    /// Django before 3.1, or 3.1 and 3.2 with `DEFAULT_HASHING_ALGORITHM = 'sha1'`.
    Legacy,
}

/// Why a stored text gives no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not signed with this secret and salt: for Django, and here, an empty session.
    #[error("the signature does not match; the text is damaged, or SECRET_KEY or the key salt is another")]
    BadSignature,
    /// Genuine, but older than allowed. Only `signed_cookies` has a limit.
    #[error("the session expired: {0}")]
    Expired(SigningError),
    /// Genuine, but its content cannot be carried. Django reads such a session as empty, and the next save
    /// overwrites it; here it is an error and the entry stays.
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
    /// The current secret's key, which may sign, then those of the fallbacks.
    legacy: Vec<MacKey>,
    write: TextFormat,
    compression: Compression,
    inflate_limit: usize,
}

impl SessionCodec {
    /// The codec of the stores `db`, `file` and `cached_db`, whose salt names the session class:
    /// [`Settings::session_class`].
    pub fn new(settings: &Settings) -> SessionCodec {
        SessionCodec::with_salt(settings, &format!("django.contrib.sessions.{}", settings.session_class))
    }

    /// The codec with another salt for modern text, as a session class with its own `key_salt` has.
    pub fn with_salt(settings: &Settings, salt: &str) -> SessionCodec {
        // The legacy salt has the class name without its outer classes, and no dot.
        let class = settings.session_class.rsplit('.').next().unwrap_or_default();
        let secrets = || std::iter::once(&settings.secret_key).chain(&settings.secret_key_fallbacks);
        let legacy_salt = format!("django.contrib.sessions{class}");
        let fallbacks = settings.secret_key_fallbacks.iter();
        let modern = fallbacks.fold(Signer::with_salt(&settings.secret_key, salt), |signer, secret| {
            signer.also_accepting(&Signer::with_salt(secret, salt))
        });
        SessionCodec {
            modern: modern.into(),
            legacy: secrets().map(|secret| MacKey::derive(Algorithm::Sha1, &legacy_salt, secret)).collect(),
            write: settings.text_format,
            compression: settings.compression,
            inflate_limit: settings.inflate_limit,
        }
    }

    /// The signed text of a session.
    ///
    /// # Errors
    /// [`ValueError::NotJson`] when it holds a value from a pickle that JSON cannot express.
    pub fn encode(&self, data: &SessionData, now: DateTime<Utc>) -> Result<String, ValueError> {
        let json = data.json_to_store(",", ":")?;
        Ok(match self.write {
            TextFormat::Modern => {
                let mut text = String::new();
                signing::encode_payload_into(&mut text, &json, self.compression);
                self.modern.append(&mut text, now);
                text
            }
            TextFormat::Legacy => {
                // There is always the current secret's key.
                let mac = self.legacy.first().map(|key| signing::hex(key.mac(json.as_bytes()).as_ref()));
                signing::encode_standard(format!("{}:{json}", mac.unwrap_or_default()).as_bytes())
            }
        })
    }

    /// The session in a signed text, modern or legacy.
    ///
    /// # Errors
    /// [`DecodeError::BadSignature`] when it is not genuine, [`DecodeError::Unreadable`] when it is and
    /// still cannot be read.
    pub fn decode(&self, text: &str) -> Result<SessionData, DecodeError> {
        SessionData::from_ascii_json(self.decode_json(text)?)
            .map_err(|error| DecodeError::Unreadable(error.to_string()))
    }

    /// The JSON text of a session exactly as it is stored. It may be no dictionary.
    ///
    /// # Errors
    /// As [`decode`](SessionCodec::decode).
    pub fn decode_json(&self, text: &str) -> Result<String, DecodeError> {
        self.decode_json_as(text, None, Utc::now(), None)
    }

    /// [`decode_json`](SessionCodec::decode_json) for one format only, or for modern text no older than
    /// `max_age`. Legacy text carries no time.
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
        let modern = || match self.modern.unsign(text, now, max_age) {
            Ok(payload) => {
                signing::decode_payload(payload, self.inflate_limit).map_err(DecodeError::Unreadable)
            }
            Err(SigningError::BadSignature) => Err(DecodeError::BadSignature),
            Err(expired @ SigningError::SignatureExpired { .. }) => Err(DecodeError::Expired(expired)),
            Err(other) => Err(DecodeError::Unreadable(other.to_string())),
        };
        let bytes = match format {
            Some(TextFormat::Modern) => modern(),
            Some(TextFormat::Legacy) => self.decode_legacy(text),
            None => match modern() {
                Err(DecodeError::BadSignature) => self.decode_legacy(text),
                result => result,
            },
        }?;
        normalize_latin1(bytes).map_err(|error| DecodeError::Unreadable(error.to_string()))
    }

    /// The JSON bytes of a legacy text. What is not base64 carries no signature either.
    fn decode_legacy(&self, text: &str) -> Result<Vec<u8>, DecodeError> {
        let mut decoded = signing::decode_standard(text).ok_or(DecodeError::BadSignature)?;
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or(DecodeError::BadSignature)?;
        let json = decoded.split_off(colon + 1);
        let digest = &decoded[..colon];
        let genuine =
            |key: &MacKey| constant_time_equal(signing::hex(key.mac(&json).as_ref()).as_bytes(), digest);
        if self.legacy.iter().any(genuine) { Ok(json) } else { Err(DecodeError::BadSignature) }
    }
}

impl std::fmt::Debug for SessionCodec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionCodec(..)")
    }
}
