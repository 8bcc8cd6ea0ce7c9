//! What real Django releases produced, reproduced: every case of every file, counted.
//!
//! Where this library means to differ, the case is checked against what it does instead, and counted among
//! the declared differences; DESIGN.md gives the reasons.

mod auth;
pub(crate) mod codec;
pub(crate) mod db_rows;
mod expiry;
mod file_sessions;
mod middleware;
pub(crate) mod python;
mod signed_cookies;
mod signing;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cloakroom::chrono::{DateTime, Utc};
use serde_json::Value as Json;

/// The cases of one file, and how many of them passed.
pub(crate) struct Vectors {
    name: &'static str,
    cases: Vec<Json>,
    passed: usize,
    differences: usize,
    failures: Vec<String>,
}

/// How a case was reproduced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reproduced {
    Exactly,
    /// This library means to do something else, and did.
    Differently,
}

impl Vectors {
    pub(crate) fn read(name: &'static str) -> Vectors {
        let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let cases: Vec<Json> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Vectors { name, cases, passed: 0, differences: 0, failures: Vec::new() }
    }

    /// Keeps only the cases that a test is about; another test counts the rest.
    pub(crate) fn only(mut self, keep: impl Fn(&Json) -> bool) -> Vectors {
        self.cases.retain(keep);
        self
    }

    /// Runs each case; an assertion that fails is one case failed.
    pub(crate) fn run(&mut self, run: impl Fn(&Json) -> Reproduced) {
        for case in std::mem::take(&mut self.cases) {
            match catch_unwind(AssertUnwindSafe(|| run(&case))) {
                Ok(reproduced) => {
                    self.passed += 1;
                    self.differences += usize::from(reproduced == Reproduced::Differently);
                }
                Err(panic) => {
                    let message = panic.downcast_ref::<String>().cloned();
                    let message = message.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                    self.failures.push(format!("{}: {}", case["id"], message.unwrap_or_default()));
                }
            }
        }
        let total = self.passed + self.failures.len();
        assert!(total > 0, "vectors {}: no case", self.name);
        println!(
            "vectors {}: {} of {total} passed, {} of them as declared differences",
            self.name, self.passed, self.differences
        );
        assert!(self.failures.is_empty(), "{} failed:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

pub(crate) fn text<'a>(case: &'a Json, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{}: no text in {field}", case["id"]))
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
