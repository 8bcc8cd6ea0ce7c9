//! Removes expired sessions, concurrently with other writers in this program and in others.
//!
//! SQLite has one writer at a time. A writer that finds the file locked retries, and sleeps 1, 2, 5, 10 and
//! 15 milliseconds between its attempts. So this code holds the lock for about 20 milliseconds and then
//! leaves it free for at least 15: a writer that comes meanwhile finds it free at its attempt after 33
//! milliseconds at the latest. A shorter pause would fall between two attempts, and a writer that has waited
//! that long sleeps for 20, 25 and 50 milliseconds. A waiting writer cannot be seen, only that somebody has
//! written; then the lock is left free for as long as it was held.
//!
//! During the pause, the pages that the next transaction will change are read. If they were read under the
//! lock, only half as many rows would be removed in the same time.
//!
//! Removals need not be on the disk at once, because after a power failure they are simply repeated. With
//! write-ahead logging, that saves a sync while the lock is held. The cleaning thread copies the log into the
//! file while others write; otherwise the next writer would have to do it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use crossbeam_channel::{Receiver, unbounded};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{Mutex, oneshot};

use super::connections::{Open, Slot};
use super::error::{Failure, Task};
use super::statements::Clear;
use super::{SqliteOptions, SqliteStore};
use crate::site::error::StoreError;
use crate::store::contract::Progress;
use crate::store::sql::table::BatchSize;

/// The target time for holding the lock: short enough that a waiting writer does not notice.
const MEANT: Duration = Duration::from_millis(20);

/// The minimum time that the lock stays free: as long as a waiting writer sleeps between its first attempts.
const LEAST_REST: Duration = Duration::from_millis(15);

/// The polling interval while another program has the lock. A program that writes all the time leaves it free
/// only for moments.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// The maximum growth of the log before it is copied. Another program's writer copies it from 1,000 pages on,
/// and waits for it.
const LOG_PAGES: i64 = 500;

/// Each removed row changes about three pages: one of the table, one of each index.
const PAGES_A_ROW: i64 = 3;

/// The connection's memory cache. With SQLite's default of 2 MB, a batch would write its pages more than
/// once.
const CACHE_KIB: i64 = 16 << 10;

type Step = oneshot::Sender<Task<Removed>>;

/// The number of rows that one transaction removed, and whether that was all.
struct Removed {
    rows: u64,
    all: bool,
}

impl SqliteStore {
    pub(super) async fn clear(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.format.check_listable("sqlite")?;
        let (sql, now) = (self.statements.clear.clone(), self.time_text(now));
        let (steps, asked) = unbounded::<Step>();
        let turn = self.threads.turn();
        let serving = self.threads.spawn("cloakroom-sqlite-clear".to_owned(), move |slot| {
            serve(slot, &asked, Clearing::new(sql, now, turn, slot.options()));
        });
        serving.map_err(|failure| failure.explain(&self.options))?;
        let mut cleared = 0;
        loop {
            let (step, removed) = oneshot::channel();
            // If the receiving thread is gone, nobody answers.
            let _ = steps.send(step);
            let removed = removed.await.unwrap_or(Err(Failure::Stopped));
            let removed = removed.map_err(|failure| failure.explain(&self.options))?;
            cleared += removed.rows;
            if progress(cleared).is_break() || removed.all {
                return Ok(cleared);
            }
        }
    }
}

/// Serves steps until nobody asks any more.
fn serve(slot: &Slot, steps: &Receiver<Step>, mut clearing: Clearing) {
    for step in steps {
        let _ = step.send(slot.run(|open| clearing.step(open, slot.options())));
    }
}

struct Clearing {
    sql: Clear,
    now: String,
    /// The lock inside this program, which is fair, unlike SQLite's.
    turn: Arc<Mutex<()>>,
    batch: BatchSize,
    /// The expiry of the last row that was chosen [among others](super::statements::ClearAmongOthers).
    from: String,
    /// When the lock was released, and how long it had been held.
    left: Option<(Instant, Duration)>,
    /// SQLite's `data_version` after the last write of another connection.
    data_version: Option<i64>,
    /// The approximate growth of the log in pages; `None` without a log.
    log_pages: Option<i64>,
}

impl Clearing {
    fn new(sql: Clear, now: String, turn: Arc<Mutex<()>>, options: &SqliteOptions) -> Clearing {
        let batch = BatchSize::up_to(options.clear_batch, MEANT);
        let from = String::new();
        Clearing { sql, now, turn, batch, from, left: None, data_version: None, log_pages: None }
    }

    fn prepare(&mut self, connection: &Connection) -> Task<()> {
        (self.left, self.data_version, self.log_pages) = (None, None, None);
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        if journal.eq_ignore_ascii_case("wal") {
            // Other journal modes could be left corrupt by a power failure.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            self.log_pages = Some(0);
        }
        Ok(())
    }

    /// Leaves the lock free for others.
    fn rest(&mut self, connection: &Connection) -> Task<()> {
        let Some((since, held)) = self.left else { return Ok(()) };
        // Without the log, readers block writers.
        if self.log_pages.is_some() && self.sql.among_others.is_none() {
            let parameters = params![self.now, self.batch.rows()];
            connection.prepare_cached(&self.sql.read)?.query_row(parameters, |_| Ok(()))?;
        }
        thread::sleep(LEAST_REST.saturating_sub(since.elapsed()));
        if self.others_wrote(connection) {
            thread::sleep(held.saturating_sub(since.elapsed()));
        }
        Ok(())
    }

    /// Whether another connection, of any program, has written since the last call.
    fn others_wrote(&mut self, connection: &Connection) -> bool {
        // A failure here recurs where the batch takes the lock, and is reported there.
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok();
        version.is_none() | (std::mem::replace(&mut self.data_version, version) != version)
    }

    /// Chooses the next batch, if others' entries lie between.
    fn choose(&mut self, connection: &Connection) -> Task<Option<Vec<String>>> {
        let Some(among_others) = &self.sql.among_others else { return Ok(None) };
        let mut statement = connection.prepare_cached(&among_others.choose)?;
        let rows = statement.query_map(params![self.now, self.batch.rows(), self.from], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let (mut keys, mut last) = (Vec::new(), None);
        for row in rows {
            let (key, expiry) = row?;
            keys.push(key);
            last = Some(expiry);
        }
        self.from = last.unwrap_or_else(|| std::mem::take(&mut self.from));
        Ok(Some(keys))
    }

    /// Removes the chosen rows, or else the first that expired. Returns how many were found and removed.
    fn remove(&self, transaction: &Transaction<'_>, chosen: Option<&[String]>) -> Task<(u64, u64)> {
        let (Some(keys), Some(among_others)) = (chosen, &self.sql.among_others) else {
            let mut statement = transaction.prepare_cached(&self.sql.remove)?;
            let removed = statement.execute(params![self.now, self.batch.rows()])? as u64;
            return Ok((removed, removed));
        };
        let (mut statement, mut removed) = (transaction.prepare_cached(&among_others.remove)?, 0);
        for key in keys {
            removed += statement.execute(params![key, self.now])? as u64;
        }
        Ok((keys.len() as u64, removed))
    }

    /// Removes one batch.
    fn step(&mut self, open: &mut Open, options: &SqliteOptions) -> Task<Removed> {
        let Open { connection, place, wrote, is_new, .. } = open;
        if *is_new {
            self.prepare(connection)?;
        }
        self.rest(connection)?;
        let chosen = self.choose(connection)?;
        let turn = Arc::clone(&self.turn);
        let start = Instant::now();
        let (transaction, turn) = loop {
            let turn = turn.blocking_lock();
            // While waiting for another program, this must not keep this program's own writers waiting behind
            // it.
            connection.busy_timeout(Duration::ZERO)?;
            let began = Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
            connection.busy_timeout(options.timeout)?;
            match began {
                Ok(transaction) => break (transaction, turn),
                Err(error) if Failure::is_busy(&error) && start.elapsed() < options.timeout => {}
                Err(error) => return Err(error.into()),
            }
            drop(turn);
            thread::sleep(LOOK_AGAIN);
        };
        let (start, most) = (Instant::now(), self.batch.rows());
        place.check_before_writing(&transaction)?;
        let (found, rows) = self.remove(&transaction, chosen.as_deref())?;
        *wrote = true;
        transaction.commit()?;
        drop(turn);
        let all = found < u64::from(most);
        self.left = Some((Instant::now(), start.elapsed()));
        if !all {
            self.batch.took(start.elapsed());
        }
        if let Some(pages) = &mut self.log_pages {
            *pages += rows as i64 * PAGES_A_ROW;
            if *pages >= LOG_PAGES || all {
                // Passive: it waits for nobody, and nobody waits for it.
                connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                *pages = 0;
            }
        }
        Ok(Removed { rows, all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It pauses longer when somebody else has written, and not because of its own writes.
    #[test]
    fn notices_who_else_writes() {
        for journal_mode in ["WAL", "DELETE"] {
            let folder = tempfile::tempdir().unwrap();
            let options = SqliteStore::at(folder.path().join("db.sqlite3"));
            let open = || Connection::open(&options.path).unwrap();
            let (ours, other) = (open(), open());
            ours.pragma_update(None, "journal_mode", journal_mode).unwrap();
            ours.execute_batch("CREATE TABLE notes (text)").unwrap();
            let write = |connection: &Connection| {
                connection.execute("INSERT INTO notes VALUES ('')", ()).unwrap();
            };
            let mut clearing = Clearing::new(Clear::default(), String::new(), Arc::default(), &options);
            clearing.others_wrote(&ours);
            write(&ours);
            assert!(!clearing.others_wrote(&ours), "{journal_mode}: that was itself");
            write(&other);
            assert!(clearing.others_wrote(&ours), "{journal_mode}: that was somebody else");
            assert!(!clearing.others_wrote(&ours), "{journal_mode}: that is told already");
        }
    }
}
