//! What can go wrong in SQLite, and what to do about it.

use rusqlite::ErrorCode;

use super::super::table::problem;
use super::SqliteOptions;
use crate::codec::DecodeError;
use crate::error::{StoreError, StoreErrorKind};

/// What a piece of work on a connection gives.
pub(super) type Task<T> = Result<T, Failure>;

#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    /// The error of a statement that went down with others in one transaction.
    Transaction(String),
    Missing,
    NotText,
    Unreadable(DecodeError),
    MissingColumn(String),
    Stopped,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl Failure {
    /// Whether another connection has the lock.
    pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// The error for the caller: what is wrong, where, and what to do next.
    pub(super) fn explain(self, options: &SqliteOptions) -> StoreError {
        use StoreErrorKind::{Misconfigured, Unavailable, Unreadable};
        let path = options.path.display();
        let table = &options.table;
        let (kind, message) = match &self {
            Failure::Missing => (
                Misconfigured,
                format!(
                    "{path}: no such file; check the path, or make the database with `cloakroom create-table` or \
                     Django's `manage.py migrate`"
                ),
            ),
            Failure::MissingColumn(column) => problem::missing_column(&path, table, column),
            Failure::NotText => problem::not_text(&path, table),
            Failure::Unreadable(error) => (Unreadable, format!("{path}: {error}; it was left as it is")),
            Failure::Transaction(message) => (Unavailable, format!("{path}: {message}")),
            Failure::Stopped => (Unavailable, format!("{path}: the store's threads have stopped")),
            Failure::Sqlite(error) => explain_sqlite(error, &path, options),
        };
        let error = StoreError::new("sqlite", kind, message);
        match self {
            Failure::Sqlite(source) => error.with_source(source),
            Failure::Unreadable(source) => error.with_source(source),
            _ => error,
        }
    }
}

fn explain_sqlite(
    error: &rusqlite::Error,
    path: &std::path::Display<'_>,
    options: &SqliteOptions,
) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let table = &options.table;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Unavailable,
            format!(
                "{path}: another program has kept the database locked for {} seconds; try again, or find the \
                 long transaction (`PRAGMA journal_mode = WAL` lets readers work beside a writer)",
                options.busy_timeout.as_secs_f32()
            ),
        ),
        Some(ErrorCode::NotADatabase) => (
            Misconfigured,
            format!("{path}: this file is no SQLite database (or is encrypted); check the path"),
        ),
        Some(ErrorCode::ReadOnly) => (
            Misconfigured,
            format!("{path}: no permission to write; the file and its folder must belong to this user"),
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            Misconfigured,
            format!(
                "{path}: cannot be opened; check that the file and its folder can be read and written by this user"
            ),
        ),
        Some(ErrorCode::DiskFull) => (Unavailable, format!("{path}: the disk is full; nothing was written")),
        Some(ErrorCode::SystemIoFailure) => {
            (Unavailable, format!("{path}: reading or writing failed: {error}"))
        }
        Some(ErrorCode::DatabaseCorrupt) => (
            Misconfigured,
            format!("{path}: the database is damaged; run `PRAGMA integrity_check` and restore a backup"),
        ),
        Some(ErrorCode::ConstraintViolation) => problem::constraint(path, table, error),
        _ if error.to_string().contains("no such table") => problem::no_table(path, table),
        _ => (Unavailable, format!("{path}: {error}")),
    }
}
