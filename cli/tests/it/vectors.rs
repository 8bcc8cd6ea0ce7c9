//! Every session text that real Django made or read, through the command.

use std::collections::BTreeMap;

use cloakroom::{SessionCodec, Settings};
use serde_json::Value;

use crate::support::command::{cloakroom, run};
use crate::support::vectors::signature::{self, Signed};
use crate::support::vectors::{Case, Vectors};

/// The cases of one file, by the options that the command needs for them.
type Batches = BTreeMap<(String, Vec<String>, String), Vec<Case>>;

fn batches(vectors: Vectors) -> (Batches, usize) {
    let mut batches = Batches::new();
    let mut without_text = 0;
    for case in vectors.cases {
        // Where Django raised before there was a text, nothing is to be read.
        if case.content["encoded"].as_str().is_none() {
            without_text += 1;
            continue;
        }
        let texts = |name: &str| case.content[name].as_array().into_iter().flatten();
        let fallbacks = texts("secret_key_fallbacks").map(|secret| secret.as_str().unwrap().to_owned());
        let text = |name: &str| case.content[name].as_str().unwrap().to_owned();
        let batch = (text("secret_key"), fallbacks.collect(), text("key_salt"));
        batches.entry(batch).or_default().push(case);
    }
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

fn decode_all(format: &str, vectors: Vectors) -> (Tally, usize) {
    let (batches, without_text) = batches(vectors);
    let mut tally = Tally::default();
    let mut total = without_text;
    for ((secret, fallbacks, salt), cases) in batches {
        let mut arguments = vec!["decode", "--format", format, "--key-salt", &salt, "--secret-key", &secret];
        fallbacks.iter().for_each(|fallback| arguments.extend(["--secret-key-fallback", fallback]));
        // A text with line ends in it is no line; Django skips them, as other foreign characters.
        let (cases, split): (Vec<_>, Vec<_>) =
            cases.into_iter().partition(|case| !text_of(case).contains(['\n', '\r']));
        total += cases.len() + split.len();
        tally.not_comparable += split.len();
        let input: String = cases.iter().map(|case| format!("{}\n", text_of(case))).collect();
        let ran = run(cloakroom(&arguments), input.as_bytes());
        assert_eq!(ran.lines().len(), cases.len(), "one line each: {}", ran.stderr);
        for (number, (case, line)) in cases.iter().zip(ran.lines()).enumerate() {
            if let Some((signed, json)) = signed_with_sha1(&case.content) {
                let is_asked_for = signed == Signed::Sha1 || format != "modern";
                let is_empty_to_django = case.content["decoded"] == serde_json::json!({}) && json != "{}";
                // Since 4.0 Django refuses these, and so does `modern` the legacy layout; else they are read.
                if is_empty_to_django || !is_asked_for {
                    assert_eq!(line, if is_asked_for { &json } else { "{}" }, "{}", case.id);
                    tally.decoded += 1;
                    continue;
                }
            }
            compare(case, line, ran.stderr.contains(&format!("line {}: ", number + 1)), &mut tally);
        }
    }
    (tally, total)
}

fn serialized(case: &Case) -> &str {
    case.content["serialized"].as_str().unwrap()
}

fn text_of(case: &Case) -> &str {
    case.content["encoded"].as_str().unwrap()
}

/// The JSON in a text of Django before 4.0, and how that text is signed.
fn signed_with_sha1(case: &Value) -> Option<(Signed, String)> {
    let text = case["encoded"].as_str()?;
    let class = case["class_qualname"].as_str().or(case["class_name"].as_str())?;
    let salt = format!("django.contrib.sessions.{class}");
    let signed =
        signature::signed(case, text, &salt, Some(class)).filter(|signed| *signed != Signed::Modern)?;
    let mut settings = Settings::new(case["secret_key"].as_str()?);
    let fallbacks = case["secret_key_fallbacks"].as_array().into_iter().flatten();
    settings.secret_key_fallbacks = fallbacks.filter_map(Value::as_str).map(Into::into).collect();
    settings.session_class = class.to_owned();
    let json = SessionCodec::new(&settings).decode_json(text).ok()?;
    serde_json::from_str::<Value>(&json).is_ok().then_some((signed, json))
}

/// `serialized` is exact text; `decoded` is what Django read, with the values' spelling lost.
fn compare(Case { id, content: case }: &Case, line: &str, complained: bool, tally: &mut Tally) {
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
    for format in ["modern", "auto"] {
        decode_file("codec_modern", format);
    }
}

#[test]
fn legacy_vectors_decode_as_in_django() {
    for format in ["legacy", "auto"] {
        decode_file("codec_legacy", format);
    }
}

fn decode_file(name: &'static str, format: &str) {
    let vectors = Vectors::read(name);
    let own = vectors.own;
    let (tally, total) = decode_all(format, vectors);
    println!("{name}.json with --format {format}: {tally:?} of {total}");
    // Else the cases would not be compared, or not be there.
    assert!(!own || tally.serialized >= 150 && tally.decoded + tally.refused >= 120, "{tally:?} of {total}");
}

/// What Django wrote is written again from its JSON: letter for letter, unless zlib had a say in it.
#[test]
fn encode_writes_what_django_wrote() {
    for (format, name) in [("modern", "codec_modern"), ("legacy", "codec_legacy")] {
        let vectors = Vectors::read(name);
        let own = vectors.own;
        let mut runs: BTreeMap<(String, String, String), Vec<Case>> = BTreeMap::new();
        for case in vectors.cases {
            let content = &case.content;
            if content["kind"] == "encode" && content["serialized"].is_string() {
                let text = |name: &str| content[name].as_str().unwrap().to_owned();
                let now = content.get("frozen_time").map_or("0".to_owned(), ToString::to_string);
                runs.entry((text("secret_key"), text("key_salt"), now)).or_default().push(case);
            }
        }
        let (mut exact, mut compressed) = (0, 0);
        for ((secret, salt, now), cases) in runs {
            let options = ["--format", format, "--key-salt", &salt, "--secret-key", &secret, "--now", &now];
            let arguments = [["encode"].as_slice(), &options, &["--compress", "always"]].concat();
            let input: String = cases.iter().map(|case| format!(" {} \n", serialized(case))).collect();
            let ran = run(cloakroom(&arguments), input.as_bytes());
            assert_eq!((ran.code, ran.lines().len()), (0, cases.len()), "{}", ran.stderr);
            for (case, line) in cases.iter().zip(ran.lines()) {
                if case.content["compressed"] == true || line.starts_with('.') {
                    // Other zlibs give other bytes, and may find that it does not pay: read back below.
                    compressed += 1;
                } else {
                    assert_eq!(line, text_of(case), "{}", case.id);
                    exact += 1;
                }
            }
            let back = run(cloakroom(&[["decode"].as_slice(), &options].concat()), ran.stdout.as_bytes());
            let expected: Vec<_> = cases.iter().map(serialized).collect();
            assert_eq!(back.lines(), expected);
        }
        println!(
            "encode --format {format}: {exact} letter for letter, {compressed} compressed and read back"
        );
        assert!(!own || exact >= 100, "{exact}");
    }
}
