//! The store is down, the disk is full, the command is killed: what was done is told, and the next run does the rest.

use std::process::{Command, Stdio};
use std::time::Duration;

use cloakroom::chrono::Utc;
use cloakroom::store::Listed;
use cloakroom::{SessionKey, SessionStore};

use super::project::NEW;
use super::{DONE, change, numbers, open_with, ran};
use crate::support::command::{cloakroom, run};
use crate::support::project::SECRET as OLD;
use crate::support::servers;
use crate::support::sessions::{create, sqlite};

const SESSIONS: u64 = 4_000;

/// Sessions of the old secret, and the options of the command.
async fn prepared(url: &str, folder: &std::path::Path) -> Vec<String> {
    let store = open_with(url, OLD).await;
    let made = (0..SESSIONS).map(|_| create(&*store, r#"{"visits":1,"basket":"wool and needles"}"#, 5));
    futures_util::future::join_all(made).await;
    let file = |name: &str, secret: &str| {
        std::fs::write(folder.join(name), secret).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    [
        "--store",
        url,
        "--secret-key-file",
        &file("new.txt", NEW),
        "--secret-key-fallback-file",
        &file("old.txt", OLD),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// How many the new secret signed.
async fn signed_anew(store: &dyn SessionStore) -> u64 {
    let (mut listing, mut count) = (store.list().unwrap(), 0);
    while let Some(page) = listing.next_page(1_000, Utc::now()).await.unwrap() {
        count += page
            .iter()
            .filter(|listed| listed.session.as_ref().is_ok_and(|loaded| loaded.is_genuine()))
            .count() as u64;
    }
    count
}

/// The first session, in the order in which the command goes through them, that the new secret has not signed.
async fn first_of_old_secret(store: &dyn SessionStore) -> SessionKey {
    let mut listing = store.list().unwrap();
    while let Some(page) = listing.next_page(1_000, Utc::now()).await.unwrap() {
        let is_old = |listed: &&Listed| listed.session.as_ref().is_ok_and(|loaded| !loaded.is_genuine());
        if let Some(listed) = page.iter().find(is_old) {
            return listed.session_key.clone();
        }
    }
    panic!("all are signed anew")
}

fn command(options: &[String]) -> Command {
    let mut arguments = vec!["change-secret"];
    arguments.extend(options.iter().map(String::as_str));
    let mut command = cloakroom(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it again, which does the rest.
async fn the_rest_is_done(options: &[String], url: &str, before: u64) {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (code, done) = change(&options);
    assert_eq!((code, numbers(&done, &DONE)), (0, vec![SESSIONS - before, 0, 0, before]), "{done}");
    assert_eq!(signed_anew(&*open_with(url, NEW).await).await, SESSIONS);
}

/// Waits until some are signed anew, and not all.
async fn wait_for_some(url: &str) {
    let store = open_with(url, NEW).await;
    while signed_anew(&*store).await == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_down_in_the_middle() {
    let (mut server, folder) = (servers::postgres::start().await, tempfile::tempdir().unwrap());
    let url = servers::postgres::url(&server, "postgres");
    assert_eq!(run(cloakroom(&["create-table", "--store", &url]), b"").code, 0);
    let options = prepared(&url, folder.path()).await;
    let child = command(&options).spawn().unwrap();
    wait_for_some(&url).await;
    server.send("KILL");
    let ended = child.wait_with_output().unwrap();
    let (said, errors) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert_eq!(ended.status.code(), Some(1), "{said} {errors}");
    assert!(said.starts_with("stopped before the end: ") && said.contains("run this again"), "{said}");
    assert!(!errors.contains(servers::postgres::PASSWORD), "{errors}");
    server.send("start");
    server.wait_until(async || ran(&["count", "--store", &url]).code == 0).await;
    let before = signed_anew(&*open_with(&url, NEW).await).await;
    let told: u64 = said["stopped before the end: ".len()..].split(' ').next().unwrap().parse().unwrap();
    // What was under way when the server died may be written and not be told.
    assert!(0 < told && told <= before && before < SESSIONS, "{told} {before}");
    the_rest_is_done(&options, &url, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_or_asked_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let options = prepared(&url, folder.path()).await;
    let mut child = command(&options).spawn().unwrap();
    wait_for_some(&url).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let before = signed_anew(&*open_with(&url, NEW).await).await;
    assert!(0 < before && before < SESSIONS, "{before}");
    let store = open_with(&url, NEW).await;
    let next = first_of_old_secret(&*store).await;
    let child = command(&options).spawn().unwrap();
    // One session is looked at, as a look at all takes longer than the command.
    while !store.load(&next, Utc::now()).await.unwrap().unwrap().is_genuine() {}
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.code() == Some(143) && said.starts_with("stopped before the end: "), "{said}");
    let after = signed_anew(&*open_with(&url, NEW).await).await;
    assert!(
        said.contains(&format!(" {} signed anew, ", after - before)) && after < SESSIONS,
        "{said}: {after}"
    );
    the_rest_is_done(&options, &url, after).await;
}

/// A limit on the size of files stands for a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let options = prepared(&url, folder.path()).await;
    let mut limited = Command::new("bash");
    limited
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 300; exec \"$@\"",
            "bash",
            env!("CARGO_BIN_EXE_cloakroom"),
            "change-secret",
        ])
        .args(&options);
    let full = run(limited, b"");
    assert!(full.code == 1 && full.stdout.starts_with("stopped before the end: "), "{full:?}");
    let told: u64 =
        full.stdout["stopped before the end: ".len()..].split(' ').next().unwrap().parse().unwrap();
    let before = signed_anew(&*open_with(&url, NEW).await).await;
    assert_eq!(told, before, "{full:?}");
    assert!(before < SESSIONS, "{full:?}");
    the_rest_is_done(&options, &url, before).await;
}

/// With the wrong file as the old secret, nothing may be said to be done.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_old_secret_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    create(&*open_with(&url, OLD).await, r#"{"visits":1}"#, 5).await;
    let wrong = ["--store", &url, "--secret-key", NEW, "--secret-key-fallback", "of another site"];
    let wrong = run(cloakroom(&[&["change-secret"], &wrong[..]].concat()), b"");
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(
        wrong.stdout.contains("left: 1 signed with none of these secrets; the fallback must stay"),
        "{wrong:?}"
    );
    assert!(wrong.stderr.contains("name the secret that signed them"), "{wrong:?}");
    assert_eq!(signed_anew(&*open_with(&url, OLD).await).await, 1, "it is what it was");
}

#[test]
fn wrong_usage_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (url, file) = (sqlite(folder.path()), folder.path().join("secret.txt"));
    std::fs::write(&file, "one").unwrap();
    let secret = ["--store", &url, "--secret-key-file", file.to_str().unwrap()];
    for (more, part) in [
        (&[][..], "no older secret"),
        (&["--secret-key-fallback-file", file.to_str().unwrap()], "are the same"),
    ] {
        let ran = ran(&[&["change-secret"], &secret[..], more].concat());
        assert!(ran.code == 2 && ran.stderr.contains(part), "{ran:?}");
    }
}
