//! Compares skipping with the scanner and the reader, on texts that are JSON and texts that are nearly JSON.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::super::{Scanner, value};
use super::*;
use crate::value::de;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn white_space(&mut self, out: &mut String) {
        if self.below(8) == 0 {
            out.push_str(self.one_of(&[" ", "\n", "\t ", "\r\n"]));
        }
    }

    fn string(&mut self, out: &mut String) {
        out.push('"');
        for _ in 0..self.below(6) {
            let piece = self.one_of(&[
                "a",
                "[",
                "]",
                "{",
                "}",
                ",",
                ":",
                "\\\"",
                "\\\\",
                "\\n",
                "\\u00e4",
                "\\ud83d\\ude00",
                "long enough",
                "\\\\\\\"",
                " ",
                "/",
            ]);
            out.push_str(piece);
        }
        out.push('"');
    }

    fn value(&mut self, out: &mut String, levels: usize) {
        match self.below(if levels == 0 { 4 } else { 8 }) {
            0 | 1 => self.string(out),
            2 => out.push_str(self.one_of(&[
                "0",
                "-1",
                "12345678",
                "1.5e-7",
                "NaN",
                "-Infinity",
                "1790000000.25",
            ])),
            3 => out.push_str(self.one_of(&["true", "false", "null"])),
            _ => self.container(out, levels - 1),
        }
    }

    fn container(&mut self, out: &mut String, levels: usize) {
        let is_dictionary = self.below(2) == 0;
        out.push(if is_dictionary { '{' } else { '[' });
        self.white_space(out);
        for element in 0..self.below(7) {
            if element > 0 {
                out.push(',');
                self.white_space(out);
            }
            if is_dictionary {
                self.string(out);
                self.white_space(out);
                out.push(':');
                self.white_space(out);
            }
            self.value(out, levels);
            self.white_space(out);
        }
        out.push(if is_dictionary { '}' } else { ']' });
    }

    /// Changes, removes or duplicates a few bytes.
    fn damage(&mut self, text: &mut Vec<u8>) {
        const BYTES: &[u8] = b"\"\"\\[]{},: \n\x01\x00\x7f0-.enNutax";
        for _ in 0..1 + self.below(3) {
            let place = self.below(text.len());
            let byte = BYTES[self.below(BYTES.len())];
            match self.below(5) {
                0 => text.truncate(place.max(1)),
                1 => drop(text.remove(place)),
                2 => text.insert(place, byte),
                _ => text[place] = byte,
            }
            if text.is_empty() {
                text.push(byte);
            }
        }
    }
}

/// The end that the full scanner finds.
fn checked(bytes: &[u8], start: usize) -> Result<usize, SyntaxError> {
    Scanner { position: start, ..Scanner::new(bytes) }.after_container(1)
}

#[test]
fn on_json_both_find_the_same_end() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2_000 {
        let mut text = "x".repeat(random.below(130));
        let start = text.len();
        random.container(&mut text, 5);
        let end = text.len();
        text.push_str(&",\"]}".repeat(random.below(30)));
        assert_eq!(checked(text.as_bytes(), start), Ok(end), "{text}");
        assert_eq!(after_container(text.as_bytes(), start, 1), Ok(end), "{text}");
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
enum Variants {
    #[serde(rename = "a")]
    Unit,
    Data(u8),
    Fields {
        a: Option<bool>,
    },
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Fields {
    #[serde(default)]
    a: Option<Box<Fields>>,
    #[serde(default, rename = "")]
    empty: Vec<(f64, Option<String>)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Key {
    #[serde(rename = "a")]
    Unit,
    #[serde(other)]
    Other,
}

/// Reading terminates without a panic, and gives a value only where the whole text is JSON.
fn read<T: DeserializeOwned>(text: &str) {
    if de::from_json::<T>(text).is_ok() {
        assert_eq!(value(text.as_bytes()), Ok(0..text.len()), "{text}");
    }
}

#[test]
fn damaged_text_is_passed_where_the_scanner_would_and_is_never_read() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut whole, mut damaged) = (0, 0);
    for _ in 0..12_000 {
        let mut text = String::new();
        random.container(&mut text, 4);
        let mut bytes = text.into_bytes();
        random.damage(&mut bytes);
        if !matches!(bytes[0], b'[' | b'{') {
            continue;
        }
        let passed = after_container(&bytes, 0, 1);
        if let Ok(end) = checked(&bytes, 0) {
            assert_eq!(passed, Ok(end), "{}", String::from_utf8_lossy(&bytes));
            whole += 1;
        }
        let Ok(end) = passed else { continue };
        damaged += usize::from(checked(&bytes, 0).is_err());
        let text = std::str::from_utf8(&bytes[..end]).unwrap();
        read::<IgnoredAny>(text);
        read::<serde_json::Value>(text);
        read::<Fields>(text);
        read::<Vec<Option<Variants>>>(text);
        read::<HashMap<String, Variants>>(text);
        read::<BTreeMap<Option<Key>, IgnoredAny>>(text);
        read::<HashMap<u8, Vec<f32>>>(text);
    }
    assert!(whole > 300 && damaged > 300, "{whole} and {damaged} texts");
}

#[test]
fn brackets_match_and_nesting_ends_at_the_limit() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(after_container(nested(MAX_DEPTH - 1).as_bytes(), 0, 1), Ok(2 * MAX_DEPTH - 1));
    for wrong in [
        &*nested(MAX_DEPTH),
        "[",
        "[\"]",
        "[\"\\\"]",
        "[}",
        "{]",
        "[{]}",
        "[\"\n\"]",
        "[\"\u{1}\"]",
        "[\\\"]",
        "[{}",
        "[\"\n",
    ] {
        assert!(after_container(wrong.as_bytes(), 0, 1).is_err(), "{wrong}");
    }
    // Bytes beyond the end do not matter.
    assert_eq!(after_container(b"[]\\\"\n", 0, 1), Ok(2));
}
