//! Reads JSON text in Python's dialect into Rust values. Reading checks the text: the lists and dictionaries
//! of a signed session were not checked before.

use std::borrow::Cow;
use std::fmt::{self, Display};

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, Unexpected, Visitor};

use super::{MAX_VALUE_DEPTH, scan, text};

pub(super) fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    T::deserialize(&mut Reader { json, position: 0, depth: 0 })
}

/// Whether Python reads this number as a float.
pub(super) fn is_float(number: &str) -> bool {
    number.contains(['.', 'e', 'E', 'N', 'I'])
}

/// Names the types that differ, never the value: it may be a secret.
#[derive(Debug)]
pub(super) struct Error(String);

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Error(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error(format!("found {}, expected {expected}", kind_of(&unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error(format!("found {} that does not fit, expected {expected}", kind_of(&unexpected)))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Error(format!("found none of the variants {expected:?}"))
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Error(format!("found a field besides {expected:?}"))
    }
}

fn kind_of(unexpected: &Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "a bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an int",
        Unexpected::Float(_) => "a float",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "a str",
        Unexpected::Unit | Unexpected::Option => "None",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a dict",
        _ => "another value",
    }
}

struct Reader<'de> {
    json: &'de str,
    position: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    fn rest(&self) -> &'de str {
        self.json.get(self.position..).unwrap_or_default()
    }

    fn skip_white_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_white_space();
        self.rest().as_bytes().first().copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.take(byte) { Ok(()) } else { Err(not_json(())) }
    }

    /// Reads the next string's contents, still escaped.
    fn raw_string(&mut self) -> Result<&'de str, Error> {
        self.expect(b'"')?;
        let start = self.position;
        self.position = scan::after_string(self.json.as_bytes(), start).map_err(not_json)?;
        Ok(self.json.get(start..self.position - 1).unwrap_or_default())
    }

    fn string(&mut self) -> Result<Cow<'de, str>, Error> {
        text::unescape(self.raw_string()?)
            .map_err(|_| Error("a str holds half a surrogate pair, which Rust strings cannot hold".into()))
    }

    fn visit_string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.string()? {
            Cow::Borrowed(string) => visitor.visit_borrowed_str(string),
            Cow::Owned(string) => visitor.visit_string(string),
        }
    }

    /// Reads a number or a word.
    fn token(&mut self) -> Result<&'de str, Error> {
        self.skip_white_space();
        let start = self.position;
        self.position = scan::after_number_or_word(self.json.as_bytes(), start).map_err(not_json)?;
        Ok(self.json.get(start..self.position).unwrap_or_default())
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        // Typed reading recurses, so it stops earlier than carrying does, at serde_json's depth.
        if self.depth >= MAX_VALUE_DEPTH {
            return Err(Error(format!(
                "nested more than {MAX_VALUE_DEPTH} deep; take the value's JSON text instead"
            )));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }
}

/// Drops the reason: a position in the text would not help to fix a Rust type.
fn not_json<T>(_reason: T) -> Error {
    Error("the stored text is not JSON".into())
}

fn float(token: &str) -> Option<f64> {
    match token {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        number => number.parse().ok(),
    }
}

/// Passes a number or word to the visitor. With `as_float` an integer becomes a float, as the type requires.
fn visit_token<'de, V: Visitor<'de>>(token: &str, as_float: bool, visitor: V) -> Result<V::Value, Error> {
    match token {
        "null" => return visitor.visit_unit(),
        "true" => return visitor.visit_bool(true),
        "false" => return visitor.visit_bool(false),
        _ => {}
    }
    if as_float || is_float(token) {
        return match float(token) {
            Some(number) => visitor.visit_f64(number),
            None => Err(not_json(())),
        };
    }
    if let Ok(number) = token.parse::<u64>() {
        visitor.visit_u64(number)
    } else if let Ok(number) = token.parse::<i64>() {
        visitor.visit_i64(number)
    } else if let Ok(number) = token.parse::<i128>() {
        visitor.visit_i128(number)
    } else if let Ok(number) = token.parse::<u128>() {
        visitor.visit_u128(number)
    } else {
        Err(Error(format!("an int of {} digits does not fit", token.trim_start_matches('-').len())))
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'"') => self.visit_string(visitor),
            Some(b'[') => self.nested(|reader| {
                reader.expect(b'[')?;
                let value = visitor.visit_seq(Elements { reader, first: true })?;
                reader.expect(b']').map_err(|_| Error("the list has more elements than expected".into()))?;
                Ok(value)
            }),
            Some(b'{') => self.nested(|reader| {
                reader.expect(b'{')?;
                let value = visitor.visit_map(Elements { reader, first: true })?;
                reader.expect(b'}')?;
                Ok(value)
            }),
            _ => visit_token(self.token()?, false, visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => visit_token(self.token()?, true, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() == Some(b'n') {
            self.token()?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if !self.take(b'{') {
            return visitor.visit_enum(Variant { reader: self, has_data: false });
        }
        self.nested(|reader| {
            let value = visitor.visit_enum(Variant { reader, has_data: true })?;
            reader.expect(b'}').map_err(|_| Error("a dict with one key is expected for this enum".into()))?;
            Ok(value)
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    first: bool,
}

impl Elements<'_, '_> {
    /// Whether another element follows; skips the comma in front of it.
    fn more(&mut self, close: u8) -> Result<bool, Error> {
        if self.reader.peek() == Some(close) {
            return Ok(false);
        }
        if !std::mem::take(&mut self.first) {
            self.reader.expect(b',')?;
        }
        Ok(true)
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.more(b']')? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.more(b'}')? { seed.deserialize(MapKey(self.reader)).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A dictionary key: always a string in JSON, read as the original number or bool when the type asks for one.
struct MapKey<'a, 'de>(&'a mut Reader<'de>);

macro_rules! plain_keys {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visit_token(self.0.raw_string()?, false, visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for MapKey<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.visit_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.peek() != Some(b'"') {
            return Err(not_json(()));
        }
        visitor.visit_enum(Variant { reader: self.0, has_data: false })
    }

    plain_keys! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
    has_data: bool,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        if !self.has_data {
            return Ok((seed.deserialize(&mut *self.reader)?, self));
        }
        let variant = seed.deserialize(MapKey(self.reader))?;
        self.reader.expect(b':')?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.has_data { de::Deserialize::deserialize(self.reader) } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        if self.has_data {
            seed.deserialize(self.reader)
        } else {
            Err(Error("found a variant without data".into()))
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.has_data {
            self.reader.deserialize_any(visitor)
        } else {
            Err(Error("found a variant without data".into()))
        }
    }
}
