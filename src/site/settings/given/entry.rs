//! How the values of settings are read, each kind by one function.

use std::time::Duration;

use chrono::TimeDelta;
use cloakroom_formats::signing::{Algorithm, Compression, SecretKey};
use cloakroom_formats::{TextFormat, TimeZone};

use super::raw::{Raw, Wrong};
use crate::site::session_key::SessionKeyFormat;
use crate::site::settings::{
    ConcurrentChanges, CookieScope, InterruptedSession, SameSite, SecretCheck, Transport,
};

/// The most seconds that a time span holds.
const MOST_SECONDS: i64 = i64::MAX / 1_000;
/// The longest `save_timeout`, a day.
const MOST_SAVE_SECONDS: i64 = 24 * 60 * 60;

pub(super) fn secret(raw: &Raw) -> Result<SecretKey, Wrong> {
    let secret = raw.text()?;
    if secret.is_empty() {
        return Wrong::expected("a secret that is not empty");
    }
    Ok(SecretKey::from(secret))
}

pub(super) fn secrets(raw: &Raw) -> Result<Vec<SecretKey>, Wrong> {
    Ok(raw.texts()?.into_iter().map(SecretKey::from).collect())
}

pub(super) fn boolean(raw: &Raw) -> Result<bool, Wrong> {
    match raw {
        Raw::Boolean(value) => Ok(*value),
        Raw::Variable(text) if matches!(text.as_str(), "True" | "true" | "1") => Ok(true),
        Raw::Variable(text) if matches!(text.as_str(), "False" | "false" | "0") => Ok(false),
        Raw::Variable(_) => Wrong::expected("`True` or `False`"),
        _ => Wrong::expected("`true` or `false`"),
    }
}

fn seconds_up_to(raw: &Raw, most: i64) -> Result<i64, Wrong> {
    raw.integer()
        .filter(|seconds| (1..=most).contains(seconds))
        .map_or_else(|| Wrong::expected(format!("a whole number of seconds above 0, at most {most}")), Ok)
}

pub(super) fn seconds(raw: &Raw) -> Result<TimeDelta, Wrong> {
    seconds_up_to(raw, MOST_SECONDS).map(TimeDelta::seconds)
}

pub(super) fn optional_seconds(raw: &Raw) -> Result<Option<TimeDelta>, Wrong> {
    seconds(raw).map(Some)
}

pub(super) fn save_timeout(raw: &Raw) -> Result<Duration, Wrong> {
    seconds_up_to(raw, MOST_SAVE_SECONDS).map(|seconds| Duration::from_secs(seconds.unsigned_abs()))
}

pub(super) fn bytes(raw: &Raw) -> Result<usize, Wrong> {
    let bytes = raw.integer().and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    bytes
        .map_or_else(|| Wrong::expected(format!("a whole number of bytes above 0, at most {}", i64::MAX)), Ok)
}

pub(super) fn domain(raw: &Raw) -> Result<Option<String>, Wrong> {
    raw.text().map(Some)
}

/// Finds the word among the words of a setting.
fn word<T: Copy>(raw: &Raw, words: &[(&str, T)]) -> Result<T, Wrong> {
    let text = raw.text().ok();
    let found = words.iter().find(|(word, _)| text.as_deref() == Some(word)).map(|(_, value)| *value);
    found.map_or_else(
        || {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            Wrong::expected(format!("one of {}", words.join(", ")))
        },
        Ok,
    )
}

/// As in Django: the text `None` is a value of the attribute, and `False` leaves the attribute out.
pub(super) fn same_site(raw: &Raw) -> Result<Option<SameSite>, Wrong> {
    let words = [
        ("Strict", Some(SameSite::Strict)),
        ("Lax", Some(SameSite::Lax)),
        ("None", Some(SameSite::None)),
        ("False", None),
    ];
    if let Raw::Boolean(false) = raw { Ok(None) } else { word(raw, &words) }
}

pub(super) fn secret_check(raw: &Raw) -> Result<SecretCheck, Wrong> {
    let words = [("refuse", SecretCheck::Refuse), ("warn", SecretCheck::Warn), ("skip", SecretCheck::Skip)];
    word(raw, &words)
}

pub(super) fn text_format(raw: &Raw) -> Result<TextFormat, Wrong> {
    word(raw, &[("modern", TextFormat::Modern), ("legacy", TextFormat::Legacy)])
}

pub(super) fn auth_hash_algorithm(raw: &Raw) -> Result<Algorithm, Wrong> {
    word(raw, &[("sha256", Algorithm::Sha256), ("sha1", Algorithm::Sha1)])
}

pub(super) fn concurrent_changes(raw: &Raw) -> Result<ConcurrentChanges, Wrong> {
    let words = [
        ("merge", ConcurrentChanges::Merge),
        ("last_write_wins", ConcurrentChanges::LastWriteWins),
        ("reject", ConcurrentChanges::Reject),
    ];
    word(raw, &words)
}

pub(super) fn interrupted(raw: &Raw) -> Result<InterruptedSession, Wrong> {
    let words = [
        ("bad_request", InterruptedSession::BadRequest),
        ("continue_anonymously", InterruptedSession::ContinueAnonymously),
    ];
    word(raw, &words)
}

pub(super) fn compression(raw: &Raw) -> Result<Compression, Wrong> {
    if let Some(bytes) = raw.integer().and_then(|bytes| usize::try_from(bytes).ok()) {
        return Ok(Compression::AtLeast(bytes));
    }
    word(raw, &[("never", Compression::Never), ("always", Compression::Always)])
        .map_err(|_| Wrong("`never`, `always`, or the number of bytes from which to compress".to_owned()))
}

pub(super) fn transport(raw: &Raw) -> Result<Transport, Wrong> {
    match raw.text().unwrap_or_default().split_once(':') {
        Some(("header", name)) if !name.is_empty() => Ok(Transport::Header(name.to_owned())),
        None if raw.text().is_ok_and(|text| text == "cookie") => Ok(Transport::Cookie),
        _ => Wrong::expected("`cookie`, or `header:` and the header's name as in `header:X-Session-Token`"),
    }
}

pub(super) fn session_key_format(raw: &Raw) -> Result<SessionKeyFormat, Wrong> {
    const EXPECTED: &str = "a table of `min_length`, `max_length` and `extra_chars`";
    let mut format = SessionKeyFormat::default();
    let Raw::Table(table) = raw.parsed() else { return Wrong::expected(EXPECTED) };
    let length = |raw: &Raw| raw.integer().and_then(|length| usize::try_from(length).ok());
    for (name, value) in &table {
        match (name.as_str(), length(value), value.text()) {
            ("min_length", Some(length), _) => format.min_length = length,
            ("max_length", Some(length), _) => format.max_length = length,
            ("extra_chars", _, Ok(extra_chars)) => format.extra_chars = extra_chars,
            _ => return Wrong::expected(EXPECTED),
        }
    }
    Ok(format)
}

pub(super) fn former_cookies(raw: &Raw) -> Result<Vec<CookieScope>, Wrong> {
    const EXPECTED: &str = "a list of tables of `domain`, `path` and `partitioned`";
    let Raw::List(list) = raw.parsed() else { return Wrong::expected(EXPECTED) };
    let scope = |raw: &Raw| {
        let mut scope = CookieScope::of_host("/");
        let Raw::Table(table) = raw else { return Wrong::expected(EXPECTED) };
        for (name, value) in table {
            match (name.as_str(), value) {
                ("domain", Raw::Text(domain)) => scope.domain = Some(domain.clone()),
                ("path", Raw::Text(path)) => scope.path.clone_from(path),
                ("partitioned", Raw::Boolean(partitioned)) => scope.partitioned = *partitioned,
                _ => return Wrong::expected(EXPECTED),
            }
        }
        Ok(scope)
    };
    list.iter().map(scope).collect()
}

/// The zone of a site with `USE_TZ = False`.
pub(super) fn naive_time_zone(name: &str) -> Result<TimeZone, Wrong> {
    if name == "UTC" {
        return Ok(TimeZone::NaiveUtc);
    }
    #[cfg(feature = "time-zones")]
    return name
        .parse()
        .map(TimeZone::Naive)
        .map_err(|error: cloakroom_formats::UnknownTimeZone| Wrong(error.to_string()));
    #[cfg(not(feature = "time-zones"))]
    Wrong::expected("`UTC`: other time zones need the feature `time-zones`")
}
