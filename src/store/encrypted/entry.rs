//! The form of an encrypted entry: a session with one key, whose value is `1.KEY_ID.BASE64`.
//!
//! BASE64 holds the nonce of 24 bytes, the encrypted bytes, and the tag of 16. The bytes are a `j` and the session's JSON,
//! or a `p` and its pickle where JSON would lose a value. The associated data is what stands before BASE64, a zero byte,
//! and either `k` and the session key, or `c` for a session in a cookie.

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead, Payload};
use cloakroom_formats::private::{decode_standard, encode_standard};
use cloakroom_formats::signing::DEFAULT_MAX_DECOMPRESSED_BYTES;
use cloakroom_formats::{SessionData, Value, ValueError};

use super::keys::{EncryptionKey, EncryptionKeys};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;

/// The key in the session under which the encrypted text is.
const ENCRYPTED: &str = "_cloakroom_encrypted";
const FORMAT: &str = "1";
const NONCE: usize = 24;
const JSON: u8 = b'j';
const PICKLE: u8 = b'p';

/// Why an entry does not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    #[error(
        "the session is not encrypted; if it was stored before encryption was turned on, \
         `EncryptionKeys::accepting_plain` reads it"
    )]
    Plain,
    #[error(
        "the session holds values beside the encrypted ones: a program without the key has written to it"
    )]
    Mixed,
    #[error("the session is encrypted in a form that this version does not know")]
    Form,
    #[error("the session is encrypted with the key {0}, which is not among the given keys")]
    UnknownKey(String),
    #[error(
        "the encrypted session does not open with the key {0}: it was changed, or copied from another session"
    )]
    Changed(String),
    #[error("the decrypted session cannot be read")]
    Content,
}

/// The id of the key with which a stored session is encrypted; `None` if it is not.
///
/// ```
/// use cloakroom::SessionData;
/// use cloakroom::store::encryption_key_id;
///
/// let stored = SessionData::from_json(r#"{"_cloakroom_encrypted":"1.2f0c6c0c.AAAA"}"#)?;
/// assert_eq!(encryption_key_id(&stored).as_deref(), Some("2f0c6c0c"));
/// assert_eq!(encryption_key_id(&SessionData::from_json(r#"{"visits":1}"#)?), None);
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
pub fn encryption_key_id(stored: &SessionData) -> Option<String> {
    let text: String = stored.read(ENCRYPTED).ok()??;
    let id = text.split('.').nth(1)?;
    Some(id.to_owned())
}

pub(super) fn seal(
    key: &EncryptionKey,
    session_key: Option<&SessionKey>,
    data: &SessionData,
    store: &'static str,
) -> Result<SessionData, StoreError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|error| {
        StoreError::new(store, StoreErrorKind::Unavailable, "the system gives no random numbers")
            .with_source(error)
    })?;
    seal_with(nonce, key, session_key, data).map_err(|error| StoreError::not_carried(store, error))
}

/// Encrypts with a nonce, which must be new.
fn seal_with(
    nonce: [u8; NONCE],
    key: &EncryptionKey,
    session_key: Option<&SessionKey>,
    data: &SessionData,
) -> Result<SessionData, ValueError> {
    let plain = if data.iter().any(|(_, value)| value.pickled().is_some()) {
        [&[PICKLE], &data.to_pickle()?[..]].concat()
    } else {
        [&[JSON], data.json_to_store(",", ":")?.as_bytes()].concat()
    };
    if plain.len() > DEFAULT_MAX_DECOMPRESSED_BYTES {
        return Err(ValueError::TooLarge { size: plain.len(), limit: DEFAULT_MAX_DECOMPRESSED_BYTES });
    }
    let head = format!("{FORMAT}.{}.", key.id());
    let aad = associated(&head, session_key);
    let sealed = key.cipher.encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: &aad });
    // The cipher takes up to 256 GiB.
    let sealed = sealed.map_err(|_| ValueError::TooLarge { size: plain.len(), limit: 0 })?;
    let text = head + &encode_standard(&[&nonce, &sealed[..]].concat());
    let mut entry = SessionData::new();
    entry.write(ENCRYPTED, &text)?;
    Ok(entry)
}

pub(super) fn open(
    keys: &EncryptionKeys,
    session_key: Option<&SessionKey>,
    entry: SessionData,
) -> Result<SessionData, Closed> {
    let Some(text) = entry.get(ENCRYPTED).map(Value::deserialize::<String>) else {
        return if keys.accepts_plain() { Ok(entry) } else { Err(Closed::Plain) };
    };
    if entry.len() > 1 {
        return Err(Closed::Mixed);
    }
    let text = text.map_err(|_| Closed::Form)?;
    let mut parts = text.splitn(3, '.');
    let (Some(FORMAT), Some(id), Some(base64)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Closed::Form);
    };
    let Some(key) = keys.all().find(|key| key.id() == id) else {
        // Only what can be an id is shown.
        let is_id = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        return Err(if is_id { Closed::UnknownKey(id.to_owned()) } else { Closed::Form });
    };
    let changed = || Closed::Changed(key.id().to_owned());
    let mut buffer = Vec::new();
    let bytes = decode_standard(base64, &mut buffer).ok_or_else(changed)?;
    // One spelling alone: the reader ignores what Python's ignores.
    if encode_standard(bytes) != base64 {
        return Err(changed());
    }
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or_else(changed)?;
    let aad = associated(&text[..text.len() - base64.len()], session_key);
    let plain = key.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad });
    read(&plain.map_err(|_| changed())?)
}

/// The associated data, in which nothing can be confused: the head has no zero byte.
fn associated(head: &str, session_key: Option<&SessionKey>) -> Vec<u8> {
    let (kind, session_key) = session_key.map_or(("c", ""), |session_key| ("k", session_key.as_str()));
    [head, "\0", kind, session_key].concat().into_bytes()
}

fn read(plain: &[u8]) -> Result<SessionData, Closed> {
    match plain.split_first() {
        Some((&JSON, json)) => {
            let json = std::str::from_utf8(json).map_err(|_| Closed::Content)?;
            SessionData::from_signed_json(json).map_err(|_| Closed::Content)
        }
        Some((&PICKLE, pickle)) => {
            SessionData::from_pickle(pickle, DEFAULT_MAX_DECOMPRESSED_BYTES).map_err(|_| Closed::Content)
        }
        _ => Err(Closed::Content),
    }
}

#[cfg(test)]
mod tests;
