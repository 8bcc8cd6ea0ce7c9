//! Django's CSRF tokens: a secret of 32 characters, and the masked form that stands in pages.
//!
//! ```
//! use cloakroom::csrf::{Secret, TokenProblem};
//!
//! let secret: Secret = "lcccccccX2kcccccccY2jcccccccssIC".parse()?;
//! let mask: Secret = "1bcdefghij2bcdefghij3bcdefghij4b".parse()?;
//! let token = secret.mask(&mask);
//! assert_eq!(token.len(), 64);
//! assert!(token.parse::<Secret>()?.equals(&secret), "the form is read whatever its mask");
//! assert_eq!("short".parse::<Secret>().unwrap_err(), TokenProblem::Length);
//! # Ok::<(), TokenProblem>(())
//! ```

use std::fmt;
use std::str::FromStr;

use crate::signing::constant_time_equal;

/// The characters of a secret. Django's `CSRF_ALLOWED_CHARS`.
const CHARACTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Django's `CSRF_SECRET_LENGTH`.
const LENGTH: usize = 32;

/// A CSRF secret. `Debug` does not show it.
///
/// The text of one is the bare secret, as the cookie has it, or a token of 64 characters, which is unmasked.
#[derive(Clone)]
pub struct Secret([u8; LENGTH]);

/// Why a text is no CSRF secret or token. Django's `InvalidTokenFormat`, and a mismatch.
///
/// ```
/// use cloakroom::csrf::{Secret, TokenProblem};
///
/// assert_eq!("*".repeat(64).parse::<Secret>().unwrap_err(), TokenProblem::Characters);
/// assert_eq!(TokenProblem::Characters.to_string(), "has invalid characters");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "a token has a length, characters and a value")]
pub enum TokenProblem {
    /// Neither 32 nor 64 characters.
    #[error("has incorrect length")]
    Length,
    /// Other characters than letters and digits of ASCII.
    #[error("has invalid characters")]
    Characters,
    /// Not made from this secret.
    #[error("incorrect")]
    Incorrect,
}

impl Secret {
    /// Makes a secret, or a mask, of random bytes; `None` if too few of them can be used. 64 bytes are
    /// enough but for one time in 10^20.
    ///
    /// ```
    /// use cloakroom::csrf::Secret;
    ///
    /// assert!(Secret::from_random_bytes(&[7; 64]).is_some());
    /// assert!(Secret::from_random_bytes(&[255; 64]).is_none());
    /// ```
    pub fn from_random_bytes(bytes: &[u8]) -> Option<Secret> {
        // Each character is as likely as the others.
        let mut usable =
            bytes.iter().filter(|byte| **byte < 248).map(|byte| CHARACTERS[usize::from(byte % 62)]);
        let mut secret = [0; LENGTH];
        for character in &mut secret {
            *character = usable.next()?;
        }
        Some(Secret(secret))
    }

    /// The bare secret, for the cookie or the session.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The token for a page: 64 characters, others for each mask. Django's `_mask_cipher_secret`.
    pub fn mask(&self, mask: &Secret) -> String {
        let pairs = self.0.iter().zip(&mask.0);
        let cipher =
            pairs.map(|(own, mask)| CHARACTERS[(position(*own) + position(*mask)) % CHARACTERS.len()]);
        mask.0.iter().copied().chain(cipher).map(char::from).collect()
    }

    /// Compares in constant time.
    pub fn equals(&self, other: &Secret) -> bool {
        constant_time_equal(&self.0, &other.0)
    }
}

impl FromStr for Secret {
    type Err = TokenProblem;

    /// Reads a bare secret or a token. Django's `_check_token_format` and `_unmask_cipher_token`.
    fn from_str(text: &str) -> Result<Secret, TokenProblem> {
        // Python counts characters, not bytes.
        let length = text.chars().count();
        if length != LENGTH && length != 2 * LENGTH {
            return Err(TokenProblem::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(TokenProblem::Characters);
        }
        let (mask, cipher) = text.as_bytes().split_at(length - LENGTH);
        let mut secret = [0; LENGTH];
        for (index, character) in secret.iter_mut().enumerate() {
            *character = match mask.get(index) {
                None => cipher[index],
                Some(mask) => {
                    let count = CHARACTERS.len();
                    CHARACTERS[(position(cipher[index]) + count - position(*mask)) % count]
                }
            };
        }
        Ok(Secret(secret))
    }
}

/// The position of one of the characters.
fn position(character: u8) -> usize {
    usize::from(match character {
        b'a'..=b'z' => character - b'a',
        b'A'..=b'Z' => character - b'A' + 26,
        _ => character.wrapping_sub(b'0').wrapping_add(52),
    })
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
