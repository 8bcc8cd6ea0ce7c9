//! Every session text that real Django made or read, through the command.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::command::{cloakroom, run};

/// The cases of one file, by the options that the command needs for them.
type Batches = BTreeMap<(String, Vec<String>, String), Vec<Value>>;

fn batches(file: &str, text: &str) -> (Batches, usize) {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut batches = Batches::new();
    let mut without_text = 0;
    for case in cases {
        // Where Django raised before there was a text, nothing is to be read.
        if case["encoded"].as_str().is_none() {
            without_text += 1;
            continue;
        }
        let texts = |name: &str| case[name].as_array().into_iter().flatten();
        let fallbacks = texts("secret_key_fallbacks").map(|secret| secret.as_str().unwrap().to_owned());
        let text = |name: &str| case[name].as_str().unwrap().to_owned();
        let batch = (text("secret_key"), fallbacks.collect(), text("key_salt"));
        batches.entry(batch).or_default().push(case);
    }
    assert!(!batches.is_empty(), "{file} is there");
    (batches, without_text)
}

/// How many cases were compared, and how many cannot be.
#[derive(Debug, Default)]
struct Tally {
    serialized: usize,
    decoded: usize,
    refused: usize,
    not_comparable: usize,
}

fn decode_all(format: &str, file: &str, text: &str) -> (Tally, usize) {
    let (batches, without_text) = batches(file, text);
    let mut tally = Tally::default();
    let mut total = without_text;
    for ((secret, fallbacks, salt), cases) in batches {
        let mut arguments = vec!["decode", "--format", format, "--key-salt", &salt, "--secret-key", &secret];
        fallbacks.iter().for_each(|fallback| arguments.extend(["--secret-key-fallback", fallback]));
        // A text with line ends in it is no line; Django skips them, as other foreign characters.
        let (cases, split): (Vec<_>, Vec<_>) =
            cases.into_iter().partition(|case| !case["encoded"].as_str().unwrap().contains(['\n', '\r']));
        total += cases.len() + split.len();
        tally.not_comparable += split.len();
        let input: String =
            cases.iter().map(|case| format!("{}\n", case["encoded"].as_str().unwrap())).collect();
        let ran = run(cloakroom(&arguments), input.as_bytes());
        assert_eq!(ran.lines().len(), cases.len(), "one line each: {}", ran.stderr);
        for (number, (case, line)) in cases.iter().zip(ran.lines()).enumerate() {
            if case["id"].as_str().unwrap().ends_with("-legacy-format") {
                // Django stopped to read these with 4.0; here `auto` reads them always, and `modern` never.
                let expected = if format == "auto" { r#"{"user":"ann","n":3}"# } else { "{}" };
                assert_eq!(line, expected, "{}", case["id"]);
                tally.decoded += 1;
                continue;
            }
            if case["id"].as_str().unwrap().ends_with("-sha1-signed") {
                // As Django 3.1 and 3.2, which read these, and not as the others.
                assert_eq!(line, r#"{"user":"ann","n":3}"#, "{}", case["id"]);
                tally.decoded += 1;
                continue;
            }
            compare(case, line, ran.stderr.contains(&format!("line {}: ", number + 1)), &mut tally);
        }
    }
    (tally, total)
}

/// `serialized` is exact text; `decoded` is what Django read, with the values' spelling lost.
fn compare(case: &Value, line: &str, complained: bool, tally: &mut Tally) {
    let id = case["id"].as_str().unwrap();
    if let Some(serialized) = case["serialized"].as_str() {
        assert_eq!(line, serialized, "{id}");
        assert!(!complained, "{id}");
        tally.serialized += 1;
    } else if complained {
        // Django logs and gives an empty session, or raises.
        assert_eq!(line, "{}", "{id}");
        assert!(case["raises"].is_string() || case["decoded"] == serde_json::json!({}), "{id}: {case}");
        tally.refused += 1;
    } else if let Some(decoded) = case.get("decoded") {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{id}: {line}: {error}"));
        assert_eq!(same_numbers(&read), same_numbers(decoded), "{id}");
        tally.decoded += 1;
    } else {
        // NaN, lone surrogates and the like: this side reads them, and JSON cannot say what Django read.
        tally.not_comparable += 1;
    }
}

/// Floats may be spelled in several ways; integers of any size in one.
fn same_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.to_string().contains(['.', 'e', 'E']) => {
            Value::String(format!("{:?}", number.to_string().parse::<f64>().unwrap()))
        }
        Value::Array(items) => items.iter().map(same_numbers).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), same_numbers(value))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn modern_vectors_decode_as_in_django() {
    let text = include_str!("../../../tests/vectors/codec_modern.json");
    for format in ["modern", "auto"] {
        let (tally, total) = decode_all(format, "codec_modern.json", text);
        println!("codec_modern.json with --format {format}: {tally:?} of {total}");
        assert!(tally.serialized >= 200 && tally.decoded + tally.refused >= 220, "{tally:?} of {total}");
    }
}

#[test]
fn legacy_vectors_decode_as_in_django() {
    let text = include_str!("../../../tests/vectors/codec_legacy.json");
    for format in ["legacy", "auto"] {
        let (tally, total) = decode_all(format, "codec_legacy.json", text);
        println!("codec_legacy.json with --format {format}: {tally:?} of {total}");
        assert!(tally.serialized >= 150 && tally.decoded + tally.refused >= 120, "{tally:?} of {total}");
    }
}

/// What Django wrote is written again from its JSON: letter for letter, unless zlib had a say in it.
#[test]
fn encode_writes_what_django_wrote() {
    let files = [
        ("modern", include_str!("../../../tests/vectors/codec_modern.json")),
        ("legacy", include_str!("../../../tests/vectors/codec_legacy.json")),
    ];
    for (format, text) in files {
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        let mut runs: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
        for case in cases {
            if case["kind"] == "encode" && case["serialized"].is_string() {
                let text = |name: &str| case[name].as_str().unwrap().to_owned();
                let now = case.get("frozen_time").map_or("0".to_owned(), ToString::to_string);
                runs.entry((text("secret_key"), text("key_salt"), now)).or_default().push(case);
            }
        }
        let (mut exact, mut compressed) = (0, 0);
        for ((secret, salt, now), cases) in runs {
            let options = ["--format", format, "--key-salt", &salt, "--secret-key", &secret, "--now", &now];
            let arguments = [["encode"].as_slice(), &options, &["--compress", "always"]].concat();
            let input: String =
                cases.iter().map(|case| format!(" {} \n", case["serialized"].as_str().unwrap())).collect();
            let ran = run(cloakroom(&arguments), input.as_bytes());
            assert_eq!((ran.code, ran.lines().len()), (0, cases.len()), "{}", ran.stderr);
            for (case, line) in cases.iter().zip(ran.lines()) {
                if case["compressed"] == true || line.starts_with('.') {
                    // Other zlibs give other bytes, and may find that it does not pay: read back below.
                    compressed += 1;
                } else {
                    assert_eq!(line, case["encoded"], "{}", case["id"]);
                    exact += 1;
                }
            }
            let back = run(cloakroom(&[["decode"].as_slice(), &options].concat()), ran.stdout.as_bytes());
            let expected: Vec<_> = cases.iter().map(|case| case["serialized"].as_str().unwrap()).collect();
            assert_eq!(back.lines(), expected);
        }
        println!(
            "encode --format {format}: {exact} letter for letter, {compressed} compressed and read back"
        );
        assert!(exact >= 100, "{exact}");
    }
}
