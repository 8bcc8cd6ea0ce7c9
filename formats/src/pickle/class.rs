//! The classes and functions that a pickle of plain values names, and the arguments they accept.

use std::borrow::Cow;

use super::PickleError;
use super::object::{Id, Object, Objects, Uuid};
use crate::value::Kind;

/// A known class or function. The reader describes its result and never calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Set,
    FrozenSet,
    Bytes,
    ByteArray,
    Object,
    GetAttribute,
    Reconstructor,
    CodecsEncode,
    DateTime,
    Date,
    Time,
    TimeDelta,
    TimeZone,
    Decimal,
    Uuid,
    ZoneInfo,
    ZoneInfoUnpickle,
    PytzUtc,
}

/// Module and name of each class; protocols 0 to 2 use the names of Python 2.
const NAMES: [(&str, &str, Class); 25] = [
    ("builtins", "set", Class::Set),
    ("builtins", "frozenset", Class::FrozenSet),
    ("builtins", "bytes", Class::Bytes),
    ("builtins", "bytearray", Class::ByteArray),
    ("builtins", "object", Class::Object),
    ("builtins", "getattr", Class::GetAttribute),
    ("__builtin__", "set", Class::Set),
    ("__builtin__", "frozenset", Class::FrozenSet),
    ("__builtin__", "bytes", Class::Bytes),
    ("__builtin__", "bytearray", Class::ByteArray),
    ("__builtin__", "object", Class::Object),
    ("__builtin__", "getattr", Class::GetAttribute),
    ("copyreg", "_reconstructor", Class::Reconstructor),
    ("copy_reg", "_reconstructor", Class::Reconstructor),
    ("_codecs", "encode", Class::CodecsEncode),
    ("datetime", "datetime", Class::DateTime),
    ("datetime", "date", Class::Date),
    ("datetime", "time", Class::Time),
    ("datetime", "timedelta", Class::TimeDelta),
    ("datetime", "timezone", Class::TimeZone),
    ("decimal", "Decimal", Class::Decimal),
    ("uuid", "UUID", Class::Uuid),
    ("zoneinfo", "ZoneInfo", Class::ZoneInfo),
    ("zoneinfo", "ZoneInfo._unpickle", Class::ZoneInfoUnpickle),
    ("pytz", "_UTC", Class::PytzUtc),
];

impl Class {
    /// Finds the class of this name, if it is known.
    pub(super) fn find(module: &[u8], name: &[u8]) -> Option<Class> {
        let found = NAMES.iter().find(|known| known.0.as_bytes() == module && known.1.as_bytes() == name);
        found.map(|known| known.2)
    }

    fn names(self) -> (&'static str, &'static str) {
        NAMES.iter().find(|known| known.2 == self).map_or(("", ""), |known| (known.0, known.1))
    }

    pub(super) fn name(self) -> String {
        let (module, name) = self.names();
        format!("{module}.{name}")
    }

    /// Writes the opcode that pushes the class onto the stack. All protocols from 3 on read it.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (module, name) = self.names();
        out.push(b'c');
        out.extend_from_slice(module.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }

    /// The kind of value it makes; `None` for classes that make other things.
    pub(super) fn kind(self) -> Option<Kind> {
        Some(match self {
            Class::DateTime => Kind::DateTime,
            Class::Date => Kind::Date,
            Class::Time => Kind::Time,
            Class::TimeDelta => Kind::TimeDelta,
            Class::TimeZone | Class::ZoneInfoUnpickle | Class::PytzUtc => Kind::TimeZone,
            Class::Decimal => Kind::Decimal,
            _ => return None,
        })
    }

    /// Describes the result for these arguments, if Python pickles the class with such arguments.
    pub(super) fn make<'a>(self, objects: &Objects<'a>, arguments: &[Id]) -> Result<Object<'a>, PickleError> {
        let refused = Err(PickleError::Arguments(self.names().1));
        let plain: Vec<&Object<'a>> = arguments.iter().map(|id| objects.get(*id)).collect();
        let valid = match (self, plain.as_slice()) {
            (Class::Set, [Object::List(items)]) => return Ok(Object::Set(items.clone())),
            (Class::FrozenSet, [Object::List(items)]) => return Ok(Object::FrozenSet(items.clone())),
            (Class::Bytes, []) => return Ok(Object::Bytes(Cow::Borrowed(b""))),
            (Class::ByteArray, []) => return Ok(Object::ByteArray(Cow::Borrowed(b""))),
            (Class::ByteArray, [Object::Bytes(bytes)]) => return Ok(Object::ByteArray(bytes.clone())),
            (Class::CodecsEncode, [Object::Str(text), Object::Str(encoding)]) if **encoding == *b"latin1" => {
                return latin1(text).map_or(refused, |bytes| Ok(Object::Bytes(bytes.into())));
            }
            (Class::GetAttribute, [Object::Class(Class::ZoneInfo), Object::Str(name)])
                if **name == *b"_unpickle" =>
            {
                return Ok(Object::Class(Class::ZoneInfoUnpickle));
            }
            (
                Class::Reconstructor,
                [Object::Class(Class::Uuid), Object::Class(Class::Object), Object::None],
            ) => {
                return Ok(Object::Uuid(None));
            }
            (Class::DateTime, [Object::Bytes(state), zone @ ..]) => is_date_time(state) && is_zone(zone),
            (Class::Time, [Object::Bytes(state), zone @ ..]) => {
                state.len() == 6 && is_time(&[&[state[0] & 0x7f], &state[1..]].concat()) && is_zone(zone)
            }
            (Class::Date, [Object::Bytes(state)]) => is_date(state),
            (Class::TimeDelta, [Object::Int(days), Object::Int(seconds), Object::Int(microseconds)]) => {
                (-999_999_999..=999_999_999).contains(days)
                    && (0..86_400).contains(seconds)
                    && (0..1_000_000).contains(microseconds)
            }
            (Class::TimeZone, [offset, name @ ..]) => {
                let named = matches!(name, [] | [Object::Str(_)]);
                named && seconds(objects, offset).is_some_and(|offset| offset.abs() < 86_400)
            }
            (Class::Decimal, [Object::Str(text)]) => is_decimal(text),
            (Class::ZoneInfoUnpickle, [Object::Str(name), Object::Bool(_) | Object::Int(0 | 1)]) => {
                let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(byte);
                !name.is_empty() && name.len() < 256 && name.iter().all(allowed) && name[0] != b'/'
            }
            (Class::PytzUtc, []) => true,
            _ => false,
        };
        if valid { Ok(Object::Made(self, arguments.to_vec())) } else { refused }
    }
}

/// Reads the UUID with this state: `{'int': …}`, and `is_safe` where the system vouches for it.
pub(super) fn uuid(objects: &Objects<'_>, state: Id) -> Result<Uuid, PickleError> {
    let refused = PickleError::Arguments("UUID");
    let Object::Dict(entries) = objects.get(state) else { return Err(refused) };
    // The same state may be used many times, so checking it must be cheap.
    if entries.len() > 4 {
        return Err(refused);
    }
    let (mut number, mut is_safe) = (None, None);
    for entry in entries.chunks_exact(2) {
        match (objects.get(entry[0]), objects.get(entry[1])) {
            (Object::Str(key), Object::Int(value)) if **key == *b"is_safe" => is_safe = Some(*value),
            (Object::Str(key), Object::Int(value)) if **key == *b"int" => {
                number = u128::try_from(*value).ok()
            }
            (Object::Str(key), Object::Long(value)) if **key == *b"int" && value.bytes.len() <= 17 => {
                let mut bytes = [0; 17];
                bytes[..value.bytes.len()].copy_from_slice(&value.bytes);
                let negative = value.bytes.last().is_some_and(|byte| *byte >= 0x80);
                let fits = !negative && bytes[16] == 0;
                let low: Option<[u8; 16]> = bytes[..16].try_into().ok();
                number = low.filter(|_| fits).map(u128::from_le_bytes);
            }
            _ => return Err(refused),
        }
    }
    number.map(|number| Uuid { number, is_safe }).ok_or(refused)
}

/// A timedelta's length in seconds, without the fraction.
pub(super) fn seconds(objects: &Objects<'_>, timedelta: &Object<'_>) -> Option<i64> {
    let Object::Made(Class::TimeDelta, arguments) = timedelta else { return None };
    match arguments.as_slice() {
        [days, seconds, _] => match (objects.get(*days), objects.get(*seconds)) {
            (Object::Int(days), Object::Int(seconds)) => Some(days * 86_400 + seconds),
            _ => None,
        },
        _ => None,
    }
}

/// The bytes of a text whose characters are all below U+0100.
fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(text).ok()?.chars().map(|character| u8::try_from(character).ok()).collect()
}

fn is_zone(arguments: &[&Object<'_>]) -> bool {
    match arguments {
        [] => true,
        [Object::Made(class, _)] => class.kind() == Some(Kind::TimeZone),
        _ => false,
    }
}

fn is_date_time(state: &[u8]) -> bool {
    // The month's top bit tells which of two equal times it is when clocks go back.
    state.len() == 10 && is_date(&[state[0], state[1], state[2] & 0x7f, state[3]]) && is_time(&state[4..])
}

fn is_date(state: &[u8]) -> bool {
    let [high, low, month, day] = *state else { return false };
    let year = i32::from(high) * 256 + i32::from(low);
    (1..=9999).contains(&year)
        && chrono::NaiveDate::from_ymd_opt(year, u32::from(month), u32::from(day)).is_some()
}

fn is_time(state: &[u8]) -> bool {
    let [hour, minute, second, fraction @ ..] = state else { return false };
    *hour < 24 && *minute < 60 && *second < 60 && fraction.len() == 3 && microseconds(fraction) < 1_000_000
}

/// The big-endian number in three bytes.
pub(super) fn microseconds(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Whether this is a possible output of `str(Decimal)`.
fn is_decimal(text: &[u8]) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    if let Some(payload) = unsigned.strip_prefix(b"NaN").or_else(|| unsigned.strip_prefix(b"sNaN")) {
        return payload.is_empty() || digits(payload);
    }
    let (mantissa, exponent) = match unsigned.iter().position(|byte| *byte == b'E') {
        Some(place) => (&unsigned[..place], Some(&unsigned[place + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(place) => (&mantissa[..place], Some(&mantissa[place + 1..])),
        None => (mantissa, None),
    };
    let signed =
        |text: &[u8]| text.len() < 20 && text[..1.min(text.len())].iter().all(|sign| b"+-".contains(sign));
    unsigned == b"Infinity"
        || (digits(whole)
            && fraction.is_none_or(digits)
            && exponent.is_none_or(|exponent| signed(exponent) && digits(&exponent[1.min(exponent.len())..])))
}
