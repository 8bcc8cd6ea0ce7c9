//! Checks JSON text as Python's `json.loads` would, without building anything and without recursion.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::MAX_DEPTH;
use super::text::{Text, canonical_key};

/// Where and why the text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    position: usize,
    reason: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at byte {}", self.reason, self.position)
    }
}

/// The place of the one value in this text.
pub(super) fn value(bytes: &[u8]) -> Result<Range<usize>, SyntaxError> {
    let mut scanner = Scanner { bytes, position: 0 };
    scanner.skip_white_space();
    let start = scanner.position;
    // A session's values are one level below the session.
    scanner.value(1)?;
    let end = scanner.position;
    scanner.end_of_text()?;
    Ok(start..end)
}

/// The entries of the dictionary that this text is, in order and with repeated keys; `None` when the text
/// is another kind of value.
pub(crate) fn dictionary(text: &Text, mut entry: impl FnMut(Text, Text)) -> Result<Option<()>, SyntaxError> {
    let bytes = text.as_str().as_bytes();
    let mut scanner = Scanner { bytes, position: 0 };
    scanner.skip_white_space();
    if scanner.peek() != Some(b'{') {
        scanner.value(0)?;
        scanner.end_of_text()?;
        return Ok(None);
    }
    scanner.position += 1;
    scanner.skip_white_space();
    if scanner.peek() == Some(b'}') {
        scanner.position += 1;
    } else {
        loop {
            let (key, plain) = scanner.key()?;
            scanner.skip_white_space();
            let start = scanner.position;
            scanner.value(1)?;
            let key = text.slice(key);
            let key = if plain { key } else { Text::from(canonical_key(key.as_str())) };
            entry(key, text.slice(start..scanner.position));
            scanner.skip_white_space();
            match scanner.peek() {
                Some(b',') => scanner.position += 1,
                Some(b'}') => break scanner.position += 1,
                _ => return scanner.fail("expected ',' or '}'"),
            }
            scanner.skip_white_space();
        }
    }
    scanner.end_of_text()?;
    Ok(Some(()))
}

/// Django reads JSON bytes as latin-1. ASCII passes through; other bytes inside strings become escapes.
pub(crate) fn normalize_latin1(bytes: &[u8]) -> Result<Cow<'_, str>, SyntaxError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(Cow::Borrowed(text)),
        _ => latin1_to_ascii(bytes).map(Cow::Owned),
    }
}

fn latin1_to_ascii(bytes: &[u8]) -> Result<String, SyntaxError> {
    // Checked before escaping: a backslash in front of such a byte must stay an error.
    let mut scanner = Scanner { bytes, position: 0 };
    scanner.skip_white_space();
    scanner.value(0)?;
    scanner.end_of_text()?;
    let latin1: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    Ok(super::text::to_ascii(&latin1).into_owned())
}

struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn fail<T>(&self, reason: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { position: self.position, reason })
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    fn end_of_text(&mut self) -> Result<(), SyntaxError> {
        self.skip_white_space();
        if self.position == self.bytes.len() { Ok(()) } else { self.fail("more text after the value") }
    }

    /// Passes one value, which `outside` containers enclose.
    fn value(&mut self, outside: usize) -> Result<(), SyntaxError> {
        let mut open = Open::default();
        loop {
            self.skip_white_space();
            match self.peek() {
                Some(b'"') => _ = self.string()?,
                Some(byte @ (b'{' | b'[')) => {
                    if outside + open.depth >= MAX_DEPTH {
                        return self.fail("nested too deep");
                    }
                    let is_dictionary = byte == b'{';
                    self.position += 1;
                    self.skip_white_space();
                    if self.peek() == Some(closing(is_dictionary)) {
                        self.position += 1;
                    } else {
                        if is_dictionary {
                            self.key()?;
                        }
                        open.push(is_dictionary);
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(_) => self.word()?,
                None => return self.fail("the text ends where a value should be"),
            }
            // A value has ended: close what ends with it, up to the next value.
            loop {
                if open.depth == 0 {
                    return Ok(());
                }
                self.skip_white_space();
                match self.peek() {
                    Some(b',') => {
                        self.position += 1;
                        if open.in_dictionary() {
                            self.skip_white_space();
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == closing(open.in_dictionary()) => {
                        self.position += 1;
                        open.pop();
                    }
                    _ => return self.fail("expected ',' or the end of the list or dictionary"),
                }
            }
        }
    }

    /// Passes `"key" :`. Gives the key's place between the quotes, and whether it is plain ASCII.
    fn key(&mut self) -> Result<(Range<usize>, bool), SyntaxError> {
        if self.peek() != Some(b'"') {
            return self.fail("expected a key in double quotes");
        }
        let key = self.string()?;
        self.skip_white_space();
        if self.peek() != Some(b':') {
            return self.fail("expected ':'");
        }
        self.position += 1;
        Ok(key)
    }

    fn string(&mut self) -> Result<(Range<usize>, bool), SyntaxError> {
        self.position += 1;
        let start = self.position;
        let mut plain = true;
        loop {
            self.position += plain_length(&self.bytes[self.position..]);
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok((start..self.position - 1, plain));
                }
                Some(b'\\') => {
                    plain = false;
                    self.escape()?;
                }
                Some(byte) if byte >= 0x7f => {
                    plain = false;
                    self.position += 1;
                }
                Some(_) => return self.fail("a control character inside a string"),
                None => return self.fail("the text ends inside a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        match self.bytes.get(self.position + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 2,
            Some(b'u') => match self.bytes.get(self.position + 2..self.position + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => self.position += 6,
                _ => return self.fail("\\u without four hexadecimal digits"),
            },
            _ => return self.fail("an unknown escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let rest = &self.bytes[self.position..];
        match number_length(rest) {
            0 if rest.starts_with(b"-I") => self.word(),
            0 => self.fail("expected a value"),
            length => {
                self.position += length;
                Ok(())
            }
        }
    }

    fn word(&mut self) -> Result<(), SyntaxError> {
        const WORDS: [&[u8]; 6] = [b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity"];
        let rest = &self.bytes[self.position..];
        match WORDS.iter().find(|word| rest.starts_with(word)) {
            Some(word) => {
                self.position += word.len();
                Ok(())
            }
            None => self.fail("expected a value"),
        }
    }
}

/// The containers around a value, a bit for each: set for a dictionary, clear for a list.
#[derive(Default)]
struct Open {
    bits: [u64; MAX_DEPTH.div_ceil(64)],
    depth: usize,
    in_dictionary: bool,
}

impl Open {
    fn in_dictionary(&self) -> bool {
        self.in_dictionary
    }

    fn push(&mut self, is_dictionary: bool) {
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if is_dictionary {
            self.bits[word] |= bit
        } else {
            self.bits[word] &= !bit
        }
        self.depth += 1;
        self.in_dictionary = is_dictionary;
    }

    fn pop(&mut self) {
        self.depth -= 1;
        let innermost = self.depth.wrapping_sub(1);
        self.in_dictionary =
            self.bits.get(innermost / 64).is_some_and(|word| word >> (innermost % 64) & 1 == 1);
    }
}

fn closing(is_dictionary: bool) -> u8 {
    if is_dictionary { b'}' } else { b']' }
}

/// The length of `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?` at the start of the text, as Python
/// matches it: a part that is not complete is left to be an error of what follows.
fn number_length(bytes: &[u8]) -> usize {
    let after_digits = |from: usize| {
        let mut end = from;
        while bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        end
    };
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let mut length = match bytes.get(sign) {
        Some(b'0') => sign + 1,
        Some(b'1'..=b'9') => after_digits(sign + 1),
        _ => return 0,
    };
    if bytes.get(length) == Some(&b'.') {
        let end = after_digits(length + 1);
        if end > length + 1 {
            length = end;
        }
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'-' | b'+')));
        let end = after_digits(length + 1 + sign);
        if end > length + 1 + sign {
            length = end;
        }
    }
    length
}

/// How many bytes at the start a string may hold as they are: printable ASCII besides `"` and `\`.
/// Looks at 8 bytes at a time.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let is_plain = |byte: &&u8| matches!(**byte, b' '..=b'~') && **byte != b'"' && **byte != b'\\';
    length + rest.iter().take_while(is_plain).count()
}

/// The highest bit of the first byte that is not plain, and of some after it; 0 when all are plain.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    // Subtracting borrows from the next byte, and adding carries into it, only where a byte is special.
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ ONES * b'"' as u64).wrapping_sub(ONES);
    let backslash = (word ^ ONES * b'\\' as u64).wrapping_sub(ONES);
    let delete = word.wrapping_add(ONES);
    (control | quote | backslash | delete | word) & ONES * 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_are_counted_alike_at_every_place() {
        for byte in 0..=255u8 {
            let plain = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            for place in 0..20 {
                for filler in [b' ', b'~', b'a', b'!', b'#', b'[', b']', b'0'] {
                    let mut bytes = [filler; 20];
                    bytes[place] = byte;
                    assert_eq!(plain_length(&bytes), if plain { 20 } else { place }, "{byte} at {place}");
                }
            }
        }
    }
}
