//! The cookies of `signed_cookies`: as each release signs them, and what it takes.

use cloakroom::chrono::TimeDelta;
use cloakroom::signing::Compression;
use cloakroom::store::{Created, Record};
use cloakroom::{SessionData, SessionKey, SessionStore, SignedCookieStore, StoreErrorKind, TextFormat};
use serde_json::Value as Json;

use super::python::Python;
use super::{Reproduced, Vectors, block_on, settings, text, time};

#[test]
fn signed_cookies() {
    Vectors::read("signed_cookies").run(|case| match text(case, "kind") {
        "encode" => block_on(encode(case)),
        "load" => block_on(load(case)),
        other => panic!("kind {other}"),
    });
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
    if expected.len() + settings.cookie_name.len() > 4_096 {
        assert_eq!(created.unwrap_err().kind(), StoreErrorKind::Refused, "browsers drop such a cookie");
        return Reproduced::Differently;
    }
    let Created::Created(version) = created.unwrap() else { panic!("no key is ever taken") };
    let cookie = std::str::from_utf8(version.as_bytes().unwrap()).unwrap().to_owned();
    if expected.starts_with('.') {
        // Other compressors make other bytes.
        assert!(cookie.starts_with('.') && cookie.len() <= expected.len() + 8, "{cookie}");
    } else if !text(case, "id").ends_with("dup_keys") {
        assert_eq!(cookie, expected);
    }
    for cookie in [&cookie, expected] {
        let loaded =
            store.load(&SessionKey::from_trusted(cookie), now).await.unwrap().expect("it is genuine");
        assert_eq!(loaded.data, data, "{cookie}");
    }
    Reproduced::Exactly
}

async fn load(case: &Json) -> Reproduced {
    let mut settings = settings(case);
    settings.cookie_age = TimeDelta::seconds(case["session_cookie_age"].as_i64().unwrap());
    let store = SignedCookieStore::new(&settings);
    let cookie = SessionKey::from_trusted(text(case, "value"));
    let loaded = store.load(&cookie, time(&case["frozen_time"])).await;
    match (loaded, case["accepted"].as_bool().unwrap(), &case["loaded"]) {
        (Ok(Some(loaded)), true, expected @ Json::Object(_)) => {
            assert_eq!(Python::from_session(&loaded.data), Python::from_vector(expected));
            Reproduced::Exactly
        }
        (Ok(None), false, _) => Reproduced::Exactly,
        // Genuine, and no session: the cookie is left as it is.
        (Err(error), true, Json::Array(_) | Json::Null) => {
            assert_eq!(error.kind(), StoreErrorKind::Unreadable);
            Reproduced::Differently
        }
        (Err(error), false, _)
            if text(case, "note").contains("valid signature") || case["error"] == "builtins.ValueError" =>
        {
            assert_eq!(error.kind(), StoreErrorKind::Unreadable);
            Reproduced::Differently
        }
        // Signed with another secret, or forged: it reads as empty and stays in the browser.
        (Ok(Some(loaded)), false, _) if !loaded.genuine => {
            assert!(loaded.data.is_empty());
            Reproduced::Exactly
        }
        // Later releases refuse what those before 3.1 wrote.
        (Ok(Some(loaded)), false, _) if text(case, "id").ends_with("sha1-signature") => {
            assert_eq!(loaded.data.to_json(), r#"{"cart":[1,2],"who":"ann"}"#);
            Reproduced::Differently
        }
        (loaded, accepted, _) => panic!("accepted by Django: {accepted}; here: {loaded:?}"),
    }
}
