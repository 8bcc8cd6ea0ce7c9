//! `copy --record`: copying again takes what changed at the source, and keeps what changed at the target.

use std::path::Path;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SessionData, SessionKey, SessionStore};
use serde_json::{Value, json};

use crate::support::command::{Ran, cloakroom, run, with_secret};
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

fn copy(from: &str, to: &str, record: &Path, more: &[&str]) -> Ran {
    let record = record.to_str().unwrap();
    with_secret(&[&["copy", "--json", "--from", from, "--to", to, "--record", record], more].concat(), "")
}

/// The report without the time. Beside the numbers named, everything is 0.
fn is_reported(ran: &Ran, code: i32, of: Value) {
    let mut found = ran.json();
    assert!(found["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{ran:?}");
    found.as_object_mut().unwrap().retain(|_, count| count.is_u64() && *count != 0);
    assert_eq!((ran.code, found), (code, of), "{ran:?}");
}

async fn json_of(store: &dyn SessionStore, key: &SessionKey) -> Option<String> {
    store.load(key, Utc::now()).await.unwrap().map(|loaded| loaded.data().unwrap().to_json())
}

async fn change(store: &dyn SessionStore, key: &SessionKey, json: &str) {
    let (data, now) = (SessionData::from_json(json).unwrap(), Utc::now());
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.update(key, None, record).await.unwrap();
}

async fn follows_both_sides(from: &str, to: &str) {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("moved");
    let (source, target) = (open(from).await, open(to).await);
    let mut keys = Vec::new();
    for number in 0..600 {
        keys.push(create(&*source, &format!(r#"{{"number":{number}.50}}"#), 7).await);
    }
    is_reported(&copy(from, to, &record, &[]), 0, json!({ "copied": 600 }));
    is_reported(&copy(from, to, &record, &[]), 0, json!({ "there": 600 }));

    change(&*source, &keys[0], r#"{"newer":"source"}"#).await;
    change(&*target, &keys[1], r#"{"newer":"target"}"#).await;
    source.delete(&keys[2]).await.unwrap();
    target.delete(&keys[3]).await.unwrap();
    let new_at_source = create(&*source, r#"{"new":"source"}"#, 7).await;
    let new_at_target = create(&*target, r#"{"new":"target"}"#, 7).await;
    let expected = json!({
        "there": 596, "replaced": 1, "changed_at_target": 1, "deleted": 1, "ended_at_target": 1, "copied": 1,
    });
    is_reported(&copy(from, to, &record, &[]), 0, expected);
    for (key, json) in [
        (&keys[0], Some(r#"{"newer":"source"}"#)),
        (&keys[1], Some(r#"{"newer":"target"}"#)),
        (&keys[2], None),
        (&keys[3], None),
        (&new_at_source, Some(r#"{"new":"source"}"#)),
        (&new_at_target, Some(r#"{"new":"target"}"#)),
    ] {
        assert_eq!(json_of(&*target, key).await.as_deref(), json);
    }
    // The same again: nothing comes back, and nothing is forgotten.
    let expected = json!({ "there": 598, "changed_at_target": 1, "ended_at_target": 1 });
    is_reported(&copy(from, to, &record, &[]), 0, expected);

    // Both sides, and a session that ended at the source after somebody used it at the target.
    change(&*source, &keys[1], r#"{"newer":"source"}"#).await;
    change(&*target, &keys[4], r#"{"newer":"target"}"#).await;
    source.delete(&keys[4]).await.unwrap();
    let conflicts = copy(from, to, &record, &[]);
    is_reported(&conflicts, 3, json!({ "there": 597, "ended_at_target": 1, "conflicts": 2 }));
    for key in [&keys[1], &keys[4]] {
        assert_eq!(json_of(&*target, key).await.as_deref(), Some(r#"{"newer":"target"}"#));
        assert!(conflicts.stderr.contains(&key.public_id()), "{conflicts:?}");
        assert!(!conflicts.stderr.contains(key.as_str()), "{conflicts:?}");
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(&record).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!keys.iter().any(|key| holds(key.as_str())) && !holds("newer"), "digests alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_to_redis() {
    let folder = tempfile::tempdir().unwrap();
    follows_both_sides(&sqlite(folder.path()), &servers::redis::url().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_redis_to_postgres() {
    follows_both_sides(&servers::redis::url().await, &postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgres_to_memcached() {
    follows_both_sides(&postgres().await, &servers::memcached::url().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_files_to_a_database_behind_a_cache() {
    let (files, database) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = format!("cached_db:{}|{}", sqlite(database.path()), servers::redis::url().await);
    follows_both_sides(&format!("file:{}", files.path().display()), &to).await;
}

/// Sessions that expire by themselves are no logouts.
#[tokio::test(flavor = "multi_thread")]
async fn what_expired_at_the_source_is_no_logout() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to, record) = (sqlite(folder.path()), postgres().await, folder.path().join("moved"));
    let (source, target) = (open(&from).await, open(&to).await);
    let (key, now) = (SessionKey::random().unwrap(), Utc::now());
    let data = SessionData::from_json("{}").unwrap();
    source.create(&key, Record { data: &data, expire_date: now + TimeDelta::seconds(3), now }).await.unwrap();
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({ "copied": 1 }));
    change(&*target, &key, r#"{"used":"on"}"#).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({ "expired": 1 }));
    source.clear_expired(Utc::now()).await.unwrap();
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({}));
    assert_eq!(json_of(&*target, &key).await.as_deref(), Some(r#"{"used":"on"}"#));
}

/// Killed in the middle, again and again, while the source changes.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_ends_where_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to, record) = (sqlite(folder.path()), postgres().await, folder.path().join("moved"));
    let (source, target) = (open(&from).await, open(&to).await);
    let mut keys = Vec::new();
    for number in 0..3_000 {
        keys.push(create(&*source, &format!(r#"{{"number":{number}}}"#), 7).await);
    }
    let mut killed = 0;
    for round in 0..6_u64 {
        let record = record.to_str().unwrap();
        let mut command = cloakroom(&["copy", "--from", &from, "--to", &to, "--record", record]);
        command
            .env("CLOAKROOM_SECRET_KEY", crate::support::command::SECRET)
            .stdout(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(150 + 70 * round)).await;
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        for (index, key) in keys.iter().enumerate().skip(round as usize).step_by(50) {
            change(&*source, key, &format!(r#"{{"number":{index},"round":{round}}}"#)).await;
        }
    }
    assert!(killed > 0, "each copy was faster than it could be killed");
    source.delete(&keys[7]).await.unwrap();
    let last = copy(&from, &to, &record, &[]);
    assert_eq!((last.code, &last.json()["conflicts"]), (0, &json!(0)), "{last:?}");
    for key in &keys {
        assert_eq!(json_of(&*target, key).await, json_of(&*source, key).await);
    }
    println!("{killed} of 6 copies were killed in the middle");
}

/// The target stops in the middle: the summary says what was done, and nothing is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stops_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (from, record) = (sqlite(folder.path()), folder.path().join("moved"));
    let mut server = servers::postgres::start().await;
    let to = servers::postgres::url(&server, "postgres");
    assert_eq!(with_secret(&["create-table", "--store", &to], "").code, 0);
    let source = open(&from).await;
    let keys = [create(&*source, r#"{"a":1}"#, 7).await, create(&*source, r#"{"a":2}"#, 7).await];
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({ "copied": 2 }));
    source.delete(&keys[0]).await.unwrap();
    server.send("KILL");
    let failed = copy(&from, &to, &record, &[]);
    assert!(failed.code == 1 && failed.stderr.contains("the target"), "{failed:?}");
    server.send("start");
    server.wait_until(async || with_secret(&["count", "--store", &to], "").code == 0).await;
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({ "there": 1, "deleted": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_copy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to, record) = (sqlite(folder.path()), postgres().await, folder.path().join("moved"));
    assert_eq!(copy(&from, &to, &record, &[]).code, 0);
    let other = copy(&from, &servers::redis::url().await, &record, &[]);
    assert!(other.code == 2 && other.stderr.contains("is of a copy from"), "{other:?}");
    assert!(!other.stderr.contains(servers::postgres::PASSWORD), "{other:?}");
    std::fs::write(&record, "no record, but a text of some length that is not SQLite's at all".repeat(20))
        .unwrap();
    let wrong = copy(&from, &to, &record, &[]);
    assert!(wrong.code == 2 && wrong.stderr.contains("is not a record of a copy"), "{wrong:?}");
    let both = run(cloakroom(&["copy", "--to", "sqlite:x", "--record", "y", "--overwrite"]), b"");
    assert_eq!(both.code, 2, "{both:?}");
}

/// Another source than was copied from, or an emptied one, empties no target.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_lost_most_deletes_nothing_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to, record) = (sqlite(folder.path()), postgres().await, folder.path().join("moved"));
    let (source, target) = (open(&from).await, open(&to).await);
    let mut keys = Vec::new();
    for number in 0..30 {
        keys.push(create(&*source, &format!(r#"{{"number":{number}}}"#), 7).await);
    }
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({ "copied": 30 }));
    for key in &keys[..25] {
        source.delete(key).await.unwrap();
    }
    let refused = copy(&from, &to, &record, &[]);
    is_reported(&refused, 3, json!({ "there": 5, "conflicts": 25 }));
    assert!(refused.stderr.contains("25 of 30 sessions are gone from the source"), "{refused:?}");
    assert_eq!(target.count(Utc::now()).await.unwrap().live, 30);
    is_reported(&copy(&from, &to, &record, &["--delete-most"]), 0, json!({ "there": 5, "deleted": 25 }));

    // The other way round: a target that was emptied gets nothing back, and that is told.
    for key in &keys[25..] {
        change(&*source, key, r#"{"newer":"source"}"#).await;
    }
    for number in 0..30 {
        create(&*source, &format!(r#"{{"other":{number}}}"#), 7).await;
    }
    is_reported(&copy(&from, &to, &record, &[]), 0, json!({ "copied": 30, "replaced": 5 }));
    for listed in target.list().unwrap().next_page(100, Utc::now()).await.unwrap().unwrap() {
        target.delete(&listed.session_key).await.unwrap();
    }
    let emptied = copy(&from, &to, &record, &[]);
    is_reported(&emptied, 3, json!({ "ended_at_target": 35 }));
    assert!(emptied.stderr.contains("was it emptied?"), "{emptied:?}");
}
