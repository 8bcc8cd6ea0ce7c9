//! Reads the pickle of most sessions in one pass: a dictionary of ASCII texts, numbers and the like, as
//! Python from 3.4 on and this library write it. Everything else, errors included, is left to the machine,
//! which reads all pickles.

use std::io::Write;

use crate::session_data::SessionData;
use crate::value::{Text, Value, first_to_escape, shortest, write_float};

/// Python begins a new batch after this many entries.
const MOST_ENTRIES: usize = 1_000;

/// Reads the same session as the machine would; `None` when the machine must decide.
pub(super) fn read(pickle: &[u8], limit: usize) -> Option<SessionData> {
    let mut flat = Flat { rest: pickle, json: Vec::with_capacity(pickle.len().min(1 << 16)) };
    if !matches!(flat.array()?, [0x80, 4 | 5]) {
        return None;
    }
    if flat.next_is(0x95) {
        flat.take(8)?;
    }
    if !flat.next_is(b'}') {
        return None;
    }
    flat.memoize();
    // The end of each key and each value.
    let mut ends = Vec::with_capacity(16);
    // A single entry has no mark.
    if flat.next_is(b'(') {
        while !flat.next_is(b'u') {
            ends.push([flat.text(b"")?, flat.value()?]);
            if ends.len() > MOST_ENTRIES {
                return None;
            }
        }
    } else if !flat.rest.starts_with(b".") {
        ends.push([flat.text(b"")?, flat.value()?]);
        if !flat.next_is(b's') {
            return None;
        }
    }
    if !flat.next_is(b'.') || flat.json.len() > limit {
        return None;
    }
    let text = Text::from(std::str::from_utf8(&flat.json).ok()?);
    let (mut data, mut start) = (SessionData::new(), 0);
    for [key, value] in ends {
        data.insert_escaped(text.slice(start..key), Value::from_scanned(text.slice(key..value)));
        start = value;
    }
    Some(data)
}

struct Flat<'p> {
    rest: &'p [u8],
    json: Vec<u8>,
}

impl<'p> Flat<'p> {
    fn take(&mut self, length: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn next_is(&mut self, opcode: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == opcode => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Skips the memo opcode: a flat pickle never refers to the memo.
    fn memoize(&mut self) {
        self.next_is(0x94);
    }

    /// Copies a text that needs no escaping between these quotes; returns its end.
    fn text(&mut self, quote: &[u8]) -> Option<usize> {
        let length = match self.array()? {
            [0x8c] => usize::from(self.array::<1>()?[0]),
            [b'X'] => u32::from_le_bytes(self.array()?) as usize,
            _ => return None,
        };
        let text = self.take(length)?;
        if first_to_escape(text).is_some() {
            return None;
        }
        self.memoize();
        self.json.extend_from_slice(quote);
        self.json.extend_from_slice(text);
        self.json.extend_from_slice(quote);
        Some(self.json.len())
    }

    fn value(&mut self) -> Option<usize> {
        let [opcode] = *self.rest.first_chunk()?;
        if matches!(opcode, 0x8c | b'X') {
            return self.text(b"\"");
        }
        self.take(1)?;
        match opcode {
            b'N' => self.json.extend_from_slice(b"null"),
            0x88 => self.json.extend_from_slice(b"true"),
            0x89 => self.json.extend_from_slice(b"false"),
            b'K' => {
                let [number] = self.array()?;
                self.integer(i32::from(number))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.integer(i32::from(number))?;
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.integer(number)?;
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                if !number.is_finite() {
                    return None;
                }
                let mut text = String::new();
                write_float(&mut text, &shortest(number));
                self.json.extend_from_slice(text.as_bytes());
            }
            _ => return None,
        }
        Some(self.json.len())
    }

    fn integer(&mut self, number: i32) -> Option<()> {
        write!(self.json, "{number}").ok()
    }
}
