//! SQLite files that are not what they should be: the error says what and what to do, and the file stays
//! byte for byte as it was.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use cloakroom::store::{Created, Record};
use cloakroom::{SessionData, SessionKey, SessionStore, Settings, SqliteStore, StoreError, StoreErrorKind};
use rusqlite::Connection;

const CREATE_TABLE: &str = "CREATE TABLE django_session (session_key varchar(40) NOT NULL PRIMARY KEY, \
                            session_data text NOT NULL, expire_date datetime NOT NULL)";

/// A database in a folder of its own, made with this SQL.
fn database(sql: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    (folder, path)
}

async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    let mut options = SqliteStore::options(path);
    options.busy_timeout = Duration::from_millis(50);
    options.open(&Settings::new("secret")).await
}

async fn create(store: &SqliteStore) -> Result<Created, StoreError> {
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let (data, expire_date) = (SessionData::new(), now + TimeDelta::days(1));
    store.create(&SessionKey::random().unwrap(), Record { data: &data, expire_date, now }).await
}

/// The error of this kind whose message begins with the path and goes on with these words.
#[track_caller]
fn assert_error(error: &StoreError, kind: StoreErrorKind, path: &Path, message: &str) {
    let expected = format!("session store sqlite: {}: {message}", path.display());
    assert_eq!((error.to_string(), error.kind()), (expected, kind));
}

#[tokio::test]
async fn a_missing_file_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let error = open(&path).await.unwrap_err();
    let message = "no such file; check the path, or make the database with `cloakroom create-table` or Django's \
                   `manage.py migrate`";
    assert_error(&error, StoreErrorKind::Misconfigured, &path, message);
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_no_database_or_lacks_something_is_told_and_left_alone() {
    let cases = [
        (
            "CREATE TABLE other (id integer)",
            "no table django_session; make it with `cloakroom create-table` or Django's `manage.py migrate`",
        ),
        (
            "CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, expire_date datetime)",
            "the table django_session has no column session_data; Django's table has session_key, session_data and \
             expire_date. Is this the right table?",
        ),
    ];
    for (sql, message) in cases {
        let (_folder, path) = database(sql);
        let before = std::fs::read(&path).unwrap();
        assert_error(&open(&path).await.unwrap_err(), StoreErrorKind::Misconfigured, &path, message);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    let (_folder, path) = database("");
    for (content, message) in [
        (&b""[..], cases[0].1),
        (b"This is a letter.", "this file is no SQLite database (or is encrypted); check the path"),
        (&[7; 10_000], "this file is no SQLite database (or is encrypted); check the path"),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_error(&open(&path).await.unwrap_err(), StoreErrorKind::Misconfigured, &path, message);
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_folder_in_the_files_place_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).await.unwrap_err();
    let message = "cannot be opened; check that the file and its folder can be read and written by this user";
    assert_error(&error, StoreErrorKind::Misconfigured, folder.path(), message);
}

#[tokio::test]
async fn a_lock_that_lasts_is_unavailable_and_one_that_ends_is_not() {
    let (_folder, path) = database(CREATE_TABLE);
    let store = open(&path).await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = "another program has kept the database locked for 0.05 seconds; try again, or find the long \
                   transaction (`PRAGMA journal_mode = WAL` lets readers work beside a writer)";

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = open(&path).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &path, message);
    let error = create(&store).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &path, message);
    let now = DateTime::UNIX_EPOCH;
    let error = store.load(&SessionKey::random().unwrap(), now).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &path, message);
    assert_eq!(std::fs::read(&path).unwrap(), before);

    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(create(&store).await, Ok(Created::Created(_))));
}

#[tokio::test]
async fn a_damaged_file_is_told_and_left_alone() {
    let (_folder, path) = database(CREATE_TABLE);
    let store = open(&path).await.unwrap();
    for _ in 0..50 {
        create(&store).await.unwrap();
    }
    drop(store);
    // The first page, which tells of the table, is as it was; the pages of the table and its index are not.
    let mut bytes = std::fs::read(&path).unwrap();
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    bytes[page..].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();

    let store = open(&path).await.unwrap();
    let message = "the database is damaged; run `PRAGMA integrity_check` and restore a backup";
    let error = store.load(&SessionKey::random().unwrap(), DateTime::UNIX_EPOCH).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &path, message);
    let error = create(&store).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &path, message);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// Names the database to the process that may not write it.
const READ_ONLY_DATABASE: &str = "CLOAKROOM_TEST_READ_ONLY_DATABASE";

/// Permissions do not hold root back, so that this runs itself again in another process, as nobody when we
/// are root.
#[tokio::test]
async fn a_file_that_may_not_be_written_is_told_and_left_alone() {
    if let Some(path) = std::env::var_os(READ_ONLY_DATABASE) {
        return may_only_read(Path::new(&path)).await;
    }
    let (folder, path) = database(CREATE_TABLE);
    let before = std::fs::read(&path).unwrap();
    // What runs the test may stand where nobody may not go.
    let program = folder.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).unwrap();

    let mut command = Command::new(&program);
    command.args(["--exact", "sqlite_files::a_file_that_may_not_be_written_is_told_and_left_alone"]);
    command.env(READ_ONLY_DATABASE, &path).current_dir("/");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

async fn may_only_read(path: &Path) {
    let store = open(path).await.unwrap();
    let now = DateTime::UNIX_EPOCH;
    assert!(store.load(&SessionKey::random().unwrap(), now).await.unwrap().is_none(), "reading works");
    let message = "no permission to write; the file and its folder must belong to this user";
    assert_error(&create(&store).await.unwrap_err(), StoreErrorKind::Misconfigured, path, message);
}
