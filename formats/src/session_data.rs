//! A session's contents: an ordered dictionary whose values are parsed only on demand.

mod entries;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::entries::Entries;
use crate::value::{self, Nested, Text, Value, ValueError, escape_key, unescape_key};

/// The dictionary of a session: keys in Python's insertion order, values as they were stored.
///
/// Stores and codecs pass it along; request handlers use [`Session`](https://docs.rs/cloakroom/latest/cloakroom/struct.Session.html).
///
/// ```
/// use cloakroom::SessionData;
///
/// let mut data = SessionData::from_json(r#"{"z": 1e5, "a": [1, 2]}"#)?;
/// data.insert("name", cloakroom::Value::serialize("Zürich")?);
/// assert_eq!(data.to_json(), r#"{"z":1e5,"a":[1, 2],"name":"Z\u00fcrich"}"#);
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionData {
    entries: Entries,
}

impl SessionData {
    /// An empty dictionary.
    #[inline]
    pub fn new() -> Self {
        SessionData::default()
    }

    /// Parses a dictionary in Python's dialect of JSON. For a repeated key the last value counts, at the
    /// first one's position.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let data = SessionData::from_json(r#"{"a": 1, "b": 2, "a": NaN}"#)?;
    /// assert_eq!(data.to_json(), r#"{"a":NaN,"b":2}"#);
    /// assert!(SessionData::from_json("[1, 2]").is_err());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Syntax`] when the text is not JSON, or not a dictionary.
    pub fn from_json(json: &str) -> Result<SessionData, ValueError> {
        if json.is_ascii() {
            return SessionData::from_ascii_json(json);
        }
        SessionData::from_ascii_json(Value::from_stored_json(json)?.json())
    }

    fn from_ascii_json(json: &str) -> Result<SessionData, ValueError> {
        SessionData::from_text(json, Nested::Checked)
    }

    /// Parses a dictionary from ASCII text whose signature has been verified. Lists and dictionaries in it
    /// are checked when they are read.
    #[doc(hidden)]
    pub fn from_signed_json(json: &str) -> Result<SessionData, ValueError> {
        SessionData::from_text(json, Nested::Passed)
    }

    #[inline]
    fn from_text(json: &str, nested: Nested) -> Result<SessionData, ValueError> {
        let mut entries = Entries::default();
        match value::dictionary(&Text::from(json), nested, |key, value| {
            entries.insert(key, Value::from_scanned(value));
        }) {
            Ok(Some(())) => Ok(SessionData { entries }),
            Ok(None) => Err(ValueError::Syntax("a session must be a dictionary".into())),
            Err(error) => Err(ValueError::Syntax(error.to_string())),
        }
    }

    /// Returns the dictionary as `json.dumps(data, separators=(",", ":"))` lays it out; values keep their
    /// spelling. Values from a pickle appear as [`Value::json`] shows them.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// assert_eq!(data.to_json(), r#"{"b":1,"a":"x"}"#);
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn to_json(&self) -> String {
        self.join(",", ":", |value| Ok(value.json())).unwrap_or_default()
    }

    /// An upper bound for the length of [`to_json`](Self::to_json) in bytes.
    #[doc(hidden)]
    #[inline]
    pub fn json_length(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.as_str().len() + value.json().len() + 6).sum::<usize>() + 2
    }

    /// Whether the data can be stored as JSON.
    #[doc(hidden)]
    #[inline]
    pub fn is_json(&self) -> bool {
        self.entries.iter().all(|(_, value)| value.json_to_store().is_ok())
    }

    /// Returns the JSON text to store where Django stores JSON, with these separators.
    #[doc(hidden)]
    #[inline]
    pub fn json_to_store(&self, comma: &str, colon: &str) -> Result<String, ValueError> {
        self.join(comma, colon, Value::json_to_store)
    }

    fn join<'a>(
        &'a self,
        comma: &str,
        colon: &str,
        text: impl Fn(&'a Value) -> Result<&'a str, ValueError>,
    ) -> Result<String, ValueError> {
        let mut json = String::with_capacity(self.json_length());
        json.push('{');
        for (position, (key, value)) in self.entries.iter().enumerate() {
            if position > 0 {
                json.push_str(comma);
            }
            json.push('"');
            json.push_str(key.as_str());
            json.push('"');
            json.push_str(colon);
            json.push_str(text(value)?);
        }
        json.push('}');
        Ok(json)
    }

    /// The entries, with the keys escaped as in JSON.
    pub(crate) fn escaped_entries(&self) -> impl Iterator<Item = (&str, &Value)> + Clone {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Like [`get`](SessionData::get), with a key that is already escaped.
    #[doc(hidden)]
    #[inline]
    pub fn get_escaped(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Like [`insert`](SessionData::insert), with a key that is already escaped.
    #[doc(hidden)]
    #[inline]
    pub fn insert_escaped(&mut self, key: Text, value: Value) -> Option<Value> {
        self.entries.insert(key, value)
    }

    /// Like [`remove`](SessionData::remove), with a key that is already escaped.
    #[doc(hidden)]
    #[inline]
    pub fn remove_escaped(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key)
    }

    /// Returns the value under this key.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// assert_eq!(data.get("a").unwrap().json(), "\"x\"");
    /// assert!(data.get("c").is_none());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.get_escaped(&escape_key(key))
    }

    /// Returns the value under this key as a Rust type. A null counts as no value, unless the type takes it,
    /// as `Option<u32>` does.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// assert_eq!(data.read("b")?, Some(1));
    /// assert_eq!(data.read::<u32>("c")?, None);
    /// assert!(data.read::<u32>("a").is_err());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Mismatch`] when the value is of another type.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ValueError> {
        self.get(key).map_or(Ok(None), Value::read)
    }

    /// Whether there is a value under this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets a value; an existing key keeps its position.
    ///
    /// ```
    /// use cloakroom::{SessionData, Value};
    ///
    /// let mut data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// let before = data.insert("b", Value::serialize(&2)?);
    /// assert_eq!(before.unwrap().json(), "1");
    /// assert_eq!(data.to_json(), r#"{"b":2,"a":"x"}"#);
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn insert(&mut self, key: &str, value: Value) -> Option<Value> {
        self.insert_escaped(Text::of_key(key), value)
    }

    /// Sets a Rust value.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let mut data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// data.write("c", &[1, 2])?;
    /// assert_eq!(data.read::<Vec<u32>>("c")?, Some(vec![1, 2]));
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Unsupported`] when it has no counterpart in JSON.
    pub fn write<T: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &T,
    ) -> Result<Option<Value>, ValueError> {
        Ok(self.insert(key, Value::serialize(value)?))
    }

    /// Removes a value; the others keep their order.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let mut data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// assert!(data.remove("b").is_some());
    /// assert!(!data.contains_key("b") && data.len() == 1);
    /// data.clear();
    /// assert!(data.is_empty());
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.remove_escaped(&escape_key(key))
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The number of keys.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Iterates over keys and values in order. A lone surrogate in a key, which Rust cannot hold, appears as
    /// U+FFFD.
    ///
    /// ```
    /// use cloakroom::SessionData;
    ///
    /// let data = SessionData::from_json(r#"{"b": 1, "a": "x"}"#)?;
    /// let keys: Vec<String> = data.iter().map(|(key, _)| key).collect();
    /// assert_eq!(keys, ["b", "a"]);
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (String, &Value)> {
        self.entries.iter().map(|(key, value)| (unescape_key(key.as_str()), value))
    }
}

impl fmt::Debug for SessionData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SessionData({} keys)", self.len())
    }
}
