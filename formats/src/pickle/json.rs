//! A pickle's contents as JSON text in Python's dialect.

use std::fmt::Write as _;

use super::class::{self, Class};
use super::global::{self, Plain, reading};
use super::object::{Id, Object, Objects};
use super::walk::{Budget, Layout, Parts, Writer, parts, walk_in};
use super::{PickleError, integer, text};
use crate::value::{self, Kind, NotJson, shortest, write_float, write_unit};

/// Writes JSON text, and checks whether it carries the value without loss.
pub(super) struct JsonWriter<'o> {
    out: &'o mut String,
    /// Whether pickling the text again gives an equal value of the same types.
    pub(super) lossless: bool,
    /// The first part that Python's JSON writer refuses.
    pub(super) not_json: Option<NotJson>,
    /// The first class whose objects only Python can read.
    pub(super) unreadable: Option<Box<str>>,
    /// Whether there are objects of unknown classes.
    pub(super) has_foreign: bool,
}

impl<'o> JsonWriter<'o> {
    pub(super) fn new(out: &'o mut String) -> JsonWriter<'o> {
        JsonWriter { out, lossless: true, not_json: None, unreadable: None, has_foreign: false }
    }

    fn refuse(&mut self, kind: Kind) {
        self.lossless = false;
        self.not_json.get_or_insert(NotJson::Kind(kind));
    }

    /// Handles an object of an unknown class. Returns the parts that it reads as.
    fn object<'p>(&mut self, objects: &'p Objects<'_>, id: Id, hashed: bool) -> Option<Parts<'p>> {
        (self.lossless, self.has_foreign) = (false, true);
        let found = match objects.get(id) {
            Object::Instance(instance) => reading(objects, instance),
            _ => None,
        };
        // A key holds no dictionary, because its keys would be walked by recursion.
        let found = found.filter(|found| !hashed || matches!(found.plain, Plain::Value(_)));
        let is_json = found.as_ref().is_some_and(|found| found.is_json);
        if !is_json && !matches!(self.not_json, Some(NotJson::Class(_))) {
            // The class says more than the kind of another value.
            self.not_json = Some(NotJson::Class(global::name(objects, id).into()));
        }
        match found?.plain {
            Plain::Value(value) => Some(Parts { layout: Layout::Itself, ids: std::slice::from_ref(value) }),
            Plain::List(ids) => {
                self.out.push('[');
                Some(Parts { layout: Layout::Sequence, ids })
            }
            Plain::Dict(ids) => {
                self.out.push('{');
                Some(Parts { layout: Layout::Dictionary, ids })
            }
        }
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
            // JSON's `NaN` does not carry the sign that some machines set.
            self.lossless &= number.to_bits() == f64::NAN.to_bits();
            self.out.push_str("NaN");
        } else {
            self.out.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }

    fn numbers(&mut self, bytes: &[u8]) {
        self.out.push('[');
        for (position, byte) in bytes.iter().enumerate() {
            if position > 0 {
                self.out.push(',');
            }
            self.put(byte);
        }
        self.out.push(']');
    }
}

impl Writer for JsonWriter<'_> {
    fn open<'o>(
        &mut self,
        objects: &'o Objects<'_>,
        id: Id,
        hashed: bool,
    ) -> Result<Option<Parts<'o>>, PickleError> {
        let object = objects.get(id);
        match object {
            Object::None => self.out.push_str("null"),
            Object::Bool(truth) => self.put(truth),
            Object::Int(number) => self.put(number),
            Object::Long(number) => match number.decimal() {
                Some(text) => self.out.push_str(text),
                None => {
                    self.refuse(Kind::Int);
                    self.put(format_args!("\"{}\"", integer::to_hexadecimal(&number.bytes)));
                }
            },
            Object::Float(number) => self.float(*number),
            Object::Str(text) => self.string(text),
            Object::List(_) => {
                self.out.push('[');
                return Ok(parts(object));
            }
            Object::Dict(_) => {
                self.out.push('{');
                return Ok(parts(object));
            }
            Object::Tuple(_) => {
                self.lossless = false;
                self.out.push('[');
                return Ok(parts(object));
            }
            Object::Set(_) | Object::FrozenSet(_) => {
                self.refuse(object.kind()?);
                self.out.push('[');
                return Ok(parts(object));
            }
            Object::Instance(_) | Object::Global(_) | Object::Class(_) => {
                let parts = self.object(objects, id, hashed);
                if parts.is_none() {
                    let name = global::name(objects, id);
                    self.string(format!("<{name}>").as_bytes());
                    self.unreadable.get_or_insert(name.into());
                }
                return Ok(parts);
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
            Object::Uuid(None) => {
                object.kind()?;
            }
        }
        Ok(None)
    }

    fn before(&mut self, _objects: &Objects<'_>, _id: Id, layout: Layout, position: usize) {
        match layout {
            Layout::Dictionary if position % 2 == 1 => self.out.push(':'),
            _ if position > 0 => self.out.push(','),
            _ => {}
        }
    }

    /// Converts a key that is not a string to a string, as Python does for numbers.
    fn key(&mut self, objects: &Objects<'_>, key: Id, budget: &mut Budget) -> Result<bool, PickleError> {
        let object = objects.get(key);
        if let Object::Str(text) = object {
            self.string(text);
            return Ok(true);
        }
        self.lossless = false;
        if !matches!(
            object,
            Object::None
                | Object::Bool(_)
                | Object::Int(_)
                | Object::Long(_)
                | Object::Float(_)
                | Object::Instance(_)
        ) {
            self.refuse(object.kind()?);
        }
        let mut text = String::new();
        let mut writer = JsonWriter::new(&mut text);
        // A key is hashable, so it holds no dictionary whose keys would recurse into this function.
        walk_in(objects, key, &mut writer, budget, true)?;
        self.has_foreign |= writer.has_foreign;
        self.unreadable = self.unreadable.take().or(writer.unreadable);
        self.not_json = match (self.not_json.take(), writer.not_json) {
            (_, Some(NotJson::Class(class))) => Some(NotJson::Class(class)),
            (first, second) => first.or(second),
        };
        if text.starts_with('"') {
            self.out.push_str(&text);
        } else {
            self.string(text.as_bytes());
        }
        Ok(true)
    }

    fn close(&mut self, _objects: &Objects<'_>, _id: Id, layout: Layout) {
        match layout {
            Layout::Sequence => self.out.push(']'),
            Layout::Dictionary => self.out.push('}'),
            Layout::Itself => {}
        }
    }

    fn size(&self) -> usize {
        self.out.len()
    }
}

/// Appends the inside of a JSON string. Returns false when the text has the two halves of a surrogate pair as
/// separate characters, which JSON cannot distinguish from the one character.
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
            // Unreachable for valid input: the machine has checked the text.
            return false;
        }
    }
    lossless
}

/// Formats dates and numbers as Django's `DjangoJSONEncoder` does, without its rounding.
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

/// `+02:00`, or the name in brackets of a zone whose offset only a time zone database could tell.
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
