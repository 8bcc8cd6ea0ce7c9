//! The limits of a new value, which make sure that every reader can read it: this library's typed one, and
//! Python's.

use super::{MAX_VALUE_DEPTH, ValueError};

/// Python's own limit for integers in text: `sys.set_int_max_str_digits`.
pub(crate) const MAX_DIGITS: usize = 4_300;

/// Checks that a new value keeps to the limits. Its text has already been checked as JSON.
pub(super) fn check(json: &str) -> Result<(), ValueError> {
    // A shorter text can exceed neither limit.
    if json.len() <= 2 * MAX_VALUE_DEPTH {
        return Ok(());
    }
    let bytes = json.as_bytes();
    let (mut depth, mut deepest, mut position) = (0usize, 0, 0);
    while let Some(byte) = bytes.get(position) {
        position += 1;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => position = after_string(bytes, position),
            b'0'..=b'9' => {
                let rest = bytes.get(position..).unwrap_or_default();
                let number = |byte: &&u8| byte.is_ascii_digit() || b".eE+-".contains(byte);
                let length = rest.iter().take_while(number).count();
                if length >= MAX_DIGITS && rest[..length].iter().all(u8::is_ascii_digit) {
                    return Err(ValueError::IntegerTooLong);
                }
                position += length;
            }
            _ => {}
        }
    }
    if deepest > MAX_VALUE_DEPTH { Err(ValueError::TooDeep { depth: deepest }) } else { Ok(()) }
}

/// Finds the end of a string; `position` is the first byte after the opening quote.
fn after_string(bytes: &[u8], mut position: usize) -> usize {
    loop {
        match bytes.get(position) {
            Some(b'"') | None => return position + 1,
            // An escaped character does not end the string.
            Some(b'\\') => position += 2,
            Some(_) => position += 1,
        }
    }
}
