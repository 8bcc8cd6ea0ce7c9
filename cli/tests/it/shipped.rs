//! The shipped files: units of systemd, a line for cron, man pages, completions.

use std::path::Path;
use std::process::{Command, Stdio};

use cloakroom::chrono::Utc;

use crate::support::command::{cloakroom, run, with_secret};
use crate::support::documents::root;
use crate::support::servers;
use crate::support::sessions::{create, open, sqlite};

fn contrib(name: &str) -> String {
    std::fs::read_to_string(root().join("contrib").join(name)).unwrap()
}

/// A settings file for a store in which one session has expired.
async fn settings(folder: &Path) -> String {
    let url = sqlite(folder);
    create(&*open(&url).await, "{}", -5).await;
    let file = folder.join("cloakroom.toml");
    std::fs::write(&file, format!("store = {url:?}\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Runs a command line of a shipped file as the system does: by /bin/sh, with next to nothing in the environment.
fn as_the_system(line: &str, settings: &str) -> std::process::Output {
    let line = line
        .replace("/usr/local/bin/cloakroom", env!("CARGO_BIN_EXE_cloakroom"))
        .replace("/etc/cloakroom/cloakroom.toml", settings);
    Command::new("/bin/sh").args(["-c", &line]).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cron_line_cleans_and_is_silent_when_there_is_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path()).await;
    let text = contrib("cloakroom.cron");
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&fields[2..6], ["*", "*", "*", "www-data"], "minute, hour, and a user, as in /etc/cron.d");
    let command = line.split("www-data").nth(1).unwrap();
    let first = as_the_system(command, &settings);
    assert_eq!((first.status.code(), first.stdout), (Some(0), b"1 expired session removed\n".to_vec()));
    // Cron mails what is printed.
    let second = as_the_system(command, &settings);
    assert_eq!((second.status.code(), second.stdout, second.stderr), (Some(0), Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_units_are_valid_and_their_command_cleans() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["cloakroom-clearsessions.service", "cloakroom-clearsessions.timer"] {
        let text = contrib(name).replace("/usr/local/bin/cloakroom", env!("CARGO_BIN_EXE_cloakroom"));
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let units = ["cloakroom-clearsessions.service", "cloakroom-clearsessions.timer"]
        .map(|name| folder.path().join(name));
    let verified = Command::new(servers::program("systemd-analyze", &[]))
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_these: Vec<&str> =
        said.lines().filter(|line| line.contains("cloakroom-clearsessions")).collect();
    assert!(verified.status.success() && about_these.is_empty(), "{said}");
    let settings = settings(folder.path()).await;
    let service = contrib("cloakroom-clearsessions.service");
    let line = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let ran = as_the_system(line, &settings);
    assert_eq!((ran.status.code(), ran.stdout), (Some(0), b"1 expired session removed\n".to_vec()));
}

/// Each command has a page that `man` finds, the references exist, and examples keep their lines.
#[test]
fn man_pages_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let written = run(cloakroom(&["man", "--out", path]), b"");
    assert_eq!(written.code, 0, "{written:?}");
    let mut pages = 0;
    for entry in std::fs::read_dir(folder.path().join("man1")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let shown = Command::new(servers::program("man", &[]))
            .args(["-M", path, &name])
            .env("MANWIDTH", "100")
            .env("MANPAGER", "cat")
            .env("MANROFFOPT", "-c -Wall")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let text = without_overstrikes(&text);
        assert!(shown.status.success() && text.contains(&name), "{name}: {shown:?}");
        for reference in text.split_whitespace().filter_map(|word| word.strip_suffix("(1)")) {
            let there = folder.path().join("man1").join(format!("{}.1", reference.to_lowercase()));
            assert!(there.exists(), "{name} refers to {reference}");
        }
        let help =
            run(cloakroom(&[name.strip_prefix("cloakroom").unwrap().trim_start_matches('-'), "--help"]), b"");
        let source = std::fs::read_to_string(&file).unwrap();
        assert!(!source.contains(".SH EXTRA"), "{name}");
        for line in help.stdout.lines().filter(|line| line.starts_with("  cloakroom ") && line.len() < 85) {
            assert!(text.contains(line.trim()), "{name}: the line of its own is missing: {line}");
        }
        pages += 1;
    }
    assert!(pages >= 20, "{pages}");
    println!("{pages} of {pages} man pages are found, and so is what they refer to");
    let nested = run(cloakroom(&["man", "user-sessions-revoke"]), b"");
    assert!(nested.code == 0 && nested.stdout.contains(".TH cloakroom-user-sessions-revoke 1"), "{nested:?}");
    let one = run(cloakroom(&["man", "revoke"]), b"");
    assert!(one.code == 0 && one.stdout.contains(".TH cloakroom-revoke 1"), "{one:?}");
}

/// Bold letters as old terminals have them.
fn without_overstrikes(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        if letter == '\u{8}' {
            shown.pop();
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A real bash completes commands and options.
#[test]
fn bash_completes() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("cloakroom");
    let printed = run(cloakroom(&["completions", "bash"]), b"");
    std::fs::write(&script, printed.stdout).unwrap();
    let complete = |words: &str, last: &str| {
        let count = words.split(' ').count();
        let code = format!(
            "source {}\nCOMP_WORDS=({words} {last})\nCOMP_CWORD={count}\n\
             _cloakroom cloakroom '{last}' ''\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let ran = Command::new("bash").args(["-c", &code]).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(complete("cloakroom", "rev").lines().any(|word| word == "revoke"));
    assert!(complete("cloakroom revoke", "--dry").lines().any(|word| word == "--dry-run"));
    assert!(complete("cloakroom", "pi").lines().any(|word| word == "ping"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_is_well_and_one_that_does_not_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let redis = servers::redis::url().await;
    let postgres = crate::support::sessions::postgres().await;
    let behind = format!("cached_db:{url}|{redis}");
    for url in [&url, &redis, &postgres, &behind] {
        // Without any secret.
        let pinged = run(cloakroom(&["ping", "--store", url]), b"");
        assert!(pinged.code == 0 && pinged.stdout.starts_with("ok, "), "{pinged:?}");
        let json = run(cloakroom(&["ping", "--json", "--store", url]), b"").json();
        assert!(json["ok"] == true && json["milliseconds"].is_number(), "{json}");
        let quiet = run(cloakroom(&["ping", "--quiet", "--store", url]), b"");
        assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    }
    let nobody = format!("127.0.0.1:{}", servers::free_port());
    for down in [
        format!("redis://{nobody}/0"),
        format!("postgres://site:open-sesame-8731@{nobody}/site"),
        format!("cached_db:{url}|redis://{nobody}/0"),
        format!("moving:{redis}||cached_db:{url}|redis://{nobody}/0"),
        format!("sqlite:{}", folder.path().join("missing.sqlite3").display()),
    ] {
        let pinged = run(cloakroom(&["ping", "--timeout", "3", "--store", &down]), b"");
        assert!(pinged.code == 1 && !pinged.stderr.is_empty() && pinged.stdout.is_empty(), "{pinged:?}");
        assert!(!pinged.stderr.contains("open-sesame"), "{pinged:?}");
    }
    // A server that accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/0", silent.local_addr().unwrap());
    let start = std::time::Instant::now();
    let pinged = run(cloakroom(&["ping", "--timeout", "1", "--store", &url]), b"");
    assert!(pinged.code == 1 && pinged.stderr.contains("no answer within 1 s"), "{pinged:?}");
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_says_nothing_but_errors_and_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    let key = create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":"8"}"#, 5).await;
    create(&*store, "{}", -5).await;
    let quiet = |arguments: &[&str]| with_secret(&[arguments, &["--quiet", "--store", &url]].concat(), "");
    for arguments in
        [&["clearsessions"][..], &["delete", key.as_str()], &["revoke", "--user", "8"], &["create-table"]]
    {
        let ran = quiet(arguments);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{arguments:?}");
    }
    assert_eq!(store.count(Utc::now()).await.unwrap(), cloakroom::store::Count::default());
    assert_eq!(quiet(&["count"]).stdout, "0 live, 0 expired\n");
    assert_eq!(quiet(&["revoke", "--user", "8", "--json"]).json()["revoked"], 0);
    let missing = quiet(&["delete", "nosuchkey0"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""), "the exit code tells");
}
