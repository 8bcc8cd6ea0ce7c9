//! What the conformance suite does not ask of PostgreSQL and MariaDB: databases that are not what they
//! should be, rows that others have locked, servers that stop, requests that are cancelled.

#[cfg(feature = "mysql")]
mod mariadb;
#[cfg(feature = "mysql-tls")]
mod mariadb_tls;
#[cfg(feature = "mysql")]
mod mariadb_urls;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_log;
#[cfg(feature = "postgres")]
mod postgres_settings;
#[cfg(feature = "postgres-tls")]
mod postgres_tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::{Created, Record, Updated, Version};
use cloakroom::{SessionData, SessionKey, SessionStore, StoreError, StoreErrorKind};

use crate::support::records::{data, now, record};

pub(crate) async fn create(store: &dyn SessionStore) -> (SessionKey, Version) {
    let session_key = SessionKey::random().unwrap();
    match store.create(&session_key, record(&data(r#"{"a":1}"#))).await.unwrap() {
        Created::Created(version) => (session_key, version),
        Created::KeyTaken => panic!("a random key is taken"),
    }
}

pub(crate) async fn update(
    store: &dyn SessionStore,
    session: &(SessionKey, Version),
) -> Result<Updated, StoreError> {
    store.update(&session.0, Some(&session.1), record(&data(r#"{"a":2}"#))).await
}

/// The error is of this kind, says these words, and never the password; nor does its debug output.
#[track_caller]
pub(crate) fn assert_error(error: &StoreError, kind: StoreErrorKind, words: &[&str]) {
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert_no_secret(&message);
    assert_no_secret(&format!("{error:?}"));
}

#[track_caller]
fn assert_no_secret(text: &str) {
    assert!(!text.contains("open-sesame"), "the password shows: {text}");
}

/// While one row is locked by `lock`, saves of others go on, and the one waits and then succeeds: as well when it came
/// first, alone, as together with them.
pub(crate) async fn a_locked_row_holds_up_nobody_else(
    store: Arc<dyn SessionStore>,
    lock: impl AsyncFn(&SessionKey),
    unlock: impl AsyncFn(),
) {
    for head_start in [Duration::ZERO, Duration::from_millis(100)] {
        a_locked_row_with_a_head_start(&store, head_start, &lock, &unlock).await;
    }
}

async fn a_locked_row_with_a_head_start(
    store: &Arc<dyn SessionStore>,
    head_start: Duration,
    lock: &impl AsyncFn(&SessionKey),
    unlock: &impl AsyncFn(),
) {
    let locked = create(&**store).await;
    let mut others = Vec::new();
    for _ in 0..40 {
        others.push(create(&**store).await);
    }
    lock(&locked.0).await;
    let waiting = tokio::spawn({
        let store = Arc::clone(store);
        async move { update(&*store, &locked).await }
    });
    tokio::time::sleep(head_start).await;
    let start = Instant::now();
    let saves: Vec<_> = others
        .into_iter()
        .map(|session| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let start = Instant::now();
                assert!(matches!(update(&*store, &session).await, Ok(Updated::Updated(_))));
                start.elapsed()
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for save in saves {
        slowest = slowest.max(save.await.unwrap());
    }
    // The row stays locked for a second in all.
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(start.elapsed())).await;
    assert!(!waiting.is_finished(), "a locked row was written");
    unlock().await;
    assert!(matches!(waiting.await.unwrap(), Ok(Updated::Updated(_))));
    println!("{store:?}: 40 saves beside a row locked for 1 s, the slowest in {slowest:?}");
    assert!(slowest < Duration::from_millis(900), "{slowest:?}");
}

/// Callers that are dropped at all stages harm no other: all of the kept ones succeed.
async fn cancelled_requests_hurt_nobody(store: Arc<dyn SessionStore>) {
    let mut kept = Vec::new();
    for number in 0..400_u64 {
        let (store, session) = (Arc::clone(&store), create(&*store).await);
        let task = tokio::spawn(async move {
            store.load(&session.0, now()).await.unwrap().expect("it is there");
            assert!(matches!(update(&*store, &session).await, Ok(Updated::Updated(_))));
            let loaded = store.load(&session.0, now()).await.unwrap().expect("it is there");
            assert_eq!(loaded.data().unwrap().to_json(), r#"{"a":2}"#);
        });
        if number % 2 == 0 {
            kept.push(task);
            continue;
        }
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(number * 13 % 3_000)).await;
            task.abort();
        });
    }
    for task in kept {
        task.await.unwrap();
    }
}

/// Expiry dates that Python cannot read are refused, and the entry stays.
async fn expiries_beyond_python_are_refused(store: Arc<dyn SessionStore>) {
    let session = create(&*store).await;
    let empty = SessionData::new();
    for expire_date in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
        let record = Record { data: &empty, expire_date, now: now() };
        let error = store.update(&session.0, Some(&session.1), record).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Refused, &["years 1 to 9999", "nearer expiry"]);
    }
    let loaded = store.load(&session.0, now()).await.unwrap().unwrap();
    assert_eq!(loaded.data().unwrap().to_json(), r#"{"a":1}"#);
}

/// A key that does not fit the column is refused, and those who share its statement are served.
async fn what_is_refused_costs_nobody_else(store: Arc<dyn SessionStore>) {
    let long = SessionKey::from_trusted("k".repeat(60));
    let tasks: Vec<_> = (0..60)
        .map(|number| {
            let (store, long) = (Arc::clone(&store), long.clone());
            tokio::spawn(async move {
                if number % 20 == 7 {
                    let error = store.create(&long, record(&data("{}"))).await.unwrap_err();
                    assert_error(&error, StoreErrorKind::Refused, &["nothing was written"]);
                    assert!(!format!("{error:?} {error}").contains("kkkkkkkk"));
                    return;
                }
                let session = create(&*store).await;
                assert!(store.load(&session.0, now()).await.unwrap().is_some());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(store.load(&long, now()).await.unwrap().is_none());
}

/// Kills the server while requests come in, and starts it again: errors meanwhile are soon and typed, and
/// every write that was acknowledged is there afterwards.
async fn killed_and_started_again(store: Arc<dyn SessionStore>, mut server: crate::support::servers::Server) {
    let acknowledged = Arc::new(std::sync::Mutex::new(Vec::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (store, acknowledged, stop) =
                (Arc::clone(&store), Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut successes, mut failures, mut slowest) = (0, 0, Duration::ZERO);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let session_key = SessionKey::random().unwrap();
                    let start = Instant::now();
                    match store.create(&session_key, record(&data(r#"{"a":1}"#))).await {
                        Ok(_) => {
                            acknowledged.lock().unwrap().push(session_key);
                            successes += 1;
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
                            failures += 1;
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    slowest = slowest.max(start.elapsed());
                }
                (successes, failures, slowest)
            })
        })
        .collect();
    let wait = async || {
        let before = acknowledged.lock().unwrap().len();
        let start = Instant::now();
        while acknowledged.lock().unwrap().len() < before + 20 {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not heal");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for _ in 0..2 {
        wait().await;
        server.send("KILL");
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.send("start");
        wait().await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut successes, mut failures, mut slowest) = (0, 0, Duration::ZERO);
    for worker in workers {
        let of_one = worker.await.unwrap();
        successes += of_one.0;
        failures += of_one.1;
        slowest = slowest.max(of_one.2);
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    for session_key in &acknowledged {
        assert!(store.load(session_key, now()).await.unwrap().is_some(), "an acknowledged write is gone");
    }
    println!(
        "{store:?}: killed twice: {successes} written and {} of them there, {failures} errors, slowest {slowest:?}",
        acknowledged.len()
    );
    assert!(failures > 0 && slowest < Duration::from_secs(6));
}

/// A server that is stopped answers nobody; each request ends at its deadline, and later ones are served.
async fn stopped(
    store: Arc<dyn SessionStore>,
    mut server: crate::support::servers::Server,
    deadline: Duration,
) {
    let session = create(&*store).await;
    server.send("STOP");
    // Nobody tells when a signal has arrived.
    while store.load(&session.0, now()).await.is_ok() {}
    for _ in 0..2 {
        let start = Instant::now();
        let error = store.load(&session.0, now()).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Unavailable, &["no answer within"]);
        let error = update(&*store, &session).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Unavailable, &["no answer within"]);
        assert!(start.elapsed() < deadline * 2 + Duration::from_millis(500), "{:?}", start.elapsed());
    }
    server.send("CONT");
    let start = Instant::now();
    while store.load(&session.0, now()).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
