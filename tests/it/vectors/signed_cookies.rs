//! The cookies of `signed_cookies`: as each release signs them, and what it takes.

use cloakroom::chrono::TimeDelta;
use cloakroom::signing::{Compression, base62};
use cloakroom::store::{Created, Record};
use cloakroom::{SessionData, SessionKey, SessionStore, SignedCookieStore, StoreErrorKind, TextFormat};
use serde_json::Value as Json;

use super::python::Python;
use super::signature::{self, Signed, json_in};
use super::{Reproduced, Rule, Vectors, a_repeated_key, block_on, repeats_a_key, settings, text, time};

#[test]
fn signed_cookies() {
    let rules = [
        a_repeated_key(),
        Rule::for_other_folders("browsers drop a cookie of over 4,096 bytes, so none is sent", |case| {
            case["kind"] == "encode" && is_too_large(case)
        }),
        Rule::new("a genuine cookie without a dictionary is an error and stays", |case| {
            let refused = ["django.core.signing.BadSignature", "django.core.signing.SignatureExpired"];
            let is_session = case["accepted"] == true && case["loaded"].is_object();
            case["kind"] == "load"
                && signed(case).is_some()
                && !is_session
                && !case["error"].as_str().is_some_and(|error| refused.contains(&error))
        }),
        Rule::new("what Django before 3.1 signed is read; since 4.0 Django refuses it", |case| {
            case["kind"] == "load"
                && signed(case) == Some(Signed::Sha1)
                && case["error"] == "django.core.signing.BadSignature"
                && !is_too_old(case)
        }),
    ];
    Vectors::read("signed_cookies").run(&rules, |case| match text(case, "kind") {
        "encode" => block_on(encode(case)),
        "load" => block_on(load(case)),
        other => panic!("kind {other}"),
    });
}

fn is_too_large(case: &Json) -> bool {
    text(case, "session_key").len() + settings(case).cookie_name.len() > 4_096
}

fn signed(case: &Json) -> Option<Signed> {
    signature::signed(case, text(case, "value"), text(case, "salt"), None)
}

fn is_too_old(case: &Json) -> bool {
    let timestamp = text(case, "value").rsplit(':').nth(1).and_then(base62::decode);
    let age = |timestamp: i128| case["frozen_time"].as_f64().unwrap() - timestamp as f64;
    timestamp.is_some_and(|timestamp| age(timestamp) > case["session_cookie_age"].as_f64().unwrap())
}

async fn encode(case: &Json) -> Reproduced {
    let mut settings = settings(case);
    settings.compression = Compression::Always;
    // What Django before 3.1 signs; elsewhere it writes legacy text.
    if text(case, "algorithm") == "sha1" {
        settings.text_format = TextFormat::Legacy;
    }
    let store = SignedCookieStore::new(&settings);
    let data = SessionData::from_json(text(case, "serialized")).unwrap();
    let now = time(&case["frozen_time"]);
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    let created = store.create(&SessionKey::random().unwrap(), record).await;
    let expected = text(case, "session_key");
    if is_too_large(case) {
        assert_eq!(created.unwrap_err().kind(), StoreErrorKind::Refused, "browsers drop such a cookie");
        return Reproduced::Differently;
    }
    let Created::Created(version) = created.unwrap() else { panic!("no key is ever taken") };
    let cookie = std::str::from_utf8(version.as_bytes().unwrap()).unwrap().to_owned();
    if expected.starts_with('.') {
        // Other compressors make other bytes.
        assert!(cookie.starts_with('.') && cookie.len() <= expected.len() + 8, "{cookie}");
    } else if !repeats_a_key(text(case, "serialized")) {
        assert_eq!(cookie, expected);
    }
    for cookie in [&cookie, expected] {
        let loaded =
            store.load(&SessionKey::from_trusted(cookie), now).await.unwrap().expect("it is genuine");
        assert_eq!(loaded.data().unwrap().clone(), data, "{cookie}");
    }
    if repeats_a_key(text(case, "serialized")) {
        assert_ne!(cookie, expected);
        return Reproduced::Differently;
    }
    Reproduced::Exactly
}

async fn load(case: &Json) -> Reproduced {
    let mut settings = settings(case);
    settings.cookie_age = TimeDelta::seconds(case["session_cookie_age"].as_i64().unwrap());
    let store = SignedCookieStore::new(&settings);
    let cookie = SessionKey::from_trusted(text(case, "value"));
    let loaded = store.load(&cookie, time(&case["frozen_time"])).await;
    let signed = signed(case);
    match (loaded, case["accepted"].as_bool().unwrap(), &case["loaded"]) {
        (Ok(Some(loaded)), true, expected @ Json::Object(_)) => {
            assert_eq!(Python::from_session(loaded.data().unwrap()), Python::from_vector(expected));
            Reproduced::Exactly
        }
        (Ok(None), false, _) => Reproduced::Exactly,
        // Genuine, and no session: the cookie is left as it is.
        (Err(error), accepted, session) if signed.is_some() && !(accepted && session.is_object()) => {
            assert_eq!(error.kind(), StoreErrorKind::Unreadable);
            Reproduced::Differently
        }
        // Signed with another secret, or forged: it reads as empty and stays in the browser.
        (Ok(Some(loaded)), false, _) if !loaded.is_genuine() => {
            assert!(loaded.data().is_none() && signed.is_none());
            Reproduced::Exactly
        }
        // Later releases refuse what those before 3.1 wrote.
        (Ok(Some(loaded)), false, _) if signed == Some(Signed::Sha1) => {
            if let Some(json) = json_in(text(case, "value")) {
                assert_eq!(
                    Python::from_session(loaded.data().unwrap()),
                    Python::from_vector(&serde_json::from_str(&json).unwrap())
                );
            }
            Reproduced::Differently
        }
        (loaded, accepted, _) => panic!("accepted by Django: {accepted}; here: {loaded:?}"),
    }
}
