//! Checks JSON text as Python's `json.loads` would, without building anything and without recursion.
//!
//! Apart from the signature, half of the time for decoding a large session is spent here, so three things are
//! unusual. The end of a string is looked up in a bit mask of 64 bytes ([`masks`]). Digits are counted 8 at a
//! time. Functions that are not inlined take the [`Scanner`]'s fields and return a position: as long as
//! nothing takes the scanner's address, it stays in registers.

mod masks;
mod nested;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use self::masks::special_bytes;
use super::MAX_DEPTH;
use super::text::{Text, canonical_key};

pub(super) use self::masks::special_of_16;

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

/// Finds the one value in this text.
pub(super) fn value(bytes: &[u8]) -> Result<Range<usize>, SyntaxError> {
    let mut scanner = Scanner::new(bytes);
    scanner.next();
    let start = scanner.position;
    // A session's values are one level below the session.
    scanner.value(1)?;
    let end = scanner.position;
    scanner.end_of_text()?;
    Ok(start..end)
}

/// How deeply the lists and dictionaries inside a session are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nested {
    /// Fully, like the session itself.
    Checked,
    /// Only located, for text that is genuinely signed; the rest is checked when a value is read.
    Passed,
}

/// Finds the end of a string; `position` is the first byte after the opening quote.
pub(super) fn after_string(bytes: &[u8], position: usize) -> Result<usize, SyntaxError> {
    let mut scanner = Scanner { position, ..Scanner::new(bytes) };
    scanner.skip_plain();
    after_special(bytes, scanner.position, scanner.block, scanner.special)
}

/// Finds the end of the number or word that begins here.
pub(super) fn after_number_or_word(bytes: &[u8], position: usize) -> Result<usize, SyntaxError> {
    Scanner { position, ..Scanner::new(bytes) }.after_number()
}

/// Returns the entries of the dictionary in this text, in order and with repeated keys; `None` when the text
/// is another kind of value.
#[inline]
pub(crate) fn dictionary(
    text: &Text,
    nested: Nested,
    mut entry: impl FnMut(Text, Text),
) -> Result<Option<()>, SyntaxError> {
    let mut scanner = Scanner::new(text.as_str().as_bytes());
    if scanner.next() != b'{' {
        scanner.value(0)?;
        scanner.end_of_text()?;
        return Ok(None);
    }
    scanner.position += 1;
    if scanner.next() == b'}' {
        scanner.position += 1;
        scanner.end_of_text()?;
        return Ok(Some(()));
    }
    loop {
        let (key, plain) = scanner.top_level_key()?;
        scanner.next();
        let start = scanner.position;
        match scanner.byte() {
            b'{' | b'[' if nested == Nested::Passed => {
                scanner.position = nested::after_container(scanner.bytes, scanner.position, 1)?;
            }
            _ => scanner.value(1)?,
        }
        let key = text.slice(key);
        let key = if plain { key } else { Text::from(&*canonical_key(key.as_str())) };
        entry(key, text.slice(start..scanner.position));
        match scanner.next() {
            b',' => scanner.position += 1,
            b'}' => break,
            _ => return scanner.fail("expected ',' or '}'"),
        }
        scanner.next();
    }
    scanner.position += 1;
    scanner.end_of_text()?;
    Ok(Some(()))
}

/// Returns the items of the list in this text, in order; `None` when the text is another kind of value.
pub(crate) fn list(text: &Text) -> Result<Option<Vec<Text>>, SyntaxError> {
    let mut scanner = Scanner::new(text.as_str().as_bytes());
    if scanner.next() != b'[' {
        scanner.value(0)?;
        scanner.end_of_text()?;
        return Ok(None);
    }
    let mut items = Vec::new();
    scanner.position += 1;
    if scanner.next() != b']' {
        loop {
            scanner.next();
            let start = scanner.position;
            scanner.value(1)?;
            items.push(text.slice(start..scanner.position));
            match scanner.next() {
                b',' => scanner.position += 1,
                b']' => break,
                _ => return scanner.fail("expected ',' or ']'"),
            }
        }
    }
    scanner.position += 1;
    scanner.end_of_text()?;
    Ok(Some(items))
}

/// Converts latin-1 bytes, as Django reads JSON. ASCII passes unchanged; other bytes inside strings become
/// escapes.
pub(crate) fn normalize_latin1(bytes: &[u8]) -> Result<Cow<'_, str>, SyntaxError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(Cow::Borrowed(text)),
        _ => latin1_to_ascii(bytes).map(Cow::Owned),
    }
}

fn latin1_to_ascii(bytes: &[u8]) -> Result<String, SyntaxError> {
    // Checked before escaping: a backslash in front of such a byte must stay an error.
    let mut scanner = Scanner::new(bytes);
    scanner.next();
    scanner.value(0)?;
    scanner.end_of_text()?;
    let latin1: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    Ok(super::text::to_ascii(&latin1).into_owned())
}

/// The position, and which of the 64 bytes around it are special.
#[derive(Clone, Copy)]
struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    block: usize,
    special: u64,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, position: 0, block: usize::MAX, special: 0 }
    }

    /// The byte here; 0 at the end of the text, which is valid nowhere.
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.byte_at(self.position)
    }

    #[inline(always)]
    fn byte_at(&self, position: usize) -> u8 {
        self.bytes.get(position).copied().unwrap_or(0)
    }

    /// Skips white space and returns the byte after it.
    #[inline(always)]
    fn next(&mut self) -> u8 {
        let byte = self.byte();
        if byte > b' ' {
            return byte;
        }
        self.position = after_white_space(self.bytes, self.position);
        self.byte()
    }

    #[inline(always)]
    fn fail<T>(&self, reason: &'static str) -> Result<T, SyntaxError> {
        failure(self.bytes, self.position, reason)
    }

    fn end_of_text(mut self) -> Result<(), SyntaxError> {
        self.next();
        if self.position == self.bytes.len() { Ok(()) } else { self.fail("more text after the value") }
    }

    /// Skips one value, which `outside` containers enclose.
    #[inline(always)]
    fn value(&mut self, outside: usize) -> Result<(), SyntaxError> {
        match self.byte() {
            b'{' | b'[' => {
                self.position = self.after_container(outside)?;
                Ok(())
            }
            byte => self.scalar(byte),
        }
    }

    #[inline(never)]
    fn after_container(self, outside: usize) -> Result<usize, SyntaxError> {
        // A borrowed scanner lives in memory; a local copy can stay in registers.
        let mut scanner = Scanner { position: self.position, ..Scanner::new(self.bytes) };
        let mut open = Open::default();
        let mut byte = scanner.byte();
        'opening: loop {
            if outside + open.depth >= MAX_DEPTH {
                return scanner.fail("nested too deep");
            }
            let mut close = closing(byte == b'{');
            open.push(close == b'}');
            scanner.position += 1;
            byte = scanner.next();
            let mut is_empty = byte == close;
            loop {
                if !is_empty {
                    if close == b'}' {
                        byte = scanner.key()?;
                    }
                    if matches!(byte, b'{' | b'[') {
                        continue 'opening;
                    }
                    scanner.scalar(byte)?;
                    byte = scanner.next();
                    if byte == b',' {
                        scanner.position += 1;
                        byte = scanner.next();
                        continue;
                    }
                }
                is_empty = false;
                // The last value has ended: close the containers that end with it, up to the next value.
                loop {
                    if byte != close {
                        return scanner.fail("expected ',' or the end of the list or dictionary");
                    }
                    scanner.position += 1;
                    match open.pop() {
                        Some(is_dictionary) => close = closing(is_dictionary),
                        None => return Ok(scanner.position),
                    }
                    byte = scanner.next();
                    if byte == b',' {
                        scanner.position += 1;
                        byte = scanner.next();
                        break;
                    }
                }
            }
        }
    }

    /// Skips `"key":`, and returns the byte after it.
    #[inline(always)]
    fn key(&mut self) -> Result<u8, SyntaxError> {
        if self.byte() != b'"' {
            return self.fail("expected a key in double quotes");
        }
        self.position += 1;
        self.skip_plain();
        let rest = self.bytes.get(self.position..).and_then(|rest| rest.first_chunk());
        if let Some(&[b'"', b':', next]) = rest
            && next > b' '
        {
            self.position += 2;
            return Ok(next);
        }
        self.position = after_special(self.bytes, self.position, self.block, self.special)?;
        self.colon()?;
        Ok(self.next())
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), SyntaxError> {
        if self.next() != b':' {
            return self.fail("expected ':'");
        }
        self.position += 1;
        Ok(())
    }

    /// Skips `"key":`. Returns the key's range between the quotes, and whether it is plain ASCII.
    #[inline(always)]
    fn top_level_key(&mut self) -> Result<(Range<usize>, bool), SyntaxError> {
        if self.byte() != b'"' {
            return self.fail("expected a key in double quotes");
        }
        self.position += 1;
        let start = self.position;
        self.skip_plain();
        let plain = self.byte() == b'"';
        self.position = if plain {
            self.position + 1
        } else {
            after_special(self.bytes, self.position, self.block, self.special)?
        };
        let end = self.position - 1;
        self.colon()?;
        Ok((start..end, plain))
    }

    /// Skips a value that begins with this byte and is neither a list nor a dictionary.
    #[inline(always)]
    fn scalar(&mut self, byte: u8) -> Result<(), SyntaxError> {
        match byte {
            b'"' => {
                self.position += 1;
                self.skip_plain();
                if self.byte() == b'"' {
                    self.position += 1;
                } else {
                    self.position = after_special(self.bytes, self.position, self.block, self.special)?;
                }
            }
            b'-' | b'0'..=b'9' => self.position = self.after_number()?,
            _ => self.position = after_word(self.bytes, self.position)?,
        }
        Ok(())
    }

    /// Skips the unescaped part of a string: printable ASCII except `"` and `\`.
    #[inline(always)]
    fn skip_plain(&mut self) {
        loop {
            let block = self.position / 64;
            if block != self.block {
                self.block = block;
                self.special = special_bytes(self.bytes, block);
            }
            let rest = self.special >> (self.position % 64);
            if rest != 0 {
                self.position += rest.trailing_zeros() as usize;
                return;
            }
            self.position = (block + 1) * 64;
        }
    }

    #[inline(always)]
    fn escape(&mut self) -> Result<(), SyntaxError> {
        match self.byte_at(self.position + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.position += 2,
            b'u' => match self.bytes.get(self.position + 2..self.position + 6) {
                Some(digits) if digits.iter().all(|digit| HEXADECIMAL[usize::from(*digit)]) => {
                    self.position += 6;
                }
                _ => return self.fail("\\u without four hexadecimal digits"),
            },
            _ => return self.fail("an unknown escape"),
        }
        Ok(())
    }

    #[inline(always)]
    fn after_number(&self) -> Result<usize, SyntaxError> {
        // Fast path for most numbers, at most 7 digits without a sign: one look at 8 bytes.
        if let Some(chunk) = self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) {
            // Reading the chunk's first byte separately would make the compiler load the chunk in pieces.
            let word = u64::from_le_bytes(*chunk);
            let length = digits_of(word);
            if (1..8).contains(&length) && (word as u8 != b'0' || length == 1) {
                let next = (word >> (8 * length)) as u8;
                if next != b'.' && next | 0x20 != b'e' {
                    return Ok(self.position + length);
                }
            }
        }
        match number_length(self.bytes.get(self.position..).unwrap_or_default()) {
            0 => after_word(self.bytes, self.position),
            length => Ok(self.position + length),
        }
    }
}

#[cold]
#[inline(never)]
fn failure<T>(bytes: &[u8], position: usize, reason: &'static str) -> Result<T, SyntaxError> {
    let reason = if position < bytes.len() { reason } else { "the text ends too early" };
    Err(SyntaxError { position, reason })
}

#[inline(never)]
fn after_white_space(bytes: &[u8], position: usize) -> usize {
    let white = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    position + bytes.iter().skip(position).take_while(white).count()
}

/// Finds the end of a string, starting at a special byte in it.
#[inline(never)]
fn after_special(bytes: &[u8], position: usize, block: usize, special: u64) -> Result<usize, SyntaxError> {
    let mut scanner = Scanner { bytes, position, block, special };
    loop {
        match bytes.get(scanner.position) {
            Some(b'"') => return Ok(scanner.position + 1),
            Some(b'\\') => scanner.escape()?,
            Some(0x7f..) => scanner.position += 1,
            _ => return scanner.fail("a control character inside a string"),
        }
        scanner.skip_plain();
    }
}

#[inline(never)]
fn after_word(bytes: &[u8], position: usize) -> Result<usize, SyntaxError> {
    let rest = bytes.get(position..).unwrap_or_default();
    let word: &[u8] = match rest.first() {
        Some(b't') => b"true",
        Some(b'f') => b"false",
        Some(b'n') => b"null",
        Some(b'N') => b"NaN",
        Some(b'I') => b"Infinity",
        _ => b"-Infinity",
    };
    if rest.starts_with(word) {
        Ok(position + word.len())
    } else {
        failure(bytes, position, "expected a value")
    }
}

/// The containers around a value, a bit for each: set for a dictionary, clear for a list.
#[derive(Default)]
struct Open {
    bits: [u64; MAX_DEPTH.div_ceil(64)],
    depth: usize,
}

impl Open {
    #[inline(always)]
    fn push(&mut self, is_dictionary: bool) {
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if is_dictionary {
            self.bits[word] |= bit
        } else {
            self.bits[word] &= !bit
        }
        self.depth += 1;
    }

    /// Closes the innermost container; tells whether the enclosing one is a dictionary, if there is one.
    #[inline(always)]
    fn pop(&mut self) -> Option<bool> {
        self.depth -= 1;
        let outer = self.depth.checked_sub(1)?;
        Some(self.bits[outer / 64] >> (outer % 64) & 1 == 1)
    }
}

fn closing(is_dictionary: bool) -> u8 {
    if is_dictionary { b'}' } else { b']' }
}

/// The length of `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?` at the start of the text, as Python matches
/// it: an incomplete part is left over, and becomes an error of the following token.
#[inline(never)]
fn number_length(bytes: &[u8]) -> usize {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let mut length = match bytes.get(sign) {
        Some(b'0') => sign + 1,
        Some(b'1'..=b'9') => after_digits(bytes, sign + 1),
        _ => return 0,
    };
    if bytes.get(length) == Some(&b'.') {
        let end = after_digits(bytes, length + 1);
        if end > length + 1 {
            length = end;
        }
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'-' | b'+')));
        let end = after_digits(bytes, length + 1 + sign);
        if end > length + 1 + sign {
            length = end;
        }
    }
    length
}

fn after_digits(bytes: &[u8], mut position: usize) -> usize {
    while let Some(chunk) = bytes.get(position..).and_then(|rest| rest.first_chunk::<8>()) {
        let length = digits_of(u64::from_le_bytes(*chunk));
        position += length;
        if length < 8 {
            return position;
        }
    }
    position + bytes.iter().skip(position).take_while(|byte| byte.is_ascii_digit()).count()
}

/// A byte of 1 in each place.
const ONES: u64 = u64::MAX / 255;

/// The number of leading digits in these 8 bytes.
#[inline(always)]
fn digits_of(word: u64) -> usize {
    // Digits become 0 to 9. For other bytes the highest bit is set, or the addition sets it.
    let values = word ^ (ONES * 0x30);
    let others = (((values & (ONES * 0x7f)) + ONES * 0x76) | values) & (ONES * 0x80);
    others.trailing_zeros() as usize / 8
}

static HEXADECIMAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_hexdigit();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
