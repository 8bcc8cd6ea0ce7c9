//! Numbers in base 62, digits `0-9A-Za-z`: the timestamps of signed text. Django's `signing.b62_encode`.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Encodes a number in base 62, with a minus sign when it is negative.
///
/// ```
/// use cloakroom::signing::base62;
///
/// assert_eq!(base62::encode(1_700_000_000), "1r31eq");
/// assert_eq!(base62::encode(-62), "-10");
/// ```
pub fn encode(number: i128) -> String {
    let mut out = String::new();
    encode_into(&mut out, number);
    out
}

pub(crate) fn encode_into(out: &mut String, number: i128) {
    if number < 0 {
        out.push('-');
    }
    // 62 to the 22nd is more than 2 to the 128th.
    let mut digits = [b'0'; 22];
    let mut start = digits.len();
    let mut put = |digit| {
        start -= 1;
        digits[start] = DIGITS[digit as usize];
    };
    let mut rest = number.unsigned_abs();
    while rest > u128::from(u64::MAX) {
        put((rest % 62) as u64);
        rest /= 62;
    }
    // Times fit into 64 bits, where division is much faster.
    let mut rest = rest as u64;
    loop {
        put(rest % 62);
        rest /= 62;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits[start..].iter().map(|digit| char::from(*digit)));
}

/// Decodes a base 62 text; `None` when it is empty, has another character or exceeds 127 bits. A lone minus
/// sign is 0, as in Django.
///
/// ```
/// use cloakroom::signing::base62;
///
/// assert_eq!(base62::decode("1r31eq"), Some(1_700_000_000));
/// assert_eq!(base62::decode("-"), Some(0));
/// assert_eq!(base62::decode("a b"), None);
/// ```
pub fn decode(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    if text.is_empty() {
        return None;
    }
    // Times are shorter than 10 digits, which cannot be too large.
    let number = if digits.len() <= 10 {
        let number = digits.bytes().try_fold(0u64, |number, digit| Some(number * 62 + value_of(digit)?))?;
        i128::from(number)
    } else {
        digits.bytes().try_fold(0i128, |number, digit| {
            number.checked_mul(62)?.checked_add(i128::from(value_of(digit)?))
        })?
    };
    Some(if negative { -number } else { number })
}

/// Like [`decode`], but a number beyond 127 bits becomes the largest or smallest number. Python has no such
/// limit and treats such a time as far in the future or the past.
pub(crate) fn decode_saturating(text: &str) -> Option<i128> {
    let far_off = || {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| value_of(digit).is_some());
        is_number.then_some(if text.starts_with('-') { i128::MIN } else { i128::MAX })
    };
    decode(text).or_else(far_off)
}

fn value_of(digit: u8) -> Option<u64> {
    Some(u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'Z' => digit - b'A' + 10,
        b'a'..=b'z' => digit - b'a' + 36,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_127_bits_are_far_off() {
        let digits = "z".repeat(40);
        assert_eq!(decode(&digits), None);
        assert_eq!(decode_saturating(&digits), Some(i128::MAX));
        assert_eq!(decode_saturating(&format!("-{digits}")), Some(i128::MIN));
        assert_eq!(decode_saturating("1r31eq"), Some(1_700_000_000));
        for wrong in ["", "a b", &format!("{digits} ")] {
            assert_eq!(decode_saturating(wrong), None, "{wrong:?}");
        }
    }
}
