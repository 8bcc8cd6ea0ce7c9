//! From Rust values to JSON text, spelled as Python's `json.dumps` spells it.

use std::fmt::{self, Display, Write};

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::MAX_VALUE_DEPTH;
use super::limits::MAX_DIGITS;
use super::text::{unescape, write_string};

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    to_json_inside(value, 0)
}

/// Writes the JSON of a value that `depth` lists and dictionaries enclose.
fn to_json_inside<T: Serialize + ?Sized>(value: &T, depth: usize) -> Result<String, Error> {
    let mut writer = Writer { out: String::with_capacity(32), depth, foreign: false };
    value.serialize(&mut writer)?;
    if !writer.foreign {
        return Ok(writer.out);
    }
    // The text contains JSON from elsewhere, so it must still be checked whether Python reads it.
    let checked = super::Value::from_json(&writer.out).map_err(|error| Error(error.to_string()))?;
    Ok(checked.json().to_owned())
}

#[derive(Debug)]
pub(super) struct Error(String);

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Error(message.to_string())
    }
}

struct Writer {
    out: String,
    depth: usize,
    /// Whether it contains text that was already JSON.
    foreign: bool,
}

impl Writer {
    fn put(&mut self, value: impl Display) -> Result<(), Error> {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
        Ok(())
    }

    fn float(&mut self, shortest: String, value: f64) -> Result<(), Error> {
        if value.is_finite() {
            write_float(&mut self.out, &shortest);
        } else {
            self.out.push_str(if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
        }
        Ok(())
    }

    fn open(&mut self, bracket: char, close: char) -> Result<Compound<'_>, Error> {
        self.enter()?;
        self.out.push(bracket);
        Ok(Compound {
            writer: self,
            first: true,
            close: if close == '}' { "}" } else { "]" },
            levels: 1,
            disguise: None,
        })
    }

    /// Enters a list or dictionary. Writing recurses, so this limit also protects the stack.
    fn enter(&mut self) -> Result<(), Error> {
        if self.depth >= MAX_VALUE_DEPTH {
            return Err(Error(format!(
                "it nests more than {MAX_VALUE_DEPTH} levels deep, and could not be read back; store it flatter, or as a \
                 string"
            )));
        }
        self.depth += 1;
        Ok(())
    }

    /// `{"variant":` for the enums that carry data; closed with one more brace.
    fn variant(&mut self, variant: &'static str) -> Result<(), Error> {
        self.enter()?;
        self.out.push('{');
        write_string(&mut self.out, variant);
        self.out.push(':');
        Ok(())
    }
}

/// The shortest digits that read as this float, in the form `1.5e-7`, for [`write_float`]. Of two equally
/// near candidates Python takes the even one and Rust the larger; such ties occur only from 16 digits on.
pub(crate) fn shortest(float: f64) -> String {
    let shortest = format!("{float:e}");
    let digits = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    if digits < 16 {
        return shortest;
    }
    let nearest = format!("{float:.*e}", digits - 1);
    if nearest.parse() == Ok(float) { nearest } else { shortest }
}

/// Python's `repr` of a float, from Rust's shortest digits in the form `1.5e-7`: plain digits from 1e-4 up
/// to below 1e16, else an exponent of at least two digits.
pub(crate) fn write_float(out: &mut String, shortest: &str) {
    let (sign, unsigned) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.push_str(sign);
    if (-4..0).contains(&exponent) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1).unsigned_abs() as usize));
        out.push_str(&digits);
    } else if (0..16).contains(&exponent) {
        let whole = exponent.unsigned_abs() as usize + 1;
        if digits.len() > whole {
            out.push_str(&digits[..whole]);
            out.push('.');
            out.push_str(&digits[whole..]);
        } else {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', whole - digits.len()));
            out.push_str(".0");
        }
    } else {
        out.push_str(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.put(value)
    }
    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.float(format!("{value:e}"), f64::from(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.float(shortest(value), value)
    }
    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        write_string(&mut self.out, value);
        Ok(())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_none(self) -> Result<(), Error> {
        self.put("null")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Error> {
        self.put("null")
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.put("null")
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        self.put('}')
    }
    fn serialize_seq(self, _length: Option<usize>) -> Result<Compound<'a>, Error> {
        self.open('[', ']')
    }
    fn serialize_tuple(self, _length: usize) -> Result<Compound<'a>, Error> {
        self.open('[', ']')
    }
    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Compound<'a>, Error> {
        self.open('[', ']')
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Compound<'a>, Error> {
        self.variant(variant)?;
        self.open('[', ']').map(|compound| Compound { close: "]}", levels: 2, ..compound })
    }
    fn serialize_map(self, _length: Option<usize>) -> Result<Compound<'a>, Error> {
        self.open('{', '}')
    }
    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Compound<'a>, Error> {
        if let Some(disguise) = Disguise::of(name) {
            self.depth += 1;
            return Ok(Compound {
                writer: self,
                first: true,
                close: "",
                levels: 1,
                disguise: Some(disguise),
            });
        }
        self.open('{', '}')
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Compound<'a>, Error> {
        self.variant(variant)?;
        self.open('{', '}').map(|compound| Compound { close: "}}", levels: 2, ..compound })
    }
}

/// A list or dictionary that is being written.
struct Compound<'a> {
    writer: &'a mut Writer,
    first: bool,
    close: &'static str,
    /// How many lists and dictionaries `close` ends.
    levels: usize,
    disguise: Option<Disguise>,
}

/// A special structure of serde_json whose only field is text.
#[derive(Clone, Copy)]
enum Disguise {
    /// A number, with serde_json's feature `arbitrary_precision`.
    Number,
    /// A `RawValue`: JSON as it was read.
    Json,
}

impl Disguise {
    fn of(name: &str) -> Option<Disguise> {
        match name {
            "$serde_json::private::Number" => Some(Disguise::Number),
            "$serde_json::private::RawValue" => Some(Disguise::Json),
            _ => None,
        }
    }
}

impl Compound<'_> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.writer.out.push(',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        match self.disguise {
            None => {}
            Some(Disguise::Number) => {
                let string = to_json(value)?;
                let number = string.trim_matches('"');
                self.writer.foreign |= number.len() > MAX_DIGITS;
                return self.writer.put(number);
            }
            Some(Disguise::Json) => {
                let string = to_json(value)?;
                let between_quotes = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
                let json = unescape(between_quotes).map_err(|_| Error("half a surrogate pair".into()))?;
                self.writer.foreign = true;
                return self.writer.put(json);
            }
        }
        self.comma();
        write_string(&mut self.writer.out, key);
        self.writer.out.push(':');
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), Error> {
        self.writer.depth -= self.levels;
        self.writer.put(self.close)
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeTupleVariant for Compound<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.field(key, value)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.field(key, value)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Error;

    /// Writes a key as a string, as Python does: numbers by their text, `True` as `"true"`, `None` as
    /// `"null"`.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma();
        let text = to_json_inside(key, self.writer.depth)?;
        match text.as_bytes().first() {
            Some(b'"') => self.writer.out.push_str(&text),
            Some(b'[' | b'{') | None => {
                return Err(Error("dictionary keys must be strings, numbers, booleans or None".into()));
            }
            Some(_) => self.writer.put(format_args!("\"{text}\""))?,
        }
        self.writer.put(':')
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.writer)
    }
    fn end(self) -> Result<(), Error> {
        self.close()
    }
}
