//! The signed payload: JSON in base64, compressed when that pays.

use super::base64::{decode_url_safe, encode_url_safe_into};
use crate::compression::Effort;
use crate::compression::scratch::{self, Scratch};

/// When to compress JSON with zlib before signing. A leading `.` marks compressed text; Django reads both.
///
/// ```
/// use cloakroom::signing::{Compression, SecretKey, Signer};
///
/// let (signer, long) = (Signer::new(&SecretKey::from("x")), "wool ".repeat(100));
/// let plain = signer.sign_object(&long, Compression::Never)?;
/// let short = signer.sign_object(&long, Compression::AtLeast(100))?;
/// assert!(short.starts_with('.') && short.len() < plain.len() / 2);
/// assert_eq!(signer.unsign_object::<String>(&short)?, long);
/// # Ok::<(), cloakroom::signing::SigningError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Never compresses: the fastest, and the longest text.
    Never,
    /// Tries every payload at zlib's level 6 and keeps the result if it is at least 2 bytes shorter: Django's
    /// `compress=True`.
    Always,
    /// Tries from this many bytes of JSON on, with a faster effort: texts are a few per cent longer than
    /// Django's, in less time.
    AtLeast(usize),
}

impl Default for Compression {
    /// From 1 kB on. Compression is by far the slowest step of a write, and saves little below that.
    fn default() -> Self {
        Compression::AtLeast(1_024)
    }
}

/// The default limit for a decompressed payload: 16 MiB.
///
/// ```
/// use cloakroom::{Settings, signing::DEFAULT_MAX_DECOMPRESSED_BYTES};
///
/// assert_eq!(Settings::new("secret").max_decompressed_bytes, DEFAULT_MAX_DECOMPRESSED_BYTES);
/// ```
pub const DEFAULT_MAX_DECOMPRESSED_BYTES: usize = 16 << 20;

pub(crate) fn encode_payload_into(out: &mut String, json: &str, compression: Compression) {
    let effort = match compression {
        Compression::Always => Some(Effort::AsDjango),
        Compression::AtLeast(length) if json.len() >= length => Some(Effort::Fast),
        Compression::Never | Compression::AtLeast(_) => None,
    };
    let put = |out: &mut String, mark: &str, carried: &[u8]| {
        // Reserves room for the time and the signature too.
        out.reserve(carried.len().div_ceil(3) * 4 + 64);
        out.push_str(mark);
        encode_url_safe_into(out, carried);
    };
    let Some(effort) = effort else { return put(out, "", json.as_bytes()) };
    scratch::with(|Scratch { deflate, zlib, .. }| {
        // The mark of a compressed text counts towards its length.
        match deflate.run(json.as_bytes(), effort, json.len().saturating_sub(1), zlib) {
            Some(compressed) => put(out, ".", compressed),
            None => put(out, "", json.as_bytes()),
        }
    });
}

/// Decodes and decompresses a signed payload. Call it only after verifying the signature.
pub(crate) fn decode_payload<'a>(
    payload: &str,
    max_decompressed_bytes: usize,
    scratch: &'a mut Scratch,
) -> Result<&'a [u8], String> {
    let (compressed, text) = payload.strip_prefix('.').map_or((false, payload), |text| (true, text));
    let Scratch { carried, zlib, inflate, .. } = scratch;
    let carried = decode_url_safe(text, carried).ok_or("not base64")?;
    if compressed {
        inflate.run(carried, max_decompressed_bytes, zlib).map_err(|error| error.to_string())
    } else {
        Ok(carried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_least_so_long_is_compressed() {
        let json = format!("{{\"a\":\"{}\"}}", "a".repeat(100));
        for (compression, compressed) in [
            (Compression::AtLeast(json.len()), true),
            (Compression::AtLeast(json.len() + 1), false),
            (Compression::Always, true),
            (Compression::Never, false),
        ] {
            let mut text = String::new();
            encode_payload_into(&mut text, &json, compression);
            assert_eq!(text.starts_with('.'), compressed, "{compression:?}");
        }
    }

    #[test]
    fn a_compressed_nothing_is_incomplete() {
        for limit in [0, 1, DEFAULT_MAX_DECOMPRESSED_BYTES] {
            let error = scratch::with(|scratch| decode_payload(".", limit, scratch).map(<[u8]>::to_vec));
            assert_eq!(error, Err("not zlib, or an incomplete stream of it".to_owned()), "limit {limit}");
        }
    }
}
