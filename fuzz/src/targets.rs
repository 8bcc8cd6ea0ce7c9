//! What each fuzz target does with its bytes. The judge is Python wherever Python does the same job.

use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::middleware::find_cookie;
use cloakroom::signing::{Algorithm, SecretKey, Signer, TimestampSigner, salted_hmac_hex};
use cloakroom::{
    DecodeError, EXPIRY_KEY, Error, ExpiryError, Kind, ManualClock, MemoryStore, Moment, SessionCodec,
    SessionData, SessionMiddleware, Settings, Value, ValueError,
};

use super::oracle::ask;
use super::python::Python;

/// The secret and the time of `fuzz/oracle.py`.
const SECRET: &str = "django-insecure-shared-0123456789abcdefghijklmnopqrstuvwxyz!@#";
const NOW: i64 = 1_700_000_000;
const SALT: &str = "django.contrib.sessions.SessionStore";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn codec() -> SessionCodec {
    SessionCodec::new(&Settings::new(SECRET))
}

/// What Python made of something.
enum Outcome {
    Value(String),
    /// The name of the exception.
    Raised(String),
}

fn outcome(answer: &[u8]) -> Outcome {
    let (kind, text) = answer.split_first().expect("an outcome says what it is");
    let text = String::from_utf8(text.to_vec()).expect("the oracle answers in UTF-8");
    if *kind == b'=' { Outcome::Value(text) } else { Outcome::Raised(text) }
}

/// A `Cookie` header: each cookie that Django finds is found with the same value, and no other is. Names behind other
/// blanks than spaces and tabs are other names, where Django strips them: the oracle leaves such pairs out.
pub fn cookie_header(data: &[u8]) {
    // Python before 3.13 takes time with the square of the backslashes.
    let data = &data[..data.len().min(4_096)];
    let answer = ask(b'c', &[data]);
    for entry in answer.chunks_exact(2) {
        let (name, value) =
            (std::str::from_utf8(&entry[0]).unwrap(), std::str::from_utf8(&entry[1]).unwrap());
        // A cookie without `=` has no name, and no session cookie is called nothing.
        if !name.is_empty() {
            assert_eq!(find_cookie([data], name).as_deref(), Some(value), "the cookie {name:?}");
        }
    }
    if !answer.chunks_exact(2).any(|entry| entry[0] == b"sessionid") {
        assert_eq!(find_cookie([data], "sessionid"), None);
    }
    // Whatever is in it, a header costs nothing but an unknown session.
    let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new(SECRET)).unwrap();
    drop(middleware.begin([data]));
}

/// A signed text: as it is, or with the right signature over a hostile payload and timestamp. The first byte says
/// which, and whether the age counts.
pub fn signed_text(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    // Two lines: the timestamp, and what is signed.
    let (timestamp, content) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) if mode & 4 != 0 => (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]),
        _ => ("1r31eq".into(), rest),
    };
    let signer = Signer::with_salt(&SecretKey::from(SECRET), SALT);
    let signed = match mode & 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        kind => {
            let payload = match kind {
                1 => String::from_utf8_lossy(content).into_owned(),
                2 => URL_SAFE_NO_PAD.encode(content),
                _ => {
                    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                    zlib.write_all(content).unwrap();
                    format!(".{}", URL_SAFE_NO_PAD.encode(zlib.finish().unwrap()))
                }
            };
            signer.sign(&format!("{payload}:{timestamp}"))
        }
    };
    let max_age = (mode & 8 != 0).then(|| TimeDelta::seconds(100));
    let decoded = codec().decode_modern(&signed, now(), max_age);
    let asked_age = max_age.map_or(String::new(), |age| age.num_seconds().to_string());
    let answer = ask(b'm', &[signed.as_bytes(), SALT.as_bytes(), asked_age.as_bytes()]);
    match (outcome(&answer[0]), &decoded) {
        (Outcome::Raised(name), Err(error)) => {
            let same = match name.as_str() {
                "BadSignature" => matches!(error, DecodeError::BadSignature),
                "SignatureExpired" => matches!(error, DecodeError::Expired(_)),
                // A timestamp that no float holds: long ago, or in the future, and then the payload was looked at.
                "OverflowError" if timestamp.len() > 170 => {
                    matches!(error, DecodeError::Expired(_) | DecodeError::Unreadable(_))
                }
                _ => matches!(error, DecodeError::Unreadable(_)),
            };
            assert!(same, "{name} in Python, {error:?} here");
        }
        // SHA-1 is taken as Django 3.1 took it, and nobody who lacks the secret can write it.
        (Outcome::Raised(name), Ok(data)) if name == "BadSignature" => {
            let sha1 = Signer::with_algorithm(&SecretKey::from(SECRET), SALT, Algorithm::Sha1);
            let unsigned = TimestampSigner::from(sha1).unsign(&signed, now(), None).map(|_| ());
            assert_eq!(unsigned, Ok(()), "{} was not signed", data.to_json());
        }
        // A timestamp that no float holds lies in the future.
        (Outcome::Raised(name), Ok(_)) if name == "OverflowError" && timestamp.len() > 170 => {}
        (Outcome::Raised(name), Ok(data)) => {
            let payload = match mode & 3 {
                1 => URL_SAFE_NO_PAD.decode(content).ok(),
                2 | 3 => Some(content.to_vec()),
                _ => None,
            };
            let unread = is_unread_json(data, payload.as_deref());
            assert!(unread || name == "RecursionError", "{name} in Python");
            for (_, value) in data.iter() {
                let _ = value.deserialize::<Python>();
            }
        }
        (Outcome::Value(json), Ok(data)) => same_json(&json, &data.to_json()),
        (Outcome::Value(json), Err(DecodeError::Unreadable(reason))) => {
            let too_much = reason.contains("limit") || reason.contains("nest");
            assert!(!json.starts_with('{') || too_much, "{reason}, but Python reads {json}");
        }
        (Outcome::Value(json), Err(error)) => panic!("{error}, but Python reads {json}"),
    }
    // Either format, and no age: the same, or legacy.
    if let (Ok(either), Ok(modern)) = (codec().decode(&signed), &decoded) {
        assert!(either == *modern);
    }
}

/// Text of Django before 3.1, as it is or with the right digest before it.
pub fn legacy_text(data: &[u8]) {
    let Some((mode, content)) = data.split_first() else { return };
    let text = if mode & 1 == 0 {
        String::from_utf8_lossy(content).into_owned()
    } else {
        let salt = "django.contrib.sessionsSessionStore";
        let digest = salted_hmac_hex(salt, content, &SecretKey::from(SECRET), Algorithm::Sha1);
        STANDARD.encode([digest.as_bytes(), b":", content].concat())
    };
    let decoded = codec().decode(&text);
    let answer = ask(b'l', &[text.as_bytes()]);
    match (outcome(&answer[0]), decoded) {
        (Outcome::Value(json), Ok(data)) => same_json(&json, &data.to_json()),
        (Outcome::Value(json), Err(error)) => {
            let too_much = error.to_string().contains("nest");
            assert!(!json.starts_with('{') || too_much, "{error}, but Python reads {json}");
        }
        // Without its signature only modern text gets here.
        (Outcome::Raised(name), Ok(data)) => {
            let unread = is_unread_json(&data, (mode & 1 == 1).then_some(content));
            let modern = codec().decode_modern(&text, now(), None).is_ok();
            // Django fails for a letter that is none of base64's, and not ASCII; others it passes over, as is done here.
            let foreign = name == "UnicodeEncodeError" && !text.is_ascii();
            assert!(unread || modern || foreign || name == "RecursionError", "{name} in Python");
        }
        (Outcome::Raised(_), Err(_)) => {}
    }
}

/// JSON text: Python reads what is read here, and nothing else, and both write the same.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let value = Value::from_stored_json(text);
    let again = value.as_ref().map_or("", Value::json);
    let answer = ask(b'j', &[data, again.as_bytes()]);
    match (outcome(&answer[0]), &value) {
        (Outcome::Value(python), Ok(value)) => {
            let Outcome::Value(read_again) = outcome(&answer[1]) else {
                panic!("Python cannot read {again}")
            };
            assert_eq!(python, read_again, "of the same text");
            if let Ok(typed) = value.deserialize::<Python>() {
                let written = Value::serialize(&unique(typed)).unwrap();
                assert_eq!(written.json(), python, "through Rust types");
            }
        }
        (Outcome::Value(python), Err(error)) => {
            assert!(error.to_string().contains("nest"), "{error}, but Python reads {python}");
        }
        (Outcome::Raised(name), Ok(_)) => assert_eq!(name, "RecursionError", "read here: {text}"),
        (Outcome::Raised(_), Err(_)) => {}
    }
    let session = SessionData::from_json(text);
    let is_dictionary = value.as_ref().is_ok_and(|value| value.kind() == Kind::Dict);
    assert_eq!(session.is_ok(), is_dictionary);
    if let (Ok(session), Outcome::Value(python)) = (session, outcome(&answer[0])) {
        same_json(&python, &session.to_json());
    }
}

/// A pickle: what is read is written as a pickle that Python reads as the same value as the first one.
pub fn pickle(data: &[u8]) {
    let Ok(session) = SessionData::from_pickle(data, 1 << 20) else { return };
    let json = session.to_json();
    assert!(SessionData::from_json(&json).is_ok(), "reads as {json}");
    let Ok(pickle) = session.to_pickle() else { return };
    let again = SessionData::from_pickle(&pickle, 1 << 22).unwrap();
    assert!(again == session, "{json} was written as {}", again.to_json());
    // It needs a package that Python may lack.
    if data.windows(4).any(|part| part == b"pytz") {
        return;
    }
    // Making such an object may do anything, `getattr` of what Python knows included.
    let is_object =
        |value: &Value| matches!(value.deserialize::<serde_json::Value>(), Err(ValueError::PythonObject(_)));
    if session.iter().any(|(_, value)| is_object(value)) {
        return;
    }
    let answer = ask(b'p', &[data, &pickle]);
    match (outcome(&answer[0]), outcome(&answer[1])) {
        (Outcome::Value(first), Outcome::Value(second)) => assert_eq!(first, second, "{json}"),
        // A damaged frame and the like are passed over here; what is written then has none.
        (Outcome::Raised(_), Outcome::Value(_)) => {}
        // A time zone or a key that this Python refuses in both.
        (Outcome::Raised(first), Outcome::Raised(second)) if first == second => {}
        // What else is wrong, and passed over here, stands before the zone.
        (Outcome::Raised(_), Outcome::Raised(second)) if second == "ZoneInfoNotFoundError" => {}
        (_, Outcome::Raised(name)) => panic!("Python cannot read the pickle of {json}: {name}"),
    }
}

/// A stored `_session_expiry`: Django's age, date and answer, and a defined end of the request. Any text also as a date.
pub fn expiry(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let moment = Moment::from_isoformat(text).map(|moment| moment.isoformat());
    match outcome(&ask(b'i', &[data])[0]) {
        // Offsets from UTC have whole seconds here.
        Outcome::Value(python) if has_fractional_offset(&python) => assert!(moment.is_some()),
        Outcome::Value(python) => assert_eq!(moment.as_deref(), Some(python.as_str()), "{text:?}"),
        Outcome::Raised(_) => assert_eq!(moment, None, "{text:?}"),
    }
    let Ok(value) = Value::from_json(text) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
        let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new(SECRET));
        let middleware = middleware.unwrap().with_clock(clock);
        let lazy = middleware.begin([]);
        let session = lazy.load().await.unwrap();
        session.set_value(EXPIRY_KEY, value);
        let [age, date, at_close] = ask(b'x', &[data]).try_into().expect("Python reads the same JSON");
        assert_eq!(session.get_expire_at_browser_close(), at_close == b"1");
        let from = Moment::Aware(now().fixed_offset());
        if matches!(outcome(&date), Outcome::Value(iso) if has_fractional_offset(&iso)) {
            return;
        }
        match (outcome(&age), session.get_expiry_age_from(from)) {
            (Outcome::Value(python), Ok(age)) => {
                assert_eq!(python.parse::<f64>().unwrap(), age.seconds(), "{text}");
            }
            (Outcome::Value(python), Err(error)) => {
                let finite = python.parse::<f64>().unwrap().is_finite();
                assert!(error == ExpiryError::OutOfRange && !finite, "{error}, but {python} in Python");
            }
            (Outcome::Raised(name), result) => same_exception(&name, &result.map(|_| ())),
        }
        match (outcome(&date), session.get_expiry_date_from(from)) {
            (Outcome::Value(python), Ok(date)) => assert_eq!(python, date.isoformat(), "{text}"),
            (Outcome::Value(python), Err(error)) => panic!("{error}, but {python} in Python"),
            (Outcome::Raised(name), result) => same_exception(&name, &result.map(|_| ())),
        }
        match middleware.finish(&lazy, 200).await {
            Ok(finished) => {
                assert!(finished.set_cookie.is_some_and(|cookie| cookie.starts_with("sessionid=")))
            }
            Err(error) => assert!(matches!(error, Error::Expiry(_)), "{error}"),
        }
    });
}

/// A store's URL is taken or refused, and its password is not in the error.
#[cfg(feature = "fuzzing")]
pub fn urls(data: &[u8]) {
    const PASSWORD: &str = "s3cr3t-passw0rd";
    let Ok(url) = std::str::from_utf8(data) else { return };
    // Where it stands as a password does, and not in an option's name too, or in a path.
    let is_password = url.matches(PASSWORD).count() == 1 && url.contains(&format!(":{PASSWORD}@"));
    if let Err(error) = cloakroom::store::check_url(url, &Settings::new(SECRET)) {
        let shown = format!("{error} {error:?}");
        assert!(!is_password || !shown.contains(PASSWORD), "{shown}");
    }
    let is_path = ["sqlite:", "file:"].iter().any(|scheme| url.to_ascii_lowercase().contains(scheme));
    let shown = cloakroom::store::StoreUrl::from(url).to_string();
    assert!(!is_password || is_path || !shown.contains(PASSWORD), "{shown}");
}

/// Whether something nested is no JSON, which shows when it is read: in the data, or in what it was read from, where a
/// later entry of the same key has taken its place.
fn is_unread_json(data: &SessionData, json: Option<&[u8]>) -> bool {
    let reads = |text: &str| SessionData::from_json(text).is_ok();
    !reads(&data.to_json()) || json.is_some_and(|json| !std::str::from_utf8(json).is_ok_and(reads))
}

/// `…+01:02:03.004000`, after the seconds and their own fraction.
fn has_fractional_offset(iso: &str) -> bool {
    iso.get(19..)
        .and_then(|rest| rest.rsplit_once(['+', '-']))
        .is_some_and(|(_, offset)| offset.contains('.'))
}

fn same_exception(name: &str, result: &Result<(), ExpiryError>) {
    let same = match result {
        Err(ExpiryError::WrongType(_)) => matches!(name, "TypeError" | "OverflowError"),
        Err(ExpiryError::ZoneMismatch { .. }) => name == "TypeError",
        Err(ExpiryError::NotADate) => name == "ValueError" || name == "TypeError",
        // `timedelta(seconds=nan)` raises ValueError.
        Err(ExpiryError::OutOfRange) => matches!(name, "OverflowError" | "ValueError"),
        _ => false,
    };
    assert!(same, "{name} in Python, {result:?} here");
}

/// Python's writing of what it reads in both is the same.
fn same_json(python: &str, ours: &str) {
    if python == ours {
        return;
    }
    let answer = ask(b'j', &[ours.as_bytes()]);
    match outcome(&answer[0]) {
        Outcome::Value(ours) => assert_eq!(python, ours),
        Outcome::Raised(name) => panic!("Python raises {name} for {ours}"),
    }
}

/// Of each key the last value, in the first one's place, as a dictionary has them.
fn unique(value: Python) -> Python {
    match value {
        Python::List(list) => Python::List(list.into_iter().map(unique).collect()),
        Python::Dict(entries) => {
            let mut kept: Vec<(String, Python)> = Vec::new();
            for (key, value) in entries {
                let value = unique(value);
                match kept.iter_mut().find(|entry| entry.0 == key) {
                    Some(entry) => entry.1 = value,
                    None => kept.push((key, value)),
                }
            }
            Python::Dict(kept)
        }
        plain => plain,
    }
}
