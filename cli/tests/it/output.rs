//! What goes to standard output and standard error: nothing in it acts on a terminal or forges a line, and the exit code
//! tells when it could not be written.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SessionData, SessionKey};
use serde_json::json;

use crate::support::command::{Ran, SECRET, cloakroom, run, script, with_secret};
use crate::support::sessions::{create, open, sqlite};

/// Clears the screen, colours, ends a line and begins another, and turns the direction of text.
const HOSTILE: &str = "7\u{1b}[2J\u{9b}31m\u{7f}\r\nforged  live\u{202e}\u{200b}\u{2028}\u{7}";

fn is_tame(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let unsafe_one = text.chars().find(|character| {
            (character.is_control() && *character != '\n') || "\u{202e}\u{200b}\u{2028}".contains(*character)
        });
        assert_eq!(unsafe_one, None, "{ran:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_holds_does_not_act_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &url], "").code, 0);
    let store = open(&url).await;
    let (now, hostile_key) = (Utc::now(), SessionKey::from_trusted(format!("key{HOSTILE}")));
    let data = json!({ "_auth_user_id": HOSTILE, HOSTILE: [HOSTILE] }).to_string();
    let data = SessionData::from_json(&data).unwrap();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.create(&hostile_key, record).await.unwrap();
    let key = SessionKey::random().unwrap();
    store.create(&key, record).await.unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    let sql = "INSERT INTO cloakroom_user_session VALUES (?1, ?2, ?3, ?3, ?1, ?1)";
    connection.execute(sql, [HOSTILE, key.as_str(), "2026-01-01 00:00:00"]).unwrap();

    let cloakroom = |arguments: &[&str]| {
        let ran = with_secret(&[arguments, &["--store", &url]].concat(), "");
        is_tame(&ran);
        ran
    };
    let listed = cloakroom(&["list", "--keys"]);
    assert_eq!((listed.code, listed.lines().len()), (0, 2), "a line each: {listed:?}");
    assert!(
        listed.stdout.contains(r"user 7\u001b[2J\u009b31m\u007f\u000d\u000aforged  live\u202e"),
        "{listed:?}"
    );
    // In JSON the spelling changes, and the value does not.
    let listed = cloakroom(&["list", "--keys", "--json", "--user", HOSTILE]);
    assert_eq!(listed.lines().len(), 2, "{listed:?}");
    let entries: Vec<serde_json::Value> =
        listed.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.iter().all(|entry| entry["user"] == HOSTILE), "{listed:?}");
    assert!(entries.iter().any(|entry| entry["session_key"] == hostile_key.as_str()), "{listed:?}");
    let shown = cloakroom(&["show", key.as_str()]);
    assert_eq!((shown.code, shown.lines().len()), (0, 6), "{shown:?}");
    let shown = cloakroom(&["show", key.as_str(), "--json"]);
    assert_eq!((shown.lines().len(), &shown.json()["data"][HOSTILE][0]), (1, &json!(HOSTILE)), "{shown:?}");
    let devices = cloakroom(&["user-sessions", "list", "--user", HOSTILE]);
    assert_eq!((devices.code, devices.lines().len()), (0, 1), "{devices:?}");
    cloakroom(&["user-sessions", "list", "--user", HOSTILE, "--json"]).json();
    assert_eq!(cloakroom(&["user-sessions", "revoke", "--user", HOSTILE]).code, 0);
    let revoked = cloakroom(&["revoke", "--user", HOSTILE]);
    assert_eq!((revoked.code, revoked.lines().len()), (0, 1), "{revoked:?}");
}

/// White space of nested JSON may be line ends: with `--json` each session is a line all the same.
#[tokio::test(flavor = "multi_thread")]
async fn stored_line_ends_make_no_lines() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    let key = create(&*store, "{\"list\":[1,\n2]}", 5).await;
    for more in [[].as_slice(), &["--json"]] {
        let arguments = [&["show", key.as_str(), "--store", &url], more].concat();
        let shown = with_secret(&arguments, "");
        assert_eq!(shown.lines().len(), if more.is_empty() { 6 } else { 1 }, "{shown:?}");
        assert!(shown.stdout.contains("[1, 2]"), "{shown:?}");
    }
}

#[cfg(unix)]
#[test]
fn what_other_programs_say_does_not_act_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("manage.py"), "").unwrap();
    let python = script(folder.path(), r"printf '\033[31mred\nforged: all is well\n' >&2; exit 1");
    let manage_py = folder.path().join("manage.py");
    let ran =
        run(cloakroom(&["list", "--from-django", manage_py.to_str().unwrap(), "--python", &python]), b"");
    is_tame(&ran);
    assert!(ran.code == 1 && ran.stderr.contains("\n  \\u001b[31mred\n  forged"), "{ran:?}");

    let hostile = format!("file:/nowhere{HOSTILE}");
    for arguments in [
        ["count", "--store", &hostile].as_slice(),
        &["settings", "--cookie-name", HOSTILE, "--store", "sqlite:x"],
        &["settings", "--json", "--cookie-name", HOSTILE, "--store", &hostile],
        &["create-table", "--store", &hostile],
        &["list", HOSTILE],
        &["list", "--limit", HOSTILE],
        &[HOSTILE],
        &[&format!("--{HOSTILE}")],
        &["man", HOSTILE],
        &["demo", "--listen", HOSTILE],
    ] {
        is_tame(&run(cloakroom(arguments), b""));
    }
}

/// A text goes to a file or another program letter for letter; a terminal is spared.
#[test]
fn decoded_text_is_exact_for_programs() {
    let text = with_secret(&["encode"], "{\"a\":\"\u{7f}\"}\n").stdout;
    assert_eq!(with_secret(&["decode"], &text).stdout, "{\"a\":\"\u{7f}\"}\n");
}

/// A store with two sessions, one of which nobody can read, and the key of the other.
async fn a_store(folder: &Path) -> (String, SessionKey) {
    let url = sqlite(folder);
    let key = create(&*open(&url).await, r#"{"_auth_user_id":"7"}"#, 5).await;
    let list = with_secret(&["encode"], "[1,2]\n").stdout;
    let connection = rusqlite::Connection::open(folder.join("db.sqlite3")).unwrap();
    let sql = "INSERT INTO django_session VALUES ('unreadablekey', ?1, '2999-01-01 00:00:00')";
    connection.execute(sql, [list.trim()]).unwrap();
    (url, key)
}

/// Each command that writes to standard output, and its exit code where that can be written.
fn commands<'a>(url: &'a str, key: &'a SessionKey, target: &'a str) -> Vec<(Vec<&'a str>, i32)> {
    let with_store = [
        (["list"].as_slice(), 0),
        (&["list", "--json"], 0),
        (&["show", key.as_str()], 0),
        (&["show", "--json", key.as_str()], 0),
        (&["count"], 0),
        (&["check"], 3),
        (&["check", "--json"], 3),
        (&["copy", "--to", target], 3),
        (&["clearsessions", "--json"], 0),
        (&["create-table"], 0),
        (&["create-table", "--user-sessions"], 0),
        (&["settings"], 0),
        (&["settings", "--json"], 0),
        (&["user-sessions", "rebuild"], 3),
        (&["user-sessions", "list", "--user", "7"], 0),
        (&["user-sessions", "clean", "--json"], 0),
        (&["user-sessions", "revoke", "--user", "8"], 0),
        (&["delete", "nosuchkey0"], 1),
        (&["revoke", "--user", "8"], 3),
    ];
    let mut commands =
        with_store.map(|(command, code)| ([command, &["--store", url]].concat(), code)).to_vec();
    commands.extend(
        [
            ["--help"].as_slice(),
            &["--version"],
            &["list", "--help"],
            &["completions", "bash"],
            &["man"],
            &["man", "list"],
        ]
        .map(|command| (command.to_vec(), 0)),
    );
    commands
}

fn end_with(stdout: Stdio, arguments: &[&str], input: &str) -> Ran {
    let mut command = cloakroom(arguments);
    command.env("CLOAKROOM_SECRET_KEY", SECRET).stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may not read.
    let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Ran { code: output.status.code().expect("not ended by a signal"), stdout: String::new(), stderr }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_failure() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (url, key) = a_store(folder.path()).await;
    let target = sqlite(target.path());
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (arguments, _) in commands(&url, &key, &target) {
        // Where there is nothing to list, there is nothing to write.
        if arguments.starts_with(&["user-sessions", "list"]) {
            assert_eq!(with_secret(&["user-sessions", "rebuild", "--store", &url], "").code, 3);
        }
        let ran = end_with(full().into(), &arguments, "");
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
        assert!(
            ran.stderr.contains("cannot write to standard output: No space left"),
            "{arguments:?}: {ran:?}"
        );
    }
    let text = with_secret(&["encode"], "{}\n").stdout;
    for (command, input) in [("encode", "{}\n"), ("decode", text.as_str())] {
        let ran = end_with(full().into(), &[command], input);
        assert!(ran.code == 1 && ran.stderr.contains("cannot write to standard output"), "{ran:?}");
    }
    let ran = end_with(full().into(), &["demo", "--store", "memory:", "--listen", "127.0.0.1:0"], "");
    assert!(ran.code == 1 && ran.stderr.contains("cannot write to standard output"), "{ran:?}");
    // What was to be done is done all the same.
    assert_eq!(end_with(full().into(), &["delete", key.as_str(), "--store", &url], "").code, 1);
    assert_eq!(end_with(Stdio::piped(), &["show", key.as_str(), "--store", &url], "").code, 1);

    // Where standard error is full, too, nobody can be told, and the exit code still tells.
    let mut command = cloakroom(&["count", "--store", "sqlite:/nowhere/db.sqlite3"]);
    let status = command.env("RUST_LOG", "debug").stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1), "and no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_left_is_no_failure() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (url, key) = a_store(folder.path()).await;
    let target = sqlite(target.path());
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &url], "").code, 0);
    for (arguments, code) in commands(&url, &key, &target) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = end_with(writer.into(), &arguments, "");
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        for word in ["panicked", "pipe", "cannot write"] {
            assert!(!ran.stderr.contains(word), "{arguments:?}: {ran:?}");
        }
        assert!(code != 0 || ran.stderr.is_empty(), "{arguments:?}: {ran:?}");
    }
}

/// Rust opens `/dev/null` in its place, so that no database is opened under the number of standard output.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_output_harms_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let (url, key) = a_store(folder.path()).await;
    for closed in [">&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {closed}"), env!("CARGO_BIN_EXE_cloakroom")]);
        command.args(["list", "--store", &url, "--secret-key", SECRET]);
        assert_eq!(command.status().unwrap().code(), Some(0), "{closed}");
    }
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(with_secret(&["show", key.as_str(), "--store", &url], "").code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_that_cannot_be_read_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (url, key) = a_store(folder.path()).await;
    let keys = format!("unreadablekey\nnosuchkey0\n{}\n", key.as_str());
    let shown = with_secret(&["show", "-", "--json", "--store", &url], &keys);
    assert_eq!((shown.code, shown.lines().len()), (1, 1), "{shown:?}");
    assert_eq!(shown.json()["id"], key.public_id());
    // Each is named, and not by its key.
    for (key, why) in [("unreadablekey", "left as it is"), ("nosuchkey0", "no such session")] {
        let id = SessionKey::from_trusted(key).public_id();
        assert!(shown.stderr.lines().any(|line| line.starts_with(&id) && line.contains(why)), "{shown:?}");
        assert!(!shown.stderr.contains(key), "{shown:?}");
    }
}

/// The store fails half-way: what was done before is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_before_a_failure_is_told() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (url, target_url) = (sqlite(folder.path()), sqlite(target.path()));
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    let text = with_secret(&["encode"], "{\"a\":1}\n").stdout;
    let fill = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300) \
        INSERT INTO django_session SELECT printf('%s%08d', ?1, n), ?2, printf(?3, n % 28 + 1) FROM numbers";
    connection.execute(fill, ["live", text.trim(), "2999-01-%02d 00:00:00"]).unwrap();
    let fails_beyond = |sql: &str| format!("{sql} BEGIN SELECT abs(-9223372036854775808); END");
    let of_target = rusqlite::Connection::open(target.path().join("db.sqlite3")).unwrap();
    let trigger = "CREATE TRIGGER enough BEFORE INSERT ON django_session WHEN (SELECT count(*) FROM django_session) >= 150";
    of_target.execute_batch(&fails_beyond(trigger)).unwrap();
    let copied = with_secret(&["copy", "--json", "--store", &url, "--to", &target_url], "");
    assert!(copied.code == 1 && copied.stderr.contains("integer overflow"), "{copied:?}");
    let told = copied.json()["copied"].as_i64().unwrap();
    assert!((1..=150).contains(&told), "{copied:?}");

    // By one writing thread in batches of 1,000 at the most.
    for month in ["2001-%02d-01 00:00:00", "2002-%02d-01 00:00:00"] {
        let fill = fill.replace("300", "1500").replace("28", "12");
        connection.execute(&fill, [&month[..4], text.trim(), month]).unwrap();
    }
    connection
        .execute_batch(&fails_beyond(
            "CREATE TRIGGER enough BEFORE DELETE ON django_session WHEN OLD.expire_date >= '2002-12-01'",
        ))
        .unwrap();
    let count = || -> i64 {
        connection.query_row("SELECT count(*) FROM django_session", [], |row| row.get(0)).unwrap()
    };
    let before = count();
    let cleared = with_secret(&["clearsessions", "--store", &url], "");
    let gone = before - count();
    assert!(gone > 0 && cleared.code == 1, "{gone}: {cleared:?}");
    let told = format!("{gone} expired sessions removed before it ended in the middle; more may be left\n");
    assert_eq!(cleared.stdout, told, "{cleared:?}");
}
