//! `cache_values.json`: what Django and its cache libraries put into real caches, read here, and written here
//! for them to read.

use std::cell::RefCell;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record};
use cloakroom::{SessionData, SessionKey, SessionStore, Settings, StoreErrorKind};
use serde_json::Value as Json;

use crate::support::raw_caches::Raw;
use crate::vectors::{Reproduced, Rule, Vectors, block_on, bytes, text};

/// The session as one text, in which order and spelling of numbers count.
fn spelled(data: &SessionData) -> String {
    serde_json::from_str::<Json>(&data.to_json()).unwrap().to_string()
}

/// The store as the case's site is set up, without the server's address.
fn query(case: &Json) -> String {
    let cache = text(case, "cache");
    let json = if cache.contains("json") { "json" } else { "pickle" };
    let zlib = if cache.contains("zlib") { "zlib" } else { "none" };
    let engine = case["engine"].as_str().unwrap_or("cache");
    let prefix = case["key_prefix"].as_str().unwrap_or("");
    let version = case["version"].as_u64().unwrap_or(1);
    format!("?key_prefix={prefix}&version={version}&engine={engine}&serializer={json}&compressor={zlib}")
}

/// The caches of Django, and those of them that are read from a server here.
const IN_REDIS: [&str; 5] =
    ["redis_builtin", "django_redis", "django_redis_json", "django_redis_zlib", "django_redis_json_zlib"];
const IN_MEMCACHED: [&str; 2] = ["pymemcache", "pylibmc"];
const ELSEWHERE: [&str; 3] = ["locmem", "filebased", "database"];

#[test]
fn values_and_pickles_of_every_cache_are_read() {
    // Compressed ones are read through the store.
    let is_pickle = |case: &Json| match text(case, "kind") {
        "pickle" => true,
        "stored_value" => !case["pickle_protocol"].is_null() && case["compressed"] != true,
        _ => false,
    };
    Vectors::read("cache_values").only(is_pickle).run(&[], |case| {
        let known = [&IN_REDIS[..], &IN_MEMCACHED, &ELSEWHERE].concat();
        assert!(case["cache"].as_str().is_none_or(|cache| known.contains(&cache)), "{}", case["cache"]);
        let value = if case["kind"] == "pickle" { case } else { &case["stored"] };
        let data = SessionData::from_pickle(&bytes(text(value, "value_hex")), 1 << 20).unwrap();
        assert_eq!(spelled(&data), case["session"].to_string());
        let again = SessionData::from_pickle(&data.to_pickle().unwrap(), 1 << 20).unwrap();
        assert!(again == data, "what was read is written otherwise");
        Reproduced::Exactly
    });
}

/// Each stored value through the store and a real server, both ways: key, bytes, time to live.
fn values_of(caches: &[&str], server: &str, raw: Raw) {
    let (raw, for_python) = (RefCell::new(raw), RefCell::new(Vec::new()));
    let is_there = |case: &Json| case["kind"] == "stored_value" && caches.contains(&text(case, "cache"));
    Vectors::read("cache_values").only(is_there).run(&[], |case| {
        block_on(value(case, server, &mut raw.borrow_mut(), &mut for_python.borrow_mut()));
        Reproduced::Exactly
    });
    python_reads(&for_python.into_inner());
}

async fn value(case: &Json, server: &str, raw: &mut Raw, for_python: &mut Vec<String>) {
    let settings = Settings::new("secret");
    let store = cloakroom::connect(&format!("{server}{}", query(case)), &settings).await.unwrap();
    let session_key = SessionKey::from_trusted(text(case, "session_key"));
    let full_key = text(case, "full_key");
    raw.delete(full_key);
    let session = case["session"].to_string();
    let data = SessionData::from_json(&session).unwrap();
    let (stored, now) = (&case["stored"], Utc::now());
    if stored.is_null() {
        let record = Record { data: &data, expire_date: now - TimeDelta::seconds(60), now };
        assert!(matches!(store.create(&session_key, record).await.unwrap(), Created::Created(_)));
        assert!(raw.get(full_key).is_none(), "something is stored");
        return;
    }
    let ttl = stored["ttl_seconds"].as_i64().unwrap();
    raw.set(full_key, &bytes(text(stored, "value_hex")), stored["flags"].as_u64().unwrap_or(0));
    let loaded = store.load(&session_key, now).await.unwrap().expect("Django's value is found");
    assert_eq!(spelled(&loaded.data().unwrap().clone()), session);
    raw.delete(full_key);
    let record =
        Record { data: &loaded.data().unwrap().clone(), expire_date: now + TimeDelta::seconds(ttl), now };
    assert!(matches!(store.create(&session_key, record).await.unwrap(), Created::Created(_)));
    let (value, flags, lives) = raw.get(full_key).expect("a value is stored");
    assert_eq!(flags, stored["flags"].as_u64().unwrap_or(0), "flags");
    assert!((lives - ttl).abs() <= 2, "it lives {lives} seconds instead of {ttl}");
    if query(case).contains("serializer=json&compressor=none") {
        assert_eq!(value, bytes(text(stored, "value_hex")), "the JSON differs");
    }
    for_python.push(format!("{} {} {session}", STANDARD.encode(value), query(case)));
}

/// Has Python read values as the cache libraries do, and compare them with the sessions.
fn python_reads(lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    const SCRIPT: &str = "
import base64, json, pickle, sys, zlib
count = 0
for line in sys.stdin:
    value, query, session = line.split(' ', 2)
    value = base64.b64decode(value)
    if 'zlib' in query:
        try:
            value = zlib.decompress(value)
        except zlib.error:
            assert len(value) <= 15, value
    value = json.loads(value) if 'serializer=json' in query else pickle.loads(value)
    assert repr(value) == repr(json.loads(session)), (value, session)
    count += 1
print(count)
";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), lines.len().to_string());
}

#[cfg(feature = "redis")]
#[test]
fn values_in_redis() {
    let server = block_on(crate::support::servers::redis::start());
    let url = crate::support::servers::redis::url_of(&server);
    values_of(&IN_REDIS, &url, Raw::redis(server.port));
}

#[cfg(feature = "memcached")]
#[test]
fn values_in_memcached() {
    let server = block_on(crate::support::servers::memcached::start());
    let url = format!("memcached://127.0.0.1:{}", server.port);
    values_of(&IN_MEMCACHED, &url, Raw::memcached(server.port));
}

/// What other software put there.
#[cfg(feature = "redis")]
#[test]
fn foreign_values_are_never_overwritten() {
    let server = block_on(crate::support::servers::redis::start());
    let raw = RefCell::new(Raw::redis(server.port));
    let unreadable = Rule::new(
        "a value without a dictionary is an error and stays; Django takes it for an empty session, which the next save \
         overwrites, or hands it to the view",
        |case| {
            let is_empty = case["session_key_after"].is_null();
            !case["loaded"].is_object() || is_empty && !holds_none(case)
        },
    );
    let is_foreign = |case: &Json| case["kind"] == "foreign_value";
    Vectors::read("cache_values").only(is_foreign).run(&[unreadable], |case| {
        let url = crate::support::servers::redis::url_of(&server) + &query(case);
        block_on(foreign_value(case, &url, &mut raw.borrow_mut()))
    });
}

/// Whether the value is Python's `None`, which is nothing to Django's cache API.
#[cfg(feature = "redis")]
fn holds_none(case: &Json) -> bool {
    let value = bytes(text(case, "value_hex"));
    if query(case).contains("serializer=json") {
        return value == b"null";
    }
    // With or without the opcode that tells the protocol.
    let code = if value.first() == Some(&0x80) { value.get(2..) } else { Some(&value[..]) };
    code == Some(b"N.")
}

#[cfg(feature = "redis")]
async fn foreign_value(case: &Json, url: &str, raw: &mut Raw) -> Reproduced {
    let store: Arc<dyn SessionStore> = cloakroom::connect(url, &Settings::new("secret")).await.unwrap();
    let full_key = text(case, "full_key");
    let session_key = SessionKey::from_trusted(&full_key[full_key.len() - 32..]);
    let value = bytes(text(case, "value_hex"));
    raw.set(full_key, &value, 0);
    let reproduced = match (store.load(&session_key, Utc::now()).await, &case["loaded"]) {
        (Ok(Some(loaded)), session @ Json::Object(_)) => {
            assert_eq!(spelled(&loaded.data().unwrap().clone()), session.to_string());
            Reproduced::Exactly
        }
        (Ok(None), _) => {
            assert!(holds_none(case), "it is there");
            Reproduced::Exactly
        }
        (Err(error), _) => {
            assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{error}");
            Reproduced::Differently
        }
        (Ok(Some(loaded)), other) => panic!("{} instead of {other}", loaded.data().unwrap().to_json()),
    };
    let data = SessionData::new();
    let record = Record { data: &data, expire_date: Utc::now() + TimeDelta::hours(1), now: Utc::now() };
    assert_eq!(store.create(&session_key, record).await.unwrap(), Created::KeyTaken);
    assert_eq!(raw.get(full_key).map(|stored| stored.0), Some(value));
    reproduced
}
