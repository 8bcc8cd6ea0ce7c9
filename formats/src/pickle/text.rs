//! Python's strings: UTF-8 that may contain lone surrogates, Python's `surrogatepass`.

use super::PickleError;

/// Checks that the text is UTF-8, apart from lone surrogates.
pub(super) fn check(text: &[u8]) -> Result<(), PickleError> {
    let mut rest = text;
    while let Err(error) = std::str::from_utf8(rest) {
        rest = &rest[error.valid_up_to()..];
        surrogate(rest).ok_or(PickleError::Malformed("a string that is not UTF-8"))?;
        rest = &rest[3..];
    }
    Ok(())
}

/// Returns the surrogate that these bytes begin with.
pub(super) fn surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [0xed, middle @ 0xa0..=0xbf, low @ 0x80..=0xbf, ..] => {
            Some(0xd000 | u16::from(middle & 0x3f) << 6 | u16::from(low & 0x3f))
        }
        _ => None,
    }
}

/// Appends a character of up to 16 bits, or a surrogate, as up to three bytes.
pub(super) fn push_code_point(text: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => text.extend_from_slice(&[
            0xe0 | (code >> 12) as u8 & 0xf,
            0x80 | (code >> 6) as u8 & 0x3f,
            0x80 | code as u8 & 0x3f,
        ]),
    }
}

/// Decodes Python's `raw-unicode-escape`, in which protocol 0 writes strings: latin-1, with `\u` and `\U` for
/// the rest.
pub(super) fn raw_unicode_escape(line: &[u8]) -> Result<Vec<u8>, PickleError> {
    const NONE: PickleError = PickleError::Malformed("an invalid escape");
    let mut rest = line;
    let mut text = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let digits = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(other)) => {
                push_code_point(&mut text, u32::from(*first));
                push_code_point(&mut text, u32::from(*other));
                rest = &tail[1..];
                continue;
            }
            _ => {
                push_code_point(&mut text, u32::from(*first));
                rest = tail;
                continue;
            }
        };
        let code = tail.get(1..=digits).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(NONE)?;
        let code = u32::from_str_radix(code, 16).map_err(|_| NONE)?;
        if code > 0x10_ffff {
            return Err(NONE);
        }
        push_code_point(&mut text, code);
        rest = &tail[digits + 1..];
    }
    Ok(text)
}
