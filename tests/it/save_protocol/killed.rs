//! A process is killed while it moves a session from key to key.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// Tells the other process the store's URL and the number of the attempt.
const URL: &str = "CLOAKROOM_TEST_ROTATE_URL";
const ATTEMPT: &str = "CLOAKROOM_TEST_ROTATE_ATTEMPT";
const ATTEMPTS: usize = 5;

fn key(attempt: usize, number: usize) -> SessionKey {
    SessionKey::from_trusted(format!("attempt{attempt:05}key{number:017}"))
}

/// Under how many keys the session may be found: where no command reaches both keys, the new one is written before
/// the old one is deleted, and nobody was told the new one.
fn at_most(name: &str) -> usize {
    if ["redis cluster", "memcached"].contains(&name) { 2 } else { 1 }
}

async fn rotate_for_ever(url: &str, attempt: usize) {
    let store = cloakroom::connect(url, &Settings::new("secret")).await.unwrap();
    for number in 0.. {
        let now = Utc::now();
        let loaded = store.load(&key(attempt, number), now).await.unwrap().unwrap();
        let expire_date = now + cloakroom::chrono::TimeDelta::hours(1);
        let record = Record { data: &loaded.data().unwrap().clone(), expire_date, now };
        let (old, new) = (key(attempt, number), key(attempt, number + 1));
        let outcome = store.rotate(&old, Some(&loaded.version), &new, record).await.unwrap();
        assert!(matches!(outcome, Rotated::Rotated(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_changing_keys_the_session_is_under_one_of_them() {
    const TEST: &str = "save_protocol::killed::killed_while_changing_keys_the_session_is_under_one_of_them";
    if let Ok(url) = std::env::var(URL) {
        return rotate_for_ever(&url, std::env::var(ATTEMPT).unwrap().parse().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, url) in crate::support::stores::shared_by_processes(folder.path()).await {
        let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
        let (mut rotations, mut copies) = (0, 0);
        for attempt in 0..ATTEMPTS {
            let data = cloakroom::SessionData::from_json(r#"{"start":true}"#).unwrap();
            let now = Utc::now();
            let record =
                Record { data: &data, expire_date: now + cloakroom::chrono::TimeDelta::hours(1), now };
            store.create(&key(attempt, 0), record).await.unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", TEST, "--nocapture"])
                .env(URL, &url)
                .env(ATTEMPT, attempt.to_string())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let is_there = async |number: usize| {
                let session_key = key(attempt, number);
                // As the process that is killed may be at the cache, the database says where a session is.
                store.load_for_update(&session_key, Utc::now()).await.unwrap().is_some()
            };
            let started = std::time::Instant::now();
            while is_there(0).await {
                assert!(started.elapsed() < Duration::from_secs(60), "{name}: the old key does not die");
                assert!(child.try_wait().unwrap().is_none(), "{name}: it ended by itself");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_micros(attempt as u64 * 4_321)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            // A server may still be at work on what it had received.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut first = 1;
            while !is_there(first).await {
                first += 1;
                assert!(first < 100_000, "{name}: the session is gone");
            }
            let mut found = 1;
            for later in first + 1..first + 4 {
                found += usize::from(is_there(later).await);
            }
            assert!(found <= at_most(name), "{name}: under {found} keys");
            let loaded = store.load_for_update(&key(attempt, first), Utc::now()).await.unwrap().unwrap();
            assert_eq!(loaded.data().unwrap().to_json(), r#"{"start":true}"#, "{name}");
            rotations += first;
            copies += found - 1;
        }
        println!(
            "t06: {name}: killed {ATTEMPTS} of {ATTEMPTS} times in {rotations} changes of key, each time under one \
             key, with {copies} copies under a key that nobody was told"
        );
    }
}
