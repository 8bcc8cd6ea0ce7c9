//! The opcodes of a session: protocol 4 without memo and frames, which all of Python 3.4 and later reads.

use std::collections::{HashMap, HashSet};

use memchr::{memchr, memchr2};

use super::class::Class;
use super::global::{Instance, Making};
use super::object::{Id, Object, Objects};
use super::walk::{Budget, Layout, Parts, Writer, parts};
use super::{PickleError, integer, text};
use crate::value::{Unit, Units, Value, ValueError};

/// Writes the pickle of a session from its keys, escaped as in JSON, and its values.
pub(crate) fn write<'v>(
    entries: impl Iterator<Item = (&'v str, &'v Value)> + Clone,
) -> Result<Vec<u8>, ValueError> {
    // Each text has a length prefix, which takes little more than JSON's quotes.
    let length = |(key, value): (&str, &Value)| key.len() + value.json().len() + 8;
    let mut out = Vec::with_capacity(8 + entries.clone().map(length).sum::<usize>());
    out.extend_from_slice(&[0x80, 4, b'}']);
    let mut entries = entries.peekable();
    let some = entries.peek().is_some();
    if some {
        out.push(b'(');
    }
    for (key, value) in entries {
        json_string(&mut out, key);
        match value.pickled() {
            Some(opcodes) => out.extend_from_slice(opcodes),
            None => {
                // A list or dictionary from a signed text has not been checked yet.
                value.check()?;
                json(&mut out, value.json())?;
            }
        }
    }
    if some {
        out.push(b'u');
    }
    out.push(b'.');
    Ok(out)
}

/// Writes the value of a JSON text. The text was checked, so its brackets match and no nesting has to be
/// tracked.
fn json(out: &mut Vec<u8>, json: &str) -> Result<(), ValueError> {
    let mut rest = json;
    while let Some(first) = rest.bytes().next() {
        let mut length = 1;
        match first {
            b'[' => out.extend_from_slice(b"]("),
            b']' => out.push(b'e'),
            b'{' => out.extend_from_slice(b"}("),
            b'}' => out.push(b'u'),
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {}
            b'"' => {
                let inside = inside(&rest[1..]);
                json_string(out, inside);
                length = inside.len() + 2;
            }
            _ => {
                length = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
                token(out, &rest[..length])?;
            }
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// The string up to its closing quote.
fn inside(rest: &str) -> &str {
    let mut end = 0;
    while let Some(found) = memchr2(b'"', b'\\', rest.as_bytes().get(end..).unwrap_or_default()) {
        end += found;
        if rest.as_bytes()[end] == b'"' {
            return &rest[..end];
        }
        // An escaped character does not end the string.
        end += 2;
    }
    rest
}

fn json_string(out: &mut Vec<u8>, inside: &str) {
    if memchr(b'\\', inside.as_bytes()).is_none() {
        return string(out, inside.as_bytes());
    }
    let mut text = Vec::with_capacity(inside.len());
    for unit in Units(inside) {
        match unit {
            Unit::Character(character) => {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Unit::LoneSurrogate(unit) => text::push_code_point(&mut text, u32::from(unit)),
        }
    }
    string(out, &text);
}

fn token(out: &mut Vec<u8>, token: &str) -> Result<(), ValueError> {
    match token {
        "null" => out.push(b'N'),
        "true" => out.push(0x88),
        "false" => out.push(0x89),
        "NaN" => float(out, f64::NAN),
        "Infinity" => float(out, f64::INFINITY),
        "-Infinity" => float(out, f64::NEG_INFINITY),
        number if number.contains(['.', 'e', 'E']) => float(out, number.parse().unwrap_or(f64::NAN)),
        number => match number.parse() {
            Ok(number) => int(out, number),
            Err(_) => long(out, &integer::from_decimal(number).ok_or(ValueError::IntegerTooLong)?),
        },
    }
    Ok(())
}

fn float(out: &mut Vec<u8>, number: f64) {
    out.push(b'G');
    out.extend_from_slice(&number.to_be_bytes());
}

fn int(out: &mut Vec<u8>, number: i64) {
    if let Ok(number) = u8::try_from(number) {
        out.extend_from_slice(&[b'K', number]);
    } else if let Ok(number) = u16::try_from(number) {
        out.push(b'M');
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(b'J');
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        long(out, integer::trim(&number.to_le_bytes()));
    }
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[0x8a, length]);
    } else {
        out.push(0x8b);
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    sized(out, [0x8c, b'X', 0x8d], text);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    sized(out, [b'C', b'B', 0x8e], bytes);
}

/// Writes a length and bytes, with the opcodes for lengths of one, four and eight bytes.
fn sized(out: &mut Vec<u8>, opcodes: [u8; 3], bytes: &[u8]) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[opcodes[0], length]);
    } else if let Ok(length) = u32::try_from(bytes.len()) {
        out.push(opcodes[1]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.push(opcodes[2]);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

/// Writes a value from another pickle.
#[derive(Default)]
pub(super) struct PickleWriter {
    pub(super) out: Vec<u8>,
    /// The objects that are written once and then referred to; empty when each is written wherever it is
    /// used.
    shared: HashSet<Id>,
    /// The memo number of each object.
    memo: HashMap<Id, u32>,
    /// The unknown classes and objects.
    pub(super) reached: Vec<Id>,
}

impl PickleWriter {
    /// Creates a writer for a value with objects of unknown classes: they may depend on sharing, and may
    /// contain themselves.
    pub(super) fn sharing(shared: HashSet<Id>) -> PickleWriter {
        PickleWriter { shared, ..PickleWriter::default() }
    }

    /// Stores the last object in Python's memo. Numbers begin at 0 in each value and replace an earlier
    /// value's entries, which nothing refers to any more.
    fn remember(&mut self, id: Id) {
        if !self.shared.contains(&id) {
            return;
        }
        let number = self.memo.len() as u32;
        self.memo.insert(id, number);
        numbered(&mut self.out, [b'q', b'r'], number);
    }

    /// Writes the opcodes between the parts of an object: the call that makes it, and the beginning and end
    /// of its contents.
    fn between(&mut self, id: Id, instance: &Instance, position: usize) {
        let head = instance.head();
        let (items, pairs) = (head + instance.items, head + instance.items + instance.pairs);
        if position == head {
            self.out.push(match instance.making {
                Making::Reduce => b'R',
                Making::New => 0x81,
                Making::NewWithKeywords => 0x92,
            });
            self.remember(id);
            self.out.extend((instance.items > 0).then_some(b'('));
        }
        if position == items {
            self.out.extend((instance.items > 0).then_some(b'e'));
            self.out.extend((instance.pairs > 0).then_some(b'('));
        }
        if position == pairs {
            self.out.extend((instance.pairs > 0).then_some(b'u'));
        }
    }
}

/// Writes an opcode with a one-byte or a four-byte number.
fn numbered(out: &mut Vec<u8>, opcodes: [u8; 2], number: u32) {
    if let Ok(number) = u8::try_from(number) {
        out.extend_from_slice(&[opcodes[0], number]);
    } else {
        out.push(opcodes[1]);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

impl Writer for PickleWriter {
    fn open<'o>(
        &mut self,
        objects: &'o Objects<'_>,
        id: Id,
        _hashed: bool,
    ) -> Result<Option<Parts<'o>>, PickleError> {
        if let Some(number) = self.memo.get(&id) {
            numbered(&mut self.out, [b'h', b'j'], *number);
            return Ok(None);
        }
        let (object, out) = (objects.get(id), &mut self.out);
        match object {
            Object::None => out.push(b'N'),
            Object::Bool(truth) => out.push(if *truth { 0x88 } else { 0x89 }),
            Object::Int(number) => int(out, *number),
            Object::Long(number) => long(out, &number.bytes),
            Object::Float(number) => float(out, *number),
            Object::Str(text) => string(out, text),
            Object::Bytes(content) => bytes(out, content),
            Object::ByteArray(content) => {
                Class::ByteArray.write(out);
                bytes(out, content);
                out.extend_from_slice(&[0x85, b'R']);
            }
            Object::Uuid(Some(uuid)) => {
                Class::Uuid.write(out);
                out.extend_from_slice(b")\x81}(\x8c\x03int");
                let number: Vec<u8> = uuid.number.to_le_bytes().into_iter().chain([0]).collect();
                long(out, integer::trim(&number));
                if let Some(is_safe) = uuid.is_safe {
                    out.extend_from_slice(b"\x8c\x07is_safe");
                    int(out, is_safe);
                }
                out.extend_from_slice(b"ub");
            }
            Object::List(_) => out.push(b']'),
            Object::Dict(_) => out.push(b'}'),
            Object::Set(_) => out.push(0x8f),
            Object::FrozenSet(_) => out.push(b'('),
            Object::Tuple(parts) => {
                if parts.len() > 3 {
                    out.push(b'(');
                }
            }
            Object::Class(class) | Object::Made(class, _) => class.write(out),
            // Never in the line-based form: a name could contain a line end.
            Object::Global(global) => {
                string(out, &global.module);
                string(out, &global.name);
                out.push(0x93);
                self.reached.push(id);
            }
            Object::Instance(_) => self.reached.push(id),
            Object::Uuid(None) => {
                object.kind()?;
            }
        }
        // A tuple, a frozen set and the result of a call exist only after their parts.
        if !matches!(object, Object::Tuple(_) | Object::FrozenSet(_) | Object::Made(..) | Object::Instance(_))
        {
            self.remember(id);
        }
        if matches!(object, Object::List(_) | Object::Dict(_) | Object::Set(_)) {
            self.out.push(b'(');
        }
        Ok(parts(object))
    }

    fn before(&mut self, objects: &Objects<'_>, id: Id, _layout: Layout, position: usize) {
        if let Object::Instance(instance) = objects.get(id) {
            self.between(id, instance, position);
        }
    }

    fn key(&mut self, _objects: &Objects<'_>, _key: Id, _budget: &mut Budget) -> Result<bool, PickleError> {
        Ok(false)
    }

    fn close(&mut self, objects: &Objects<'_>, id: Id, _layout: Layout) {
        // A tuple of up to three parts has an opcode of its own; no known class takes more arguments.
        let tuple = |parts: &[Id]| *[b')', 0x85, 0x86, 0x87].get(parts.len()).unwrap_or(&b't');
        match objects.get(id) {
            Object::List(_) => self.out.push(b'e'),
            Object::Dict(_) => self.out.push(b'u'),
            Object::Set(_) => self.out.push(0x90),
            Object::FrozenSet(_) => {
                self.out.push(0x91);
                self.remember(id);
            }
            Object::Tuple(parts) => {
                self.out.push(tuple(parts));
                self.remember(id);
            }
            Object::Made(_, parts) => {
                self.out.extend_from_slice(&[tuple(parts), b'R']);
                self.remember(id);
            }
            Object::Instance(instance) => {
                if instance.has_state {
                    self.out.push(b'b');
                } else {
                    self.between(id, instance, instance.parts.len());
                }
            }
            _ => {}
        }
    }

    fn size(&self) -> usize {
        self.out.len()
    }
}
