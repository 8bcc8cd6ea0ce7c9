//! SQLite files that are not what they should be: the error says what and what to do, and the file stays
//! byte for byte as it was.

mod closing;
mod replaced;
mod replaced_in_use;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
    let mut options = SqliteStore::at(path);
    options.timeout = Duration::from_millis(50);
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
        (b"This is a letter.", "this file is not a SQLite database (or is encrypted); check the path"),
        (&[7; 10_000], "this file is not a SQLite database (or is encrypted); check the path"),
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

/// Names the database to the test program when it is run again.
const DATABASE: &str = "CLOAKROOM_TEST_SQLITE_DATABASE";

/// Runs a test of this file again, in a process of its own behind these words, with a database.
fn again(words: &[&str], program: &Path, test: &str, path: &Path) -> Command {
    let mut words = words.iter().map(|word| word.as_ref()).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args([
        "--exact",
        &format!("sqlite_files::{test}"),
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(DATABASE, path).current_dir("/");
    command
}

/// The database that [`again`] gave to this process.
fn given() -> Option<PathBuf> {
    std::env::var_os(DATABASE).map(PathBuf::from)
}

/// A program in Python, with its standard library's SQLite.
struct Python(std::process::Child);

/// Runs this with these arguments until it says its first line.
fn python(script: &str, arguments: &[&Path]) -> Python {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let mut command = Command::new(python);
    command.args(["-c", script]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("scripts/test makes .venv");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "it ended before it said something");
    Python(child)
}

impl Python {
    /// Lets it go on to its end.
    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// The keys in the file of this path alone, which is copied elsewhere, and must be whole.
fn keys_in(path: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::copy(path, &copy).unwrap();
    let connection = Connection::open(&copy).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{}", path.display());
    let mut statement = connection.prepare("SELECT session_key FROM django_session").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Permissions do not hold root back, so that this runs itself again in another process, as nobody when we
/// are root.
#[tokio::test]
async fn a_file_that_may_not_be_written_is_told_and_left_alone() {
    if let Some(path) = given() {
        return may_only_read(&path).await;
    }
    let (folder, path) = database(CREATE_TABLE);
    let before = std::fs::read(&path).unwrap();
    // What runs the test may stand where nobody may not go.
    let program = folder.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).unwrap();

    let test = "a_file_that_may_not_be_written_is_told_and_left_alone";
    let mut command = again(&[], &program, test, &path);
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
    let message = "the file is read-only; give this user the right to write it and its folder";
    assert_error(&create(&store).await.unwrap_err(), StoreErrorKind::Misconfigured, path, message);
}

#[tokio::test]
async fn a_store_that_is_opened_for_reading_writes_nothing() {
    let (_folder, path) = database(CREATE_TABLE);
    let before = std::fs::read(&path).unwrap();
    let settings = Settings::new("secret");
    let store = cloakroom::connect(&format!("sqlite:{}?mode=ro", path.display()), &settings).await.unwrap();
    let (key, now, data) = (SessionKey::random().unwrap(), DateTime::UNIX_EPOCH, SessionData::new());
    assert!(store.load(&key, now).await.unwrap().is_none(), "reading works");
    let error = store.create(&key, Record { data: &data, expire_date: now, now }).await.unwrap_err();
    let message = "opened with `mode=ro`, so that nothing can be written; use `mode=rw`";
    assert_error(&error, StoreErrorKind::Misconfigured, &path, message);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// The disk is full as soon as something is written, to the journal or to the log.
#[tokio::test]
async fn a_full_disk_is_told_and_the_file_left_alone() {
    const TEST: &str = "a_full_disk_is_told_and_the_file_left_alone";
    if let Some(path) = given() {
        let created = match open(&path).await {
            Ok(store) => create(&store).await.unwrap_err(),
            Err(error) => error,
        };
        return println!("outcome: {:?}: {created}", created.kind());
    }
    for (journal_mode, what) in [
        ("DELETE", "the disk is full; nothing was written".to_owned()),
        ("WAL", "-shm, so that the disk is probably full; nothing was written".to_owned()),
    ] {
        let (_folder, path) = database(&format!("PRAGMA journal_mode = {journal_mode}; {CREATE_TABLE}"));
        let before = std::fs::read(&path).unwrap();
        let strace = ["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=pwrite64,fallocate"];
        let full = ["-e", "inject=pwrite64,fallocate:error=ENOSPC"];
        let program = std::env::current_exe().unwrap();
        let output = again(&[&strace[..], &full].concat(), &program, TEST, &path).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let outcome = told.lines().find_map(|line| line.split_once("outcome: ")).expect(&told).1;
        assert!(outcome.starts_with("Unavailable: ") && outcome.contains(&what), "{journal_mode}: {outcome}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
