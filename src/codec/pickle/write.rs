//! The opcodes of a session: protocol 4 without memo and frames, which all of Python 3.4 and later reads.

use memchr::{memchr, memchr2};

use super::class::Class;
use super::object::{Id, Object, Objects};
use super::walk::{Budget, Writer};
use super::{PickleError, integer, text};
use crate::value::{Unit, Units, Value, ValueError};

/// The pickle of a session, from its keys as they are escaped in JSON, and its values.
pub(crate) fn write<'v>(
    entries: impl Iterator<Item = (&'v str, &'v Value)> + Clone,
) -> Result<Vec<u8>, ValueError> {
    // Before a text stands its length, for which there is room where JSON has quotes, and a little more.
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
                // A list or dictionary out of a signed text was not looked into yet.
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

/// Writes what JSON text says. The text was checked, so that its brackets match and no nesting has to be kept
/// track of.
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
        // What is escaped ends nothing.
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

/// Bytes after their length, by the opcodes for a length of one, four and eight bytes.
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

/// Writes a value out of another pickle.
#[derive(Default)]
pub(super) struct PickleWriter {
    pub(super) out: Vec<u8>,
}

impl Writer for PickleWriter {
    fn open(&mut self, _objects: &Objects<'_>, object: &Object<'_>) -> Result<bool, PickleError> {
        let out = &mut self.out;
        match object {
            Object::None => out.push(b'N'),
            Object::Bool(truth) => out.push(if *truth { 0x88 } else { 0x89 }),
            Object::Int(number) => int(out, *number),
            Object::Long(bytes) => long(out, bytes),
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
            Object::List(_) => out.extend_from_slice(b"]("),
            Object::Dict(_) => out.extend_from_slice(b"}("),
            Object::Set(_) => out.extend_from_slice(b"\x8f("),
            Object::FrozenSet(_) => out.push(b'('),
            Object::Tuple(parts) => {
                if parts.len() > 3 {
                    out.push(b'(');
                }
            }
            Object::Made(class, _) => class.write(out),
            Object::Class(_) | Object::Uuid(None) => {
                object.kind()?;
            }
        }
        Ok(matches!(
            object,
            Object::List(_)
                | Object::Tuple(_)
                | Object::Dict(_)
                | Object::Set(_)
                | Object::FrozenSet(_)
                | Object::Made(..)
        ))
    }

    fn before(&mut self, _container: &Object<'_>, _position: usize) {}

    fn key(&mut self, _objects: &Objects<'_>, _key: Id, _budget: &mut Budget) -> Result<bool, PickleError> {
        Ok(false)
    }

    fn close(&mut self, object: &Object<'_>) {
        // A tuple of up to three parts has an opcode of its own; no class here takes more arguments.
        let tuple = |parts: &[Id]| *[b')', 0x85, 0x86, 0x87].get(parts.len()).unwrap_or(&b't');
        match object {
            Object::List(_) => self.out.push(b'e'),
            Object::Dict(_) => self.out.push(b'u'),
            Object::Set(_) => self.out.push(0x90),
            Object::FrozenSet(_) => self.out.push(0x91),
            Object::Tuple(parts) => self.out.push(tuple(parts)),
            Object::Made(_, parts) => self.out.extend_from_slice(&[tuple(parts), b'R']),
            _ => {}
        }
    }

    fn size(&self) -> usize {
        self.out.len()
    }
}
