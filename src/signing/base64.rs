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

pub(crate) fn encode_standard(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Django's `b64_decode`: adds the padding that the length asks for, then reads as Python does.
pub(crate) fn decode_url_safe(text: &str) -> Option<Vec<u8>> {
    if let Ok(bytes) = URL_SAFE.decode(text) {
        return Some(bytes);
    }
    let padding = (4 - text.len() % 4) % 4;
    let standard = text.bytes().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    });
    decode_leniently(standard.chain(std::iter::repeat_n(b'=', padding)))
}

/// Python's `base64.b64decode(text)`.
pub(crate) fn decode_standard(text: &str) -> Option<Vec<u8>> {
    decode_leniently(text.bytes())
}

/// Python's `binascii.a2b_base64` outside of its strict mode: characters of no meaning are passed over,
/// a complete padding ends the text, and what is left of the last group must be padded.
fn decode_leniently(text: impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.size_hint().0 / 4 * 3 + 3);
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
