//! The errors of SQLite, and their remedies.

use std::io;
use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use super::super::row_format::RowError;
use super::super::table::problem;
use super::{Mode, SqliteOptions};
use crate::site::error::{StoreError, StoreErrorKind};

/// The result of work on a connection.
pub(super) type Task<T> = Result<T, Failure>;

#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    /// The error of a statement that failed with others in one transaction.
    Transaction(String),
    /// An operating system error.
    System(io::Error),
    Missing,
    /// The path led to another file when the work was done: which file was written is unknown.
    Replaced,
    /// The path led to another file before anything was written.
    ReplacedBefore,
    /// Why the replacement file cannot be opened.
    OfReplacement(Box<Failure>),
    /// The write-ahead log of a replaced file lies beside the new one.
    OldLog,
    /// The store was opened read-only.
    ReadOnlyMode,
    NotText,
    Unreadable(RowError),
    MissingColumn(String),
    Stopped,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error().map(|error| error.extended_code) {
            Some(ffi::SQLITE_READONLY_DBMOVED) => Failure::ReplacedBefore,
            _ => Failure::Sqlite(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Missing,
            _ => Failure::System(error),
        }
    }
}

impl Failure {
    /// Whether another connection has the lock.
    pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// A copy, for another request in the same transaction.
    pub(super) fn copy(&self) -> Failure {
        match self {
            Failure::Sqlite(rusqlite::Error::SqliteFailure(error, message)) => {
                Failure::Sqlite(rusqlite::Error::SqliteFailure(*error, message.clone()))
            }
            Failure::System(error) => Failure::System(io::Error::new(error.kind(), error.to_string())),
            Failure::Missing => Failure::Missing,
            Failure::Replaced => Failure::Replaced,
            Failure::ReplacedBefore => Failure::ReplacedBefore,
            Failure::OfReplacement(failure) => Failure::OfReplacement(Box::new(failure.copy())),
            Failure::OldLog => Failure::OldLog,
            Failure::ReadOnlyMode => Failure::ReadOnlyMode,
            Failure::MissingColumn(column) => Failure::MissingColumn(column.clone()),
            Failure::Stopped => Failure::Stopped,
            other => Failure::Transaction(format!("{other:?}")),
        }
    }

    /// The error for the caller: what is wrong, where, and what to do next.
    pub(super) fn explain(self, options: &SqliteOptions) -> StoreError {
        let (kind, message) = self.problem(options);
        let error = StoreError::new("sqlite", kind, message);
        match self {
            Failure::Sqlite(source) => error.with_source(source),
            Failure::System(source) => error.with_source(source),
            Failure::Unreadable(source) => source.source_of(error),
            _ => error,
        }
    }

    fn problem(&self, options: &SqliteOptions) -> (StoreErrorKind, String) {
        use StoreErrorKind::{Misconfigured, Unavailable, Unreadable};
        let path = options.path.display();
        let table = &options.table;
        match self {
            Failure::Missing => (
                Misconfigured,
                format!(
                    "{path}: no such file; check the path, or make the database with `cloakroom create-table` or \
                     Django's `manage.py migrate`"
                ),
            ),
            Failure::System(error) => {
                (Misconfigured, format!("{path}: {error}; check that this user may reach the file"))
            }
            Failure::Replaced => (
                Unavailable,
                format!(
                    "{path}: the file was replaced by another during the call, and a change may be in the old one only; \
                     try again"
                ),
            ),
            Failure::ReplacedBefore => (
                Unavailable,
                format!(
                    "{path}: the file was replaced by another during the call; nothing was written. Try again"
                ),
            ),
            Failure::OfReplacement(failure) => {
                let (kind, message) = failure.problem(options);
                (kind, format!("{message} (another file has replaced the one that was open)"))
            }
            Failure::OldLog => (
                Unavailable,
                format!(
                    "{path}: another file has replaced the one that was open, whose write-ahead log still lies beside it. \
                     SQLite would mix the two. Stop the programs that use the file, remove {path}-wal and {path}-shm, \
                     and start them again"
                ),
            ),
            Failure::ReadOnlyMode => (
                Misconfigured,
                format!("{path}: opened with `mode=ro`, so that nothing can be written; use `mode=rw`"),
            ),
            Failure::MissingColumn(column) => {
                problem::missing_column(&path, table, column, options.cache.is_some())
            }
            Failure::NotText => problem::not_text(&path, table),
            Failure::Unreadable(error) => (Unreadable, format!("{path}: {error}; it was left as it is")),
            Failure::Transaction(message) => (Unavailable, format!("{path}: {message}")),
            Failure::Stopped => (Unavailable, format!("{path}: the store's threads have stopped")),
            Failure::Sqlite(error) => explain_sqlite(error, options),
        }
    }
}

fn explain_sqlite(error: &rusqlite::Error, options: &SqliteOptions) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let (path, table) = (options.path.display(), &options.table);
    let code = error.sqlite_error().map(|error| error.extended_code);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Unavailable,
            format!(
                "{path}: another program has kept the database locked for {} seconds; try again, or find the \
                 long transaction (`PRAGMA journal_mode = WAL` lets readers work beside a writer)",
                options.timeout.as_secs_f32()
            ),
        ),
        Some(ErrorCode::NotADatabase) => (
            Misconfigured,
            format!("{path}: this file is not a SQLite database (or is encrypted); check the path"),
        ),
        Some(ErrorCode::ReadOnly) => (Misconfigured, why_read_only(options)),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            Misconfigured,
            format!(
                "{path}: cannot be opened; check that the file and its folder can be read and written by this user"
            ),
        ),
        Some(ErrorCode::DiskFull) => (Unavailable, format!("{path}: the disk is full; nothing was written")),
        // The log's index is mapped into memory, and its disk space is reserved beforehand.
        Some(ErrorCode::SystemIoFailure) if code == Some(ffi::SQLITE_IOERR_SHMSIZE) => (
            Unavailable,
            format!("{path}: no room for {path}-shm, so that the disk is probably full; nothing was written"),
        ),
        Some(ErrorCode::SystemIoFailure) => {
            (Unavailable, format!("{path}: reading or writing failed: {error}"))
        }
        Some(ErrorCode::DatabaseCorrupt) => (
            Misconfigured,
            format!("{path}: the database is damaged; run `PRAGMA integrity_check` and restore a backup"),
        ),
        Some(ErrorCode::ConstraintViolation) => problem::constraint(&path, table, error),
        _ if error.to_string().contains("no such table") => {
            problem::no_table(&path, table, options.cache.is_some())
        }
        _ => (Unavailable, format!("{path}: {error}")),
    }
}

/// SQLite has one code for a file that cannot be written, regardless of the reason.
fn why_read_only(options: &SqliteOptions) -> String {
    let path = options.path.display();
    if options.mode == Mode::ReadOnly {
        return Failure::ReadOnlyMode.problem(options).1;
    }
    let nobody_may_write =
        |path: &Path| path.metadata().is_ok_and(|metadata| metadata.permissions().readonly());
    if nobody_may_write(&options.path) {
        return format!("{path}: the file is read-only; give this user the right to write it and its folder");
    }
    format!(
        "{path}: no permission to write; the file and its folder must be this user's to write, and their file system not \
         be mounted read-only"
    )
}
