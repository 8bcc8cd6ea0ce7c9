//! `decode` and `encode`: secrets, salts, bad lines, streaming.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::support::command::{cloakroom, run};

const SECRET: &str = "hunter2-hunter2";

fn encode(json: &str, more: &[&str]) -> String {
    let ran = run(cloakroom(&[&["encode", "--secret-key", SECRET], more].concat()), json.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
}

#[test]
fn secrets_come_from_option_file_and_environment() {
    let text = encode("{\"a\":1}\n", &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.txt");
    let path = path.to_str().unwrap();
    for end in ["", "\n", "\r\n"] {
        std::fs::write(path, format!("{SECRET}{end}")).unwrap();
        let ran = run(cloakroom(&["decode", "--secret-key-file", path]), text.as_bytes());
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"a\":1}\n"), "{}", ran.stderr);
    }
    let mut command = cloakroom(&["decode"]);
    command.env("CLOAKROOM_SECRET_KEY", SECRET);
    assert_eq!(run(command, text.as_bytes()).stdout, "{\"a\":1}\n");

    // An option counts more than the environment; fallbacks verify.
    let mut command = cloakroom(&["decode", "--secret-key", "another", "--secret-key-fallback-file", path]);
    command.env("CLOAKROOM_SECRET_KEY", "a third");
    assert_eq!(run(command, text.as_bytes()).stdout, "{\"a\":1}\n");
    let arguments =
        ["decode", "--secret-key", "-a", "--secret-key-fallback", "-b", "--secret-key-fallback", SECRET];
    assert_eq!(run(cloakroom(&arguments), text.as_bytes()).stdout, "{\"a\":1}\n");
}

#[test]
fn a_missing_or_empty_secret_is_a_usage_error_that_shows_none() {
    let ran = run(cloakroom(&["decode"]), b"");
    assert_eq!(ran.code, 2);
    for way in ["--secret-key-file PATH", "CLOAKROOM_SECRET_KEY", "--secret-key SECRET"] {
        assert!(ran.stderr.contains(way), "{}", ran.stderr);
    }
    let mut empty = cloakroom(&["decode"]);
    empty.env("CLOAKROOM_SECRET_KEY", "");
    assert_eq!(run(empty, b"").code, 2);
    let missing = run(cloakroom(&["encode", "--secret-key-file", "/nowhere/secret"]), b"");
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("/nowhere/secret"), "{}", missing.stderr);
    for wrong in [
        ["decode", "--secret-key", SECRET, "--secret-key-file", "x"].as_slice(),
        &["decode", "--secret-key", SECRET, "--now", "tomorrow"],
        &["encode", "--secret-key", SECRET, "--compress", "sometimes"],
        &["decode", &format!("--secret-key={SECRET}"), "--format", "ancient"],
    ] {
        let ran = run(cloakroom(wrong), b"");
        assert_eq!(ran.code, 2, "{wrong:?}");
        assert!(!ran.stderr.contains(SECRET), "{}", ran.stderr);
    }
}

#[test]
fn bad_lines_give_empty_sessions_and_the_others_go_on() {
    let good = encode("{\"a\":1}\n", &[]);
    let good = good.trim_end();
    let mut input = format!("{good}\nrubbish\n{good}x\n\n").into_bytes();
    input.extend(b"\xff\xfe\n");
    input.extend(format!("{good}\r\n{good}").bytes());
    let ran = run(cloakroom(&["decode", "--secret-key", SECRET]), &input);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.lines(), ["{\"a\":1}", "{}", "{}", "{}", "{}", "{\"a\":1}", "{\"a\":1}"]);
    let complaints: Vec<_> = ran.stderr.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(complaints, ["line 2", "line 3", "line 4", "line 5"], "{}", ran.stderr);
    assert!(!ran.stderr.contains(SECRET));

    let ran = run(cloakroom(&["encode", "--secret-key", SECRET]), b"{\"a\":1}\n{\"a\":}\n\n\xff\n{}\n");
    assert_eq!((ran.code, ran.lines().len()), (1, 5));
    assert_eq!(ran.lines()[1..4], ["", "", ""]);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
}

#[test]
fn json_goes_through_as_it_is_written() {
    let lines = [
        "{\"z\": 1e5,  \"a\":[NaN, -Infinity]}",
        "{\"n\":123456789012345678901234567890,\"s\":\"\\ud800\",\"a\":1,\"a\":2}",
        "{}",
    ];
    let text = encode(&(lines.join("\n") + "\n"), &["--compress", "never"]);
    let ran = run(cloakroom(&["decode", "--secret-key", SECRET]), text.as_bytes());
    assert_eq!((ran.code, ran.lines()), (0, lines.to_vec()));
    // Outside of ASCII there are escapes, as Python writes them.
    let text = encode(" {\"Zürich\":\"😀\"}\t\n", &["--format", "legacy"]);
    let ran = run(cloakroom(&["decode", "--secret-key", SECRET]), text.as_bytes());
    assert_eq!(ran.stdout, "{\"Z\\u00fcrich\":\"\\ud83d\\ude00\"}\n");
    // What is no dictionary is signed, with a word about it.
    let ran = run(cloakroom(&["encode", "--secret-key", SECRET]), b"[1,2]\n");
    assert!(ran.code == 0 && ran.stderr.contains("line 1: holds a list"), "{}", ran.stderr);
}

#[test]
fn formats_salts_and_ages() {
    let now = ["--now", "1700000000.5"];
    let modern = encode("{\"a\":1}\n", &now);
    let legacy = encode("{\"a\":1}\n", &["--format", "legacy"]);
    assert!(modern.starts_with("eyJhIjoxfQ:1r31eq:"), "{modern}");
    let decoded = |text: &str, more: &[&str]| {
        let ran = run(cloakroom(&[&["decode", "--secret-key", SECRET], more].concat()), text.as_bytes());
        assert_eq!(ran.code == 0, ran.stdout == "{\"a\":1}\n", "{}", ran.stderr);
        ran.code == 0
    };
    assert!(decoded(&modern, &[]) && decoded(&legacy, &[]));
    assert!(decoded(&modern, &["--format", "modern"]) && !decoded(&modern, &["--format", "legacy"]));
    assert!(!decoded(&legacy, &["--format", "modern"]) && decoded(&legacy, &["--format", "legacy"]));
    // Signed in the whole second before; the limit belongs to the time allowed.
    assert!(decoded(&modern, &["--max-age", "60", "--now", "1700000060"]));
    assert!(!decoded(&modern, &["--max-age", "60", "--now", "1700000060.25"]));
    // The default salts by their names, and others.
    assert!(decoded(&modern, &["--key-salt", "django.contrib.sessions.SessionStore"]));
    assert!(decoded(&legacy, &["--key-salt", "django.contrib.sessionsSessionStore"]));
    let salt = ["--key-salt", "django.contrib.sessions.backends.signed_cookies"];
    let cookie = encode("{\"a\":1}\n", &salt);
    assert!(decoded(&cookie, &salt) && !decoded(&cookie, &[]));
}

#[test]
fn compression_is_as_asked_for() {
    let json = format!("{{\"a\":\"{}\"}}\n", "x".repeat(500));
    assert!(encode(&json, &["--compress", "always"]).starts_with('.'));
    assert!(encode(&json, &["--compress", "500"]).starts_with('.'));
    assert!(!encode(&json, &["--compress", "never"]).starts_with('.'));
    assert!(!encode(&json, &[]).starts_with('.'), "1,024 bytes unless told otherwise");
    assert!(!encode("{\"a\":1}\n", &["--compress", "always"]).starts_with('.'), "only where it is shorter");
}

#[test]
fn each_line_is_answered_before_the_next_is_asked_for() {
    let mut child = cloakroom(&["encode", "--secret-key", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        stdin.write_all(b"{\"a\":1}\n").unwrap();
        let mut answer = String::new();
        stdout.read_line(&mut answer).unwrap();
        assert!(answer.starts_with("eyJhIjoxfQ:"), "{answer}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_leaves_is_nothing_to_report() {
    let mut child = cloakroom(&["encode", "--secret-key", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&b"{\"a\":1}\n".repeat(100_000))));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
