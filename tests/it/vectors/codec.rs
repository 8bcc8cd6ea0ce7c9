//! The signed text of sessions, modern and legacy.

use cloakroom::signing::Compression;
use cloakroom::{
    DecodeError, Expiry, ManualClock, MemoryStore, Moment, SessionCodec, SessionData, SessionMiddleware,
    TextFormat,
};
use serde_json::Value as Json;

use super::python::Python;
use super::signature::{self, Signed, json_in};
use super::{
    Reproduced, Rule, Vectors, a_repeated_key, block_on, repeats_a_key, settings, text, time, time_zone,
};

#[test]
fn codec_modern() {
    let dates =
        Rule::new("before 4.1 Django cannot write a date; what it writes since is written here", |case| {
            case["kind"] == "set_expiry"
                && case["serialized"].is_null()
                && text(case, "set_expiry_python").starts_with("datetime.")
        });
    let [no_dictionary, of_before] = rules_of_reading();
    Vectors::read("codec_modern").run(
        &[a_repeated_key(), dates, no_dictionary, of_before],
        |case| match text(case, "kind") {
            "encode" => encode_modern(case),
            "set_expiry" => set_expiry(case),
            "decode" => decode(case),
            other => panic!("kind {other}"),
        },
    );
}

#[test]
fn codec_legacy() {
    let base64 = Rule::new(
        "before 3.1 Django lets errors of base64 through to the view; the text is not genuine",
        |case| case["kind"] == "decode" && case["raises"].is_string() && signed(case).is_none(),
    );
    let [no_dictionary, of_before] = rules_of_reading();
    let of_before = of_before.unless_in_own_vectors();
    Vectors::read("codec_legacy").run(
        &[a_repeated_key(), base64, no_dictionary, of_before],
        |case| match text(case, "kind") {
            "encode" => encode_legacy(case),
            "decode" => decode(case),
            other => panic!("kind {other}"),
        },
    );
}

/// Two rules for genuine texts.
fn rules_of_reading() -> [Rule; 2] {
    let is_read = |case: &Json| {
        case["kind"] == "decode" && case["decoded_python"].is_null() && case["decoded_summary"].is_null()
    };
    let is_empty = |case: &Json| case["decoded"].as_object().is_some_and(serde_json::Map::is_empty);
    // What the text holds, if that is a dictionary.
    let dictionary = |case: &Json| {
        let json = codec(case, TextFormat::Modern).decode_json(text(case, "encoded")).ok()?;
        serde_json::from_str::<serde_json::Map<String, Json>>(&json).ok()
    };
    let no_dictionary = Rule::new(
        "a genuine text without a dictionary is an error and stays; Django takes it for empty, hands it to the view or \
         fails",
        move |case| {
            is_read(case)
                && signed(case).is_some()
                && (!case["decoded"].is_object() || is_empty(case) && dictionary(case).is_none())
        },
    );
    let of_before = Rule::new(
        "what Django before 4.0 signed with SHA-1 is read; since 4.0 Django refuses it",
        move |case| {
            is_read(case)
                && matches!(signed(case), Some(Signed::Sha1 | Signed::Legacy))
                && is_empty(case)
                && dictionary(case).is_some_and(|dictionary| !dictionary.is_empty())
        },
    );
    [no_dictionary, of_before]
}

fn class(case: &Json) -> &str {
    case["class_qualname"].as_str().or(case["class_name"].as_str()).unwrap()
}

fn signed(case: &Json) -> Option<Signed> {
    let class = class(case);
    let salt = format!("django.contrib.sessions.{class}");
    signature::signed(case, text(case, "encoded"), &salt, Some(class))
}

fn codec(case: &Json, format: TextFormat) -> SessionCodec {
    let mut settings = settings(case);
    settings.text_format = format;
    settings.compression = Compression::Always;
    let class = class(case);
    settings.session_class = class.to_owned();
    if format == TextFormat::Modern && text(case, "key_salt").starts_with("django.contrib.sessions.") {
        assert_eq!(text(case, "key_salt"), format!("django.contrib.sessions.{class}"));
    }
    SessionCodec::new(&settings)
}

/// The session of a case: from its JSON text, and where Rust can hold the values, also from those.
fn session(case: &Json) -> SessionData {
    let from_values = case["input"].as_object().map(|input| {
        let mut data = SessionData::new();
        for (key, value) in input {
            data.write(key, value).unwrap();
        }
        data
    });
    match case["serialized"].as_str() {
        Some(json) => {
            // Two keys that become one when written, which only a Python dictionary can hold.
            if !repeats_a_key(json) {
                let data = SessionData::from_json(json).unwrap();
                assert_eq!(data.to_json(), json, "the text that was read is written as it was");
                if let Some(from_values) = from_values {
                    assert_eq!(from_values.to_json(), json, "the values are spelled as Python spells them");
                }
                return data;
            }
            SessionData::from_json(json).unwrap()
        }
        None => from_values.expect("a case without its text has values"),
    }
}

fn encode_modern(case: &Json) -> Reproduced {
    let codec = codec(case, TextFormat::Modern);
    let (data, now, expected) = (session(case), time(&case["frozen_time"]), text(case, "encoded"));
    if let Some(length) = case["serialized_length"].as_u64()
        && !case["serialized"].as_str().is_some_and(repeats_a_key)
    {
        assert_eq!(data.to_json().len() as u64, length);
    }
    assert_eq!(codec.decode(expected).unwrap(), data, "what Django wrote is read");
    let encoded = codec.encode(&data, now).unwrap();
    if case["serialized"].as_str().is_some_and(repeats_a_key) {
        let read = codec.decode(&encoded).unwrap();
        assert_eq!(Python::from_session(&read), Python::from_vector(&case["decoded"]));
        assert_ne!(encoded, expected);
        return Reproduced::Differently;
    }
    if expected.starts_with('.') {
        // Other compressors give other bytes, so what counts is the content, and that it is shorter.
        assert!(
            encoded.starts_with('.') && encoded.len() <= expected.len() + 8,
            "as short as Django's, nearly"
        );
        assert_eq!(codec.decode(&encoded).unwrap(), data);
        assert_eq!(encoded.rsplit(':').nth(1), expected.rsplit(':').nth(1), "timestamp");
    } else if encoded.starts_with('.') {
        panic!("Django did not compress this");
    } else {
        assert_eq!(encoded, expected);
    }
    Reproduced::Exactly
}

fn encode_legacy(case: &Json) -> Reproduced {
    let codec = codec(case, TextFormat::Legacy);
    let (data, expected) = (session(case), text(case, "encoded"));
    assert_eq!(codec.decode(expected).unwrap(), data, "what Django wrote is read");
    if case["serialized"].as_str().is_some_and(repeats_a_key) {
        assert_ne!(codec.encode(&data, Default::default()).unwrap(), expected);
        return Reproduced::Differently;
    }
    assert_eq!(codec.encode(&data, Default::default()).unwrap(), expected);
    Reproduced::Exactly
}

fn decode(case: &Json) -> Reproduced {
    let codec = codec(case, TextFormat::Modern);
    let encoded = text(case, "encoded");
    let result = codec.decode(encoded);
    if let Some(summary) = case["decoded_summary"].as_object() {
        let json = result.unwrap().to_json();
        if let Some(depth) = summary.get("a_nested_arrays") {
            let depth = depth.as_u64().unwrap() as usize;
            assert_eq!(json, format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
        } else {
            let length = summary["a_length"].as_u64().unwrap() as usize;
            assert_eq!(json, format!("{{\"a\":\"{}\"}}", summary["a_char"].as_str().unwrap().repeat(length)));
        }
        return Reproduced::Exactly;
    }
    if let Some(python) = case["decoded_python"].as_str() {
        // The text as it was stored, where Rust has no such value; as Python spells it after reading.
        let json = result.unwrap().to_json();
        let as_python = json.replace(":", ": ").replace(",", ", ").replace('"', "'");
        let as_python = as_python.replace("NaN", "nan").replace("Infinity", "inf").replace("1e400", "inf");
        let as_python = as_python.replace(": -0}", ": 0}").replace("true", "True");
        assert_eq!(as_python, python);
        return Reproduced::Exactly;
    }
    let signed = signed(case);
    let is_genuine = signed.is_some();
    match (&case["decoded"], &result) {
        (Json::Object(expected), Ok(data)) if !expected.is_empty() || data.is_empty() => {
            assert_eq!(Python::from_session(data), Python::from_vector(&case["decoded"]));
            Reproduced::Exactly
        }
        // Django reads these as empty, and the next save overwrites them.
        (Json::Object(expected), Err(DecodeError::Unreadable(_))) if is_genuine && expected.is_empty() => {
            Reproduced::Differently
        }
        // Errors that Django 3.1 and 3.2 let through to the view.
        (Json::Null, Err(DecodeError::Unreadable(_))) if is_genuine && case["raises"].is_string() => {
            Reproduced::Differently
        }
        (Json::Object(expected), Err(DecodeError::BadSignature)) => {
            assert!(!is_genuine, "a genuine text was refused");
            assert!(expected.is_empty(), "Django reads this");
            Reproduced::Exactly
        }
        (Json::Object(_), Ok(data)) if matches!(signed, Some(Signed::Sha1 | Signed::Legacy)) => {
            if let Some(json) = json_in(encoded) {
                assert_eq!(
                    Python::from_session(data),
                    Python::from_vector(&serde_json::from_str(&json).unwrap())
                );
            }
            Reproduced::Differently
        }
        // Errors of base64 that old Djangos let through to the view.
        (Json::Null, Err(DecodeError::BadSignature)) if case["raises"].is_string() && !is_genuine => {
            Reproduced::Differently
        }
        // A genuine list, number or text is no session; Django hands it to the view, which fails.
        (value, Err(DecodeError::Unreadable(_))) if !value.is_object() => {
            let json = codec.decode_json(encoded).unwrap();
            assert_eq!(serde_json::from_str::<Json>(&json).unwrap(), *value);
            Reproduced::Differently
        }
        (expected, result) => panic!("Django: {expected}; here: {result:?}"),
    }
}

fn set_expiry(case: &Json) -> Reproduced {
    let now = time(&case["frozen_time"]);
    let mut settings = settings(case);
    settings.time_zone = time_zone(case["use_tz"].as_bool().unwrap(), "UTC");
    settings.compression = Compression::Never;
    let codec = SessionCodec::new(&settings);
    let middleware = SessionMiddleware::new(std::sync::Arc::new(MemoryStore::new()), settings)
        .unwrap()
        .with_clock(std::sync::Arc::new(ManualClock::new(now)));
    block_on(async {
        let session = middleware.begin([]).load().await.unwrap();
        session.set("keep", 1).unwrap();
        let expiry = python_expiry(text(case, "set_expiry_python"));
        session.set_expiry(expiry).unwrap();
        let Some(serialized) = case["serialized"].as_str() else {
            // Before 4.1 Django could not write dates; what it writes since is written here.
            assert!(matches!(expiry, Expiry::At(_) | Expiry::AtWallClock(_) | Expiry::After(_)));
            return Reproduced::Differently;
        };
        assert_eq!(session.data().to_json(), serialized);
        let expected = text(case, "encoded");
        if !expected.starts_with('.') {
            assert_eq!(codec.encode(&session.data(), now).unwrap(), expected);
        }
        assert_eq!(codec.decode(expected).unwrap(), session.data());
        Reproduced::Exactly
    })
}

/// The few forms of Python literals that `set_expiry_python` holds.
pub(crate) fn python_expiry(literal: &str) -> Expiry {
    use cloakroom::chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta, TimeZone};
    let fields = |text: &str| -> Vec<i64> {
        let numbers = text.split(|character: char| !character.is_ascii_digit() && character != '-');
        numbers.filter(|number| !number.is_empty()).map(|number| number.parse().unwrap()).collect()
    };
    let delta = |text: &str| {
        let mut delta = TimeDelta::zero();
        for part in text.split(',') {
            let number = fields(part)[0];
            delta += match part.trim_start().split('=').next().unwrap() {
                "days" => TimeDelta::days(number),
                "seconds" => TimeDelta::seconds(number),
                "microseconds" => TimeDelta::microseconds(number),
                other => panic!("timedelta({other}=…)"),
            };
        }
        delta
    };
    if literal == "None" {
        return Expiry::Default;
    }
    if let Ok(seconds) = literal.parse::<i64>() {
        return seconds.into();
    }
    if let Ok(seconds) = literal.parse::<f64>() {
        return seconds.into();
    }
    if let Some(arguments) = literal.strip_prefix("datetime.timedelta(") {
        return Expiry::After(delta(arguments));
    }
    let arguments = literal.strip_prefix("datetime.datetime(").unwrap();
    let (date, zone) = arguments.split_once(", tzinfo=").unwrap_or((arguments, ""));
    let numbers = fields(date);
    let part = |index: usize| u32::try_from(*numbers.get(index).unwrap_or(&0)).unwrap();
    let wall_clock = NaiveDate::from_ymd_opt(numbers[0] as i32, part(1), part(2))
        .and_then(|date| date.and_hms_micro_opt(part(3), part(4), part(5), part(6)))
        .unwrap();
    match zone {
        "" => Expiry::AtWallClock(wall_clock),
        zone if zone.starts_with("datetime.timezone.utc") => Expiry::At(wall_clock.and_utc().fixed_offset()),
        zone => {
            let offset = delta(zone.strip_prefix("datetime.timezone(datetime.timedelta(").unwrap());
            let offset = FixedOffset::east_opt(offset.num_seconds() as i32).unwrap();
            let moment: DateTime<FixedOffset> = offset.from_local_datetime(&wall_clock).single().unwrap();
            assert!(matches!(Moment::Aware(moment), Moment::Aware(_)));
            Expiry::At(moment)
        }
    }
}
