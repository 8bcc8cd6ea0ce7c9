//! `create-table` and `clearsessions`, and the command's help.

use std::path::Path;

use crate::support::command::{Ran, cloakroom, run};

const COMMANDS: [&str; 16] = [
    "list",
    "show",
    "count",
    "check",
    "delete",
    "revoke",
    "copy",
    "change-secret",
    "clearsessions",
    "create-table",
    "decode",
    "encode",
    "settings",
    "demo",
    "completions",
    "man",
];

fn store(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn with_store(command: &str, path: &Path, more: &[&str]) -> Ran {
    run(cloakroom(&[&[command, "--store", &store(path)], more].concat()), b"")
}

#[test]
fn a_table_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let missing = with_store("clearsessions", &path, &[]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("create-table"), "says what to do: {}", missing.stderr);
    assert!(!path.exists(), "nothing is made by looking");

    let made = with_store("create-table", &path, &["--record-migration"]);
    assert!(made.code == 0 && made.stdout.contains("made the table"), "{made:?}");
    let again = with_store("create-table", &path, &[]);
    assert!(again.code == 0 && again.stdout.contains("there already"), "{again:?}");
    let cleared = with_store("clearsessions", &path, &[]);
    assert_eq!((cleared.code, cleared.stdout.as_str()), (0, ""), "nothing to do, and nobody watches");
    let mut from_environment = cloakroom(&["clearsessions"]);
    from_environment.env("CLOAKROOM_STORE", store(&path));
    assert_eq!(run(from_environment, b"").code, 0);
}

#[test]
fn wrong_stores_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "this is no database, ".repeat(100)).unwrap();
    let wrong = with_store("clearsessions", &path, &[]);
    assert!(wrong.code == 1 && wrong.stderr.contains("not a SQLite database"), "{wrong:?}");
    for (arguments, part) in [
        (["clearsessions"].as_slice(), "--store sqlite:PATH"),
        (&["create-table"], "--store sqlite:PATH"),
        (&["clearsessions", "--store", "memory:"], "other processes cannot see"),
        (&["create-table", "--store", "sqlite:"], "lacks its file"),
        (&["clearsessions", "--store", "sqlite:x", "--naive-time-zone", "Mars/Olympus"], "no such time zone"),
    ] {
        let ran = run(cloakroom(arguments), b"");
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    for command in ["create-table", "clearsessions"] {
        let ran = run(cloakroom(&[command, "--store", "carrier://ann:s3cret@pigeon"]), b"");
        assert!(ran.stderr.contains("names no store"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    for command in COMMANDS {
        let ran = run(cloakroom(&[command, "--help"]), b"");
        assert!(ran.code == 0 && ran.stdout.contains("Examples:"), "{command}");
        let man = run(cloakroom(&["man", command]), b"");
        assert!(man.code == 0 && man.stdout.contains(".TH cloakroom-"), "{command}");
        assert!(man.stdout.contains("Examples:"), "{command}");
    }
    let man = run(cloakroom(&["man"]), b"");
    assert!(man.stdout.contains("Exit codes: 0") && man.stdout.contains("CLOAKROOM_STORE"), "{man:?}");
    for shell in ["bash", "zsh", "fish"] {
        let completions = run(cloakroom(&["completions", shell]), b"");
        assert!(COMMANDS.iter().all(|command| completions.stdout.contains(command)), "{shell}");
    }
    let mut help = cloakroom(&["--help"]);
    help.env("CLOAKROOM_STORE", "redis://:s3cret@cache");
    assert!(run(help, b"").stdout.contains("Exit codes: 0"));
    let mut help = cloakroom(&["demo", "--help"]);
    help.env("CLOAKROOM_STORE", "redis://:s3cret@cache").env("CLOAKROOM_SECRET_KEY", "s3cret");
    assert!(!run(help, b"").stdout.contains("s3cret"));
}

#[tokio::test]
async fn expired_sessions_are_removed_and_counted() {
    use cloakroom::chrono::{TimeDelta, Utc};
    use cloakroom::store::Record;
    use cloakroom::{SessionData, SessionKey, SessionStore, Settings, SqliteStore};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    assert_eq!(with_store("create-table", &path, &[]).code, 0);
    let store = SqliteStore::at(&path).open(&Settings::new("secret")).await.unwrap();
    let (data, now) = (SessionData::new(), Utc::now());
    for hours in [-30, -2, -1, 2, 300] {
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(hours), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
    }
    // Read as the local time of a zone 12 hours behind, only the oldest is over.
    let naive = with_store("clearsessions", &path, &["--naive-time-zone", "Etc/GMT+12"]);
    assert_eq!(naive.stdout, "1 expired session removed\n", "{}", naive.stderr);
    assert_eq!(with_store("clearsessions", &path, &[]).stdout, "2 expired sessions removed\n");
    assert_eq!(with_store("clearsessions", &path, &["--json"]).json()["removed"], 0);
}
