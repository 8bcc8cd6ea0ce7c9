//! The threads that use the connections: some read, one writes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Mutex, oneshot};

use super::SqliteOptions;
use super::connections::{self, Open, Slot};
use super::error::{Failure, Task};

/// How long an idle connection stays open. Opening one takes about as long as ten reads.
const IDLE: Duration = Duration::from_millis(250);

/// The longest read that a caller's own thread may do, which meanwhile serves nobody else. A read from memory takes
/// about 20 microseconds; a longer one had to wait for the disk.
const LONGEST_AT_ONCE: Duration = Duration::from_millis(1);

/// How long all reads go to the threads after one that was longer.
const AFTER_LONG: Duration = Duration::from_secs(1);

/// How long dropping the store waits for its threads to close their connections, which takes milliseconds
/// unless the disk hangs.
const PATIENCE: Duration = Duration::from_secs(5);

type ReadJob = Box<dyn FnOnce(&Slot) + Send>;

/// A queued write: the work inside the shared transaction, and the recipient of its outcome after the commit.
trait WriteJob: Send {
    /// Whether somebody waits for the outcome; false when the request was cancelled.
    fn is_wanted(&self) -> bool;
    /// Does the work. It may run again, when the shared transaction fails and each job gets its own.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Reports the outcome of the work, or that the transaction failed.
    fn finish(self: Box<Self>, failed: Option<Failure>);
}

/// The store's threads. Dropping this ends them, and waits until their connections are closed.
pub(super) struct Threads {
    reads: Sender<ReadJob>,
    writes: Sender<Box<dyn WriteJob>>,
    turn: Arc<Mutex<()>>,
    options: Arc<SqliteOptions>,
    /// The writer's slot comes last: it cleans up the log, which readers would keep.
    slots: Vec<Arc<Slot>>,
    started: Instant,
    /// Until then, in milliseconds after the start, no read is done in its caller's own thread.
    handed_over_until: AtomicU64,
    alive: Sender<Infallible>,
    /// Dropped after the senders, whose end stops the threads.
    _ended: Ended,
}

/// Signals that all threads have ended: then it has no sender any more.
struct Ended(Receiver<Infallible>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

impl Threads {
    /// Starts the threads, and opens a first connection, which checks the table.
    pub(super) async fn start(options: &SqliteOptions) -> Task<Threads> {
        let (reads, read_jobs) = unbounded::<ReadJob>();
        let (writes, write_jobs) = unbounded::<Box<dyn WriteJob>>();
        let (alive, ended) = bounded(0);
        let mut threads = Threads {
            reads,
            writes,
            turn: Arc::default(),
            options: Arc::new(options.clone()),
            slots: Vec::new(),
            started: Instant::now(),
            handed_over_until: AtomicU64::new(0),
            alive,
            _ended: Ended(ended),
        };
        for number in 0..options.readers.max(1) {
            let jobs = read_jobs.clone();
            let slot = threads.spawn(format!("cloakroom-sqlite-read-{number}"), move |slot| {
                while let Some(job) = next(slot, &jobs) {
                    job(slot);
                }
            })?;
            threads.slots.push(slot);
        }
        let (batch, turn) = (options.write_batch.max(1), threads.turn());
        let slot = threads.spawn("cloakroom-sqlite-write".to_owned(), move |slot| {
            write_loop(slot, &write_jobs, batch, &turn);
        })?;
        threads.slots.push(slot);
        connections::close_with_this_thread(&threads.slots);
        threads.read(|_| Ok(())).await?;
        Ok(threads)
    }

    /// Starts a thread with its own connection, which is closed when `run` returns.
    pub(super) fn spawn(&self, name: String, run: impl FnOnce(&Slot) + Send + 'static) -> Task<Arc<Slot>> {
        let slot = Slot::new(Arc::clone(&self.options))?;
        let (alive, own) = (self.alive.clone(), Arc::clone(&slot));
        std::thread::Builder::new().name(name).spawn(move || {
            run(&own);
            match own.close() {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    store = "sqlite",
                    "the latest changes are in the database's -wal file alone, as another program is reading; whoever \
                     copies the database now must copy both"
                ),
                Err(failure) => tell_failed_close(failure, &own),
            }
            drop(own);
            drop(alive);
        })?;
        Ok(slot)
    }

    /// A writer in this program takes this lock first, so that its threads take turns and none has to poll
    /// SQLite's own lock.
    pub(super) fn turn(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.turn)
    }

    /// Runs a task on one of the reading connections.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Connection) -> Task<T> + Send + 'static,
    ) -> Task<T> {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |slot| {
            // Nobody is waiting any more if the request was cancelled.
            if !reply.is_closed() {
                let _ = reply.send(slot.run(|open| task(&open.connection)));
            }
        });
        self.reads.send(job).map_err(|_| Failure::Stopped)?;
        answer.await.map_err(|_| Failure::Stopped)?
    }

    /// Runs a short task on one of the reading connections: in the caller's own thread if nobody else reads or waits,
    /// which saves waking two threads.
    pub(super) async fn read_short<T: Send + 'static>(
        &self,
        task: impl Fn(&Connection) -> Task<T> + Send + 'static,
    ) -> Task<T> {
        match self.read_at_once(&task) {
            Some(done) => done,
            None => self.read(task).await,
        }
    }

    fn read_at_once<T>(&self, task: &impl Fn(&Connection) -> Task<T>) -> Option<Task<T>> {
        let start = Instant::now();
        let since_start = |moment: Instant| moment.duration_since(self.started).as_millis() as u64;
        if !self.reads.is_empty() || since_start(start) < self.handed_over_until.load(Ordering::Relaxed) {
            return None;
        }
        let (_writer, readers) = self.slots.split_last()?;
        let done = readers.iter().find_map(|slot| slot.read_at_once(task))?;
        if start.elapsed() > LONGEST_AT_ONCE {
            self.handed_over_until.store(since_start(start + AFTER_LONG), Ordering::Relaxed);
        }
        Some(done)
    }

    /// Runs a task on the writing connection and answers after the commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        task: impl Fn(&Connection) -> Task<T> + Send + 'static,
    ) -> Task<T> {
        let (reply, answer) = oneshot::channel();
        self.writes.send(Box::new(Write { task, outcome: None, reply })).map_err(|_| Failure::Stopped)?;
        answer.await.map_err(|_| Failure::Stopped)?
    }

    /// Closes the connections until there is work again.
    pub(super) async fn close(&self) -> Task<()> {
        let slots = self.slots.clone();
        once(move || slots.iter().try_for_each(|slot| slot.close().map(drop))).await
    }
}

/// Returns the next job. While there is none, the connection is closed.
fn next<J>(slot: &Slot, jobs: &Receiver<J>) -> Option<J> {
    while slot.is_open() {
        match jobs.recv_timeout(IDLE) {
            Ok(job) => return Some(job),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if slot.was_borrowed_within(IDLE) => {}
            Err(RecvTimeoutError::Timeout) => {
                slot.close().map(drop).unwrap_or_else(|failure| tell_failed_close(failure, slot));
            }
        }
    }
    jobs.recv().ok()
}

/// Logs a failed close. Acknowledged saves are safe, in the log.
fn tell_failed_close(failure: Failure, slot: &Slot) {
    let error = failure.explain(slot.options());
    tracing::warn!(store = "sqlite", %error, "the write-ahead log could not be copied into the database's file");
}

struct Write<F, T> {
    task: F,
    outcome: Option<Task<T>>,
    reply: oneshot::Sender<Task<T>>,
}

impl<F: Fn(&Connection) -> Task<T> + Send, T: Send> WriteJob for Write<F, T> {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let outcome = (self.task)(connection);
        let succeeded = outcome.is_ok();
        self.outcome = Some(outcome);
        succeeded
    }

    fn finish(self: Box<Self>, failed: Option<Failure>) {
        let outcome = match (failed, self.outcome) {
            (Some(failure), Some(Ok(_)) | None) => Err(failure),
            (_, Some(outcome)) => outcome,
            (None, None) => Err(Failure::Stopped),
        };
        let _ = self.reply.send(outcome);
    }
}

fn write_loop(slot: &Slot, jobs: &Receiver<Box<dyn WriteJob>>, batch: usize, turn: &Mutex<()>) {
    while let Some(first) = next(slot, jobs) {
        let _turn = turn.blocking_lock();
        let mut queued = vec![first];
        queued.extend(jobs.try_iter().take(batch - 1));
        queued.retain(|job| job.is_wanted());
        match commit(slot, &mut queued) {
            Ok(false) if queued.len() > 1 => {
                // One by one, so that one bad statement does not fail the others.
                for job in queued {
                    let mut alone = [job];
                    let failed = commit(slot, &mut alone).err();
                    let [job] = alone;
                    job.finish(failed);
                }
            }
            Ok(_) => queued.into_iter().for_each(|job| job.finish(None)),
            Err(failure) => queued.into_iter().for_each(|job| job.finish(Some(failure.copy()))),
        }
    }
}

/// Runs the jobs in one transaction. Returns false when one of them failed. Then, as after an error, nothing
/// was written, except after [`Failure::Replaced`].
fn commit(slot: &Slot, jobs: &mut [Box<dyn WriteJob>]) -> Task<bool> {
    let mut done = Ok(true);
    for _ in 0..if jobs.is_empty() { 0 } else { 2 } {
        done = slot.run(|open| commit_together(open, jobs));
        if !matches!(done, Err(Failure::ReplacedBefore)) {
            break;
        }
    }
    done
}

fn commit_together(open: &mut Open, jobs: &mut [Box<dyn WriteJob>]) -> Task<bool> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    open.place.check_before_writing(&transaction)?;
    if !jobs.iter_mut().all(|job| job.run(&transaction)) {
        transaction.rollback()?;
        return Ok(false);
    }
    open.wrote = true;
    transaction.commit()?;
    Ok(true)
}

/// Runs a one-time task in its own thread.
pub(super) async fn once<T: Send + 'static>(task: impl FnOnce() -> Task<T> + Send + 'static) -> Task<T> {
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let _ = reply.send(task());
    })?;
    answer.await.map_err(|_| Failure::Stopped)?
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use tempfile::TempDir;

    use super::super::SqliteStore;
    use super::*;

    /// A file with the table in this journal mode, and its threads.
    async fn started(journal_mode: &str) -> (TempDir, Threads, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteStore::at(folder.path().join("db"));
        let other = Connection::open(&options.path).unwrap();
        other.pragma_update(None, "journal_mode", journal_mode).unwrap();
        other.execute_batch("CREATE TABLE django_session (session_key, session_data, expire_date)").unwrap();
        let threads = Threads::start(&options).await.unwrap();
        (folder, threads, other)
    }

    /// As [`read`], whatever the machine did to the reads before: one that was interrupted counts as long.
    async fn read_after_short_ones(threads: &Threads) -> (ThreadId, i64) {
        threads.handed_over_until.store(0, Ordering::Relaxed);
        read(threads).await
    }

    /// The thread that read, and how many rows there were.
    async fn read(threads: &Threads) -> (ThreadId, i64) {
        let task = |connection: &Connection| {
            let rows = connection.query_row("SELECT count(*) FROM django_session", [], |row| row.get(0))?;
            Ok((thread::current().id(), rows))
        };
        threads.read_short(task).await.unwrap()
    }

    #[tokio::test]
    async fn a_short_read_needs_no_other_thread_while_nobody_waits() {
        for journal_mode in ["WAL", "DELETE"] {
            let (_folder, threads, other) = started(journal_mode).await;
            assert_eq!(read_after_short_ones(&threads).await, (thread::current().id(), 0), "{journal_mode}");
            other.execute("INSERT INTO django_session VALUES ('a', 'b', 'c')", []).unwrap();
            assert_eq!(read_after_short_ones(&threads).await, (thread::current().id(), 1), "{journal_mode}");
            // Both connections are at work.
            let [first, second, _writer] = &threads.slots[..] else { panic!("two readers by default") };
            let nested = first.run(|_| second.run(|_| Ok(threads.read_at_once(&|_| Ok(())).is_none())));
            assert!(nested.unwrap());
        }
    }

    #[tokio::test]
    async fn a_locked_file_is_waited_for_in_a_thread_of_the_store() {
        let (_folder, threads, other) = started("DELETE").await;
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let unlocking = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            other.execute_batch("COMMIT").unwrap();
        });
        let (reader, rows) = read(&threads).await;
        assert_eq!(rows, 0);
        assert_ne!(reader, thread::current().id());
        unlocking.join().unwrap();
    }

    #[tokio::test]
    async fn after_a_long_read_the_next_ones_are_handed_over() {
        let (_folder, threads, _other) = started("WAL").await;
        let long = |_: &Connection| {
            thread::sleep(LONGEST_AT_ONCE * 2);
            Ok(thread::current().id())
        };
        assert_eq!(threads.read_short(long).await.unwrap(), thread::current().id());
        assert_ne!(read(&threads).await.0, thread::current().id());
        tokio::time::sleep(AFTER_LONG + Duration::from_millis(20)).await;
        // Opens the connection again.
        read(&threads).await;
        assert!(threads.read_at_once(&|_| Ok(())).is_some());
    }

    /// Else each idle time would close a connection that is in use.
    #[tokio::test]
    async fn a_connection_stays_open_while_callers_read_on_it() {
        let (_folder, threads, _other) = started("WAL").await;
        let start = Instant::now();
        while start.elapsed() < IDLE * 3 {
            assert_eq!(read_after_short_ones(&threads).await.0, thread::current().id());
            tokio::time::sleep(IDLE / 10).await;
        }
        tokio::time::sleep(IDLE * 3).await;
        assert!(threads.slots.iter().all(|slot| !slot.is_open()));
        assert_ne!(read(&threads).await.0, thread::current().id());
    }
}
