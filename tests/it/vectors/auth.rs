//! Session auth hashes, and what logging in and out does to the session.

use std::sync::Arc;

use cloakroom::auth::{self, MODEL_BACKEND, User};
use cloakroom::chrono::TimeDelta;
use cloakroom::signing::Algorithm;
use cloakroom::store::Record;
use cloakroom::{
    ManualClock, MemoryStore, Session, SessionData, SessionKey, SessionMiddleware, SessionStore, Settings,
};
use serde_json::{Value as Json, json};

use super::python::Python;
use super::{GivenKey, Reproduced, Vectors, block_on, settings, text, time, version};

#[test]
fn auth_values() {
    Vectors::read("auth").run(&[], |case| {
        match text(case, "kind") {
            "session_auth_hash" => {
                let algorithm: Algorithm = text(case, "algorithm").parse().unwrap();
                let secret = text(case, "secret_key").into();
                let hash = auth::session_auth_hash_with(text(case, "password_field"), &secret, algorithm);
                assert_eq!(hash, text(case, "hash"));
            }
            "session_auth_fallback_hash" => fallback_hashes(case),
            "flow" => block_on(flow(case)),
            other => panic!("kind {other}"),
        }
        Reproduced::Exactly
    });
}

fn fallback_hashes(case: &Json) {
    let settings = settings(case);
    let password = text(case, "password_field");
    assert_eq!(auth::session_auth_hash(password, &settings), text(case, "hash"));
    let fallbacks = settings.secret_key_fallbacks.iter();
    let hashes: Vec<_> =
        fallbacks.map(|secret| auth::session_auth_hash_with(password, secret, Algorithm::Sha256)).collect();
    assert_eq!(json!(hashes), case["fallback_hashes"]);
    for hash in &hashes {
        assert!(auth::verify_session_auth_hash(hash, password, &settings));
    }
}

/// Which Django's generator gave.
const NEW_KEY: &str = "newkey00000000000000000000000001";

/// The settings of a site on the release that made the case.
fn release_settings(case: &Json) -> Settings {
    let mut settings = settings(case);
    settings.auth_hash_algorithm = text(case, "algorithm").parse().unwrap();
    settings.accept_sha1_auth_hash = version(case).0 == 3;
    settings
}

async fn flow(case: &Json) {
    let now = time(&case["frozen_time"]);
    let store = Arc::new(MemoryStore::new());
    let mut cookie = None;
    if let Some(session_key) = case["before"]["session_key"].as_str() {
        let mut data = SessionData::new();
        for (key, value) in case["before"]["session"].as_object().unwrap() {
            data.write(key, value).unwrap();
        }
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
        store.create(&SessionKey::from_trusted(session_key), record).await.unwrap();
        cookie = Some(format!("sessionid={session_key}"));
    }
    let middleware = SessionMiddleware::new(Arc::clone(&store), release_settings(case))
        .unwrap()
        .with_clock(Arc::new(ManualClock::new(now)))
        .with_key_generator(Arc::new(GivenKey(SessionKey::from_trusted(NEW_KEY))));
    let session = middleware.begin(cookie.as_deref().map(str::as_bytes)).load().await.unwrap();

    let id = case["user_id"].to_string();
    let password = case["new_password_field"].as_str().unwrap_or(text(case, "password_field"));
    let user = User { id: &id, password, backend: MODEL_BACKEND };
    if case["after_login"].is_object() {
        auth::login(&session, user).await.unwrap();
    } else if case["after_logout"].is_object() {
        auth::logout(&session).await.unwrap();
    } else if case["new_password_field"].is_string() {
        auth::update_session_auth_hash(&session, user).unwrap();
    } else {
        let found = auth::verify_user(&session, user).await.unwrap();
        assert_eq!(found, !case["user"].is_null(), "user");
    }
    for after in ["after_login", "after_logout", "after"] {
        if let Some(expected) = case[after].as_object() {
            compare(&session, &Json::Object(expected.clone()));
        }
    }
    // Django cycles the key at once, this library when saving: the store is compared after that.
    if session.modified() && !session.is_empty() {
        session.save().await.unwrap();
    }
    let expected =
        ["after_save", "after_logout", "after"].into_iter().find_map(|after| case[after].as_object());
    let expected = Json::Object(expected.unwrap().clone());
    compare(&session, &expected);
    let mut stored = Vec::new();
    for key in case["before"]["session_key"].as_str().into_iter().chain([NEW_KEY]) {
        if let Some(loaded) = store.load(&SessionKey::from_trusted(key), now).await.unwrap() {
            assert_eq!(
                Python::from_session(&loaded.data().unwrap().clone()),
                Python::from_vector(&expected["session"])
            );
            stored.push(key);
        }
    }
    assert_eq!(json!(stored), expected["stored_keys"], "stored keys");
}

fn compare(session: &Session, expected: &Json) {
    let data = Python::from_session(&session.data());
    // The order of keys is Python's, save where Django's own flow put a key that was there already.
    assert_eq!(data, Python::from_vector(&expected["session"]));
    assert_eq!(json!(session.session_key().map(|key| key.as_str().to_owned())), expected["session_key"]);
    assert_eq!(json!(session.modified()), expected["modified"]);
}
