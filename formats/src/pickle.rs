//! Pickles, as Django's caches hold sessions: read without executing anything, written for every Django.
//!
//! Python's `pickle.loads` calls any function that the bytes name. This reader treats the bytes as a
//! description of plain values. The [machine](machine) knows the opcodes of protocols 0 to 5 that such values
//! need, and [`class`] lists the classes that it can describe. Nothing recurses on the data, lengths are
//! checked against the input before anything is allocated, and the work is bounded.
//!
//! Values that JSON carries without loss become JSON text, as in every other store. The rest is kept as
//! opcodes that [`write`] copies into the next pickle. Objects of other classes ([`global`]) are kept in the
//! same way: some are read as the plain value that they are to Python, the others only by Python.

mod class;
mod flat;
mod global;
mod integer;
mod json;
mod machine;
mod object;
mod text;
pub(crate) mod timestamp;
mod walk;
mod within;
mod write;

use std::fmt;

use self::json::JsonWriter;
use self::machine::Machine;
use self::object::{Object, kind_of};
use self::walk::{Budget, shared, walk};
use self::write::PickleWriter;
use crate::session_data::SessionData;
use crate::value::{Kind, Pickled, Text, Value, ValueError};

pub use within::write_within;
pub(crate) use write::write;

/// The most opcodes in a pickle, and the most values when each is written out wherever it is used. Python
/// would take a second for a session of this size.
const MAX_STEPS: usize = 2_000_000;

/// Why a pickle gives no session. The stored entry stays as it is.
///
/// ```
/// use cloakroom::{PickleError, SessionData};
///
/// // pickle.dumps([])
/// let error = SessionData::from_pickle(b"\x80\x04]\x94.", 1 << 20).unwrap_err();
/// assert!(matches!(error, PickleError::NotADictionary(_)));
/// let error = SessionData::from_pickle(b"\x80\x04}\x94.", 4).unwrap_err();
/// assert_eq!(error, PickleError::TooLarge(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// An opcode that plain values do not need.
    #[error("the pickle uses the opcode {0}, which plain values do not need")]
    Opcode(OpcodeName),
    /// The pickle's outermost object is of this class instead of a dictionary, or the pickle makes an object
    /// of this class that belongs to no value.
    #[error("the pickle uses the class {0}, but not in the value of a key; a session must be a dict")]
    Global(String),
    /// A known class with arguments that Python never pickles it with.
    #[error("the pickle makes a {0} in a way that Python does not")]
    Arguments(&'static str),
    /// Containers nest too deep, or contain themselves.
    #[error("the pickle nests too deep or contains itself")]
    TooDeep,
    /// Larger than the limit, as it is or with its repeated values written out.
    #[error(
        "the pickle is larger than the limit of {0} bytes, as it is or with its repeated values written out"
    )]
    TooLarge(usize),
    /// Takes more steps than any session needs.
    #[error("the pickle has too many opcodes or values")]
    TooLong,
    /// Not a pickle, or a damaged one.
    #[error("not a pickle: {0}")]
    Malformed(&'static str),
    /// Not a dictionary.
    #[error("the pickle holds {0}; a session must be a dict")]
    NotADictionary(Kind),
    /// A key that is not a string, or that holds the two halves of a surrogate pair as separate characters.
    #[error(
        "the session has {0} as a key, which JSON cannot express; use strings as keys, as Django's documentation asks"
    )]
    Key(Kind),
}

/// The name of an opcode, as Python's `pickletools` has it, or its number.
///
/// ```
/// use cloakroom::{PickleError, SessionData};
///
/// match SessionData::from_pickle(b"\x80\x04\x82\x01.", 1 << 20) {
///     Err(PickleError::Opcode(name)) => assert_eq!(name.to_string(), "EXT1"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpcodeName(u8);

impl fmt::Display for OpcodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            b'P' => "PERSID",
            b'Q' => "BINPERSID",
            b'i' => "INST",
            b'o' => "OBJ",
            b'S' => "STRING",
            0x82 => "EXT1",
            0x83 => "EXT2",
            0x84 => "EXT4",
            0x92 => "NEWOBJ_EX",
            0x97 => "NEXT_BUFFER",
            0x98 => "READONLY_BUFFER",
            other => return write!(formatter, "0x{other:02x}"),
        };
        formatter.write_str(name)
    }
}

/// Reads the session in a pickle.
pub(crate) fn read(pickle: &[u8], limit: usize) -> Result<SessionData, PickleError> {
    if pickle.len() > limit {
        return Err(PickleError::TooLarge(limit));
    }
    match flat::read(pickle, limit) {
        Some(data) => Ok(data),
        None => read_by_machine(pickle, limit),
    }
}

fn read_by_machine(pickle: &[u8], limit: usize) -> Result<SessionData, PickleError> {
    let (objects, root) = Machine::new(pickle, limit).run()?;
    let entries = match objects.get(root) {
        Object::Dict(entries) => entries,
        Object::Class(_) | Object::Global(_) | Object::Instance(_) => {
            return Err(PickleError::Global(global::name(&objects, root)));
        }
        other => return Err(PickleError::NotADictionary(other.kind()?)),
    };
    let mut reached = Vec::new();
    let mut budget = Budget { steps: MAX_STEPS, taken: 0, limit };
    let mut json = String::with_capacity(pickle.len().min(1 << 16));
    let mut places = Vec::with_capacity(entries.len() / 2);
    for entry in entries.chunks_exact(2) {
        let start = json.len();
        match objects.get(entry[0]) {
            Object::Str(key) => {
                if !json::write_escaped(&mut json, key) {
                    return Err(PickleError::Key(Kind::Str));
                }
            }
            _ => return Err(PickleError::Key(kind_of(&objects, entry[0])?)),
        }
        let key = start..json.len();
        budget.check_size(json.len())?;
        let (start, mut writer) = (json.len(), JsonWriter::new(&mut json));
        walk(&objects, entry[1], &mut writer, &mut budget)?;
        let JsonWriter { lossless, not_json, unreadable, has_foreign, .. } = writer;
        let pickled = if lossless {
            None
        } else {
            let mut writer = if has_foreign {
                PickleWriter::sharing(shared(&objects, entry[1], &mut budget)?)
            } else {
                PickleWriter::default()
            };
            walk(&objects, entry[1], &mut writer, &mut budget)?;
            reached.append(&mut writer.reached);
            let kind = kind_of(&objects, entry[1])?;
            let json = json.split_off(start);
            budget.taken += writer.out.len() + json.len();
            Some(Pickled { kind, opcodes: writer.out.into(), json: json.into(), not_json, unreadable })
        };
        places.push((key, start..json.len(), pickled));
    }
    if let Some(dropped) = global::first_dropped(&objects, &reached) {
        return Err(dropped);
    }
    let text = Text::from(&*json);
    let mut data = SessionData::new();
    for (key, place, pickled) in places {
        let value = match pickled {
            Some(pickled) => Value::from_pickled(pickled),
            None => Value::from_scanned(text.slice(place)),
        };
        data.insert_escaped(text.slice(key), value);
    }
    Ok(data)
}

impl SessionData {
    /// Reads the pickle of a dictionary, as Django's caches hold it, without executing anything.
    ///
    /// Besides plain values it may hold dates, `Decimal`, `UUID` and sets. An object of another class is kept
    /// as it is, for Python alone: reading its key gives [`ValueError::PythonObject`], unless it is a plain
    /// value ([`Value`]).
    ///
    /// `limit` bounds the pickle's size, and the size of its values when each is written out wherever it is
    /// used.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let pickle = SessionData::from_json(r#"{"visits":7}"#)?.to_pickle()?;
    /// assert_eq!(SessionData::from_pickle(&pickle, 1 << 20)?.read("visits")?, Some(7));
    /// // What Python's pickle module would run is neither run nor read.
    /// let pickle = b"}\x8c\x01kcos\nsystem\n\x8c\x04true\x85Rs.";
    /// let error = SessionData::from_pickle(pickle, 1 << 20)?.read::<u32>("k").unwrap_err();
    /// assert!(error.to_string().contains("os.system"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PickleError`] names the opcode or class that cannot be carried: an object that belongs to no key's
    /// value, a value that Python 3 pickles with other opcodes, or input beyond a limit.
    pub fn from_pickle(pickle: &[u8], limit: usize) -> Result<SessionData, PickleError> {
        read(pickle, limit)
    }

    /// Writes the dictionary as a pickle in protocol 4, which Django reads on Python 3.4 and later.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// let pickle = data.to_pickle()?;
    /// assert!(pickle.starts_with(b"\x80\x04"), "protocol 4");
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::IntegerTooLong`]; [`ValueError::Syntax`] when a list or dictionary from a signed text is
    /// not JSON.
    pub fn to_pickle(&self) -> Result<Vec<u8>, ValueError> {
        write(self.escaped_entries())
    }
}

/// Whether the pickle is of `None`, which Django's cache API cannot tell from a missing entry.
pub fn is_none(pickle: &[u8]) -> bool {
    pickle.len() < 32
        && Machine::new(pickle, 32)
            .run()
            .is_ok_and(|(objects, root)| matches!(objects.get(root), Object::None) && !objects.has_foreign)
}

#[cfg(test)]
mod tests;
