//! Removing what has expired, beside whoever else writes: this program and others.
//!
//! SQLite has one writer at a time, and who finds the file locked looks again 1, 2, 5, 10, 15, 20 and 25 milliseconds
//! later. So the lock is held for about 20 milliseconds and then left free for at least as long: whoever waits finds
//! it free at one of the first looks.
//!
//! What is removed need not be on the disk at once, since after a power cut it is only removed again. With write-ahead
//! logging, that spares a sync while the lock is held. The log is copied into the file by the thread that cleans, while
//! others write; otherwise the next writer would be the one that has to.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use crossbeam_channel::{Receiver, unbounded};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{Mutex, oneshot};

use super::error::{Failure, Task};
use super::{SqliteOptions, SqliteStore, threads};
use crate::error::StoreError;
use crate::store::Progress;
use crate::store::table::BatchSize;

/// How long the lock is meant to be held: a writer that has to wait for it does not notice.
const MEANT: Duration = Duration::from_millis(20);

/// When another program has the lock. One that writes all the time leaves it free for moments only.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// How far the log may grow before it is copied. A writer of another program does it from 1,000 pages on, and waits
/// for it.
const LOG_PAGES: i64 = 500;

/// Each removed row changes about three pages: one of the table, one of each index.
const PAGES_A_ROW: i64 = 3;

/// What the connection keeps in memory. With SQLite's 2 MB, a batch would write its pages more than once.
const CACHE_KIB: i64 = 16 << 10;

type Step = oneshot::Sender<Task<Removed>>;

/// What one transaction removed, and whether that was all.
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
        let (sql, now) = (self.clear_statement(), self.time_text(now));
        let (steps, asked) = unbounded::<Step>();
        let turn = self.threads.turn();
        threads::spawn(&self.options, "cloakroom-sqlite-clear".to_owned(), move |connection, options| {
            serve(connection, options, &asked, Clearing::new(sql, now, turn, options));
        })
        .await?;
        let mut cleared = 0;
        loop {
            let (step, removed) = oneshot::channel();
            // When the thread is gone, nobody answers.
            let _ = steps.send(step);
            let removed = removed.await.unwrap_or(Err(Failure::Stopped));
            let removed = removed.map_err(|failure| failure.explain(&self.options))?;
            cleared += removed.rows;
            if progress(cleared).is_break() || removed.all {
                return Ok(cleared);
            }
        }
    }

    /// Along the index of the expiry, from the beginning: what was removed is no longer in it.
    fn clear_statement(&self) -> String {
        let (table, [key_column, _, expiry]) = self.names();
        format!(
            "DELETE FROM {table} WHERE {key_column} IN \
             (SELECT {key_column} FROM {table} WHERE {expiry} < ?1 LIMIT ?2)"
        )
    }
}

/// Until nobody asks any more.
fn serve(connection: Connection, options: &SqliteOptions, steps: &Receiver<Step>, mut clearing: Clearing) {
    let mut prepared = clearing.prepare(&connection);
    for step in steps {
        let removed =
            std::mem::replace(&mut prepared, Ok(())).and_then(|()| clearing.step(&connection, options));
        let _ = step.send(removed);
    }
}

struct Clearing {
    sql: String,
    now: String,
    /// The lock inside of this program, which is fair where SQLite's is not.
    turn: Arc<Mutex<()>>,
    batch: BatchSize,
    /// Since when the lock is free, and how long it was held before.
    left: Option<(Instant, Duration)>,
    /// About how many pages the log has grown; none where there is no log.
    log_pages: Option<i64>,
}

impl Clearing {
    fn new(sql: String, now: String, turn: Arc<Mutex<()>>, options: &SqliteOptions) -> Clearing {
        let batch = BatchSize::up_to(options.clear_batch, MEANT);
        Clearing { sql, now, turn, batch, left: None, log_pages: None }
    }

    fn prepare(&mut self, connection: &Connection) -> Task<()> {
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        if journal.eq_ignore_ascii_case("wal") {
            // Other journals would not be whole after a power cut.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            self.log_pages = Some(0);
        }
        Ok(())
    }

    /// Removes one batch.
    fn step(&mut self, connection: &Connection, options: &SqliteOptions) -> Task<Removed> {
        if let Some((since, held)) = self.left {
            thread::sleep(held.saturating_sub(since.elapsed()));
        }
        let turn = Arc::clone(&self.turn);
        let start = Instant::now();
        let (transaction, turn) = loop {
            let turn = turn.blocking_lock();
            // What waits for another program must not keep this program's own writers waiting behind it.
            connection.busy_timeout(Duration::ZERO)?;
            let began = Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
            connection.busy_timeout(options.busy_timeout)?;
            match began {
                Ok(transaction) => break (transaction, turn),
                Err(error) if Failure::is_busy(&error) && start.elapsed() < options.busy_timeout => {}
                Err(error) => return Err(error.into()),
            }
            drop(turn);
            thread::sleep(LOOK_AGAIN);
        };
        let (start, most) = (Instant::now(), self.batch.rows());
        let rows = transaction.prepare_cached(&self.sql)?.execute(params![self.now, most])? as u64;
        transaction.commit()?;
        drop(turn);
        let all = rows < u64::from(most);
        self.left = Some((Instant::now(), start.elapsed()));
        if !all {
            self.batch.took(start.elapsed());
        }
        if let Some(pages) = &mut self.log_pages {
            *pages += rows as i64 * PAGES_A_ROW;
            if *pages >= LOG_PAGES || all {
                // Passive: it waits for nobody, and nobody for it.
                connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                *pages = 0;
            }
        }
        Ok(Removed { rows, all })
    }
}
