//! One stored value, carried losslessly and read through serde.
//!
//! A session's values stay in the text that Python wrote until they are read. Values that nobody changes are
//! written back letter for letter: the spelling of a float, an integer of a hundred digits, `NaN`, a lone
//! surrogate.
//!
//! The text is Python's dialect of JSON, as `json.dumps` with Django's settings writes it: ASCII only,
//! `\uxxxx` in lower case (also for U+007F), `NaN`, `Infinity` and `-Infinity` as bare words.

mod de;
mod limits;
mod scan;
mod ser;
mod text;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use limits::MAX_DIGITS;
pub(crate) use scan::{Nested, dictionary, normalize_latin1};
pub(crate) use ser::{shortest, write_float};
pub use text::{Text, unescape_key};
pub(crate) use text::{Unit, Units, escape_key, first_to_escape, write_escaped, write_string, write_unit};

/// The maximum nesting depth of a loaded session, including the session itself. Python's reader fails a
/// little below 1,000. A new value has the lower limit [`MAX_VALUE_DEPTH`].
///
/// ```
/// use cloakroom::{MAX_DEPTH, SessionData};
///
/// let session = |depth| r#"{"a":"#.to_owned() + &"[".repeat(depth) + &"]".repeat(depth) + "}";
/// assert!(SessionData::from_json(&session(MAX_DEPTH - 1)).is_ok());
/// assert!(SessionData::from_json(&session(MAX_DEPTH)).is_err());
/// ```
pub const MAX_DEPTH: usize = 990;

/// The maximum nesting depth of a value that is set. Every reader accepts this depth.
///
/// Reading into Rust types recurses and stops here. Python 3.11 pickles at most 490 levels, and fewer from a
/// deep call stack; its JSON reader takes about 990. An enum variant with data is a dictionary of its own:
/// `{"Variant": …}`.
///
/// ```
/// use cloakroom::{MAX_VALUE_DEPTH, Value, ValueError};
///
/// let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
/// let value = Value::from_json(&nested(MAX_VALUE_DEPTH))?;
/// assert!(value.deserialize::<serde_json::Value>().is_ok());
/// let error = Value::from_json(&nested(MAX_VALUE_DEPTH + 72)).unwrap_err();
/// assert_eq!(error, ValueError::TooDeep { depth: 200 });
/// # Ok::<(), ValueError>(())
/// ```
pub const MAX_VALUE_DEPTH: usize = 128;

/// One value of a session.
///
/// ```
/// use cloakroom::Value;
///
/// let value = Value::serialize(&("a", 1.0e16, f64::NAN))?;
/// assert_eq!(value.json(), r#"["a",1e+16,NaN]"#);
/// let (text, number, _): (String, f64, f64) = value.deserialize()?;
/// assert_eq!((text.as_str(), number), ("a", 1e16));
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
///
/// A cache's pickle can hold values that JSON cannot: tuples, bytes, sets, dates, numbers as dictionary keys.
/// Such a value is written back unchanged until somebody replaces it. It is read through its JSON text.
/// There, bytes are a list of numbers, and dates, `Decimal` and `UUID` are strings, as Django's
/// `DjangoJSONEncoder` writes them.
///
/// The same holds for objects of other classes that are a plain value to Python. A `SafeString` and the
/// member of a `TextChoices` read as text; an `OrderedDict`, `defaultdict`, `Counter` and `QueryDict` as a
/// dictionary; a named tuple and a `deque` as a list; `complex` as its two parts. Of all other objects only
/// the class is known: reading one gives [`ValueError::PythonObject`].
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Stored);

#[derive(Clone, PartialEq, Eq)]
enum Stored {
    Json(Text),
    Pickled(Arc<Pickled>),
}

/// A value from a pickle that JSON cannot carry without loss.
#[derive(PartialEq, Eq)]
pub(crate) struct Pickled {
    pub(crate) kind: Kind,
    /// The value's opcodes without a memo, so that they can stand in any pickle.
    pub(crate) opcodes: Box<[u8]>,
    /// The JSON text that it reads as.
    pub(crate) json: Box<str>,
    /// The first part that Python's JSON writer refuses to write.
    pub(crate) not_json: Option<NotJson>,
    /// The first class whose objects only Python can read.
    pub(crate) unreadable: Option<Box<str>>,
}

/// Why a JSON store cannot take the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotJson {
    /// A value of this Python type.
    Kind(Kind),
    /// An object of an unknown class.
    Class(Box<str>),
}

/// Why a value cannot be stored, or not be read as the requested type. Shows types, never contents.
///
/// ```
/// use cloakroom::{Value, ValueError};
///
/// let error = Value::serialize("text")?.deserialize::<u32>().unwrap_err();
/// assert!(matches!(error, ValueError::Mismatch { .. }));
/// assert!(matches!(Value::from_json("[1,"), Err(ValueError::Syntax(_))));
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The stored value is of another type.
    #[error("holds {found}, which cannot be read as {wanted}: {detail}")]
    Mismatch {
        /// The stored type.
        found: Kind,
        /// The requested Rust type.
        wanted: &'static str,
        /// Where inside the value they differ.
        detail: String,
    },
    /// The Rust value has no counterpart in a session.
    #[error("{wanted} cannot be stored in a session: {detail}")]
    Unsupported {
        /// The Rust type.
        wanted: &'static str,
        /// The reason.
        detail: String,
    },
    /// The text is not in Python's dialect of JSON.
    #[error("not JSON as Python reads it: {0}")]
    Syntax(String),
    /// The value comes from a cache's pickle and cannot be written as JSON, neither here nor by Django.
    #[error("holds {0}, which a store that keeps JSON cannot take; Django raises TypeError")]
    NotJson(Kind),
    /// The value comes from a cache's pickle and is, or contains, an object of an unknown Python class. It
    /// stays in the session as it is, and can be removed or replaced.
    #[error(
        "holds an object of the Python class {0}, which only Python can read; it stays until it is removed or replaced"
    )]
    PythonObject(String),
    /// Like [`PythonObject`](ValueError::PythonObject), or a readable object whose class JSON cannot express.
    #[error("holds an object of the Python class {0}, which a store that keeps JSON cannot take")]
    ObjectNotJson(String),
    /// An integer of more than 4,300 digits, which Python refuses to read.
    #[error("holds an int of more than 4,300 digits, which Python does not read")]
    IntegerTooLong,
    /// Lists and dictionaries nest deeper than [`MAX_VALUE_DEPTH`].
    #[error(
        "nests {depth} levels deep, and a value may nest {MAX_VALUE_DEPTH}; store it flatter, or as a string"
    )]
    TooDeep {
        /// Its depth.
        depth: usize,
    },
    /// The session exceeds [`SessionCodecConfig::max_decompressed_bytes`](crate::SessionCodecConfig), so that
    /// it could not be loaded again.
    #[error(
        "takes {size} bytes, and `max_decompressed_bytes` allows {limit}; keep less in it, or raise the limit in every program \
         that reads these sessions"
    )]
    TooLarge {
        /// Its size as JSON, or as a pickle.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The session has more values than a pickle may have, so that it could not be loaded again.
    #[error("has more than {limit} values, which is the most that are read from a pickle; keep less in it")]
    TooManyValues {
        /// The maximum number of opcodes and values in a pickle.
        limit: usize,
    },
}

/// A stored value's type, by its Python name.
///
/// ```
/// use cloakroom::{Kind, Value};
///
/// assert_eq!(Value::from_json("1")?.kind(), Kind::Int);
/// assert_eq!(Value::from_json("1.0")?.kind(), Kind::Float);
/// assert_eq!(Value::from_json("null")?.kind(), Kind::None);
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `None`
    None,
    /// `True` or `False`
    Bool,
    /// `int`, of any size
    Int,
    /// `float`, also `NaN` and the infinities
    Float,
    /// `str`
    Str,
    /// `list`
    List,
    /// `dict`
    Dict,
    /// `tuple`, from a pickle
    Tuple,
    /// `set`, from a pickle
    Set,
    /// `frozenset`, from a pickle
    FrozenSet,
    /// `bytes`, from a pickle
    Bytes,
    /// `bytearray`, from a pickle
    ByteArray,
    /// `datetime.datetime`, from a pickle
    DateTime,
    /// `datetime.date`, from a pickle
    Date,
    /// `datetime.time`, from a pickle
    Time,
    /// `datetime.timedelta`, from a pickle
    TimeDelta,
    /// `datetime.timezone`, `zoneinfo.ZoneInfo` or `pytz.utc`, from a pickle
    TimeZone,
    /// `decimal.Decimal`, from a pickle
    Decimal,
    /// `uuid.UUID`, from a pickle
    Uuid,
    /// An object of another class, from a pickle. Only Python can read it.
    Object,
}

impl Kind {
    /// The name of the Python type.
    ///
    /// ```
    /// assert_eq!(cloakroom::Value::serialize("text")?.kind().python_name(), "str");
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn python_name(self) -> &'static str {
        match self {
            Kind::None => "None",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Str => "str",
            Kind::List => "list",
            Kind::Dict => "dict",
            Kind::Tuple => "tuple",
            Kind::Set => "set",
            Kind::FrozenSet => "frozenset",
            Kind::Bytes => "bytes",
            Kind::ByteArray => "bytearray",
            Kind::DateTime => "datetime",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::TimeDelta => "timedelta",
            Kind::TimeZone => "tzinfo",
            Kind::Decimal => "Decimal",
            Kind::Uuid => "UUID",
            Kind::Object => "object",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::None => "None",
            Kind::Bool => "a bool",
            Kind::Int => "an int",
            Kind::Float => "a float",
            Kind::Str => "a str",
            Kind::List => "a list",
            Kind::Dict => "a dict",
            Kind::Tuple => "a tuple",
            Kind::Set => "a set",
            Kind::FrozenSet => "a frozenset",
            Kind::Bytes => "bytes",
            Kind::ByteArray => "a bytearray",
            Kind::DateTime => "a datetime",
            Kind::Date => "a date",
            Kind::Time => "a time",
            Kind::TimeDelta => "a timedelta",
            Kind::TimeZone => "a time zone",
            Kind::Decimal => "a Decimal",
            Kind::Uuid => "a UUID",
            Kind::Object => "an object of another class",
        })
    }
}

impl Value {
    /// Serializes a Rust value as Python's JSON writer would.
    ///
    /// ```
    /// use cloakroom::Value;
    ///
    /// assert_eq!(Value::serialize("Zürich")?.json(), r#""Z\u00fcrich""#);
    /// assert_eq!(Value::serialize(&Some(1.0))?.json(), "1.0");
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Unsupported`] for a dictionary whose keys are not plain values, or for nesting beyond
    /// [`MAX_VALUE_DEPTH`].
    pub fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<Value, ValueError> {
        ser::to_json(value).map(|json| Value(Stored::Json(Text::from(&*json)))).map_err(|error| {
            ValueError::Unsupported { wanted: std::any::type_name::<T>(), detail: error.to_string() }
        })
    }

    /// Takes a value that is already JSON, in Python's dialect. White space around it is dropped.
    ///
    /// ```
    /// use cloakroom::Value;
    ///
    /// assert_eq!(Value::from_json("[1, 2]")?.json(), "[1, 2]");
    /// assert!(Value::from_json("[1,]").is_err());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Syntax`] where Python's `json.loads` would refuse it, [`ValueError::TooDeep`] for
    /// nesting beyond [`MAX_VALUE_DEPTH`], and [`ValueError::IntegerTooLong`].
    pub fn from_json(json: &str) -> Result<Value, ValueError> {
        let value = Value::from_stored_json(json)?;
        limits::check(value.json())?;
        Ok(value)
    }

    /// Takes JSON that Python wrote. It may nest as deep as a session ([`MAX_DEPTH`]) and hold an integer of
    /// any length. Use it for text that is passed on; [`from_json`](Value::from_json) is for a new value.
    ///
    /// ```
    /// use cloakroom::Value;
    ///
    /// let deep = "[".repeat(500) + &"]".repeat(500);
    /// assert_eq!(Value::from_stored_json(&deep)?.json(), deep);
    /// assert!(Value::from_json(&deep).is_err());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Syntax`] where Python's `json.loads` would refuse it, or for nesting beyond
    /// [`MAX_DEPTH`].
    pub fn from_stored_json(json: &str) -> Result<Value, ValueError> {
        let ascii = text::to_ascii(json);
        let range = scan::value(ascii.as_bytes()).map_err(|error| ValueError::Syntax(error.to_string()))?;
        Ok(Value(Stored::Json(Text::from(&*ascii).slice(range))))
    }

    /// Reads the value as a Rust type.
    ///
    /// ```
    /// use cloakroom::Value;
    ///
    /// let value = Value::from_json("[1, 2]")?;
    /// assert_eq!(value.deserialize::<Vec<u8>>()?, [1, 2]);
    /// assert!(value.deserialize::<String>().is_err());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Mismatch`] when the types differ, an integer does not fit, a string holds a lone
    /// surrogate, lists nest deeper than [`MAX_VALUE_DEPTH`], or a list or dictionary from a signed text is
    /// not JSON. [`ValueError::PythonObject`] for an object that only Python can read. The stored value stays
    /// as it is.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        if let Stored::Pickled(pickled) = &self.0
            && let Some(class) = &pickled.unreadable
        {
            return Err(ValueError::PythonObject(class.to_string()));
        }
        de::from_json(self.json()).map_err(|error| ValueError::Mismatch {
            found: self.kind(),
            wanted: std::any::type_name::<T>(),
            detail: error.to_string(),
        })
    }

    /// Reads the value as a Rust type; `None` when it is null and the type does not take null.
    #[doc(hidden)]
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, ValueError> {
        match self.deserialize() {
            Err(_) if self.kind() == Kind::None => Ok(None),
            value => value.map(Some),
        }
    }

    /// The value's JSON text, ASCII only, as it is or will be stored. The text of a value from a pickle is
    /// for reading only: it does not distinguish a tuple from a list, or a date from a string. An object that
    /// only Python can read appears as its class, `"<shop.models.Cart>"`.
    ///
    /// ```
    /// use cloakroom::Value;
    ///
    /// assert_eq!(Value::serialize(&(1, "é"))?.json(), r#"[1,"\u00e9"]"#);
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn json(&self) -> &str {
        match &self.0 {
            Stored::Json(text) => text.as_str(),
            Stored::Pickled(pickled) => &pickled.json,
        }
    }

    /// The JSON text to write where Django would write JSON: a tuple becomes a list; dates are refused.
    #[doc(hidden)]
    pub fn json_to_store(&self) -> Result<&str, ValueError> {
        match &self.0 {
            Stored::Pickled(pickled) => match &pickled.not_json {
                None => Ok(&pickled.json),
                Some(NotJson::Kind(kind)) => Err(ValueError::NotJson(*kind)),
                Some(NotJson::Class(class)) => Err(ValueError::ObjectNotJson(class.to_string())),
            },
            Stored::Json(text) => Ok(text.as_str()),
        }
    }

    /// Checks that the whole text is JSON: [`Nested::Passed`] leaves that to the reader of the value.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), ValueError> {
        let json = self.json().as_bytes();
        if !matches!(json.first(), Some(b'[' | b'{')) {
            return Ok(());
        }
        scan::value(json).map(|_| ()).map_err(|error| ValueError::Syntax(error.to_string()))
    }

    /// The opcodes of a value that only a pickle can carry.
    #[doc(hidden)]
    pub fn pickled(&self) -> Option<&[u8]> {
        match &self.0 {
            Stored::Json(_) => None,
            Stored::Pickled(pickled) => Some(&pickled.opcodes),
        }
    }

    /// Returns the value's type.
    ///
    /// ```
    /// use cloakroom::{Kind, Value};
    ///
    /// assert_eq!(Value::serialize(&vec![1, 2])?.kind(), Kind::List);
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn kind(&self) -> Kind {
        let json = match &self.0 {
            Stored::Json(text) => text.as_str(),
            Stored::Pickled(pickled) => return pickled.kind,
        };
        match json.as_bytes().first() {
            Some(b'"') => Kind::Str,
            Some(b'{') => Kind::Dict,
            Some(b'[') => Kind::List,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::None,
            Some(_) if de::is_float(json) => Kind::Float,
            Some(_) => Kind::Int,
        }
    }

    /// Returns the items of a list; `None` for another kind of value.
    pub(crate) fn items(&self) -> Option<Vec<Value>> {
        let Stored::Json(text) = &self.0 else { return None };
        let items = scan::list(text).ok()??;
        Some(items.into_iter().map(Value::from_scanned).collect())
    }

    pub(crate) fn from_scanned(text: Text) -> Value {
        Value(Stored::Json(text))
    }

    pub(crate) fn from_pickled(pickled: Pickled) -> Value {
        Value(Stored::Pickled(Arc::new(pickled)))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Value({}, {} bytes)", self.kind(), self.json().len())
    }
}

#[cfg(test)]
mod tests;
