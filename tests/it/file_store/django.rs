//! A real Django on the same folder.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cloakroom::{Expiry, Session, SystemClock};
use serde_json::{Value as Json, json};

use super::*;

struct Django {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Django {
    fn start(folder: &Path) -> Django {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/bin/python");
        assert!(
            python.exists(),
            "no Django for this test: .venv is missing; run scripts/test, which makes it"
        );
        let mut process = Command::new(python)
            .arg(root.join("tests/it/file_store/sessions.py"))
            .arg(folder)
            .env_remove("PYTHONPATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Django { process, commands, answers: BufReader::new(answers) }
    }

    fn ask(&mut self, command: Json) -> Json {
        writeln!(self.commands, "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("Django failed; its error stands above")
    }

    fn load(&mut self, session_key: &SessionKey) -> Json {
        self.ask(json!(["load", session_key.as_str()]))
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn saved(store: &Arc<dyn SessionStore>, expiry: Expiry) -> Session {
    let session = Session::new(Arc::clone(store), settings());
    session.set("name", "Z\u{fc}rich").unwrap();
    session.set_expiry(expiry).unwrap();
    session.save().await.unwrap();
    session
}

#[tokio::test]
async fn django_reads_what_is_written_here_and_the_other_way_round() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let mut django = Django::start(place.path());
    let expiries = [
        Expiry::Default,
        Expiry::AtBrowserClose,
        Expiry::Seconds(300),
        Expiry::FractionalSeconds(300.5),
        Expiry::After(TimeDelta::minutes(5)),
        Expiry::At(Utc::now().fixed_offset() + TimeDelta::minutes(5)),
    ];
    for expiry in expiries {
        let session = saved(&store, expiry).await;
        let session_key = session.session_key().unwrap();
        let seen = django.load(&session_key);
        assert_eq!(seen["data"]["name"], "Z\u{fc}rich", "{expiry:?}");
        assert_eq!(seen["key"], session_key.as_str(), "{expiry:?}");
        // Django saves, and this session, which was loaded before, saves on top.
        assert_eq!(django.ask(json!(["set", session_key.as_str(), "django", 1])), "saved");
        session.set("rust", 1).unwrap();
        session.save().await.unwrap();
        let seen = django.load(&session_key);
        assert_eq!((&seen["data"]["django"], &seen["data"]["rust"]), (&json!(1), &json!(1)), "{expiry:?}");
    }
    let made = django.ask(json!(["create", {"a": 1}]));
    let session_key = SessionKey::from_trusted(made.as_str().unwrap());
    let loaded = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
    let mut changed = loaded.data().unwrap().clone();
    assert_eq!(changed.to_json(), r#"{"a":1}"#);
    let end = loaded.expire_date.unwrap() - Utc::now();
    assert!((TimeDelta::days(13)..TimeDelta::days(14)).contains(&end), "{end}");
    changed.write("b", &2).unwrap();
    let record = Record { data: &changed, expire_date: Utc::now() + TimeDelta::days(14), now: Utc::now() };
    store.update(&session_key, Some(&loaded.version), record).await.unwrap();
    assert_eq!(django.load(&session_key)["data"], json!({"a": 1, "b": 2}));
    store.delete(&session_key).await.unwrap();
    assert_eq!(django.load(&session_key), json!({"data": {}, "key": null}));
    assert_eq!(leftovers(place.path()), 0);
    println!("{0} of {0} expiries read by Django as here", expiries.len());
}

/// The modification time is what Django counts from.
#[tokio::test]
async fn django_ends_and_clears_sessions_when_they_end_here() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let mut django = Django::start(place.path());
    let now = cloakroom::Clock::now(&SystemClock);
    // Django rounds down to whole seconds, so that the last second counts as over.
    let ends = [(-3_600, false), (-1, false), (60, true), (3_600, true), (20 * 24 * 3_600, true)];
    let data = data(r#"{"a":1}"#);
    let mut keys = Vec::new();
    for (seconds, alive) in ends {
        let record = Record { data: &data, expire_date: now + TimeDelta::seconds(seconds), now };
        let session_key = SessionKey::random().unwrap();
        store.create(&session_key, record).await.unwrap();
        assert_eq!(store.load(&session_key, now).await.unwrap().is_some(), alive, "{seconds}");
        keys.push((session_key, alive));
    }
    std::fs::write(place.path().join(".cloakroom-0123456789abcdef"), "being written").unwrap();
    django.ask(json!(["clear_expired"]));
    for (session_key, alive) in &keys {
        assert_eq!(path(place.path(), session_key).exists(), *alive);
        if *alive {
            assert_eq!(django.load(session_key)["data"], json!({"a": 1}));
        }
    }
    assert_eq!(leftovers(place.path()), 1, "Django passes temporary files by");
}
