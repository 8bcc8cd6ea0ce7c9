//! Base64 as Python's `base64` module reads and writes it.

use base64_simd::{AsOut, STANDARD, URL_SAFE_NO_PAD};

use crate::compression::make_room;

/// Appends URL-safe base64 without `=`: Django's `b64_encode`.
pub(crate) fn encode_url_safe_into(out: &mut String, bytes: &[u8]) {
    URL_SAFE_NO_PAD.encode_append(bytes, out);
}

/// [`encode_url_safe_into`] without a String, for at most 64 bytes.
pub(crate) fn encode_url_safe_short(bytes: &[u8]) -> ([u8; 88], usize) {
    let mut out = [0; 88];
    let length = URL_SAFE_NO_PAD.encode(bytes, out.as_mut_slice().as_out()).len();
    (out, length)
}

/// Python's `base64.b64encode(bytes)`.
pub fn encode_standard(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// Django's `b64_decode`: adds the padding that the length requires, then reads as Python does. The result is
/// at the buffer's beginning.
pub(crate) fn decode_url_safe<'a>(text: &str, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    make_room(buffer, text.len());
    // Fast path for nearly all texts; the other forms that Python accepts are decoded character by character.
    if let Ok(length) = URL_SAFE_NO_PAD.decode(text.as_bytes(), buffer.as_out()).map(|decoded| decoded.len())
    {
        return buffer.get(..length);
    }
    let padding = (4 - text.len() % 4) % 4;
    let standard = text.bytes().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    });
    decode_leniently(standard.chain(std::iter::repeat_n(b'=', padding)), buffer)
}

/// Python's `base64.b64decode(text)`. The result borrows the buffer.
pub fn decode_standard<'a>(text: &str, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    decode_leniently(text.bytes(), buffer)
}

/// Python's `binascii.a2b_base64` outside of its strict mode: characters outside of the alphabet are skipped,
/// a complete padding ends the text, and an incomplete last group must be padded.
fn decode_leniently(text: impl Iterator<Item = u8>, out: &mut Vec<u8>) -> Option<&[u8]> {
    out.clear();
    out.reserve(text.size_hint().0 / 4 * 3 + 3);
    let (mut in_group, mut pads, mut left) = (0u32, 0u32, 0u8);
    for byte in text {
        let value = match byte {
            b'=' => {
                if in_group >= 2 {
                    pads += 1;
                    if in_group + pads >= 4 {
                        return Some(out);
                    }
                }
                continue;
            }
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        pads = 0;
        match in_group {
            0 => {}
            1 => out.push(left << 2 | value >> 4),
            2 => out.push(left << 4 | value >> 2),
            _ => out.push(left << 6 | value),
        }
        left = value;
        in_group = (in_group + 1) % 4;
    }
    (in_group == 0).then_some(out)
}
