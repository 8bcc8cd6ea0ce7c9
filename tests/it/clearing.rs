//! `clear_expired_with_progress`: the stores that clear in batches tell after each, and can be broken off.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use cloakroom::store::Record;
use cloakroom::{
    Clock, FileStore, MemoryStore, SessionData, SessionKey, SessionStore, Settings, SqliteStore, SystemClock,
};

/// Creates this many sessions, and tells what progress there was until it was broken off after a number of
/// batches.
async fn clear(store: &dyn SessionStore, sessions: usize, batches: usize) -> Vec<u64> {
    let (data, now) = (SessionData::new(), SystemClock.now());
    for _ in 0..sessions {
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
    }
    let mut told = Vec::new();
    let mut progress = |cleared| {
        told.push(cleared);
        if told.len() == batches { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let later = now + TimeDelta::days(30);
    let cleared = store.clear_expired_with_progress(later, &mut progress).await.unwrap();
    assert_eq!(told.last(), Some(&cleared), "what was told last is what was cleared");
    told
}

#[tokio::test]
async fn memory_tells_once() {
    assert_eq!(clear(&MemoryStore::new(), 5, 9).await, [5]);
}

#[tokio::test]
async fn sqlite_tells_after_each_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    assert_eq!(clear(&*store, 5, 9).await, [2, 4, 5]);
    assert_eq!(clear(&*store, 5, 2).await, [2, 4], "broken off");
    assert_eq!(clear(&*store, 0, 9).await, [1], "the one that was left");
}

/// Another program looks for SQLite's lock again and again. While this one clears, it finds it free for a third of the
/// time at least, and for 15 milliseconds at a stretch, as long as who waits for it sleeps between the first looks.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_left_to_other_programs_between_the_batches() {
    for journal_mode in ["WAL", "DELETE"] {
        sqlite_is_left_to_other_programs(journal_mode).await;
    }
}

async fn sqlite_is_left_to_other_programs(journal_mode: &str) {
    const ROWS: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    expired_rows(&options.path, ROWS, journal_mode);
    let store = options.clone().open(&Settings::new("secret")).await.unwrap();
    let cleared = Arc::new(AtomicBool::new(false));
    let other = std::thread::spawn({
        let (path, cleared) = (options.path.clone(), Arc::clone(&cleared));
        move || look_until(&path, &cleared)
    });
    let mut batches = 0;
    let mut count = |_| {
        batches += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(store.clear_expired_with_progress(SystemClock.now(), &mut count).await.unwrap(), ROWS);
    cleared.store(true, Ordering::Relaxed);
    let (free, busy, mut rests) = other.join().unwrap();
    rests.sort_unstable();
    let rest = rests[rests.len() / 2];
    println!(
        "{journal_mode}: {batches} batches; the lock was free {free} times, for {rest:?}, and busy {busy} times"
    );
    assert!(batches >= ROWS / 1_000, "{batches}");
    // On a busy machine who looks does not look evenly.
    assert!(free >= busy / 2, "{journal_mode}: free {free} times, busy {busy} times");
    assert!(rest >= Duration::from_millis(12), "{journal_mode}: the lock was free for {rest:?} at a time");
}

fn expired_rows(path: &Path, rows: u64, journal_mode: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
    let sql = "INSERT INTO django_session \
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1) \
        SELECT hex(randomblob(16)), hex(randomblob(150)), datetime(n, 'unixepoch') FROM numbers";
    connection.execute(sql, [rows as i64]).unwrap();
}

/// How often it could have written, and how often not; and for how long at a time it could.
fn look_until(path: &Path, stop: &AtomicBool) -> (u64, u64, Vec<Duration>) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let (mut free, mut busy, mut rests) = (0, 0, Vec::new());
    let mut since: Option<(Instant, Instant)> = None;
    while !stop.load(Ordering::Relaxed) {
        match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
            Ok(()) => {
                free += 1;
                let now = Instant::now();
                since.get_or_insert((now, now)).1 = now;
            }
            Err(error) => {
                assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
                busy += 1;
                rests.extend(since.take().map(|(first, last)| last - first));
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    (free, busy, rests)
}

#[tokio::test]
async fn files_are_cleared_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = FileStore::at(folder.path());
    options.durable = false;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let told = clear(&store, 1_100, 1).await;
    assert_eq!(told, [1_000], "broken off");
    assert_eq!(clear(&store, 0, 9).await, [100], "those that were left");
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_tells_after_each_batch() {
    let mut options =
        cloakroom::PostgresStore::options(&crate::support::servers::postgres::database().await).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_eq!(clear(&store, 5, 9).await, [2, 4, 5]);
    assert_eq!(clear(&store, 5, 2).await, [2, 4], "broken off");
}

/// Where few pages of the table have a row that expired, its index is asked. An old transaction, such as a backup's, keeps
/// everything removed in it, and no batch reads it once more.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_reads_each_entry_of_the_index_once() {
    let (expired, live) = (2_000, 6_000);
    let (batches, read) = postgres_reads(expired, live, "repeat(md5(n::text), 190)").await;
    println!("{batches} batches read {read:?} rows by the index and from the table");
    assert!(read[0] <= expired + 2 * batches && read[1] == 0, "{batches} batches read {read:?}");
}

/// Where most pages have one, the table is read page by page.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_sweeps_a_table_of_which_much_has_expired() {
    let (batches, read) = postgres_reads(20_000, 20_000, "md5(n::text)").await;
    println!("{batches} batches read {read:?} rows by the index and from the table");
    // The planner looks up where the index ends.
    assert!(read[0] <= 2 && read[1] == 40_000, "each row is read once: {read:?}");
}

/// How many batches clearing took, and how many rows they read: by the expiry's index, and from the table.
#[cfg(feature = "postgres")]
async fn postgres_reads(expired: u64, live: u64, live_data: &str) -> (u64, [u64; 2]) {
    use crate::support::servers::postgres::{client, database};

    let url = database().await;
    let mut options = cloakroom::PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = (expired / 20) as u32;
    let raw = client(&url).await;
    // Plain: what compresses well would not take its pages.
    let fill = format!(
        "ALTER TABLE django_session ALTER session_data SET STORAGE PLAIN; \
         INSERT INTO django_session SELECT md5(n::text), 'x', '2001-01-01'::timestamptz + n * interval '1 second' \
             FROM generate_series(1, {expired}) AS n; \
         INSERT INTO django_session SELECT 'live' || n, {live_data}, '2099-01-01' \
             FROM generate_series(1, {live}) AS n; \
         ANALYZE django_session"
    );
    raw.batch_execute(&fill).await.unwrap();
    let counted = "SELECT i.idx_tup_read, t.seq_tup_read, t.n_tup_del FROM pg_stat_user_indexes AS i \
        JOIN pg_stat_user_tables AS t USING (relid) WHERE i.indexrelname LIKE '%expire_date%'";
    let count = async || {
        let row = raw.query_one(counted, &[]).await.unwrap();
        [0, 1, 2].map(|column| row.get::<_, i64>(column) as u64)
    };
    let before = count().await;
    let backup = client(&url).await;
    backup.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let mut batches = 0;
    let mut each = |_| {
        batches += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(store.clear_expired_with_progress(SystemClock.now(), &mut each).await.unwrap(), expired);
    assert!(batches >= 20, "{batches}");
    // The server counts for good when a connection ends.
    drop(store);
    let start = Instant::now();
    let read = loop {
        let [by_the_index, from_the_table, removed] = count().await;
        if removed >= expired {
            break [by_the_index - before[0], from_the_table - before[1]];
        }
        assert!(start.elapsed() < Duration::from_secs(30), "nothing was counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let left = raw.query_one("SELECT count(*) FROM django_session", &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(left as u64, live);
    (batches, read)
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mariadb_tells_after_each_batch() {
    let mut options =
        cloakroom::MysqlStore::options(&crate::support::servers::mariadb::database().await).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_eq!(clear(&store, 5, 9).await, [2, 4, 5]);
    assert_eq!(clear(&store, 5, 2).await, [2, 4], "broken off");
}

/// Each batch begins where the last one ended, as the index keeps what was removed while an old transaction, such as a
/// backup's, may see it. What expired before that and comes later is left for the next time.
#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb_goes_on_where_the_last_batch_ended() {
    let mut options =
        cloakroom::MysqlStore::options(&crate::support::servers::mariadb::database().await).unwrap();
    options.create_table(Default::default()).await.unwrap();
    options.clear_batch = 2;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let (data, now) = (SessionData::new(), SystemClock.now());
    let create = async |minutes: i64| {
        let record = Record { data: &data, expire_date: now + TimeDelta::minutes(minutes), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
    };
    for minutes in [2, 2, 2, 2, 3] {
        create(minutes).await;
    }
    let mut told = Vec::new();
    let mut progress = |cleared| {
        told.push(cleared);
        if cleared == 2 {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(create(1)));
        }
        ControlFlow::Continue(())
    };
    let later = now + TimeDelta::days(30);
    assert_eq!(store.clear_expired_with_progress(later, &mut progress).await.unwrap(), 5);
    assert_eq!(told, [2, 4, 5], "those of the same time are all found");
    assert_eq!(store.clear_expired(later).await.unwrap(), 1);
}
