//! What a pickle holds, as JSON text in Python's dialect.

use std::fmt::Write as _;

use super::class::{self, Class};
use super::object::{Id, Object, Objects};
use super::walk::{Budget, Writer, walk_in};
use super::{PickleError, integer, text};
use crate::value::{self, Kind, shortest, write_float, write_unit};

/// Writes JSON text, and finds out whether it carries the value without loss.
pub(super) struct JsonWriter<'o> {
    out: &'o mut String,
    /// Whether the text, pickled again, gives an equal value of the same types.
    pub(super) lossless: bool,
    /// What was met first that Python's JSON writer refuses.
    pub(super) not_json: Option<Kind>,
}

impl<'o> JsonWriter<'o> {
    pub(super) fn new(out: &'o mut String) -> JsonWriter<'o> {
        JsonWriter { out, lossless: true, not_json: None }
    }

    fn refuse(&mut self, kind: Kind) {
        self.lossless = false;
        self.not_json.get_or_insert(kind);
    }

    fn put(&mut self, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn string(&mut self, text: &[u8]) {
        self.out.push('"');
        self.lossless &= write_escaped(self.out, text);
        self.out.push('"');
    }

    fn float(&mut self, number: f64) {
        if number.is_finite() {
            write_float(self.out, &shortest(number));
        } else if number.is_nan() {
            // The word says nothing of the sign that some machines give it.
            self.lossless &= number.to_bits() == f64::NAN.to_bits();
            self.out.push_str("NaN");
        } else {
            self.out.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }

    fn numbers(&mut self, bytes: &[u8]) {
        self.out.push('[');
        for (position, byte) in bytes.iter().enumerate() {
            self.before(&Object::None, position);
            self.put(byte);
        }
        self.out.push(']');
    }
}

impl Writer for JsonWriter<'_> {
    fn open(&mut self, objects: &Objects<'_>, object: &Object<'_>) -> Result<bool, PickleError> {
        match object {
            Object::None => self.out.push_str("null"),
            Object::Bool(truth) => self.put(truth),
            Object::Int(number) => self.put(number),
            Object::Long(bytes) => match integer::to_decimal(bytes) {
                Some(text) => self.out.push_str(&text),
                None => {
                    self.refuse(Kind::Int);
                    self.put(format_args!("\"{}\"", integer::to_hexadecimal(bytes)));
                }
            },
            Object::Float(number) => self.float(*number),
            Object::Str(text) => self.string(text),
            Object::List(_) => {
                self.out.push('[');
                return Ok(true);
            }
            Object::Dict(_) => {
                self.out.push('{');
                return Ok(true);
            }
            Object::Tuple(_) => {
                self.lossless = false;
                self.out.push('[');
                return Ok(true);
            }
            Object::Set(_) | Object::FrozenSet(_) => {
                self.refuse(object.kind()?);
                self.out.push('[');
                return Ok(true);
            }
            Object::Bytes(bytes) | Object::ByteArray(bytes) => {
                self.refuse(object.kind()?);
                self.numbers(bytes);
            }
            Object::Made(class, arguments) => {
                self.refuse(object.kind()?);
                let arguments: Vec<&Object<'_>> = arguments.iter().map(|id| objects.get(*id)).collect();
                let text = made(objects, *class, &arguments).ok_or(PickleError::Arguments("value"))?;
                self.string(text.as_bytes());
            }
            Object::Uuid(Some(uuid)) => {
                self.refuse(Kind::Uuid);
                let hex = format!("{:032x}", uuid.number);
                let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                self.put(format_args!("\"{}\"", parts.join("-")));
            }
            Object::Class(_) | Object::Uuid(None) => {
                object.kind()?;
            }
        }
        Ok(false)
    }

    fn before(&mut self, container: &Object<'_>, position: usize) {
        match container {
            Object::Dict(_) if position % 2 == 1 => self.out.push(':'),
            _ if position > 0 => self.out.push(','),
            _ => {}
        }
    }

    /// Keys that are no strings become strings, as Python does for numbers.
    fn key(&mut self, objects: &Objects<'_>, key: Id, budget: &mut Budget) -> Result<bool, PickleError> {
        let object = objects.get(key);
        if let Object::Str(text) = object {
            self.string(text);
            return Ok(true);
        }
        self.lossless = false;
        if !matches!(
            object,
            Object::None | Object::Bool(_) | Object::Int(_) | Object::Long(_) | Object::Float(_)
        ) {
            self.refuse(object.kind()?);
        }
        let mut text = String::new();
        // A key can be hashed, so it holds no dictionary whose keys would bring us here again.
        walk_in(objects, key, &mut JsonWriter::new(&mut text), budget, true)?;
        if text.starts_with('"') {
            self.out.push_str(&text);
        } else {
            self.string(text.as_bytes());
        }
        Ok(true)
    }

    fn close(&mut self, object: &Object<'_>) {
        self.out.push(if matches!(object, Object::Dict(_)) { '}' } else { ']' });
    }

    fn size(&self) -> usize {
        self.out.len()
    }
}

/// Appends the inside of a JSON string. False when the text has both halves of a surrogate pair as
/// characters of their own, which JSON cannot tell from the one character.
pub(super) fn write_escaped(out: &mut String, text: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(text) {
        value::write_escaped(out, text);
        return true;
    }
    let (mut rest, mut lossless, mut after_high) = (text, true, false);
    while !rest.is_empty() {
        let valid = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        if !valid.is_empty() {
            value::write_escaped(out, valid);
            after_high = false;
            rest = &rest[valid.len()..];
        } else if let Some(unit) = text::surrogate(rest) {
            write_unit(out, unit);
            let high = unit < 0xdc00;
            lossless &= high || !after_high;
            after_high = high;
            rest = &rest[3..];
        } else {
            // The machine has checked the text.
            return false;
        }
    }
    lossless
}

/// How Django's `DjangoJSONEncoder` spells dates and numbers, without its rounding.
fn made(objects: &Objects<'_>, class: Class, arguments: &[&Object<'_>]) -> Option<String> {
    let zone = |zone: &[&Object<'_>]| zone.first().map_or(Some(String::new()), |zone| offset(objects, zone));
    match (class, arguments) {
        (Class::DateTime, [Object::Bytes(state), tail @ ..]) => {
            Some(format!("{}T{}{}", date(state)?, time(state.get(4..)?)?, zone(tail)?))
        }
        (Class::Time, [Object::Bytes(state), tail @ ..]) => Some(format!("{}{}", time(state)?, zone(tail)?)),
        (Class::Date, [Object::Bytes(state)]) => date(state),
        (Class::TimeDelta, [Object::Int(days), Object::Int(seconds), Object::Int(microseconds)]) => {
            Some(duration(*days, *seconds, *microseconds))
        }
        (Class::Decimal, [Object::Str(text)]) => String::from_utf8(text.to_vec()).ok(),
        (Class::PytzUtc, []) => Some("+00:00".to_owned()),
        (Class::TimeZone, [delta, ..]) => offset_text(class::seconds(objects, delta)?),
        (Class::ZoneInfoUnpickle, [Object::Str(name), ..]) => String::from_utf8(name.to_vec()).ok(),
        _ => None,
    }
}

fn date(state: &[u8]) -> Option<String> {
    let [high, low, month, day, ..] = *state else { return None };
    Some(format!("{:04}-{:02}-{day:02}", u32::from(high) * 256 + u32::from(low), month & 0x7f))
}

fn time(state: &[u8]) -> Option<String> {
    let [hour, minute, second, fraction @ ..] = state else { return None };
    let whole = format!("{:02}:{minute:02}:{second:02}", hour & 0x7f);
    let microseconds = class::microseconds(fraction);
    Some(if microseconds == 0 { whole } else { format!("{whole}.{microseconds:06}") })
}

/// `+02:00`, or the name in brackets of a zone whose offset a time zone database would have to tell.
fn offset(objects: &Objects<'_>, zone: &Object<'_>) -> Option<String> {
    let Object::Made(class, arguments) = zone else { return None };
    match (class, arguments.first().map(|id| objects.get(*id))) {
        (Class::PytzUtc, _) => Some("+00:00".to_owned()),
        (Class::ZoneInfoUnpickle, Some(Object::Str(name))) => match name.as_ref() {
            b"UTC" | b"Etc/UTC" => Some("+00:00".to_owned()),
            name => Some(format!("[{}]", String::from_utf8_lossy(name))),
        },
        (Class::TimeZone, Some(delta)) => offset_text(class::seconds(objects, delta)?),
        _ => None,
    }
}

fn offset_text(offset: i64) -> Option<String> {
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, rest) = (offset.abs() / 3_600, offset.abs() % 3_600);
    let text = format!("{sign}{hours:02}:{:02}", rest / 60);
    Some(if rest % 60 == 0 { text } else { format!("{text}:{:02}", rest % 60) })
}

/// Django's `duration_iso_string`.
fn duration(days: i64, seconds: i64, microseconds: i64) -> String {
    let total = (i128::from(days) * 86_400 + i128::from(seconds)) * 1_000_000 + i128::from(microseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, fraction) = (total.abs() / 1_000_000, total.abs() % 1_000_000);
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{sign}P{days}DT{hours:02}H{minutes:02}M{seconds:02}{fraction}S")
}
