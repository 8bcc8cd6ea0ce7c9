//! SQLite: a command that has ended leaves one whole file, however it ended.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::command::{Ran, SECRET, cloakroom, with_secret};
use crate::support::sessions::{create, open, sqlite};

const SESSIONS: usize = 300;

/// What lies in the folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How many sessions are in this file alone, which is copied elsewhere.
fn count_in(path: &Path) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::copy(path, &copy).unwrap();
    let connection = rusqlite::Connection::open(&copy).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let sql = "SELECT count(*) FROM django_session";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

/// A database with so many sessions of user 7.
async fn filled(folder: &Path, sessions: usize) -> (String, PathBuf) {
    let url = sqlite(folder);
    let store = open(&url).await;
    for _ in 0..sessions {
        create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    }
    (url, folder.join("db.sqlite3"))
}

/// `create-table`, `copy`, `mv new.db db.sqlite3`.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_can_be_moved_to_its_place() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (from, _) = filled(from.path(), SESSIONS).await;
    let new = to.path().join("new.db");
    let url = format!("sqlite:{}", new.display());
    for arguments in [&["create-table", "--store", &url][..], &["copy", "--from", &from, "--to", &url]] {
        let ran = with_secret(arguments, "");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(files(to.path()), ["new.db"], "{arguments:?}");
    }
    assert_eq!(count_in(&new), SESSIONS);
    let moved = to.path().join("db.sqlite3");
    std::fs::rename(&new, &moved).unwrap();
    let counted = with_secret(&["count", "--json", "--store", &format!("sqlite:{}", moved.display())], "");
    assert_eq!(counted.json()["live"], SESSIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_leaves_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let (url, path) = filled(folder.path(), 3).await;
    let store = open(&url).await;
    let key = create(&*store, "{}", 5).await;
    create(&*store, "{}", -5).await;
    store.close().await.unwrap();
    let with_store = |arguments: &[&str], input: &str| -> Ran {
        with_secret(&[arguments, &["--store", &url]].concat(), input)
    };
    let keys = format!("{}\n", key.as_str());
    for (arguments, input, code) in [
        (&["list"][..], "", 0),
        (&["count"], "", 0),
        (&["check"], "", 0),
        (&["check", "--secret-key", "another"], "", 3),
        (&["create-table", "--user-sessions"], "", 0),
        (&["user-sessions", "rebuild"], "", 0),
        (&["user-sessions", "list", "--user", "7"], "", 0),
        (&["show", "-"], keys.as_str(), 0),
        (&["delete", "-"], keys.as_str(), 0),
        (&["clearsessions"], "", 0),
        (&["revoke", "--user", "7", "--secret-key", "another"], "", 3),
        (&["revoke", "--user", "7"], "", 0),
    ] {
        let ran = with_store(arguments, input);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert_eq!(files(folder.path()), ["db.sqlite3"], "{arguments:?}");
    }
    assert_eq!(count_in(&path), 0);
}

/// A site has the file open, so that the log stays. What was revoked is in no copy of the file.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_gone_from_the_file_beside_a_site_too() {
    let folder = tempfile::tempdir().unwrap();
    let (url, path) = filled(folder.path(), 20).await;
    let site = rusqlite::Connection::open(&path).unwrap();
    let there: i64 = site.query_row("SELECT count(*) FROM django_session", [], |row| row.get(0)).unwrap();
    assert_eq!(there, 20);
    let revoked = with_secret(&["revoke", "--user", "7", "--store", &url], "");
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert_eq!(count_in(&path), 0);
}

/// Ctrl-C and SIGTERM in the middle of the work: what is done is in the file, and the exit code tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_stopped_leaves_one_whole_file() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (from, _) = filled(from.path(), 3_000).await;
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let new = to.path().join(format!("{code}.db"));
        let url = format!("sqlite:{}", new.display());
        assert_eq!(with_secret(&["create-table", "--store", &url], "").code, 0);
        let mut command = cloakroom(&["copy", "--from", &from, "--to", &url]);
        command.env("CLOAKROOM_SECRET_KEY", SECRET).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let target = open(&url).await;
        while target.count(cloakroom::chrono::Utc::now()).await.unwrap().live <= 100 {
            tokio::task::yield_now().await;
        }
        drop(target);
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!files(to.path()).iter().any(|name| name.ends_with("-wal")), "{:?}", files(to.path()));
        let copied = count_in(&new);
        assert!((101..3_000).contains(&copied), "{copied}: stopped half-way");
    }
}

/// A demo is a service like others: stopped by SIGTERM, it leaves the sessions in the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_stopped_leaves_one_whole_file() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let (url, path) = filled(folder.path(), 0).await;
        let mut demo = crate::support::browser::Demo::start(&url, &["--secret-key", SECRET]);
        for _ in 0..5 {
            demo.browser().get("/");
        }
        let kill = Command::new("kill").args([signal, &demo.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(demo.child.wait().unwrap().code(), Some(0));
        assert_eq!(files(folder.path()), ["db.sqlite3"], "{signal}");
        assert_eq!(count_in(&path), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_is_told_with_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (url, path) = filled(folder.path(), 2).await;
    let url = format!("{url}?mode=ro");
    assert_eq!(with_secret(&["count", "--json", "--store", &url], "").json()["live"], 2);
    for arguments in [&["revoke", "--user", "7", "--store", &url][..], &["clearsessions", "--store", &url]] {
        let ran = with_secret(arguments, "");
        assert!(ran.code == 1 && ran.stderr.contains("opened with `mode=ro`"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(count_in(&path), 2);
}
