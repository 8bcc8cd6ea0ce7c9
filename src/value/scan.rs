//! Checks JSON text as Python's `json.loads` would, without building anything and without recursion.
//!
//! Half of what decoding a large session costs on top of its signature happens here, so three things are
//! unusual. Where a string ends is looked up in a bit mask of 64 bytes ([`block`]); digits are counted 8 at a
//! time. And what is not inlined gets the [`Scanner`]'s fields and gives back a position: as long as nobody holds
//! the scanner's address, it stays in registers.

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
    let mut scanner = Scanner::new(bytes);
    scanner.next();
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
        scanner.value(1)?;
        let key = text.slice(key);
        let key = if plain { key } else { Text::from(canonical_key(key.as_str())) };
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

/// Django reads JSON bytes as latin-1. ASCII passes through; other bytes inside strings become escapes.
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

/// Where reading stands, and which bytes of the 64 around it are special.
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

    /// The byte here; 0, which is nowhere right, at the end of the text.
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.byte_at(self.position)
    }

    #[inline(always)]
    fn byte_at(&self, position: usize) -> u8 {
        self.bytes.get(position).copied().unwrap_or(0)
    }

    /// Passes white space and gives the byte after it.
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

    /// Passes one value, which `outside` containers enclose.
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
        // What is passed in lives in memory; this need not.
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
                // The last value has ended: close what ends with it, up to the next value.
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

    /// Passes `"key":`, and gives the byte after it.
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
        self.position = after_string(self.bytes, self.position, self.block, self.special)?;
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

    /// Passes `"key":`. Gives the key's place between the quotes, and whether it is plain ASCII.
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
            after_string(self.bytes, self.position, self.block, self.special)?
        };
        let end = self.position - 1;
        self.colon()?;
        Ok((start..end, plain))
    }

    /// Passes a value that is no list and no dictionary and begins with this byte.
    #[inline(always)]
    fn scalar(&mut self, byte: u8) -> Result<(), SyntaxError> {
        match byte {
            b'"' => {
                self.position += 1;
                self.skip_plain();
                if self.byte() == b'"' {
                    self.position += 1;
                } else {
                    self.position = after_string(self.bytes, self.position, self.block, self.special)?;
                }
            }
            b'-' | b'0'..=b'9' => self.position = self.after_number()?,
            _ => self.position = after_word(self.bytes, self.position)?,
        }
        Ok(())
    }

    /// Passes what a string may hold as it is: printable ASCII besides `"` and `\`.
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
        // Most numbers have at most 7 digits and no sign: one look at 8 bytes.
        if let Some(chunk) = self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) {
            // Looking at the chunk's first byte by itself would make the compiler load it in pieces.
            let word = u64::from_le_bytes(*chunk);
            let length = digits_of(word);
            if (1..8).contains(&length) && (word as u8 != b'0' || length == 1) {
                let next = (word >> (8 * length)) as u8;
                if next != b'.' && next | 0x20 != b'e' {
                    return Ok(self.position + length);
                }
            }
        }
        match number_length(&self.bytes[self.position..]) {
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

/// Where a string ends, from a special byte in it on.
#[inline(never)]
fn after_string(bytes: &[u8], position: usize, block: usize, special: u64) -> Result<usize, SyntaxError> {
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

    /// Closes the innermost; tells whether the one around it is a dictionary, if there is one.
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

/// The length of `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?` at the start of the text, as Python
/// matches it: a part that is not complete is left to be an error of what follows.
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

/// How many of these 8 bytes, from the first on, are digits.
#[inline(always)]
fn digits_of(word: u64) -> usize {
    // Digits become 0 to 9; of the others, either the highest bit is set or adding sets it.
    let values = word ^ (ONES * 0x30);
    let others = (((values & (ONES * 0x7f)) + ONES * 0x76) | values) & (ONES * 0x80);
    others.trailing_zeros() as usize / 8
}

/// The bytes of the text's n-th block of 64 that a string may not hold as they are, a bit for each: `"`, `\`,
/// control characters and what is not ASCII. What lies behind the end of the text is special too.
#[inline(never)]
fn special_bytes(bytes: &[u8], block: usize) -> u64 {
    let rest = bytes.get(block * 64..).unwrap_or_default();
    if let Some(chunk) = rest.first_chunk() {
        return special_bytes_of(chunk);
    }
    let mut chunk = [0; 64];
    chunk[..rest.len()].copy_from_slice(rest);
    special_bytes_of(&chunk)
}

#[inline(always)]
fn special_bytes_of(chunk: &[u8; 64]) -> u64 {
    // The compiler turns this into comparisons of 16 bytes or more, each giving a byte of 0 or 1.
    let special =
        chunk.map(|byte| u8::from((byte == b'"') | (byte == b'\\') | !(b' '..=b'~').contains(&byte)));
    // The product's highest byte collects the 8 bits of a word.
    let bits = |word: &[u8; 8]| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let words = special.as_chunks::<8>().0.iter().enumerate();
    words.fold(0, |mask, (position, word)| mask | bits(word) << (8 * position))
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
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_found_at_every_place() {
        for byte in 0..=255u8 {
            let plain = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            for place in 0..64 {
                let mut chunk = [b'a'; 64];
                chunk[place] = byte;
                assert_eq!(special_bytes_of(&chunk), if plain { 0 } else { 1 << place }, "{byte} at {place}");
            }
        }
        assert_eq!(special_bytes(b"ab\"", 0), u64::MAX << 2);
        assert_eq!(special_bytes(b"ab\"", 1), u64::MAX);
    }

    #[test]
    fn digits_are_counted_up_to_any_other_byte() {
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            for place in 0..8 {
                let mut chunk = *b"90817263";
                chunk[place] = byte;
                assert_eq!(digits_of(u64::from_le_bytes(chunk)), place, "{byte} at {place}");
            }
        }
        assert_eq!(digits_of(u64::from_le_bytes(*b"12345678")), 8);
    }

    #[test]
    fn nesting_ends_at_the_limit_and_closes_in_order() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        // The session is the first level.
        assert!(value(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert!(value(nested(MAX_DEPTH).as_bytes()).is_err());
        assert!(value("[".repeat(1_000_000).as_bytes()).is_err());
        let mixed = |depth: usize| format!("{}1{}", "[{\"a\":".repeat(depth), "}]".repeat(depth));
        assert!(value(mixed(400).as_bytes()).is_ok());
        assert!(value(mixed(400).replacen("}]", "]}", 1).as_bytes()).is_err());
        for empty in ["[]", "{}", "[ ]", "{ }", "[[],{}]", "{\"a\":{},\"b\":[]}"] {
            assert!(value(empty.as_bytes()).is_ok(), "{empty}");
        }
        for wrong in
            ["[,]", "[1,]", "{,}", "{\"a\":1,}", "[}", "{]", "{\"a\"}", "{\"a\":}", "[1 2]", "{1:2}", "["]
        {
            assert!(value(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    /// Every length and place in the text, against a number at its end, where fewer than 8 bytes follow.
    #[test]
    fn numbers_and_strings_end_where_they_end() {
        let numbers =
            ["0", "-0", "7", "1234567", "12345678", "123456789012345678901", "-1.5", "0.25e-7", "1E400"];
        for number in numbers {
            for padding in 0..70 {
                let json = format!(
                    "[\"{}\",{number},\"\\u00e4{}\",{number}]",
                    "x".repeat(padding),
                    "y".repeat(70 - padding)
                );
                assert_eq!(value(json.as_bytes()), Ok(0..json.len()), "{json}");
                let bare = format!("{}{number}", " ".repeat(padding));
                assert_eq!(value(bare.as_bytes()), Ok(padding..bare.len()), "{bare}");
            }
        }
        for wrong in ["01", "1.", ".5", "1e", "-", "+1", "1.e5", "0x1", "1,", "--1", "-I", "-infinity"] {
            assert!(value(wrong.as_bytes()).is_err(), "{wrong}");
            assert!(value(format!("[{wrong},1234567890]").as_bytes()).is_err(), "{wrong}");
        }
    }
}
