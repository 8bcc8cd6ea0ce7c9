//! Whoever drops the last handle, ends, or is idle leaves one whole file, without a write-ahead log.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::*;

/// How many sessions are saved.
const SESSIONS: usize = 300;

/// A new database, in WAL mode.
async fn new_database() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    SqliteStore::at(&path).create_table(Default::default()).await.unwrap();
    (folder, path)
}

async fn fill(store: &SqliteStore, sessions: usize) {
    for _ in 0..sessions {
        assert!(matches!(create(store).await, Ok(Created::Created(_))));
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[track_caller]
fn assert_one_whole_file(path: &Path, sessions: usize) {
    assert_eq!(files(path.parent().unwrap()), ["db.sqlite3"]);
    assert_eq!(keys_in(path).len(), sessions);
}

/// In a task of a runtime of either kind, and outside of any.
#[test]
fn dropping_the_last_handle_leaves_one_whole_file() {
    let current_thread = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (runtime, is_inside) in [
        (current_thread(), true),
        (current_thread(), false),
        (tokio::runtime::Runtime::new().unwrap(), true),
        (tokio::runtime::Runtime::new().unwrap(), false),
    ] {
        let (_folder, path, store) = runtime.block_on(async {
            let (folder, path) = new_database().await;
            let (store, another) = (Arc::new(open(&path).await.unwrap()), open(&path).await.unwrap());
            fill(&store, SESSIONS / 2).await;
            fill(&another, SESSIONS / 2).await;
            drop(another);
            drop(Arc::clone(&store));
            fill(&store, 1).await;
            (folder, path, store)
        });
        if is_inside {
            runtime.block_on(async { tokio::spawn(async { drop(store) }).await.unwrap() });
        } else {
            drop(runtime);
            drop(store);
        }
        assert_one_whole_file(&path, SESSIONS + 1);
    }
}

#[tokio::test]
async fn an_idle_store_leaves_one_whole_file_and_goes_on() {
    let (folder, path) = new_database().await;
    let store = open(&path).await.unwrap();
    for round in 1..=2 {
        fill(&store, SESSIONS).await;
        let start = Instant::now();
        while files(folder.path()).len() > 1 {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", files(folder.path()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_one_whole_file(&path, round * SESSIONS);
    }
}

#[tokio::test]
async fn a_store_can_be_closed_and_used_again() {
    let (_folder, path) = new_database().await;
    let url = format!("cached_db:sqlite:{}|memory:", path.display());
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    let (data, now) = (SessionData::new(), DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    for sessions in 1..=3 {
        let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
        store.close().await.unwrap();
        assert_one_whole_file(&path, sessions);
    }
}

/// Another program has the file open, so that SQLite keeps the log; all of it is in the file as well.
#[tokio::test]
async fn the_file_has_all_beside_another_program_too() {
    let (_folder, path) = new_database().await;
    let mut other = python(
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM django_session').fetchall()\n\
         print('ready', flush=True); sys.stdin.read()",
        &[&path],
    );
    let store = open(&path).await.unwrap();
    fill(&store, SESSIONS).await;
    drop(store);
    assert_eq!(path.with_extension("sqlite3-wal").metadata().unwrap().len(), 0);
    assert_eq!(keys_in(&path).len(), SESSIONS);
    other.end();
    assert_one_whole_file(&path, SESSIONS);
}

/// The program ends as `main` returns, with a store that nobody drops.
#[test]
fn a_process_that_ends_leaves_one_whole_file() {
    const TEST: &str = "closing::a_process_that_ends_leaves_one_whole_file";
    static STORE: OnceLock<SqliteStore> = OnceLock::new();
    if let Some(path) = given() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let opened = open(&path).await.unwrap();
            fill(STORE.get_or_init(|| opened), SESSIONS).await;
        });
        // What `main` does after its last line.
        std::process::exit(0);
    }
    let (_folder, path) = tokio::runtime::Runtime::new().unwrap().block_on(new_database());
    let program = std::env::current_exe().unwrap();
    let output = again(&[], &program, TEST, &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_one_whole_file(&path, SESSIONS);
}

/// Whatever became of requests that nobody waits for.
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests_leave_one_whole_file() {
    let (_folder, path) = new_database().await;
    let store = Arc::new(open(&path).await.unwrap());
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { drop(create(&store).await) })
        })
        .collect();
    tasks.iter().for_each(|task| task.abort());
    for task in tasks {
        let _ = task.await;
    }
    drop(store);
    assert_one_whole_file(&path, keys_in(&path).len());
}
