//! The site goes on writing meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SessionCodec, SessionData, Settings};
use serde_json::json;

use super::project::NEW;
use super::{DONE, change, numbers, open_with, ran};
use crate::support::project::SECRET as OLD;
use crate::support::sessions::{create, sqlite};

fn secrets(folder: &std::path::Path) -> [String; 4] {
    let file = |name: &str, secret: &str| {
        std::fs::write(folder.join(name), secret).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    [
        "--secret-key-file".to_owned(),
        file("new.txt", NEW),
        "--secret-key-fallback-file".to_owned(),
        file("old.txt", OLD),
    ]
}

/// A request that began before writes a session of the old secret while the command is at work: one is saved between being
/// listed and being written, and one appears where the command has been already.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_site_saves_meanwhile_is_kept_and_signed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (url, secrets) = (sqlite(folder.path()), secrets(folder.path()));
    let store = open_with(&url, OLD).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(create(&*store, r#"{"visits":1}"#, 5).await);
    }
    keys.sort_by(|left, right| left.as_str().cmp(right.as_str()));
    let text = SessionCodec::new(&Settings::new(OLD))
        .encode(&SessionData::from_json(r#"{"visits":2}"#).unwrap(), Utc::now())
        .unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TRIGGER site AFTER UPDATE ON django_session WHEN NEW.session_key = '{first}' BEGIN
               UPDATE django_session SET session_data = '{text}' WHERE session_key = '{second}';
               INSERT OR IGNORE INTO django_session VALUES ('0000before', '{text}', '2999-01-01 00:00:00');
             END",
            first = keys[0].as_str(),
            second = keys[1].as_str(),
        ))
        .unwrap();
    let options: Vec<&str> =
        ["--store", &url].into_iter().chain(secrets.iter().map(String::as_str)).collect();
    let (code, done) = change(&options);
    assert_eq!((code, numbers(&done, &DONE)), (0, vec![4, 0, 0, 0]), "{done}");
    assert_eq!(done["passes"], 3, "one to find nothing: {done}");
    let store = open_with(&url, NEW).await;
    for (key, visits) in
        [(keys[0].as_str(), 1), (keys[1].as_str(), 2), (keys[2].as_str(), 1), ("0000before", 2)]
    {
        let key = cloakroom::SessionKey::from_trusted(key);
        let loaded = store.load(&key, Utc::now()).await.unwrap().unwrap();
        assert!(loaded.is_genuine());
        assert_eq!(loaded.data().unwrap().read("visits").unwrap(), Some(visits));
    }
}

/// A server that nobody restarted goes on writing with the old secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_the_old_secret_keeps_the_fallback() {
    let folder = tempfile::tempdir().unwrap();
    let (url, secrets) = (crate::support::sessions::postgres().await, secrets(folder.path()));
    let store = open_with(&url, OLD).await;
    let mut keys = Vec::new();
    for _ in 0..200 {
        keys.push(create(&*store, r#"{"visits":1}"#, 5).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let server = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let data = SessionData::from_json(r#"{"visits":2}"#).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let now = Utc::now();
                let record = Record { data: &data, expire_date: now + TimeDelta::hours(5), now };
                let saved = keys.iter().map(|key| store.update(key, None, record));
                futures_util::future::join_all(saved).await;
            }
        }
    });
    let options: Vec<&str> =
        ["--store", &url].into_iter().chain(secrets.iter().map(String::as_str)).collect();
    let options = options.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (left, report) = tokio::task::spawn_blocking(move || {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let left = ran(&[&["change-secret"], &options[..]].concat());
        let report = change(&options);
        (left, report)
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    server.await.unwrap();
    assert!(
        left.code == 3 && left.stdout.contains("changed meanwhile; the fallback must stay until"),
        "{left:?}"
    );
    assert!(left.stderr.contains("restart every server"), "{left:?}");
    assert_eq!(
        (report.0, &report.1["passes"], &report.1["complete"]),
        (3, &json!(5), &json!(true)),
        "{report:?}"
    );
}
