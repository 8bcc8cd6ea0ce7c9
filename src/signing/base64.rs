//! Base64 as Python's `base64` module reads and writes it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As Python, indifferent to padding and to unused bits at the end.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG.with_encode_padding(false));
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);

/// Appends URL-safe base64 without `=`: Django's `b64_encode`.
pub(crate) fn encode_url_safe_into(out: &mut String, bytes: &[u8]) {
    URL_SAFE.encode_string(bytes, out);
}

/// [`encode_url_safe_into`] without a String, for what is at most 64 bytes long.
pub(crate) fn encode_url_safe_short(bytes: &[u8]) -> ([u8; 88], usize) {
    let mut out = [0; 88];
    let length = URL_SAFE.encode_slice(bytes, &mut out).unwrap_or_default();
    (out, length)
}

pub(crate) fn encode_standard(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Django's `b64_decode`: adds the padding that the length asks for, then reads as Python does. Expects an
/// empty buffer.
pub(crate) fn decode_url_safe_into(out: &mut Vec<u8>, text: &str) -> Option<()> {
    if URL_SAFE.decode_vec(text, out).is_ok() {
        return Some(());
    }
    out.clear();
    let padding = (4 - text.len() % 4) % 4;
    let standard = text.bytes().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    });
    decode_leniently(standard.chain(std::iter::repeat_n(b'=', padding)), out)
}

/// Python's `base64.b64decode(text)`. Expects an empty buffer.
pub(crate) fn decode_standard_into(out: &mut Vec<u8>, text: &str) -> Option<()> {
    decode_leniently(text.bytes(), out)
}

/// Python's `binascii.a2b_base64` outside of its strict mode: characters of no meaning are passed over,
/// a complete padding ends the text, and what is left of the last group must be padded.
fn decode_leniently(text: impl Iterator<Item = u8>, out: &mut Vec<u8>) -> Option<()> {
    out.reserve(text.size_hint().0 / 4 * 3 + 3);
    let (mut in_group, mut pads, mut left) = (0u32, 0u32, 0u8);
    for byte in text {
        let value = match byte {
            b'=' => {
                if in_group >= 2 {
                    pads += 1;
                    if in_group + pads >= 4 {
                        return Some(());
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
    (in_group == 0).then_some(())
}
