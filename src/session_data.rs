//! What a session holds: an ordered dictionary of values that nobody has to look into.

mod entries;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::entries::Entries;
use crate::value::{self, Text, Value, ValueError, escape_key, unescape_key};

/// The dictionary of a session: keys in Python's insertion order, values as they were stored.
///
/// Stores and codecs pass it along; handlers use [`Session`](crate::Session).
///
/// ```
/// use cloakroom::SessionData;
///
/// let mut data = SessionData::from_json(r#"{"z": 1e5, "a": [1, 2]}"#)?;
/// data.insert("name", cloakroom::Value::new("Zürich")?);
/// assert_eq!(data.to_json(), r#"{"z":1e5,"a":[1, 2],"name":"Z\u00fcrich"}"#);
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionData {
    entries: Entries,
}

impl SessionData {
    /// An empty dictionary.
    pub fn new() -> Self {
        SessionData::default()
    }

    /// Reads a dictionary in Python's dialect of JSON. Of a repeated key the last value counts, in the
    /// first one's place.
    ///
    /// # Errors
    /// [`ValueError::Syntax`] when the text is no JSON, or is not a dictionary.
    pub fn from_json(json: &str) -> Result<SessionData, ValueError> {
        if json.is_ascii() {
            return SessionData::from_ascii_json(json);
        }
        SessionData::from_ascii_json(Value::from_json(json)?.json())
    }

    pub(crate) fn from_ascii_json(json: &str) -> Result<SessionData, ValueError> {
        let mut entries = Entries::default();
        match value::dictionary(&Text::from(json), |key, value| {
            entries.insert(key, Value::from_scanned(value));
        }) {
            Ok(Some(())) => Ok(SessionData { entries }),
            Ok(None) => Err(ValueError::Syntax("a session must be a dictionary".into())),
            Err(error) => Err(ValueError::Syntax(error.to_string())),
        }
    }

    /// The dictionary as `json.dumps(data, separators=(",", ":"))` lays it out; values keep their spelling.
    pub fn to_json(&self) -> String {
        let entry = |(key, value): (&Text, &Value)| key.as_str().len() + value.json().len() + 4;
        let mut json = String::with_capacity(self.entries.iter().map(entry).sum::<usize>() + 2);
        json.push('{');
        for (position, (key, value)) in self.entries.iter().enumerate() {
            if position > 0 {
                json.push(',');
            }
            json.push('"');
            json.push_str(key.as_str());
            json.push_str("\":");
            json.push_str(value.json());
        }
        json.push('}');
        json
    }

    /// The value under this key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(&escape_key(key))
    }

    /// The value under this key, read as a Rust type.
    ///
    /// # Errors
    /// [`ValueError::Mismatch`] when it is of another type.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ValueError> {
        self.get(key).map(Value::to).transpose()
    }

    /// Whether there is a value under this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value; a key that is there already keeps its place.
    pub fn insert(&mut self, key: &str, value: Value) -> Option<Value> {
        self.entries.insert(Text::from(escape_key(key).into_owned()), value)
    }

    /// Puts a Rust value.
    ///
    /// # Errors
    /// [`ValueError::Unsupported`] when it has no counterpart in JSON.
    pub fn write<T: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &T,
    ) -> Result<Option<Value>, ValueError> {
        Ok(self.insert(key, Value::new(value)?))
    }

    /// Takes a value out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(&escape_key(key))
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys and values in order. Half a surrogate pair in a key, which Rust cannot hold, shows as U+FFFD.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Value)> {
        self.entries.iter().map(|(key, value)| (unescape_key(key.as_str()), value))
    }
}

impl fmt::Debug for SessionData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SessionData({} keys)", self.len())
    }
}
