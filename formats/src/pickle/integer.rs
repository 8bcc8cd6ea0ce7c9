//! Integers of any size, between Python's decimal text and the two's complement of pickles.

use std::fmt::Write;

use crate::value::MAX_DIGITS;

/// An upper bound for the bytes of an integer with [`MAX_DIGITS`] digits.
const MAX_BYTES: usize = 1_787;

/// Trims to the shortest two's complement, little-endian; empty for zero.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut end = bytes.len();
    while end > 0 {
        let sign = if end > 1 && bytes[end - 2] >= 0x80 { 0xff } else { 0 };
        if bytes[end - 1] != sign {
            break;
        }
        end -= 1;
    }
    &bytes[..end]
}

/// Reads a two's complement of up to 8 bytes.
pub(super) fn small(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(all))
}

/// Converts a decimal number of at most [`MAX_DIGITS`] digits to two's complement. Refuses a leading zero:
/// depending on its length, Python's pickle reader takes such a number as octal or refuses it.
pub(super) fn from_decimal(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let is_one = match digits.as_bytes() {
        [] | [b'0', _, ..] => false,
        digits => digits.len() <= MAX_DIGITS && digits.iter().all(u8::is_ascii_digit),
    };
    if !is_one {
        return None;
    }
    let mut words: Vec<u32> = Vec::with_capacity(digits.len() / 9 + 1);
    for chunk in digits.as_bytes().chunks(9) {
        let mut carry = chunk.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        let scale = 10u64.pow(chunk.len() as u32);
        for word in &mut words {
            let product = u64::from(*word) * scale + carry;
            *word = product as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            words.push(carry as u32);
        }
    }
    // One more word holds the sign.
    words.push(0);
    if negative {
        negate(&mut words);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Some(trim(&bytes).to_vec())
}

/// Converts a two's complement to decimal text, unless Python would refuse to write it.
pub(super) fn to_decimal(bytes: &[u8]) -> Option<String> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut words: Vec<u32> = bytes
        .chunks(4)
        .map(|chunk| {
            let mut word = [if negative { 0xff } else { 0 }; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        })
        .collect();
    if negative {
        negate(&mut words);
    }
    let mut chunks = Vec::new();
    while words.last().is_some_and(|word| *word == 0) {
        words.pop();
    }
    while !words.is_empty() {
        let mut remainder = 0u64;
        for word in words.iter_mut().rev() {
            let value = remainder << 32 | u64::from(*word);
            *word = (value / 1_000_000_000) as u32;
            remainder = value % 1_000_000_000;
        }
        chunks.push(remainder);
        while words.last().is_some_and(|word| *word == 0) {
            words.pop();
        }
    }
    let mut text = if negative { "-".to_owned() } else { String::new() };
    text.push_str(&chunks.pop().unwrap_or_default().to_string());
    for chunk in chunks.iter().rev() {
        text.push_str(&format!("{chunk:09}"));
    }
    (text.len() <= MAX_DIGITS + usize::from(negative)).then_some(text)
}

/// Formats the number as Python's `hex` does, for numbers too long for decimal.
pub(super) fn to_hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes.iter().rev() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The steps it takes to convert a number of this many bytes to or from decimal text. The time grows with the
/// square of the length.
pub(super) fn steps(bytes: usize) -> usize {
    if bytes > MAX_BYTES { 0 } else { bytes * bytes / 2_048 }
}

fn negate(words: &mut [u32]) {
    let mut carry = true;
    for word in words {
        (*word, carry) = (!*word).overflowing_add(u32::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_digits_as_python_takes() {
        for sign in ["", "-"] {
            let (most, more) = ("9".repeat(MAX_DIGITS), "1".repeat(MAX_DIGITS + 1));
            let bytes = from_decimal(&format!("{sign}{most}")).unwrap_or_default();
            assert_eq!(to_decimal(&bytes), Some(format!("{sign}{most}")));
            assert_eq!(from_decimal(&format!("{sign}{more}")), None);
            let twice = [&bytes[..], &bytes].concat();
            assert_eq!(to_decimal(&twice), None, "what Python would not write");
        }
        for text in ["", "-", "+1", "1 ", "00", "010", "-010", "0x10", "1_0"] {
            assert_eq!(from_decimal(text), None, "{text:?}");
        }
        assert_eq!(from_decimal("0"), Some(Vec::new()));
        assert_eq!(to_hexadecimal(&[0xff, 0x0a, 0x01]), "0x010aff");
    }
}
