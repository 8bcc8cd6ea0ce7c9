//! What is signed: JSON in base64, compressed when that pays.

use flate2::{FlushCompress, FlushDecompress, Status};

use super::base64::{decode_url_safe_into, encode_url_safe_into};
use crate::scratch::{self, Scratch};

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
    let put = |out: &mut String, mark: &str, carried: &[u8]| {
        // With room for the time and the signature.
        out.reserve(carried.len().div_ceil(3) * 4 + 64);
        out.push_str(mark);
        encode_url_safe_into(out, carried);
    };
    if !tried {
        return put(out, "", json.as_bytes());
    }
    scratch::with(|scratch| match deflate(json.as_bytes(), scratch) {
        Some(compressed) => put(out, ".", compressed),
        None => put(out, "", json.as_bytes()),
    });
}

/// The compressed bytes, if they are at least 2 fewer.
fn deflate<'a>(json: &[u8], scratch: &'a mut Scratch) -> Option<&'a [u8]> {
    let (compress, out) = scratch.compressor();
    out.reserve(json.len());
    let status = compress.compress_vec(json, out, FlushCompress::Finish);
    (matches!(status, Ok(Status::StreamEnd)) && out.len() + 1 < json.len()).then_some(out)
}

/// The bytes that were signed, decompressed; to be called only after the signature was checked.
/// What follows the end of the zlib stream is ignored, as in Python.
pub(crate) fn decode_payload<'a>(
    payload: &str,
    inflate_limit: usize,
    scratch: &'a mut Scratch,
) -> Result<&'a [u8], String> {
    let (compressed, text) = payload.strip_prefix('.').map_or((false, payload), |text| (true, text));
    scratch.carried.clear();
    decode_url_safe_into(&mut scratch.carried, text).ok_or("not base64")?;
    if compressed { inflate(inflate_limit, scratch) } else { Ok(&scratch.carried) }
}

fn inflate(limit: usize, scratch: &mut Scratch) -> Result<&[u8], String> {
    let (decompress, carried, out) = scratch.decompressor();
    // JSON of sessions shrinks to a half or a third.
    out.reserve(carried.len().saturating_mul(4).min(limit.saturating_add(1)));
    loop {
        let rest = carried.get(decompress.total_in() as usize..).unwrap_or_default();
        let status = decompress
            .decompress_vec(rest, out, FlushDecompress::Finish)
            .map_err(|error| format!("not zlib: {error}"))?;
        if out.len() > limit {
            return Err(format!("larger than the limit of {limit} bytes when decompressed"));
        }
        if status == Status::StreamEnd {
            return Ok(out);
        }
        if out.len() < out.capacity() {
            return Err("not zlib: the stream is incomplete".to_owned());
        }
        // Doubled; and there is room for something even when there was none.
        out.reserve(out.len().max(64).min(limit - out.len() + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_nothing_is_incomplete() {
        for limit in [0, 1, DEFAULT_INFLATE_LIMIT] {
            let error = scratch::with(|scratch| decode_payload(".", limit, scratch).map(<[u8]>::to_vec));
            assert_eq!(error, Err("not zlib: the stream is incomplete".to_owned()), "limit {limit}");
        }
    }
}
