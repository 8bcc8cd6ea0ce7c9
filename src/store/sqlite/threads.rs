//! The threads that hold the connections: some read, one writes.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{Mutex, oneshot};

use super::error::{Failure, Task};
use super::{Columns, ExtraColumn, SqliteOptions};
use crate::error::StoreError;

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// A queued write: what to do inside the shared transaction, and whom to tell after its commit.
trait WriteJob: Send {
    /// Does the work. It may run again, when the shared transaction fails and each job gets its own.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells the outcome: that of the work, or that the transaction failed.
    fn finish(self: Box<Self>, failed: Option<Failure>);
}

/// The store's threads; they end when this is dropped.
pub(super) struct Threads {
    reads: Sender<ReadJob>,
    writes: Sender<Box<dyn WriteJob>>,
    turn: Arc<Mutex<()>>,
}

impl Threads {
    /// Opens the connections and checks the table, each in its own thread.
    pub(super) async fn start(options: &SqliteOptions) -> Result<Threads, StoreError> {
        let (reads, read_jobs) = unbounded::<ReadJob>();
        let (writes, write_jobs) = unbounded::<Box<dyn WriteJob>>();
        let turn = Arc::new(Mutex::new(()));
        let threads = Threads { reads, writes, turn: Arc::clone(&turn) };
        for number in 0..options.readers.max(1) {
            let jobs = read_jobs.clone();
            spawn(options, format!("cloakroom-sqlite-read-{number}"), move |connection, _| {
                jobs.iter().for_each(|job| job(&connection));
            })
            .await?;
        }
        spawn(options, "cloakroom-sqlite-write".to_owned(), move |connection, options| {
            write_loop(connection, &write_jobs, options.write_batch.max(1), &turn);
        })
        .await?;
        Ok(threads)
    }

    /// Who writes in this program takes it first, so that its threads take turns and none has to look again and again
    /// for SQLite's own lock.
    pub(super) fn turn(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.turn)
    }

    /// Runs a task on one of the reading connections.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Connection) -> Task<T> + Send + 'static,
    ) -> Task<T> {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            // Nobody waits any more when the request was cancelled.
            let _ = reply.send(task(connection));
        });
        self.reads.send(job).map_err(|_| Failure::Stopped)?;
        answer.await.map_err(|_| Failure::Stopped)?
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
}

struct Write<F, T> {
    task: F,
    outcome: Option<Task<T>>,
    reply: oneshot::Sender<Task<T>>,
}

impl<F: Fn(&Connection) -> Task<T> + Send, T: Send> WriteJob for Write<F, T> {
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

fn write_loop(
    mut connection: Connection,
    jobs: &Receiver<Box<dyn WriteJob>>,
    batch: usize,
    turn: &Mutex<()>,
) {
    while let Ok(first) = jobs.recv() {
        let _turn = turn.blocking_lock();
        let mut queued = vec![first];
        queued.extend(jobs.try_iter().take(batch - 1));
        match commit_together(&mut connection, &mut queued) {
            Ok(false) if queued.len() > 1 => {
                // One by one, so that one bad statement costs nobody else a save.
                for job in queued {
                    let mut alone = [job];
                    let failed = commit_together(&mut connection, &mut alone).err();
                    let [job] = alone;
                    job.finish(failed);
                }
            }
            Ok(_) => queued.into_iter().for_each(|job| job.finish(None)),
            Err(failure) => queued.into_iter().for_each(|job| job.finish(Some(copy(&failure)))),
        }
    }
}

/// Runs the jobs in one transaction. False when one of them failed; then, as after an error, nothing was
/// written.
fn commit_together(connection: &mut Connection, jobs: &mut [Box<dyn WriteJob>]) -> Task<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !jobs.iter_mut().all(|job| job.run(&transaction)) {
        transaction.rollback()?;
        return Ok(false);
    }
    transaction.commit()?;
    Ok(true)
}

fn copy(failure: &Failure) -> Failure {
    match failure {
        Failure::Sqlite(rusqlite::Error::SqliteFailure(error, message)) => {
            Failure::Sqlite(rusqlite::Error::SqliteFailure(*error, message.clone()))
        }
        other => Failure::Transaction(format!("{other:?}")),
    }
}

/// Starts a thread that opens a connection, tells whether that went well, and goes on with it.
pub(super) async fn spawn(
    options: &SqliteOptions,
    name: String,
    run: impl FnOnce(Connection, &SqliteOptions) + Send + 'static,
) -> Result<(), StoreError> {
    let (opened, answer) = oneshot::channel();
    let thread_options = options.clone();
    let thread = std::thread::Builder::new().name(name).spawn(move || match open(&thread_options) {
        Ok(connection) => {
            let _ = opened.send(Ok(()));
            run(connection, &thread_options);
        }
        Err(failure) => {
            let _ = opened.send(Err(failure));
        }
    });
    thread.map_err(|error| Failure::Transaction(error.to_string()).explain(options))?;
    answer.await.unwrap_or(Err(Failure::Stopped)).map_err(|failure| failure.explain(options))
}

/// Opens the file as it is: never creates it.
fn open(options: &SqliteOptions) -> Task<Connection> {
    if !options.path.exists() {
        return Err(Failure::Missing);
    }
    let connection = Connection::open_with_flags(
        &options.path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(options.busy_timeout)?;
    let statement = connection.prepare(&format!("SELECT * FROM {} LIMIT 0", options.quoted_table()))?;
    let columns: Vec<&str> = statement.column_names().into_iter().collect();
    let Columns { session_key, session_data, expire_date } = &options.columns;
    let extra = options.extra_columns.iter().map(ExtraColumn::name);
    for column in [session_key, session_data, expire_date].into_iter().map(String::as_str).chain(extra) {
        if !columns.contains(&column) {
            return Err(Failure::MissingColumn(column.to_owned()));
        }
    }
    drop(statement);
    Ok(connection)
}

/// Runs a task on a connection of its own, in a thread of its own; for work that is done once.
pub(super) async fn once<T: Send + 'static>(task: impl FnOnce() -> Task<T> + Send + 'static) -> Task<T> {
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        let _ = reply.send(task());
    });
    thread.map_err(|error| Failure::Transaction(error.to_string()))?;
    answer.await.map_err(|_| Failure::Stopped)?
}
