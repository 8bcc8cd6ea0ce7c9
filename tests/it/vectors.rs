//! What real Django releases produced, reproduced: every case of every file, counted.
//!
//! Where this library means to differ, the case is checked against what it does instead, and counted among
//! the declared differences; DESIGN.md gives the reasons.

mod auth;
pub(crate) mod codec;
mod csrf;
pub(crate) mod db_rows;
mod expiry;
mod file_sessions;
mod messages;
mod middleware;
mod next;
pub(crate) mod python;
mod signed_cookies;
mod signing;

use cloakroom::chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use crate::support::vectors::Case;
pub(crate) use crate::support::vectors::{Reproduced, Rule, Vectors, signature};

#[test]
fn the_folder_of_vectors_has_cases() {
    crate::support::vectors::assert_that_the_folder_has_cases();
}

/// The rules and the cases must agree, else a rule would hide what it does not mean.
#[test]
fn what_no_rule_declares_and_what_a_rule_declares_in_vain_is_told() {
    let told = |own: bool, rules: &[Rule]| {
        let cases =
            [1, 2].map(|number| Case { id: format!("case {number}"), content: json!({ "n": number }) });
        let vectors = Vectors { name: "auth", cases: cases.into(), own };
        let differs = |case: &Json| case["n"] == 1;
        let run = std::panic::AssertUnwindSafe(|| {
            let reproduced = [Reproduced::Exactly, Reproduced::Differently];
            vectors.run(rules, |case| reproduced[usize::from(differs(case))]);
        });
        let panic = std::panic::catch_unwind(run).err()?;
        Some(panic.downcast_ref::<String>().unwrap().clone())
    };
    let first = || Rule::new("the first", |case| case["n"] == 1);
    assert_eq!(told(true, &[first()]), None);
    let undeclared = told(true, &[]).unwrap();
    assert_eq!(undeclared, "1 failed:\ncase 1: differs from Django, and no rule declares it");
    let too_wide = told(true, &[Rule::new("all", |_| true)]).unwrap();
    assert_eq!(too_wide, "1 failed:\ncase 2: does as Django, though a rule declares: all");
    let stale = Rule::new("the third", |case| case["n"] == 3);
    let rules = [first(), stale];
    assert_eq!(told(true, &rules).unwrap(), "1 failed:\n0 cases for the rule: the third");
    assert_eq!(told(false, &rules), None, "another folder may lack cases");
    let elsewhere = Rule::for_other_folders("the first", |case| case["n"] == 1);
    assert_eq!(told(true, &[elsewhere]).unwrap(), "1 failed:\n1 cases for the rule: the first");
}

pub(crate) fn text<'a>(case: &'a Json, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("no text in {field}"))
}

/// What is written in hexadecimal digits.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What Django's generator gave: the key of a new session.
pub(crate) struct GivenKey(pub(crate) cloakroom::SessionKey);

impl cloakroom::KeyGenerator for GivenKey {
    fn generate(&self) -> Result<cloakroom::SessionKey, cloakroom::Error> {
        Ok(self.0.clone())
    }
}

/// The release that made the case, as in `(4, 2)`.
pub(crate) fn version(case: &Json) -> (u32, u32) {
    let mut numbers = text(case, "django_version").split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether a dictionary in this JSON has a key twice: Python writes `1` and `"1"` as one text.
pub(crate) fn repeats_a_key(json: &str) -> bool {
    fn repeats(value: &python::Python) -> bool {
        match value {
            python::Python::List(list) => list.iter().any(repeats),
            python::Python::Dict(dict) => {
                let keys: std::collections::BTreeSet<_> = dict.iter().map(|(key, _)| key).collect();
                keys.len() < dict.len() || dict.iter().any(|(_, value)| repeats(value))
            }
            _ => false,
        }
    }
    serde_json::from_str(json).is_ok_and(|value| repeats(&value))
}

/// The rule for a dictionary of Python's with two keys that become one.
fn a_repeated_key() -> Rule {
    Rule::new("a dictionary has each key once; Django writes a text that nobody reads as it was", |case| {
        case["kind"] == "encode" && case["serialized"].as_str().is_some_and(repeats_a_key)
    })
}

/// A Unix time with a fraction, in microseconds.
pub(crate) fn time(seconds: &Json) -> DateTime<Utc> {
    let seconds: f64 = seconds.to_string().parse().unwrap();
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64).unwrap()
}

/// The settings that a case names.
pub(crate) fn settings(case: &Json) -> cloakroom::Settings {
    let mut settings = cloakroom::Settings::new(text(case, "secret_key"));
    if let Some(fallbacks) = case["secret_key_fallbacks"].as_array() {
        settings.secret_key_fallbacks =
            fallbacks.iter().map(|secret| secret.as_str().unwrap().into()).collect();
    }
    settings
}

/// A zone by name, as `USE_TZ` and `TIME_ZONE` give it.
pub(crate) fn time_zone(use_tz: bool, name: &str) -> cloakroom::TimeZone {
    match (use_tz, name) {
        (true, _) => cloakroom::TimeZone::Aware,
        (false, "UTC") => cloakroom::TimeZone::NaiveUtc,
        (false, name) => cloakroom::TimeZone::Naive(name.parse().unwrap()),
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
