//! What is signed: JSON in base64, compressed when that pays.

use std::io::{Read, Write};

use super::base64::{decode_url_safe, encode_url_safe_into};

/// When JSON is compressed with zlib before it is signed. A leading `.` marks it; Django reads both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Never. The fastest, and the longest text.
    Never,
    /// Tried for every payload and kept when it is at least 2 bytes shorter: Django's `compress=True`.
    Always,
    /// Tried from this many bytes of JSON on.
    AtLeast(usize),
}

impl Default for Compression {
    /// From 1 kB on. Compressing is the dearest step of a write by far, and saves little below that.
    fn default() -> Self {
        Compression::AtLeast(1_024)
    }
}

/// How large a payload may become when it is decompressed, unless the settings say otherwise: 16 MiB.
pub const DEFAULT_INFLATE_LIMIT: usize = 16 << 20;

pub(crate) fn encode_payload_into(out: &mut String, json: &str, compression: Compression) {
    let tried = match compression {
        Compression::Never => false,
        Compression::Always => true,
        Compression::AtLeast(length) => json.len() >= length,
    };
    if tried && let Some(compressed) = deflate(json.as_bytes()) {
        out.reserve(compressed.len().div_ceil(3) * 4 + 64);
        out.push('.');
        encode_url_safe_into(out, &compressed);
    } else {
        out.reserve(json.len().div_ceil(3) * 4 + 64);
        encode_url_safe_into(out, json.as_bytes());
    }
}

/// As small as Django's level 6 on sessions, and a little faster. Level 1 halves the time and leaves texts
/// half as large again, as it does not fit its code to the text.
const LEVEL: flate2::Compression = flate2::Compression::new(3);

/// The compressed bytes, if they are at least 2 fewer.
fn deflate(json: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::with_capacity(json.len()), LEVEL);
    encoder.write_all(json).ok()?;
    encoder.finish().ok().filter(|compressed| compressed.len() + 1 < json.len())
}

/// The bytes that were signed, decompressed; to be called only after the signature was checked.
/// What follows the end of the zlib stream is ignored, as in Python.
pub(crate) fn decode_payload(payload: &str, inflate_limit: usize) -> Result<Vec<u8>, String> {
    let (compressed, text) = payload.strip_prefix('.').map_or((false, payload), |text| (true, text));
    let bytes = decode_url_safe(text).ok_or("not base64")?;
    if !compressed {
        return Ok(bytes);
    }
    let mut json = Vec::with_capacity(bytes.len() * 3);
    let mut decoder = flate2::read::ZlibDecoder::new(bytes.as_slice()).take(inflate_limit as u64 + 1);
    decoder.read_to_end(&mut json).map_err(|error| format!("not zlib: {error}"))?;
    if json.len() > inflate_limit {
        return Err(format!("larger than the limit of {inflate_limit} bytes when decompressed"));
    }
    Ok(json)
}
