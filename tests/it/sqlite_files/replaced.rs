//! Another file comes to the path of one that is in use: the next call finds it, or says what happened; what was
//! acknowledged after that is in the new file, and neither file is damaged.

use cloakroom::store::Updated;

use super::*;
use crate::support::records::now;

const JOURNAL_MODES: [&str; 2] = ["WAL", "DELETE"];

async fn save(store: &SqliteStore, key: &str) -> Result<Created, StoreError> {
    let (data, expire_date) = (SessionData::new(), now() + TimeDelta::days(1));
    let record = Record { data: &data, expire_date, now: now() };
    store.create(&SessionKey::from_trusted(key), record).await
}

async fn update(store: &SqliteStore, key: &str) -> Result<Updated, StoreError> {
    let (data, expire_date) = (SessionData::new(), now() + TimeDelta::days(2));
    let record = Record { data: &data, expire_date, now: now() };
    store.update(&SessionKey::from_trusted(key), None, record).await
}

async fn is_there(store: &SqliteStore, key: &str) -> Result<bool, StoreError> {
    Ok(store.load(&SessionKey::from_trusted(key), now()).await?.is_some())
}

/// Makes a file with the session `kept` and so many more, in this journal mode.
fn make(path: &Path, journal_mode: &str, more: usize) {
    let connection = Connection::open(path).unwrap();
    let fill = format!(
        "PRAGMA journal_mode = {journal_mode}; {CREATE_TABLE}; BEGIN; \
         WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {more}) \
         INSERT INTO django_session SELECT 'more' || n, 'e30:x:y', '2999-01-01 00:00:00' FROM number WHERE {more}; COMMIT"
    );
    connection.execute_batch(&fill).unwrap();
}

/// A store in use, with the sessions `kept` and `ended` in a file of this journal mode; some of it in the log alone.
async fn in_use(path: &Path, journal_mode: &str) -> SqliteStore {
    make(path, journal_mode, 0);
    let store = open(path).await.unwrap();
    for key in ["keptkept", "endedended"] {
        save(&store, key).await.unwrap();
    }
    assert!(is_there(&store, "endedended").await.unwrap());
    store
}

#[track_caller]
fn assert_whole(path: &Path, keys: &[&str], more: usize) {
    let mut found = keys_in(path);
    found.retain(|key| !key.starts_with("more"));
    found.sort();
    let count = keys_in(path).len();
    assert_eq!((found, count), (keys.iter().map(|key| (*key).to_owned()).collect(), keys.len() + more));
}

/// `cp db.sqlite3 n`, a logout in `n` by another program, `mv n db.sqlite3`.
#[tokio::test]
async fn a_logout_in_the_new_file_holds() {
    for (old, new) in [("WAL", "WAL"), ("WAL", "DELETE"), ("DELETE", "WAL"), ("DELETE", "DELETE")] {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("db.sqlite3"), folder.path().join("n"));
        let store = in_use(&path, old).await;
        let script = format!(
            "import os, sqlite3, sys\n\
             old, new = sqlite3.connect(sys.argv[1]), sqlite3.connect(sys.argv[2])\n\
             old.backup(new)\n\
             new.execute('PRAGMA journal_mode = {new}')\n\
             new.execute(\"DELETE FROM django_session WHERE session_key = 'endedended'\")\n\
             new.commit(); new.close(); old.close()\n\
             os.rename(sys.argv[2], sys.argv[1])\n\
             print('replaced', flush=True)"
        );
        python(&script, &[&path, &copy]).end();
        assert!(!is_there(&store, "endedended").await.unwrap(), "{old} {new}: the logout of the operator");
        assert!(is_there(&store, "keptkept").await.unwrap());
        assert!(matches!(update(&store, "endedended").await.unwrap(), Updated::Missing));
        assert!(matches!(save(&store, "savedafter").await.unwrap(), Created::Created(_)));
        drop(store);
        assert_whole(&path, &["keptkept", "savedafter"], 0);
    }
}

/// A backup that has nothing to do with what is in the log: a larger one, a smaller one. The first call writes, or reads.
#[tokio::test]
async fn the_log_of_the_old_file_stays_out_of_the_new_one() {
    for journal_mode in JOURNAL_MODES {
        for (old_more, new_more) in [(0, 3_000), (3_000, 0)] {
            for reads_first in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let [path, backup, kept] = ["db.sqlite3", "n", "kept"].map(|name| folder.path().join(name));
                make(&backup, journal_mode, new_more);
                let store = in_use(&path, "WAL").await;
                for number in 0..old_more / 10 {
                    save(&store, &format!("inthelog{number}")).await.unwrap();
                }
                std::fs::hard_link(&path, &kept).unwrap();
                std::fs::rename(&backup, &path).unwrap();
                if reads_first {
                    assert!(!is_there(&store, "keptkept").await.unwrap());
                }
                assert!(matches!(save(&store, "savedafter").await.unwrap(), Created::Created(_)));
                drop(store);
                assert_whole(&path, &["savedafter"], new_more);
                // What was acknowledged before is in the old one, wherever that is now.
                assert_eq!(keys_in(&kept).len(), 2 + old_more / 10);
            }
        }
    }
}

/// The operator deletes the file, and restores a backup a moment later.
#[tokio::test]
async fn a_file_that_is_gone_is_told_until_there_is_one() {
    for journal_mode in JOURNAL_MODES {
        let folder = tempfile::tempdir().unwrap();
        let (path, backup) = (folder.path().join("db.sqlite3"), folder.path().join("n"));
        make(&backup, journal_mode, 3_000);
        let store = in_use(&path, journal_mode).await;
        std::fs::remove_file(&path).unwrap();
        let message = "no such file; check the path, or make the database with `cloakroom create-table` or Django's \
                       `manage.py migrate`";
        for error in [is_there(&store, "keptkept").await.err(), save(&store, "lostlost").await.err()] {
            assert_error(&error.unwrap(), StoreErrorKind::Misconfigured, &path, message);
        }
        assert!(!path.exists(), "nothing makes one");
        std::fs::copy(&backup, &path).unwrap();
        assert!(!is_there(&store, "keptkept").await.unwrap());
        save(&store, "savedafter").await.unwrap();
        drop(store);
        assert_whole(&path, &["savedafter"], 3_000);
    }
}

/// A deployment: a link that leads elsewhere, or another folder. Each file keeps its own log.
#[tokio::test]
async fn another_folder_is_noticed() {
    for journal_mode in JOURNAL_MODES {
        for is_link in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let [current, first, second] = ["current", "first", "second"].map(|name| place.path().join(name));
            let switch = |to: &Path, away: &Path| {
                if is_link {
                    let link = place.path().join("link");
                    std::os::unix::fs::symlink(to, &link).unwrap();
                    std::fs::rename(&link, &current).unwrap();
                } else {
                    if current.exists() {
                        std::fs::rename(&current, away).unwrap();
                    }
                    std::fs::rename(to, &current).unwrap();
                }
            };
            std::fs::create_dir(&first).unwrap();
            std::fs::create_dir(&second).unwrap();
            make(&second.join("db.sqlite3"), journal_mode, 3_000);
            switch(&first, &first);
            let path = current.join("db.sqlite3");
            let store = in_use(&path, journal_mode).await;
            switch(&second, &first);
            assert!(!is_there(&store, "endedended").await.unwrap());
            save(&store, "savedafter").await.unwrap();
            drop(store);
            assert_whole(&path, &["savedafter"], 3_000);
            if is_link || journal_mode == "DELETE" {
                assert_whole(&first.join("db.sqlite3"), &["endedended", "keptkept"], 0);
            }
        }
    }
}

#[tokio::test]
async fn a_new_file_that_cannot_serve_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [path, empty, right] = ["db.sqlite3", "empty", "right"].map(|name| folder.path().join(name));
    make(&right, "WAL", 1);
    Connection::open(&empty).unwrap().execute_batch("CREATE TABLE other (id integer)").unwrap();
    let store = in_use(&path, "WAL").await;
    std::fs::rename(&empty, &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = "no table django_session; make it with `cloakroom create-table` or Django's `manage.py migrate` \
                   (another file has replaced the one that was open)";
    for error in [is_there(&store, "keptkept").await.err(), save(&store, "lostlost").await.err()] {
        assert_error(&error.unwrap(), StoreErrorKind::Misconfigured, &path, message);
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::rename(&right, &path).unwrap();
    save(&store, "savedafter").await.unwrap();
    drop(store);
    assert_whole(&path, &["savedafter"], 1);
}

/// Another program still reads the old file, so that its log cannot be emptied, and the new one must not be opened.
#[tokio::test]
async fn a_log_that_cannot_be_taken_along_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("db.sqlite3"), folder.path().join("n"));
    make(&backup, "WAL", 3_000);
    let store = in_use(&path, "WAL").await;
    let reading = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1])\n\
                   c.execute('BEGIN'); c.execute('SELECT * FROM django_session').fetchall()\n\
                   print('reading', flush=True); sys.stdin.read()";
    let mut other = python(reading, &[&path]);
    save(&store, "inthelog").await.unwrap();
    std::fs::rename(&backup, &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let shown = path.display();
    let message = format!(
        "another file has replaced the one that was open, whose write-ahead log still lies beside it. SQLite would mix \
         the two. Stop the programs that use the file, remove {shown}-wal and {shown}-shm, and start them again"
    );
    for error in [is_there(&store, "keptkept").await.err(), save(&store, "lostlost").await.err()] {
        assert_error(&error.unwrap(), StoreErrorKind::Unavailable, &path, &message);
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    other.end();
    for end in ["-wal", "-shm"] {
        std::fs::remove_file(folder.path().join(format!("db.sqlite3{end}"))).unwrap();
    }
    save(&store, "savedafter").await.unwrap();
    drop(store);
    assert_whole(&path, &["savedafter"], 3_000);
}

/// Of two stores of one process that have the file open, one notices first.
#[tokio::test]
async fn two_stores_of_a_process_leave_the_old_file_together() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("db.sqlite3"), folder.path().join("n"));
    make(&backup, "WAL", 3_000);
    let stores = [in_use(&path, "WAL").await, open(&path).await.unwrap()];
    save(&stores[1], "inthelog").await.unwrap();
    std::fs::rename(&backup, &path).unwrap();
    for round in 0..3 {
        for (number, store) in stores.iter().enumerate() {
            save(store, &format!("savedafter{round}{number}")).await.unwrap();
            assert!(!is_there(store, "inthelog").await.unwrap());
        }
    }
    drop(stores);
    assert_eq!(keys_in(&path).len(), 3_006);
}

/// A clearing that is under way says so, and the next one clears the new file.
#[tokio::test]
async fn clearing_ends_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("db.sqlite3"), folder.path().join("n"));
    make(&backup, "WAL", 20);
    make(&path, "WAL", 3_000);
    let store = open(&path).await.unwrap();
    let far = DateTime::from_timestamp(40_000_000_000, 0).unwrap();
    let mut replace = |_| {
        let _ = std::fs::rename(&backup, &path);
        std::ops::ControlFlow::Continue(())
    };
    // Its next batch is of the new file.
    store.clear_expired_with_progress(far, &mut replace).await.unwrap();
    assert_eq!(store.clear_expired(far).await.unwrap(), 0);
    drop(store);
    assert_whole(&path, &[], 0);
}
