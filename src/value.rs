//! One stored value, carried losslessly and read through serde.
//!
//! A session's values stay in the text that Python wrote until somebody asks for them. What nobody touches
//! goes back letter for letter: the spelling of a float, an integer of a hundred digits, `NaN`, half of a
//! surrogate pair.
//!
//! The text is Python's dialect of JSON, as `json.dumps` with Django's settings writes it: ASCII only,
//! `\uxxxx` in lower case (also for U+007F), `NaN`, `Infinity` and `-Infinity` as bare words.

mod de;
mod scan;
mod ser;
mod text;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use scan::{dictionary, normalize_latin1};
pub(crate) use text::{Text, escape_key, unescape_key};

/// How deep dictionaries and lists may nest, the session itself included. Python's reader gives up
/// a little below 1,000.
pub const MAX_DEPTH: usize = 990;

/// One value of a session.
///
/// ```
/// use cloakroom::Value;
///
/// let value = Value::new(&("a", 1.0e16, f64::NAN))?;
/// assert_eq!(value.json(), r#"["a",1e+16,NaN]"#);
/// let (text, number, _): (String, f64, f64) = value.to()?;
/// assert_eq!((text.as_str(), number), ("a", 1e16));
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Text);

/// Why a value cannot be stored, or not be read as the type asked for. Shows types, never contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The stored value is of another type.
    #[error("holds {found}, which cannot be read as {wanted}: {detail}")]
    Mismatch {
        /// What is stored.
        found: Kind,
        /// The Rust type asked for.
        wanted: &'static str,
        /// Where inside the value they differ.
        detail: String,
    },
    /// The Rust value has no counterpart in a session.
    #[error("{wanted} cannot be stored in a session: {detail}")]
    Unsupported {
        /// The Rust type.
        wanted: &'static str,
        /// Why not.
        detail: String,
    },
    /// The text is not in Python's dialect of JSON.
    #[error("not JSON as Python reads it: {0}")]
    Syntax(String),
}

/// What sort of value is stored, by its Python name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        })
    }
}

impl Value {
    /// The value as Python's JSON writer would put it down.
    ///
    /// # Errors
    /// [`ValueError::Unsupported`] for a dictionary whose keys are no plain values, or for too deep nesting.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Value, ValueError> {
        ser::to_json(value).map(|json| Value(Text::from(json))).map_err(|error| ValueError::Unsupported {
            wanted: std::any::type_name::<T>(),
            detail: error.to_string(),
        })
    }

    /// Takes a value that is JSON already, in Python's dialect. White space around it is dropped.
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
    /// [`ValueError::Syntax`] where Python's `json.loads` would refuse it, or for too deep nesting.
    pub fn from_json(json: &str) -> Result<Value, ValueError> {
        let ascii = text::to_ascii(json);
        let range = scan::value(ascii.as_bytes()).map_err(|error| ValueError::Syntax(error.to_string()))?;
        Ok(Value(Text::from(ascii.into_owned()).slice(range)))
    }

    /// Reads the value as a Rust type.
    ///
    /// # Errors
    /// [`ValueError::Mismatch`] when the types differ, an integer does not fit, a string holds half a
    /// surrogate pair, or lists nest more than 128 deep. The stored value stays as it is.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        de::from_json(self.json()).map_err(|error| ValueError::Mismatch {
            found: self.kind(),
            wanted: std::any::type_name::<T>(),
            detail: error.to_string(),
        })
    }

    /// The value's JSON text, ASCII only, as it is or will be stored.
    pub fn json(&self) -> &str {
        self.0.as_str()
    }

    /// What sort of value this is.
    pub fn kind(&self) -> Kind {
        let json = self.json();
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

    pub(crate) fn from_scanned(text: Text) -> Value {
        Value(text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Value({}, {} bytes)", self.kind(), self.json().len())
    }
}

#[cfg(test)]
mod tests;
