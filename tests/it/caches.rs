//! What only cache stores have to get right: names of entries, limits of the servers, and servers that fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record, Updated};
use cloakroom::{SessionData, SessionKey, SessionStore, Settings, StoreErrorKind};

use crate::support::records::data;

fn record(data: &SessionData, lives: TimeDelta) -> Record<'_> {
    let now = Utc::now();
    Record { data, expire_date: now + lives, now }
}

async fn create(store: &Arc<dyn SessionStore>, json: &str) -> SessionKey {
    let session_key = SessionKey::random().unwrap();
    let created = store.create(&session_key, record(&data(json), TimeDelta::hours(1))).await.unwrap();
    assert!(matches!(created, Created::Created(_)));
    session_key
}

async fn load(store: &Arc<dyn SessionStore>, session_key: &SessionKey) -> Option<String> {
    store.load(session_key, Utc::now()).await.unwrap().map(|loaded| loaded.data().unwrap().to_json())
}

async fn open(url: &str) -> Arc<dyn SessionStore> {
    cloakroom::connect(url, &Settings::new("secret")).await.unwrap()
}

/// Prefix, version and engine each make another entry of the same session key.
async fn t40(server: &str) {
    let variants = ["", "?version=2", "?key_prefix=a", "?key_prefix=a&version=2", "?engine=cached_db"];
    let session_key = SessionKey::random().unwrap();
    for (number, variant) in variants.iter().enumerate() {
        let store = open(&format!("{server}{variant}")).await;
        let mine = data(&format!(r#"{{"variant":{number}}}"#));
        let created = store.create(&session_key, record(&mine, TimeDelta::hours(1))).await.unwrap();
        assert!(matches!(created, Created::Created(_)), "{variant} meets another");
    }
    for (number, variant) in variants.iter().enumerate() {
        let store = open(&format!("{server}{variant}")).await;
        assert_eq!(load(&store, &session_key).await, Some(format!(r#"{{"variant":{number}}}"#)));
    }
    let error =
        cloakroom::connect(&format!("{server}?key_prefx=a"), &Settings::new("secret")).await.unwrap_err();
    assert_eq!(
        error.kind(),
        StoreErrorKind::Misconfigured,
        "a typing mistake would open another site's sessions"
    );
}

/// A server that was stopped answers with an error in time; one that was restarted is found again.
async fn failing_server(
    server: &mut crate::support::servers::Server,
    store: &Arc<dyn SessionStore>,
    secret: &str,
) {
    let session_key = create(store, r#"{"a":1}"#).await;
    server.send("STOP");
    let error = first_error(store, &session_key).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    for shown in [format!("{error}"), format!("{error:?}"), format!("{store:?}")] {
        assert!(!shown.contains(session_key.as_str()), "{shown}");
        assert!(!shown.contains(secret), "{shown}");
    }
    server.send("CONT");
    let start = Instant::now();
    while store.load(&session_key, Utc::now()).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not heal");
    }
    assert_eq!(load(store, &session_key).await.as_deref(), Some(r#"{"a":1}"#));
    server.send("KILL");
    let error = first_error(store, &session_key).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    server.send("start");
    let start = Instant::now();
    // These servers keep nothing on disk.
    while !matches!(store.load(&session_key, Utc::now()).await, Ok(None)) {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    create(store, "{}").await;
}

/// The error that comes once the signal has reached the server; within the deadline, give or take.
async fn first_error(store: &Arc<dyn SessionStore>, session_key: &SessionKey) -> cloakroom::StoreError {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        let start = Instant::now();
        if let Err(error) = store.load(session_key, Utc::now()).await {
            assert!(start.elapsed() < Duration::from_secs(5), "an error only after {:?}", start.elapsed());
            return error;
        }
    }
    panic!("the server still answers");
}

/// A session that Python pickled keeps its dates and tuples when another key changes.
pub(crate) async fn carried(store: Arc<dyn SessionStore>) {
    let pickled = b"\x80\x04}(\x8c\x01tK\x01K\x02\x86\x8c\x01dcdatetime\ndate\nC\x04\x07\xe8\x01\x02\x85Ru.";
    let original = SessionData::from_pickle(pickled, 1_000).unwrap();
    let session_key = SessionKey::random().unwrap();
    store.create(&session_key, record(&original, TimeDelta::hours(1))).await.unwrap();
    let loaded = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
    let mut changed = loaded.data().unwrap().clone();
    assert_eq!(changed.read::<(u8, u8)>("t").unwrap(), Some((1, 2)));
    assert_eq!(changed.read::<String>("d").unwrap().as_deref(), Some("2024-01-02"));
    changed.write("new", &1).unwrap();
    let record = record(&changed, TimeDelta::hours(1));
    let updated = store.update(&session_key, Some(&loaded.version), record).await.unwrap();
    assert!(matches!(updated, Updated::Updated(_)));
    let loaded = store.load(&session_key, Utc::now()).await.unwrap().unwrap().data().unwrap().clone();
    assert_eq!((loaded.get("t"), loaded.get("d")), (original.get("t"), original.get("d")));
    assert_eq!(loaded.read::<u8>("new").unwrap(), Some(1));
}

#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use crate::support::servers::redis as server;

    #[tokio::test(flavor = "multi_thread")]
    async fn prefix_and_version_keep_sessions_apart() {
        let own = server::start().await;
        t40(&server::url_of(&own)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_fails_is_an_error_and_is_found_again() {
        let mut own = server::start().await;
        let mut options = cloakroom::RedisStore::options(&server::url_of(&own)).unwrap();
        options.timeout = Duration::from_millis(700);
        assert!(!format!("{options:?}").contains(server::PASSWORD));
        let store: Arc<dyn SessionStore> = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
        failing_server(&mut own, &store, server::PASSWORD).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wrong_password_and_a_wrong_address_say_what_to_do() {
        let own = server::start().await;
        let url = format!("redis://:wrong-4711@127.0.0.1:{}", own.port);
        let error = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        assert!(
            error.to_string().contains("user and password") && !format!("{error:?}").contains("4711"),
            "{error:?}"
        );
        let nobody = format!("redis://127.0.0.1:{}", crate::support::servers::free_port());
        let error = cloakroom::connect(&nobody, &Settings::new("secret")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        let error =
            cloakroom::connect("redis://:pass-4711@[bad", &Settings::new("secret")).await.unwrap_err();
        assert!(!format!("{error:?}").contains("4711"), "{error:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_type_of_entry_is_an_error_and_stays() {
        let url = server::url().await;
        let store = open(&url).await;
        let session_key = SessionKey::random().unwrap();
        let prefix = url.split("key_prefix=").nth(1).unwrap();
        let key = format!("{prefix}:1:django.contrib.sessions.cache{}", session_key.as_str());
        let mut client = server::client(&url).await;
        ::redis::cmd("RPUSH").arg(&key).arg("x").query_async::<()>(&mut client).await.unwrap();
        let error = store.load(&session_key, Utc::now()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{error}");
        let empty = SessionData::new();
        assert!(store.update(&session_key, None, record(&empty, TimeDelta::hours(1))).await.is_err());
        let length: u32 = ::redis::cmd("LLEN").arg(&key).query_async(&mut client).await.unwrap();
        assert_eq!(length, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn scripts_are_sent_again_when_the_server_forgot_them() {
        let own = server::start().await;
        let store = open(&server::url_of(&own)).await;
        let session_key = create(&store, "{}").await;
        let mut client = server::client(&server::url_of(&own)).await;
        for _ in 0..2 {
            ::redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut client).await.unwrap();
            let changed = data(r#"{"a":1}"#);
            let outcome =
                store.update(&session_key, None, record(&changed, TimeDelta::hours(1))).await.unwrap();
            assert!(matches!(outcome, Updated::Updated(_)));
        }
    }

    /// As a server's `timeout` setting closes it, or a restart: the connection has rested for longer than it takes until
    /// it is asked before it is used. On a busy machine its end may be seen no sooner.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_closed_while_idle_costs_no_save() {
        let own = server::start().await;
        let store = open(&server::url_of(&own)).await;
        let mut client = server::client(&server::url_of(&own)).await;
        for round in 0..5 {
            let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
            let killed: u32 = ::redis::cmd("CLIENT").arg(&kill).query_async(&mut client).await.unwrap();
            // At first the server may still have the connection that asked whether it has started.
            assert!(killed == 1 || round == 0 && killed == 2, "round {round}: {killed}");
            tokio::time::sleep(std::time::Duration::from_millis(600)).await;
            let session_key = create(&store, "{}").await;
            assert_eq!(load(&store, &session_key).await.as_deref(), Some("{}"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_python_pickled_is_carried() {
        let url = server::url().await;
        carried(open(&url).await).await;
    }
}

#[cfg(feature = "memcached")]
mod memcached {
    use super::*;
    use crate::support::servers::memcached as server;

    #[tokio::test(flavor = "multi_thread")]
    async fn prefix_and_version_keep_sessions_apart() {
        let own = server::start().await;
        t40(&format!("memcached://127.0.0.1:{}", own.port)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_key_is_a_command() {
        let store = open(&server::url().await).await;
        let victim = create(&store, r#"{"victim":1}"#).await;
        for evil in [
            "aaaaaaaa\r\nflush_all\r\nmg a",
            "aaaaaaaa flush",
            "aaaaaaaa\nflush_all",
            "aaaaaaaa\0",
            "aaaaaaaa\t1",
            &"a".repeat(251),
        ] {
            let evil = SessionKey::from_trusted(evil);
            let empty = SessionData::new();
            let lives = TimeDelta::hours(1);
            let errors = [
                store.load(&evil, Utc::now()).await.map(drop),
                store.create(&evil, record(&empty, lives)).await.map(drop),
                store.update(&evil, None, record(&empty, lives)).await.map(drop),
                store.rotate(&victim, None, &evil, record(&empty, lives)).await.map(drop),
                store.delete(&evil).await.map(drop),
                store.exists(&evil, Utc::now()).await.map(drop),
            ];
            for error in errors {
                assert_eq!(error.unwrap_err().kind(), StoreErrorKind::Refused);
            }
        }
        assert_eq!(load(&store, &victim).await.as_deref(), Some(r#"{"victim":1}"#));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn too_large_is_an_error_and_the_old_entry_stays() {
        let store = open(&server::url().await).await;
        let session_key = create(&store, r#"{"a":1}"#).await;
        let limit = 1 << 20;
        let (mut stored, mut refused) = (0, 0);
        for size in [limit - 70_000, limit - 400, limit - 300, limit - 200, limit - 100, limit, 2 * limit] {
            let large = data(&format!(r#"{{"text":"{}"}}"#, "x".repeat(size)));
            match store.update(&session_key, None, record(&large, TimeDelta::hours(1))).await {
                Ok(outcome) => {
                    assert!(matches!(outcome, Updated::Updated(_)), "{size}: {outcome:?}");
                    assert_eq!(load(&store, &session_key).await.map(|json| json.len()), Some(size + 11));
                    stored += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Refused, "{size}: {error}");
                    assert!(load(&store, &session_key).await.is_some(), "{size}: the old entry is gone");
                    refused += 1;
                }
            }
        }
        assert!(stored >= 1 && refused >= 2, "{stored} stored, {refused} refused");
        assert!(load(&store, &session_key).await.is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_time_to_live_over_30_days_is_kept() {
        let own = server::start().await;
        let store = open(&format!("memcached://127.0.0.1:{}", own.port)).await;
        let mut raw = crate::support::raw_caches::Raw::memcached(own.port);
        for (lives, expected) in [
            (TimeDelta::milliseconds(300), 1),
            (TimeDelta::seconds(90), 90),
            (TimeDelta::days(30), 2_592_000),
            (TimeDelta::days(30) + TimeDelta::seconds(1), 2_592_001),
            (TimeDelta::days(400), 34_560_000),
        ] {
            let session_key = SessionKey::random().unwrap();
            store.create(&session_key, record(&SessionData::new(), lives)).await.unwrap();
            let full_key = format!(":1:django.contrib.sessions.cache{}", session_key.as_str());
            if let Some((_, _, seconds)) = raw.get(&full_key) {
                assert!((seconds - expected).abs() <= 2, "{seconds} instead of {expected}");
            } else {
                assert_eq!(expected, 1, "{lives} is gone");
            }
        }
    }

    /// memcached counts time in 32 bits, and takes what lies beyond for the past.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_end_after_january_2038_is_an_error_and_the_old_entry_stays() {
        let store = open(&server::url().await).await;
        let session_key = create(&store, r#"{"a":1}"#).await;
        let (old, new) = (data(r#"{"a":1}"#), data(r#"{"a":2}"#));
        let end = chrono::DateTime::from_timestamp(i64::from(i32::MAX), 0).unwrap();
        let (before, beyond) = (end - Utc::now() - TimeDelta::minutes(1), TimeDelta::days(20 * 365));
        let error = store.update(&session_key, None, record(&new, beyond)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert!(error.to_string().contains("19 January 2038"), "{error}");
        assert_eq!(load(&store, &session_key).await, Some(old.to_json()));
        let other = SessionKey::random().unwrap();
        let error = store.create(&other, record(&new, beyond)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        let outcome = store.update(&session_key, None, record(&new, before)).await.unwrap();
        assert!(matches!(outcome, Updated::Updated(_)));
        assert_eq!(load(&store, &session_key).await, Some(new.to_json()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_server_evicts_is_absent_and_no_save_brings_it_back() {
        let own = server::start().await;
        let store = open(&format!("memcached://127.0.0.1:{}", own.port)).await;
        let text = "x".repeat(500_000);
        let mut keys = Vec::new();
        // The server has 32 MB.
        for number in 0..120 {
            keys.push(create(&store, &format!(r#"{{"number":{number},"text":"{text}"}}"#)).await);
        }
        let (mut evicted, mut kept) = (0, 0);
        for (number, session_key) in keys.iter().enumerate() {
            match store.load(session_key, Utc::now()).await.unwrap() {
                Some(loaded) => {
                    assert_eq!(loaded.data().unwrap().read::<usize>("number").unwrap(), Some(number));
                    kept += 1;
                }
                None => {
                    let new = data("{}");
                    let outcome = store.update(session_key, None, record(&new, TimeDelta::hours(1))).await;
                    assert_eq!(outcome.unwrap(), Updated::Missing);
                    evicted += 1;
                }
            }
        }
        println!(
            "t38: {evicted} sessions evicted, none of them came back, and {kept} of {kept} others are whole"
        );
        assert!(evicted > 10 && kept > 10, "{evicted} {kept}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_fails_is_an_error_and_is_found_again() {
        let mut own = server::start().await;
        let mut options = cloakroom::MemcachedStore::at([format!("127.0.0.1:{}", own.port)]);
        options.timeout = Duration::from_millis(700);
        let store: Arc<dyn SessionStore> = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
        failing_server(&mut own, &store, "no secret here").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_python_pickled_is_carried() {
        let url = server::url().await;
        carried(open(&url).await).await;
    }

    /// Calls that are given up half-way leave no answer for the next.
    #[tokio::test(flavor = "multi_thread")]
    async fn cancelled_calls_never_mix_up_answers() {
        let store = open(&server::url().await).await;
        let mut keys = Vec::new();
        for number in 0..20 {
            keys.push(create(&store, &format!(r#"{{"number":{number}}}"#)).await);
        }
        for round in 0..400u64 {
            let number = (round % 20) as usize;
            let call = store.load(&keys[number], Utc::now());
            let _ = tokio::time::timeout(Duration::from_micros(round * 7 % 300), call).await;
            let other = (number + 7) % 20;
            assert_eq!(load(&store, &keys[other]).await, Some(format!(r#"{{"number":{other}}}"#)));
        }
    }
}

/// Behind a question mark in a password stands the rest of it, which no message may tell.
#[tokio::test]
async fn a_password_with_a_question_mark_is_not_shown() {
    for url in [
        #[cfg(feature = "redis")]
        "redis://:open?sesame8731@127.0.0.1:1/0",
        #[cfg(feature = "memcached")]
        "memcached://open?sesame8731@127.0.0.1:1",
    ] {
        let error = cloakroom::connect(url, &Settings::new("secret")).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
    }
}
