//! Checks JSON text as Python's `json.loads` would, without building anything and without recursion.

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
pub(crate) fn normalize_latin1(bytes: Vec<u8>) -> Result<String, SyntaxError> {
    String::from_utf8(bytes).map_or_else(
        |error| latin1_to_ascii(error.as_bytes()),
        |text| if text.is_ascii() { Ok(text) } else { latin1_to_ascii(text.as_bytes()) },
    )
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
        // What is open: true for a dictionary, false for a list.
        let mut open: Vec<bool> = Vec::new();
        loop {
            self.skip_white_space();
            let is_dictionary = match self.peek() {
                Some(b'{') => Some(true),
                Some(b'[') => Some(false),
                Some(b'"') => {
                    self.string()?;
                    None
                }
                Some(_) => {
                    self.literal()?;
                    None
                }
                None => return self.fail("the text ends where a value should be"),
            };
            if let Some(is_dictionary) = is_dictionary {
                if outside + open.len() >= MAX_DEPTH {
                    return self.fail("nested too deep");
                }
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
            // A value has ended: close what ends with it, up to the next value.
            loop {
                let Some(&is_dictionary) = open.last() else { return Ok(()) };
                self.skip_white_space();
                match self.peek() {
                    Some(b',') => {
                        self.position += 1;
                        if is_dictionary {
                            self.skip_white_space();
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == closing(is_dictionary) => {
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
            let rest = &self.bytes[self.position..];
            self.position += rest.iter().position(|byte| !PLAIN[usize::from(*byte)]).unwrap_or(rest.len());
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

    fn literal(&mut self) -> Result<(), SyntaxError> {
        const WORDS: [&[u8]; 6] = [b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity"];
        let rest = &self.bytes[self.position..];
        if let Some(word) = WORDS.iter().find(|word| rest.starts_with(word)) {
            self.position += word.len();
            return Ok(());
        }
        let length = number_length(rest);
        if length == 0 {
            return self.fail("expected a value");
        }
        self.position += length;
        Ok(())
    }
}

fn closing(is_dictionary: bool) -> u8 {
    if is_dictionary { b'}' } else { b']' }
}

/// The length of `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?` at the start of the text, as Python
/// matches it: a part that is not complete is left to be an error of what follows.
fn number_length(bytes: &[u8]) -> usize {
    let digits =
        |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let whole = match bytes.get(sign) {
        Some(b'0') => 1,
        Some(b'1'..=b'9') => digits(sign),
        _ => return 0,
    };
    let mut length = sign + whole;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'-' | b'+')));
        if digits(length + 1 + sign) > 0 {
            length += 1 + sign + digits(length + 1 + sign);
        }
    }
    length
}

/// Bytes that a string may hold as they are: printable ASCII besides the quote and the backslash.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};
