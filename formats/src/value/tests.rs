use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::session_data::SessionData;

fn json<T: Serialize>(value: T) -> String {
    Value::serialize(&value).unwrap().json().to_owned()
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, ValueError> {
    Value::from_json(json).unwrap().deserialize()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Line(i32, i32),
    Named { text: String, optional: Option<u8> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    small: i8,
    large: u128,
    negative: i128,
    character: char,
    unit: (),
    some: Option<Box<Everything>>,
    shapes: Vec<Shape>,
    by_number: BTreeMap<i64, bool>,
    by_bool: BTreeMap<bool, char>,
}

#[test]
fn floats_are_spelled_as_python_spells_them() {
    for (float, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (5e-324, "5e-324"),
        (123_456_789.125, "123456789.125"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.234_567_890_123_456_8e17, "1.2345678901234568e+17"),
        (1.5e300, "1.5e+300"),
        // Each is equally near to another text with as many digits; Python takes the even one.
        (-6_594_736_080_302_253.0 / 4.0, "-1648684020075563.2"),
        (6_594_736_080_302_255.0 / 4.0, "1648684020075563.8"),
        (9_007_199_254_740_993.0, "9007199254740992.0"),
        (2.0f64.powi(-44), "5.684341886080802e-14"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        assert_eq!(json(float), text);
    }
    assert_eq!(json(0.1f32), "0.1");
}

#[test]
fn strings_are_ascii_and_escaped_as_python_escapes_them() {
    assert_eq!(json("say \"hi\" \\ back/slash"), r#""say \"hi\" \\ back/slash""#);
    assert_eq!(
        json("\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}"),
        r#""\u0000\u0001\b\t\n\u000b\f\r\u001f\u007f""#
    );
    assert_eq!(json("Zürich 🦀 \u{2028}"), r#""Z\u00fcrich \ud83e\udd80 \u2028""#);
    assert_eq!(read::<String>(r#""\ud83e\udd80 \/ \u00FC""#).unwrap(), "🦀 / ü");
}

#[test]
fn every_shape_of_serde_comes_back() {
    let value = Everything {
        small: -128,
        large: u128::MAX,
        negative: i128::MIN,
        character: '🦀',
        unit: (),
        some: Some(Box::new(Everything {
            small: 0,
            large: 0,
            negative: 0,
            character: 'a',
            unit: (),
            some: None,
            shapes: vec![],
            by_number: BTreeMap::new(),
            by_bool: BTreeMap::new(),
        })),
        shapes: vec![
            Shape::Empty,
            Shape::Circle(1.0),
            Shape::Line(1, -2),
            Shape::Named { text: "x".into(), optional: Some(1) },
        ],
        by_number: BTreeMap::from([(-1, true), (7, false)]),
        by_bool: BTreeMap::from([(true, 'y'), (false, 'n')]),
    };
    let stored = Value::serialize(&value).unwrap();
    assert!(
        stored.json().contains(r#""by_number":{"-1":true,"7":false},"by_bool":{"false":"n","true":"y"}"#)
    );
    assert_eq!(stored.deserialize::<Everything>().unwrap(), value);
}

#[test]
fn keys_of_dictionaries_become_strings_as_in_python() {
    assert_eq!(json(BTreeMap::from([(None, 1), (Some(2), 3)])), r#"{"null":1,"2":3}"#);
    assert!(Value::serialize(&BTreeMap::from([((1, 2), 3)])).is_err());
}

#[test]
fn serde_json_values_are_taken_whatever_its_features() {
    let value: serde_json::Value = serde_json::from_str(r#"{"a":[1,-2.5,12345678901234567890123]}"#).unwrap();
    assert_eq!(json(value), r#"{"a":[1,-2.5,12345678901234567890123]}"#);
}

#[test]
fn json_as_serde_json_read_it_is_stored_as_that_json() {
    let raw = |json: &str| serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
    for same in
        [r#"{"a": [1, 2.50, 1E5], "b": "quoted \" \\"}"#, "\"text\"", "null", "12345678901234567890123"]
    {
        assert_eq!(json(raw(same)), same);
    }
    assert_eq!(json(raw("\"Zo\u{eb} \\u00e9\"")), r#""Zo\u00eb \u00e9""#);
    assert_eq!(json(("before", raw("[1 ]"), Some(raw("{}")))), r#"["before",[1 ],{}]"#);
    let deep = format!("{}{}", "[".repeat(MAX_VALUE_DEPTH), "]".repeat(MAX_VALUE_DEPTH));
    let deep = RawDeep { deep };
    assert!(Value::serialize(&deep).is_ok() && Value::serialize(&[&deep]).is_err(), "its nesting counts");
}

/// A depth that serde_json, which stops at 128, does not produce.
struct RawDeep {
    deep: String,
}

impl Serialize for RawDeep {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let name = "$serde_json::private::RawValue";
        let mut structure = serializer.serialize_struct(name, 1)?;
        structure.serialize_field(name, &self.deep)?;
        structure.end()
    }
}

#[test]
fn what_python_refuses_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "[1 2]",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "nan",
        "True",
        "None",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"open",
        "[",
        "1 2",
        "\u{feff}1",
        "-NaN",
        "Infinit",
        "tru",
        "\"\\\u{e9}\"",
        "\u{e9}",
        "/* */1",
    ] {
        assert!(Value::from_json(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_python_accepts_is_kept_as_it_is() {
    for good in [
        "1",
        "-0",
        "1e400",
        "1E+2",
        "NaN",
        "-Infinity",
        "[ 1 , 2 ]",
        "{ \"a\" : [ ] }",
        "\"\\/\"",
        "\"\u{7f}\"",
        "[[[]]]",
        "{\"a\":{\"a\":{}}}",
        "1234567890123456789012345678901234567890",
    ] {
        assert_eq!(Value::from_json(good).unwrap().json(), good);
        assert_eq!(Value::from_json(&format!(" \t\r\n{good}\n")).unwrap().json(), good);
    }
    assert_eq!(Value::from_json("\"é🦀\"").unwrap().json(), r#""\u00e9\ud83e\udd80""#);
}

#[test]
fn types_that_differ_are_named_and_contents_are_not() {
    let error = read::<u32>(r#""a secret""#).unwrap_err().to_string();
    assert!(error.contains("a str") && error.contains("u32"), "{error}");
    let shape = read::<Shape>(r#"{"a secret":1}"#).unwrap_err().to_string();
    let number = read::<u8>("98765").unwrap_err().to_string();
    let lone = read::<String>(r#""a secret \ud83e""#).unwrap_err().to_string();
    for error in [&error, &shape, &number, &lone] {
        assert!(!error.contains("secret") && !error.contains("98765"), "{error}");
    }
    assert!(lone.contains("surrogate"));
    assert!(read::<i64>("123456789012345678901234567890").is_err());
    assert_eq!(read::<f64>("123456789012345678901234567890").unwrap(), 1.234_567_890_123_456_8e29);
    assert_eq!(read::<f64>("-0").unwrap(), 0.0);
    assert!(read::<(u8,)>("[1,2]").is_err());
    assert_eq!(read::<Option<u8>>("null").unwrap(), None);
}

#[test]
fn depth_has_a_limit_and_no_stack_is_overflown() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Value::from_stored_json(&nested(900)).is_ok());
    assert!(Value::from_stored_json(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(Value::from_stored_json(&nested(MAX_DEPTH)).is_err());
    assert!(Value::from_json(&"[".repeat(1_000_000)).is_err());
    assert!(Value::from_json(&"{\"a\":".repeat(1_000_000)).is_err());
    // Typed reading stops earlier, as it recurses.
    assert!(read::<serde_json::Value>(&nested(128)).is_ok());
    let carried = Value::from_stored_json(&nested(900)).unwrap();
    assert!(carried.deserialize::<serde_json::Value>().unwrap_err().to_string().contains("128"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    End,
    New(Box<Deep>),
    Tuple(u8, Box<Deep>),
    Struct { inner: Box<Deep> },
    List(Vec<Deep>),
}

/// Every accepted value reads back as the same type, and the first level that would not is refused.
#[test]
fn what_is_set_is_read_back_or_refused() {
    type Wrap = fn(Deep) -> Deep;
    let wraps: [(Wrap, usize); 4] = [
        (|inner| Deep::New(Box::new(inner)), MAX_VALUE_DEPTH),
        (|inner| Deep::Tuple(1, Box::new(inner)), MAX_VALUE_DEPTH / 2),
        (|inner| Deep::Struct { inner: Box::new(inner) }, MAX_VALUE_DEPTH / 2),
        (|inner| Deep::List(vec![inner]), MAX_VALUE_DEPTH / 2),
    ];
    for (wrap, most) in wraps {
        let deep = |levels: usize| (0..levels).fold(Deep::End, |inner, _| wrap(inner));
        let value = Value::serialize(&deep(most)).unwrap();
        assert_eq!(value.deserialize::<Deep>().unwrap(), deep(most));
        for levels in [most + 1, 600, 1_100] {
            let error = Value::serialize(&deep(levels)).unwrap_err();
            assert!(error.to_string().contains("128"), "{levels} levels: {error}");
        }
    }
    // Siblings do not add up: each counts for itself.
    let wide: Vec<Deep> =
        (0..300).map(|_| Deep::Tuple(1, Box::new(Deep::New(Box::new(Deep::End))))).collect();
    assert_eq!(Value::serialize(&wide).unwrap().deserialize::<Vec<Deep>>().unwrap(), wide);
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let strings = format!("[\"{}\\\"[\",{}]", "[".repeat(300), nested(127));
    assert!(Value::from_json(&strings).unwrap().deserialize::<serde_json::Value>().is_ok());
    for levels in [129, 500, 989] {
        assert_eq!(Value::from_json(&nested(levels)), Err(ValueError::TooDeep { depth: levels }));
    }
}

/// A dictionary key is written separately, and its levels still count.
#[test]
fn a_deep_key_does_not_overflow_the_stack() {
    struct Key(usize);
    impl Serialize for Key {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(&Key(self.0 + 1), &0)?;
            map.end()
        }
    }
    assert!(Value::serialize(&Key(0)).is_err());
}

#[test]
fn an_integer_that_python_does_not_read_is_refused() {
    let digits = |count: usize| "9".repeat(count);
    assert!(
        Value::from_json(&digits(4_300)).is_ok()
            && Value::from_json(&format!("[-{}]", digits(4_300))).is_ok()
    );
    for json in [digits(4_301), format!("[1,-{}]", digits(4_301)), format!(r#"{{"a":{}}}"#, digits(9_000))] {
        assert_eq!(Value::from_json(&json), Err(ValueError::IntegerTooLong));
        assert!(Value::from_stored_json(&json).is_ok(), "what Python wrote is carried");
    }
    for float in
        [format!("{}.5", digits(5_000)), format!("{}e1", digits(5_000)), format!("1.{}", digits(5_000))]
    {
        assert!(Value::from_json(&float).is_ok());
    }
    assert!(Value::from_json(&format!("\"{}\"", digits(5_000))).is_ok());
}

#[test]
fn the_kind_is_that_of_python() {
    for (text, kind) in [
        ("null", Kind::None),
        ("true", Kind::Bool),
        ("-1", Kind::Int),
        ("1e5", Kind::Float),
        ("NaN", Kind::Float),
        ("Infinity", Kind::Float),
        ("-Infinity", Kind::Float),
        ("\"\"", Kind::Str),
        ("[]", Kind::List),
        ("{}", Kind::Dict),
    ] {
        assert_eq!(Value::from_json(text).unwrap().kind(), kind, "{text}");
    }
}

#[test]
fn dictionaries_keep_order_and_the_last_of_equal_keys() {
    let data = SessionData::from_json(r#"{"a":1,"b":2,"\u0061":3,"é":4,"\u00e9":5}"#).unwrap();
    assert_eq!(data.to_json(), r#"{"a":3,"b":2,"\u00e9":5}"#);
    assert_eq!(data.read::<u8>("é").unwrap(), Some(5));
    let mut data = SessionData::from_json(r#"{"a":1,"b":2,"c":3}"#).unwrap();
    data.remove("a");
    data.write("b", "changed").unwrap();
    data.write("\"", &1).unwrap();
    assert_eq!(data.to_json(), r#"{"b":"changed","c":3,"\"":1}"#);
    assert_eq!(data.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "c", "\""]);
}

#[test]
fn half_a_surrogate_pair_stays_in_keys_and_values() {
    let text = r#"{"\ud83e":"x\ud800y","pair":"\ud83e\udd80"}"#;
    let mut data = SessionData::from_json(text).unwrap();
    data.write("new", &1).unwrap();
    assert_eq!(data.to_json(), format!("{},\"new\":1}}", text.strip_suffix('}').unwrap()));
    assert_eq!(data.iter().next().unwrap().0, "\u{fffd}");
}

#[test]
fn sessions_must_be_dictionaries() {
    for text in ["[1,2]", "null", "5", "\"x\"", "", "{\"a\":1}x"] {
        assert!(SessionData::from_json(text).is_err(), "{text}");
    }
}

#[test]
fn debug_shows_no_contents() {
    let data = SessionData::from_json(r#"{"token":"a secret"}"#).unwrap();
    let shown = format!("{data:?} {:?}", data.get("token").unwrap());
    assert_eq!(shown, "SessionData(1 keys) Value(a str, 10 bytes)");
}

/// Parts that only the signature vouches for are carried as they are, and refused when they are read.
#[test]
fn damage_inside_a_signed_value_is_found_when_it_is_read() {
    let json = r#"{"a":[1,,nope],"b":{"c":"\x"},"d":[1]}"#;
    assert!(SessionData::from_json(json).is_err());
    let data = SessionData::from_signed_json(json).unwrap();
    assert_eq!(data.to_json(), json);
    assert_eq!(data.read("d"), Ok(Some([1])));
    assert!(matches!(data.read::<Vec<Option<u8>>>("a"), Err(ValueError::Mismatch { .. })));
    assert!(matches!(data.read::<BTreeMap<String, String>>("b"), Err(ValueError::Mismatch { .. })));
    assert!(matches!(data.to_pickle(), Err(ValueError::Syntax(_))));
    for wrong in [
        r#"{"a":nope}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":01}"#,
        r#"{"a":[1]"#,
        r#"{"a":[1]}}"#,
        r#"{"a":[1}"#,
        r#"{"a":[]1}"#,
    ] {
        assert!(SessionData::from_signed_json(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_python_escapes_is_found_at_every_place() {
    for length in 0..40 {
        let mut text = vec![b'a'; length];
        assert_eq!(first_to_escape(&text), None);
        for place in 0..length {
            for byte in 0..=u8::MAX {
                text[place] = byte;
                let plain = (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
                assert_eq!(
                    first_to_escape(&text),
                    (!plain).then_some(place),
                    "{byte} at {place} of {length}"
                );
            }
            text[place] = b'a';
        }
    }
}
