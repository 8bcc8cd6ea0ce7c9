//! The errors of PostgreSQL, and their remedies.

use std::error::Error as _;
use std::sync::Arc;

use cloakroom_formats::DecodeError;
use tokio_postgres::error::SqlState;

use super::super::table::problem;
use super::PostgresOptions;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::url::said_by_server;

/// The result of work on a connection.
pub(super) type Task<T> = Result<T, Failure>;

/// Cloned for each request that shared the statement.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server's answer. Its details are left out: they can contain the row's values, including session
    /// keys.
    Server {
        code: SqlState,
        message: String,
    },
    Connection(Arc<tokio_postgres::Error>),
    Url,
    /// A `sslmode` of libpq that is not supported.
    SslMode,
    /// A connection pooler withholds this connection's settings from the server.
    Pooler,
    /// TLS is required, and this build does not include it.
    #[cfg(not(feature = "postgres-tls"))]
    NoTls,
    /// TLS failed, for this reason.
    #[cfg(feature = "postgres-tls")]
    Tls(String),
    Deadline,
    Closed,
    /// The runtime of the request's tasks has ended.
    Stopped,
    MissingColumn(String),
    WrongType {
        column: String,
        found: String,
        wanted: &'static str,
    },
    NotText,
    NoSuchKey,
    BeyondPython,
    Unreadable(DecodeError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(answer) => {
                Failure::Server { code: answer.code().clone(), message: answer.message().to_owned() }
            }
            None if error.is_closed() => Failure::Closed,
            None => Failure::Connection(Arc::new(error)),
        }
    }
}

impl Failure {
    pub(super) fn is(&self, state: &SqlState) -> bool {
        matches!(self, Failure::Server { code, .. } if code == state)
    }

    /// Whether a single request of the batch may be the cause, so that the others deserve a retry: invalid
    /// data, a constraint, a trigger, a serialization failure, a statement prepared for a table that was
    /// altered.
    pub(super) fn may_be_one_request(&self) -> bool {
        matches!(self, Failure::Server { code, .. }
            if ["0A", "22", "23", "26", "40", "54", "P0"].iter().any(|class| code.code().starts_with(class)))
    }

    /// Whether the server is read-only. Another server may have taken over.
    pub(super) fn only_reads(&self) -> bool {
        self.is(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// Whether the server executed nothing and another connection may help: it is read-only, or had closed
    /// this connection as idle.
    pub(super) fn may_be_the_connection(&self) -> bool {
        self.only_reads() || self.is(&SqlState::IDLE_SESSION_TIMEOUT)
    }

    /// Whether the connection is no longer usable: broken, stuck, or with statements that no longer fit.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Failure::Server { code, .. } => {
                ["0A", "26", "57P", "08"].iter().any(|class| code.code().starts_with(class))
                    || self.only_reads()
            }
            Failure::Connection(_) | Failure::Deadline | Failure::Closed => true,
            _ => false,
        }
    }

    /// The error for the caller: what is wrong, where, and what to do next.
    pub(super) fn explain(self, options: &PostgresOptions) -> StoreError {
        use StoreErrorKind::{Misconfigured, Refused, Unavailable, Unreadable};
        let place = options.place();
        let table = &options.table;
        let (kind, message) = match &self {
            Failure::Server { code, message } => explain_server(code, message, options),
            #[cfg(not(feature = "postgres-tls"))]
            Failure::NoTls => (
                Misconfigured,
                format!(
                    "{place}: the URL asks for TLS, which this build lacks; add the feature `postgres-tls`, or use \
                     sslmode=disable"
                ),
            ),
            #[cfg(feature = "postgres-tls")]
            Failure::Tls(reason) => (Misconfigured, format!("{place}: no TLS: {reason}")),
            Failure::Connection(error) if is_tls(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                (
                    Misconfigured,
                    format!(
                        "{place}: {error}{cause}; does the server offer TLS, with a certificate for this host \
                         that is trusted here? sslmode=disable goes without"
                    ),
                )
            }
            Failure::Connection(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                (
                    Unavailable,
                    format!("{place}: {error}{cause}; is the server running, and are host and port right?"),
                )
            }
            Failure::Pooler => (
                Misconfigured,
                format!(
                    "{place}: a connection pooler (such as PgBouncer) stands before the server and does not pass on this \
                     connection's settings; nothing was left there. Use the address of PostgreSQL itself: the store's \
                     settings and prepared statements would affect the pooler's other clients"
                ),
            ),
            Failure::SslMode => (
                Misconfigured,
                "the URL's sslmode is not offered; use `sslmode=verify-full` or `require`, which check the server's \
                 certificate, `prefer`, which encrypts where the server can, or `disable`"
                    .to_owned(),
            ),
            Failure::Url => (
                Misconfigured,
                "this is not a PostgreSQL URL; write postgres://user:password@host:5432/database, with special \
                 characters in the password percent-encoded"
                    .to_owned(),
            ),
            Failure::Deadline => (
                Unavailable,
                format!(
                    "{place}: no answer within {} seconds; try again, or find what holds the server or the \
                     session's row up (pg_stat_activity, pg_locks)",
                    options.timeout.as_secs_f32()
                ),
            ),
            Failure::Closed => (Unavailable, format!("{place}: the server closed the connection; try again")),
            Failure::Stopped => {
                (Unavailable, format!("{place}: the Tokio runtime of this request has ended; call on another"))
            }
            Failure::MissingColumn(column) => problem::missing_column(&place, table, column),
            Failure::WrongType { column, found, wanted } => (
                Misconfigured,
                format!(
                    "{place}: the column {column} of {table} is of type {found}, and Django's is {wanted}. Is \
                     this the right table?"
                ),
            ),
            Failure::NotText => problem::not_text(&place, table),
            Failure::NoSuchKey => (
                Refused,
                format!("{place}: PostgreSQL keeps no text with a NUL; use keys of letters and digits"),
            ),
            Failure::BeyondPython => problem::beyond_python(&place),
            Failure::Unreadable(error) => (Unreadable, format!("{place}: {error}; it was left as it is")),
        };
        let error = StoreError::new("postgres", kind, message);
        match self {
            Failure::Connection(source) => error.with_source(source),
            Failure::Unreadable(source) => error.with_source(source),
            _ => error,
        }
    }
}

pub(super) fn is_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().contains("TLS")
}

fn explain_server(code: &SqlState, message: &str, options: &PostgresOptions) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Refused, Unavailable};
    let place = options.place();
    let table = &options.table;
    let message = &said_by_server(message, options.config.get_user(), options.config.get_dbname());
    match code.code() {
        // The server uses English or its operator's language for these; other texts are a connection
        // pooler's.
        "28000" | "08P01"
            if ["no encryption", "SSL off", "SSL required"].iter().any(|words| message.contains(words)) =>
        {
            let how = match cfg!(feature = "postgres-tls") {
                true => "write sslmode=require into the URL, or leave sslmode out",
                false => "add the feature `postgres-tls`, which encrypts unless the URL says sslmode=disable",
            };
            (Misconfigured, format!("{place}: {message}; the server wants TLS: {how}"))
        }
        "28000" => (
            Misconfigured,
            format!(
                "{place}: {message}; check user, password and sslmode in the URL, and the server's pg_hba.conf"
            ),
        ),
        "28P01" => (
            Misconfigured,
            format!("{place}: {message}; check user and password in the URL, and the server's pg_hba.conf"),
        ),
        "3D000" => (
            Misconfigured,
            format!("{place}: {message}; check the database in the URL, or make it with createdb"),
        ),
        "42P01" => problem::no_table(place, table),
        "42703" => (Misconfigured, format!("{place}: {message}; is {table} the right table?")),
        "42501" => problem::no_permission(place, table, message),
        "25006" => problem::only_reads(place),
        "57014" => (
            Unavailable,
            format!(
                "{place}: nothing was written within {} seconds; another transaction may keep the session's row \
                 locked (pg_locks)",
                options.timeout.as_secs_f32()
            ),
        ),
        "53100" => (Unavailable, format!("{place}: the server's disk is full; nothing was written")),
        code if code.starts_with("22") => problem::value(place, table, code),
        code if code.starts_with("23") => problem::constraint(place, table, message),
        code if code.starts_with("54") => (Refused, format!("{place}: {message}; nothing was written")),
        code => (Unavailable, format!("{place}: {message} (SQLSTATE {code}); try again")),
    }
}
