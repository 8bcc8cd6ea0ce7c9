//! A setting's value as it is written, before its type is known.

use std::fmt;

use cloakroom_formats::Value;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{GivenSettings, is_secret};
use crate::site::settings::SettingsError;

/// A value as it is written.
#[derive(Clone)]
pub(super) enum Raw {
    /// Of an environment variable, where numbers, booleans and lists are text too.
    Variable(String),
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
    /// Anything else, such as a fraction.
    Other,
}

/// The form of a valid value, for an error.
pub(super) struct Wrong(pub(super) String);

impl Wrong {
    pub(super) fn expected<T>(expected: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong(expected.into()))
    }

    /// The error about a setting that is written under this name.
    pub(super) fn of(
        self,
        setting: &'static str,
        written: &str,
        raw: &Raw,
        is_secret: bool,
    ) -> SettingsError {
        let problem = match raw {
            Raw::Variable(text) | Raw::Text(text) if is_secret && text.is_empty() => {
                format!("{written} is empty")
            }
            _ if is_secret => format!("{written} is of another type"),
            raw => format!("{written} is {raw}"),
        };
        SettingsError::new(setting, problem, format!("give {}", self.0))
    }
}

impl Raw {
    pub(super) fn text(&self) -> Result<String, Wrong> {
        match self {
            Raw::Variable(text) | Raw::Text(text) => Ok(text.clone()),
            _ => Wrong::expected("a text"),
        }
    }

    /// A list of texts; in a variable, with commas between them or as JSON.
    pub(super) fn texts(&self) -> Result<Vec<String>, Wrong> {
        match &self.parsed() {
            Raw::List(list) => list.iter().map(Raw::text).collect::<Result<_, _>>(),
            Raw::Variable(text) if !text.starts_with('[') => Ok(text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect()),
            _ => Wrong::expected("a list of texts"),
        }
        .map_err(|Wrong(_)| Wrong("a list of texts".to_owned()))
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Raw::Integer(number) => Some(*number),
            Raw::Variable(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A list or a table; in a variable they are JSON.
    pub(super) fn parsed(&self) -> Raw {
        match self {
            Raw::Variable(text) if text.starts_with(['[', '{']) => {
                let json = Value::from_json(text).ok();
                json.and_then(|json| json.deserialize::<Raw>().ok()).unwrap_or_else(|| self.clone())
            }
            raw => raw.clone(),
        }
    }
}

/// The value for an error: on one line, and not too long.
impl fmt::Display for Raw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        match self {
            // A URL in the wrong place may hold a password.
            Raw::Variable(text) | Raw::Text(text) if text.contains("://") || text.contains('@') => {
                formatter.write_str("a text")
            }
            Raw::Variable(text) | Raw::Text(text) => {
                let shown: String = text.chars().take(LONGEST).collect();
                let more = if shown.len() < text.len() { "…" } else { "" };
                write!(formatter, "`{}{more}`", shown.escape_debug())
            }
            Raw::Integer(number) => write!(formatter, "{number}"),
            Raw::Boolean(value) => write!(formatter, "{value}"),
            Raw::List(_) => formatter.write_str("a list"),
            Raw::Table(_) => formatter.write_str("a table"),
            Raw::Other => formatter.write_str("a value of another type"),
        }
    }
}

/// Reads the value of a setting, so that an error is where the value is.
pub(super) struct Seed<'a> {
    pub(super) given: &'a mut GivenSettings,
    pub(super) field: &'static str,
    pub(super) written: &'a str,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let wrong = match self.given.set(self.field, &raw) {
            Ok(()) => return Ok(()),
            Err(wrong) => wrong,
        };
        let name = format!("`{}`", self.written);
        Err(de::Error::custom(wrong.of(self.field, &name, &raw, is_secret(self.field)).without_setting()))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a setting's value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Other, Raw::Integer))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Raw, E> {
        Ok(Raw::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = sequence.next_element()? {
            list.push(value);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut table = Vec::new();
        while let Some(pair) = map.next_entry()? {
            table.push(pair);
        }
        Ok(Raw::Table(table))
    }
}
