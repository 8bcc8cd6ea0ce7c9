//! The session key, under which the store keeps a session.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The key of one session: the cookie holds it and the store looks it up.
///
/// Anyone who knows a session key can act as that session's user. So [`Debug`](fmt::Debug) does not show it
/// and there is no `Display`; a call of [`as_str`](SessionKey::as_str) marks the places in the code where a
/// key leaves.
///
/// Django's counterpart is `SessionBase.session_key`.
///
/// ```
/// use cloakroom::SessionKey;
///
/// let session_key = SessionKey::random()?;
/// assert_eq!(session_key.as_str().len(), 32);
/// assert_eq!(format!("{session_key:?}"), "SessionKey(..)");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(Arc<str>);

/// Django's alphabet: `VALID_KEY_CHARS = string.ascii_lowercase + string.digits`.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Django's length: `get_random_string(32, VALID_KEY_CHARS)`, 165 bits.
const LENGTH: usize = 32;
/// The characters of a key that come from one random number.
const CHARACTERS: u32 = 11;
/// The largest multiple of `36^11` in 64 bits: from smaller random numbers all texts of that length are equally likely.
const EVEN: u64 = u64::MAX - u64::MAX % 36u64.pow(CHARACTERS);

impl SessionKey {
    /// Generates a new key: 32 characters of `[a-z0-9]` from the operating system's random source.
    ///
    /// Django's counterpart is `SessionBase._get_new_session_key`.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<SessionKey, crate::Error> {
        let mut key = [b'a'; LENGTH];
        let mut places = key.iter_mut();
        // For more than 32 bytes, Linux computes another block. Three numbers are enough for a key; the fourth is for one
        // that is too large.
        let mut bytes = [0u8; 32];
        loop {
            getrandom::fill(&mut bytes).map_err(|error| crate::Error::Random(error.to_string()))?;
            let numbers = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            // Larger numbers would favour some characters.
            for mut number in numbers.filter(|number| *number < EVEN) {
                for _ in 0..CHARACTERS {
                    let Some(place) = places.next() else {
                        #[allow(clippy::expect_used)]
                        let text = str::from_utf8(&key).expect("ALPHABET is ASCII");
                        return Ok(SessionKey(text.into()));
                    };
                    *place = ALPHABET[(number % 36) as usize];
                    number /= 36;
                }
            }
        }
    }

    /// Takes a key that comes from the store, the operator or the application. For a key from a cookie,
    /// use [`SessionKeyFormat::parse`].
    pub fn from_trusted(text: impl Into<Arc<str>>) -> SessionKey {
        SessionKey(text.into())
    }

    /// The key's text, for the cookie and the store. Never log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A public name for the session, for logs and traces: the first 12 hexadecimal digits of the SHA-256 of
    /// the key's text. The command `cloakroom` prints the same; so does `printf %s KEY | sha256sum | cut
    /// -c1-12`.
    ///
    /// It does not give access: a random key has 165 bits, so nobody can find it by trying.
    ///
    /// ```
    /// use cloakroom::SessionKey;
    ///
    /// let session_key = SessionKey::from_trusted("abcdefgh12345678abcdefgh12345678");
    /// assert_eq!(session_key.public_id(), "6bce7e9f0779");
    /// ```
    pub fn public_id(&self) -> String {
        self.shown().to_string()
    }

    /// The [`public_id`](SessionKey::public_id), computed when somebody formats it. `tracing` evaluates the fields of
    /// a span that nobody wants when its feature `log` is on, as actix-web turns it on.
    pub(crate) fn shown(&self) -> impl fmt::Display + '_ {
        PublicId(self)
    }
}

struct PublicId<'a>(&'a SessionKey);

impl fmt::Display for PublicId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&cloakroom_formats::private::hex(&Sha256::digest(self.0.as_str())[..6]))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionKey(..)")
    }
}

/// The rule for cookie values that may be session keys. Other values never reach a store.
///
/// A key from a cookie is untrusted, and stores differ in which keys they treat as equal. MariaDB's usual
/// collation finds `KEY`, `key` and `key ` in the same row; a file name can escape from its folder;
/// PostgreSQL refuses a NUL. Django itself accepts any text of 8 characters or more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionKeyFormat {
    /// The minimum length. Default: 8, as in Django. [`Settings::validate`](crate::Settings::validate)
    /// refuses less.
    pub min_length: usize,
    /// The maximum length. Default: 40, the width of Django's column.
    pub max_length: usize,
    /// Characters allowed besides `a` to `z` and `0` to `9`, for sites with their own key generator. Default:
    /// none. `/`, `\` and characters that a cookie cannot hold are refused.
    pub extra_chars: String,
}

impl Default for SessionKeyFormat {
    fn default() -> Self {
        SessionKeyFormat { min_length: 8, max_length: 40, extra_chars: String::new() }
    }
}

impl SessionKeyFormat {
    /// Parses a cookie value; `None` if it cannot be a key.
    ///
    /// ```
    /// use cloakroom::SessionKeyFormat;
    ///
    /// let format = SessionKeyFormat::default();
    /// assert!(format.parse("abcdefgh12345678abcdefgh12345678").is_some());
    /// assert!(format.parse("short").is_none());
    /// assert!(format.parse("../../etc/passwd").is_none());
    /// assert!(format.parse("ABCDEFGH12345678").is_none());
    /// ```
    pub fn parse(&self, text: &str) -> Option<SessionKey> {
        let length_fits = (self.min_length..=self.max_length).contains(&text.len());
        if !length_fits {
            return None;
        }
        let usual = |byte: u8| byte.is_ascii_lowercase() | byte.is_ascii_digit();
        // Without an early exit, many bytes are compared at once.
        let allowed = text.bytes().fold(true, |all, byte| all & usual(byte))
            || !self.extra_chars.is_empty()
                && text
                    .bytes()
                    .all(|byte| usual(byte) || byte.is_ascii() && self.extra_chars.contains(byte as char));
        allowed.then(|| SessionKey(text.into()))
    }
}

/// Generates new session keys. Tests replace it to force the same key twice.
pub trait KeyGenerator: Send + Sync + 'static {
    /// Returns a key that nobody can guess.
    fn generate(&self) -> Result<SessionKey, crate::Error>;
}

/// The default generator, [`SessionKey::random`].
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "they have no state")]
pub struct RandomKeys;

impl KeyGenerator for RandomKeys {
    fn generate(&self) -> Result<SessionKey, crate::Error> {
        SessionKey::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn random_keys_use_every_character_evenly() {
        let mut counts = HashMap::new();
        for _ in 0..2_000 {
            for character in SessionKey::random().unwrap().as_str().chars() {
                *counts.entry(character).or_insert(0u32) += 1;
            }
        }
        assert_eq!(counts.len(), 36);
        // 64,000 characters, 1,778 of each expected, standard deviation 42: six of them either way.
        assert!(counts.values().all(|count| (1_525..2_031).contains(count)), "{counts:?}");
    }

    #[test]
    fn only_the_set_format_is_a_key() {
        let format = SessionKeyFormat::default();
        for bad in ["", "1234567", "abcdefg ", "abcdefgh\0", "abcdefgh\u{e0}", "../abcdefgh", &"k".repeat(41)]
        {
            assert!(format.parse(bad).is_none(), "{bad:?}");
        }
        assert!(format.parse(&"k".repeat(40)).is_some());
        let own = SessionKeyFormat { extra_chars: "-_".into(), ..SessionKeyFormat::default() };
        assert!(own.parse("user-1_abc").is_some());
    }
}
