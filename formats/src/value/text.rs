//! Pieces of ASCII text that share one buffer, and Python's way of writing strings in ASCII.

use std::borrow::{Borrow, Cow};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::scan::special_of_16;

/// A piece of a shared buffer of ASCII text. Cloning copies no text.
#[derive(Clone)]
pub struct Text {
    buffer: Arc<str>,
    start: usize,
    end: usize,
}

impl Text {
    /// The text, escaped as in JSON.
    #[inline]
    pub fn as_str(&self) -> &str {
        // The range was checked when it was created, and every byte of ASCII is a boundary.
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Escapes a key for storage.
    pub fn of_key(key: &str) -> Text {
        Text::from(&*escape_key(key))
    }

    /// Whether it is this text.
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        // Usually the lengths already differ.
        self.end - self.start == text.len() && self.as_str() == text
    }

    /// A part of this piece; the range counts from its beginning.
    #[inline]
    pub(crate) fn slice(&self, range: Range<usize>) -> Text {
        Text {
            buffer: Arc::clone(&self.buffer),
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text { start: 0, end: text.len(), buffer: text.into() }
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Usually the lengths already differ.
        self.end - self.start == other.end - other.start && self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Appends a string between quotes, as `json.dumps` with `ensure_ascii` writes it.
pub(crate) fn write_string(out: &mut String, string: &str) {
    out.push('"');
    write_escaped(out, string);
    out.push('"');
}

pub(crate) fn write_escaped(out: &mut String, string: &str) {
    let mut rest = string;
    while let Some(position) = first_to_escape(rest.as_bytes()) {
        out.push_str(&rest[..position]);
        let character = rest[position..].chars().next().unwrap_or_default();
        write_escape(out, character);
        rest = &rest[position + character.len_utf8()..];
    }
    out.push_str(rest);
}

pub(crate) fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    let (chunks, tail) = bytes.as_chunks::<16>();
    let mut last = [b' '; 16];
    last[..tail.len()].copy_from_slice(tail);
    for (number, chunk) in chunks.iter().chain([&last]).enumerate() {
        let special = special_of_16(chunk);
        if special != 0 {
            return Some(16 * number + special.trailing_zeros() as usize);
        }
    }
    None
}

fn write_escape(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                write_unit(out, *unit);
            }
        }
    }
}

pub(crate) fn write_unit(out: &mut String, unit: u16) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\u{unit:04x}");
}

/// The form in which dictionary keys are stored and compared: the escaped text that Python would write,
/// without the quotes. Most keys need no change.
pub(crate) fn escape_key(key: &str) -> Cow<'_, str> {
    if first_to_escape(key.as_bytes()).is_none() {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len() + 8);
    write_escaped(&mut out, key);
    Cow::Owned(out)
}

/// Converts the inside of a scanned JSON string to the form of [`escape_key`]; lone surrogates stay.
pub(crate) fn canonical_key(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for unit in Units(raw) {
        match unit {
            Unit::Character(character) => write_escaped(&mut out, character.encode_utf8(&mut [0; 4])),
            Unit::LoneSurrogate(unit) => write_unit(&mut out, unit),
        }
    }
    out
}

/// The key as a Rust string. A lone surrogate, which Rust cannot hold, becomes U+FFFD.
pub fn unescape_key(key: &str) -> String {
    Units(key)
        .map(|unit| match unit {
            Unit::Character(character) => character,
            Unit::LoneSurrogate(_) => char::REPLACEMENT_CHARACTER,
        })
        .collect()
}

/// Unescapes the inside of a scanned JSON string; an error for a lone surrogate.
pub(super) fn unescape(raw: &str) -> Result<Cow<'_, str>, LoneSurrogate> {
    if !raw.contains('\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    for unit in Units(raw) {
        match unit {
            Unit::Character(character) => out.push(character),
            Unit::LoneSurrogate(_) => return Err(LoneSurrogate),
        }
    }
    Ok(Cow::Owned(out))
}

pub(super) struct LoneSurrogate;

/// Escapes non-ASCII characters in JSON text. Outside of strings the result is not JSON, as the input was
/// not.
pub(super) fn to_ascii(json: &str) -> Cow<'_, str> {
    if json.is_ascii() {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    let mut after_backslash = false;
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else if after_backslash {
            // JSON has no escape `\x`, so it is refused later.
            out.push('x');
        } else {
            write_escape(&mut out, character);
        }
        after_backslash = character == '\\' && !after_backslash;
    }
    Cow::Owned(out)
}

pub(crate) enum Unit {
    Character(char),
    LoneSurrogate(u16),
}

/// Iterates over the characters inside a scanned JSON string.
pub(crate) struct Units<'a>(pub(crate) &'a str);

impl Units<'_> {
    fn take_hex(&mut self) -> Option<u16> {
        let unit = self.0.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok())?;
        self.0 = &self.0[4..];
        Some(unit)
    }
}

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let mut characters = self.0.chars();
        let first = characters.next()?;
        self.0 = characters.as_str();
        if first != '\\' {
            return Some(Unit::Character(first));
        }
        let escape = characters.next()?;
        self.0 = characters.as_str();
        Some(Unit::Character(match escape {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.take_hex()?;
                if (0xd800..0xdc00).contains(&high) && self.0.starts_with("\\u") {
                    let before = self.0;
                    self.0 = &self.0[2..];
                    if let Some(low @ 0xdc00..0xe000) = self.take_hex() {
                        let code = 0x10000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                        return char::from_u32(code).map(Unit::Character);
                    }
                    self.0 = before;
                }
                return Some(
                    char::from_u32(u32::from(high)).map_or(Unit::LoneSurrogate(high), Unit::Character),
                );
            }
            other => other,
        }))
    }
}
