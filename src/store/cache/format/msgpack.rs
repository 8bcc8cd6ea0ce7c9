//! MessagePack, as django-redis' serializer for it writes sessions with Python's library.

use cloakroom_formats::{SessionData, Value, ValueError};
use rmpv::Value as Packed;

use super::EntryError;

/// Python's library reads up to this depth.
const DEEPEST: usize = 511;

/// Encodes a session as a map.
///
/// # Errors
/// When a value has no counterpart in MessagePack, for which Python raises `OverflowError` or `TypeError`: a whole
/// number of more than 64 bits, or an object of Python.
pub(super) fn encode(data: &SessionData) -> Result<Vec<u8>, ValueError> {
    let mut entries = Vec::new();
    for (key, value) in data.iter() {
        entries.push((Packed::from(key), value.deserialize::<Packed>()?));
    }
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = rmpv::encode::write_value(&mut out, &Packed::Map(entries));
    Ok(out)
}

/// Decodes the session in a map; `None` for `nil`.
pub(super) fn decode(mut entry: &[u8]) -> Result<Option<SessionData>, EntryError> {
    let wrong = |what: &str| EntryError::MessagePack(what.to_owned());
    let packed = rmpv::decode::read_value_with_max_depth(&mut entry, DEEPEST)
        .map_err(|error| EntryError::MessagePack(error.to_string()))?;
    if !entry.is_empty() {
        return Err(wrong("there is text after its end"));
    }
    let entries = match packed {
        Packed::Nil => return Ok(None),
        Packed::Map(entries) => entries,
        _ => return Err(wrong("it is no map")),
    };
    let mut data = SessionData::new();
    for (key, value) in entries {
        let Some(key) = key.as_str() else { return Err(wrong("a key is no text")) };
        check(&value).map_err(wrong)?;
        data.insert(key, Value::serialize(&value)?);
    }
    Ok(Some(data))
}

/// Refuses what a session cannot hold here, so that nothing of it is changed in silence.
fn check(value: &Packed) -> Result<(), &'static str> {
    match value {
        Packed::Binary(_) => Err("it has bytes, which a session cannot hold here"),
        Packed::Ext(..) => Err("it has a type of its own, such as a time"),
        Packed::String(text) if text.as_str().is_none() => Err("it has text that is not UTF-8"),
        Packed::Array(values) => values.iter().try_for_each(check),
        Packed::Map(entries) => entries.iter().try_for_each(|(key, value)| {
            if key.as_str().is_none() { Err("a key is no text") } else { check(value) }
        }),
        _ => Ok(()),
    }
}
