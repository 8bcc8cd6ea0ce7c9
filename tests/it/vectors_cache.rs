//! `cache_values.json`: what Django and its cache libraries put into real caches, read here, and written here
//! for them to read.

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

fn vectors() -> Vec<Json> {
    let text = include_str!("../vectors/cache_values.json");
    serde_json::from_str(text).unwrap()
}

fn text<'v>(vector: &'v Json, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{}: no {field}", vector["id"]))
}

fn bytes(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap()).collect()
}

/// The session as one text, in which order and spelling of numbers count.
fn spelled(data: &SessionData) -> String {
    serde_json::from_str::<Json>(&data.to_json()).unwrap().to_string()
}

/// The store as the vector's site is set up, without the server's address.
fn query(vector: &Json) -> String {
    let cache = text(vector, "cache");
    let json = if cache.contains("json") { "json" } else { "pickle" };
    let zlib = if cache.contains("zlib") { "zlib" } else { "none" };
    let engine = vector["engine"].as_str().unwrap_or("cache");
    let prefix = vector["key_prefix"].as_str().unwrap_or("");
    let version = vector["version"].as_u64().unwrap_or(1);
    format!("?key_prefix={prefix}&version={version}&engine={engine}&serializer={json}&compressor={zlib}")
}

#[test]
fn values_and_pickles_of_every_cache_are_read() {
    let vectors = vectors();
    let pickles = vectors.iter().filter_map(|vector| {
        let hex = match text(vector, "kind") {
            "pickle" => &vector["value_hex"],
            "stored_value" if !vector["pickle_protocol"].is_null() => &vector["stored"]["value_hex"],
            _ => return None,
        };
        Some((vector, bytes(hex)))
    });
    let mut count = 0;
    for (vector, pickle) in pickles {
        // Compressed ones are read through the store.
        if vector["compressed"] == Json::Bool(true) {
            continue;
        }
        let data = SessionData::from_pickle(&pickle, 1 << 20)
            .unwrap_or_else(|error| panic!("{}: {error}", vector["id"]));
        assert_eq!(spelled(&data), vector["session"].to_string(), "{}", vector["id"]);
        let again = SessionData::from_pickle(&data.to_pickle().unwrap(), 1 << 20).unwrap();
        assert!(again == data, "{}", vector["id"]);
        count += 1;
    }
    println!("cache_values: {count} of {count} pickles read, and read again as written here");
    assert!(count > 200, "{count}");
}

/// Each stored value through the store and a real server, both ways: key, bytes, time to live.
async fn values_of(caches: &[&str], server: &str, raw: &mut Raw) {
    let vectors = vectors();
    let chosen = vectors
        .iter()
        .filter(|vector| vector["kind"] == "stored_value" && caches.contains(&text(vector, "cache")));
    let (mut count, mut for_python) = (0, Vec::new());
    for vector in chosen {
        let id = text(vector, "id");
        let store = cloakroom::connect(&format!("{server}{}", query(vector)), &Settings::new("secret"))
            .await
            .unwrap();
        let session_key = SessionKey::from_trusted(text(vector, "session_key"));
        let full_key = text(vector, "full_key");
        raw.delete(full_key);
        let session = vector["session"].to_string();
        let data = SessionData::from_json(&session).unwrap();
        let stored = &vector["stored"];
        let now = Utc::now();
        if stored.is_null() {
            let record = Record { data: &data, expire_date: now - TimeDelta::seconds(60), now };
            assert!(matches!(store.create(&session_key, record).await.unwrap(), Created::Created(_)), "{id}");
            assert!(raw.get(full_key).is_none(), "{id}: something is stored");
            count += 1;
            continue;
        }
        let ttl = stored["ttl_seconds"].as_i64().unwrap();
        raw.set(full_key, &bytes(&stored["value_hex"]), stored["flags"].as_u64().unwrap_or(0));
        let loaded =
            store.load(&session_key, now).await.unwrap().unwrap_or_else(|| panic!("{id}: not found"));
        assert_eq!(spelled(&loaded.data), session, "{id}");
        raw.delete(full_key);
        let record = Record { data: &loaded.data, expire_date: now + TimeDelta::seconds(ttl), now };
        assert!(matches!(store.create(&session_key, record).await.unwrap(), Created::Created(_)), "{id}");
        let (value, flags, lives) = raw.get(full_key).unwrap_or_else(|| panic!("{id}: nothing is stored"));
        assert_eq!(flags, stored["flags"].as_u64().unwrap_or(0), "{id}: flags");
        assert!((lives - ttl).abs() <= 2, "{id}: lives {lives} seconds instead of {ttl}");
        if query(vector).contains("serializer=json&compressor=none") {
            assert_eq!(value, bytes(&stored["value_hex"]), "{id}: the JSON differs");
        }
        for_python.push(format!("{} {} {session}", STANDARD.encode(value), query(vector)));
        count += 1;
    }
    python_reads(&for_python);
    println!(
        "{}: {count} of {count} values read and written, {} of them read by Python",
        caches.join(", "),
        for_python.len()
    );
    assert!(count >= 29 * caches.len(), "{count}");
}

/// Has Python read values as the cache libraries do, and compare them with the sessions.
fn python_reads(lines: &[String]) {
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
#[tokio::test(flavor = "multi_thread")]
async fn values_in_redis() {
    let server = crate::support::servers::redis::start().await;
    let url = crate::support::servers::redis::url_of(&server);
    let mut raw = Raw::redis(server.port);
    let caches =
        ["redis_builtin", "django_redis", "django_redis_json", "django_redis_zlib", "django_redis_json_zlib"];
    values_of(&caches, &url, &mut raw).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn values_in_memcached() {
    let server = crate::support::servers::memcached::start().await;
    let mut raw = Raw::memcached(server.port);
    let url = format!("memcached://127.0.0.1:{}", server.port);
    values_of(&["pymemcache", "pylibmc"], &url, &mut raw).await;
}

/// What other software put there. Where Django takes an unreadable value for an empty session, and the next
/// save overwrites it, here it is an error and the value stays.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn foreign_values_are_never_overwritten() {
    let server = crate::support::servers::redis::start().await;
    let mut raw = Raw::redis(server.port);
    let (mut count, vectors) = (0, vectors());
    for vector in vectors.iter().filter(|vector| vector["kind"] == "foreign_value") {
        let url = crate::support::servers::redis::url_of(&server) + &query(vector);
        let store: Arc<dyn SessionStore> = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
        let (id, full_key) = (text(vector, "id"), text(vector, "full_key"));
        let session_key = SessionKey::from_trusted(&full_key[full_key.len() - 32..]);
        let value = bytes(&vector["value_hex"]);
        raw.set(full_key, &value, 0);
        match (store.load(&session_key, Utc::now()).await, &vector["loaded"]) {
            (Ok(Some(loaded)), session @ Json::Object(_)) => {
                assert_eq!(spelled(&loaded.data), session.to_string(), "{id}")
            }
            // `None` is nothing to Django's cache API.
            (Ok(None), _) => assert!(id.ends_with("-none"), "{id}"),
            (Err(error), _) => assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{id}: {error}"),
            (Ok(Some(loaded)), other) => panic!("{id}: {} instead of {other}", loaded.data.to_json()),
        }
        let data = SessionData::new();
        let record = Record { data: &data, expire_date: Utc::now() + TimeDelta::hours(1), now: Utc::now() };
        assert_eq!(store.create(&session_key, record).await.unwrap(), Created::KeyTaken, "{id}");
        assert_eq!(raw.get(full_key).map(|stored| stored.0), Some(value), "{id}");
        count += 1;
    }
    println!("cache_values: {count} of 21 foreign values left as they were");
    assert_eq!(count, 21);
}
