//! Values as Python sees them, to compare what was read with what Django read.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// A value of Python's, with dictionaries in order. Floats compare by their text, so that NaN equals NaN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Python {
    None,
    Bool(bool),
    Int(String),
    Float(String),
    Str(String),
    List(Vec<Python>),
    Dict(Vec<(String, Python)>),
}

impl Python {
    /// What a vector file holds in `input` or `decoded`.
    pub(crate) fn from_vector(json: &Json) -> Python {
        match json {
            Json::Null => Python::None,
            Json::Bool(value) => Python::Bool(*value),
            Json::Number(number) => {
                let number = number.to_string();
                if number.contains(['.', 'e', 'E']) {
                    Python::Float(float(number.parse().unwrap()))
                } else {
                    Python::Int(number)
                }
            }
            Json::String(text) => Python::Str(text.clone()),
            Json::Array(list) => Python::List(list.iter().map(Python::from_vector).collect()),
            Json::Object(dict) => Python::Dict(
                dict.iter().map(|(key, value)| (key.clone(), Python::from_vector(value))).collect(),
            ),
        }
    }

    /// What the library reads from a dictionary of its own.
    pub(crate) fn from_session(data: &cloakroom::SessionData) -> Python {
        Python::Dict(data.iter().map(|(key, value)| (key, value.deserialize().unwrap())).collect())
    }
}

fn float(value: f64) -> String {
    format!("{value:?}")
}

impl Serialize for Python {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Python::None => serializer.serialize_none(),
            Python::Bool(value) => serializer.serialize_bool(*value),
            Python::Int(number) => match number.parse::<u128>() {
                Ok(number) => serializer.serialize_u128(number),
                Err(_) => serializer.serialize_i128(number.parse().map_err(serde::ser::Error::custom)?),
            },
            Python::Float(number) => {
                serializer.serialize_f64(number.parse().map_err(serde::ser::Error::custom)?)
            }
            Python::Str(text) => serializer.serialize_str(text),
            Python::List(list) => serializer.collect_seq(list),
            Python::Dict(dict) => serializer.collect_map(dict.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Python {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Python;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Python, E> {
                Ok(Python::None)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Python, E> {
                Ok(Python::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Python, E> {
                Ok(Python::Int(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Python, E> {
                Ok(Python::Int(value.to_string()))
            }
            fn visit_i128<E>(self, value: i128) -> Result<Python, E> {
                Ok(Python::Int(value.to_string()))
            }
            fn visit_u128<E>(self, value: u128) -> Result<Python, E> {
                Ok(Python::Int(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Python, E> {
                Ok(Python::Float(float(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Python, E> {
                Ok(Python::Str(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Python, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = access.next_element()? {
                    list.push(element);
                }
                Ok(Python::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Python, A::Error> {
                let mut dict = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    dict.push(entry);
                }
                Ok(Python::Dict(dict))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}
