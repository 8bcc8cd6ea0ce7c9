//! The errors of PostgreSQL, and their remedies.

use std::error::Error as _;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use super::super::row_format::RowError;
use super::super::table::problem;
use super::PostgresOptions;
use crate::site::error::{StoreError, StoreErrorKind};
#[cfg(feature = "postgres-tls")]
use crate::store::tls::RootCertificates;
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
    /// A connection pooler refuses this connection's settings, or withholds them from the server.
    Pooler,
    /// The password source failed, for this reason.
    Password(String),
    /// TLS is required, and this build does not include it.
    #[cfg(not(feature = "postgres-tls"))]
    NoTls,
    /// A file of certificates or a key is unusable, for this reason.
    #[cfg(feature = "postgres-tls")]
    TlsFile(String),
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
    Unreadable(RowError),
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

    /// Whether TLS failed, or the server offers none.
    #[cfg(feature = "postgres-tls")]
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Failure::Connection(error) if is_tls(error) || tls_error(error).is_some())
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
        let table = &options.shown_table();
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
            Failure::TlsFile(reason) => (
                Misconfigured,
                format!("{place}: no TLS: {reason}; check `sslrootcert`, `sslcert` and `sslkey`"),
            ),
            Failure::Connection(error) => explain_connection(error, &place, options),
            Failure::Password(reason) => {
                (Unavailable, format!("{place}: no password for a new connection: {reason}"))
            }
            Failure::Pooler => (
                Misconfigured,
                format!(
                    "{place}: a connection pooler (such as PgBouncer) stands before the server, and the URL says \
                     pooler=no; leave that out, or use the address of PostgreSQL itself"
                ),
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
                    "{place}: no answer within {} seconds; try again, or find what holds {} or the session's row up \
                     (pg_stat_activity, pg_locks)",
                    options.timeout.as_secs_f32(),
                    if options.is_pooled() { "the server, the pooler's connections" } else { "the server" }
                ),
            ),
            Failure::Closed => (Unavailable, format!("{place}: the server closed the connection; try again")),
            Failure::Stopped => {
                (Unavailable, format!("{place}: the Tokio runtime of this request has ended; call on another"))
            }
            Failure::MissingColumn(column) => {
                problem::missing_column(&place, table, column, options.cache.is_some())
            },
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
            Failure::Unreadable(source) => source.source_of(error),
            _ => error,
        }
    }
}

fn explain_connection(
    error: &tokio_postgres::Error,
    place: &str,
    options: &PostgresOptions,
) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let cause = error.source().map(|cause| cause.to_string()).unwrap_or_default();
    let shown_cause = if cause.is_empty() { String::new() } else { format!(": {cause}") };
    let mode = options.tls.mode.as_str();
    #[cfg(feature = "postgres-tls")]
    if let Some(reason) = tls_error(error).and_then(|error| explain_certificate(error, options)) {
        return (Misconfigured, format!("{place}: no TLS: {reason}"));
    }
    match cause.as_str() {
        "server does not support TLS" => (
            Misconfigured,
            format!(
                "{place}: the server offers no TLS, and sslmode={mode} asks for it; set up TLS with a certificate there, \
                 or write sslmode=disable"
            ),
        ),
        "server did not use channel binding" => (
            Misconfigured,
            format!(
                "{place}: the server offers no channel binding, which needs TLS and a password by SCRAM, and \
                 channel_binding=require asks for it"
            ),
        ),
        "password missing" => (
            Misconfigured,
            format!(
                "{place}: the server asks for a password, and the URL has none; write user:password@ before the host"
            ),
        ),
        "database does not allow writes" => (
            Unavailable,
            format!(
                "{place}: each server is read-only, and target_session_attrs=read-write asks for another; try again"
            ),
        ),
        "database is not read only" => (
            Unavailable,
            format!("{place}: no server is read-only, which target_session_attrs=read-only asks for"),
        ),
        _ if is_tls(error) => (
            Misconfigured,
            format!(
                "{place}: {error}{shown_cause}; does the server offer TLS, with a certificate that sslmode={mode} accepts? \
                 sslmode=disable goes without"
            ),
        ),
        _ => (
            Unavailable,
            format!("{place}: {error}{shown_cause}; is the server running, and are host and port right?"),
        ),
    }
}

fn is_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().contains("TLS")
}

/// The error of TLS itself. The refusal of a client certificate comes after the handshake, as an error of the
/// stream.
#[cfg(feature = "postgres-tls")]
fn tls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        match inner {
            Some(inner) => {
                if let Some(error) = inner.downcast_ref() {
                    return Some(error);
                }
                cause = inner.source();
            }
            None => cause = error.source(),
        }
    }
    None
}

/// The fault of a certificate, and the parameter that is about it.
#[cfg(feature = "postgres-tls")]
fn explain_certificate(error: &rustls::Error, options: &PostgresOptions) -> Option<String> {
    use rustls::CertificateError;
    let roots = match &options.tls.root_certificates {
        Some(RootCertificates::File(path)) => format!("those of sslrootcert={}", path.display()),
        _ => "those that this system trusts; name its authority's certificate as `sslrootcert`".to_owned(),
    };
    let reason = match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => {
                format!("the server's certificate is signed by an authority that is not among {roots}")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another host than the URL's; use the name that it is for, or \
                 sslmode=verify-ca, which does not compare it"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired; renew it there, or set this machine's clock".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; is this machine's clock right?".to_owned()
            }
            other => format!("the server's certificate is invalid ({other}); sslrootcert is checked against {roots}"),
        },
        rustls::Error::AlertReceived(alert) => format!(
            "the server refuses this client's certificate ({alert:?}); name one that it trusts as `sslcert`, with its key as \
             `sslkey`"
        ),
        _ => return None,
    };
    Some(reason)
}

fn explain_server(code: &SqlState, message: &str, options: &PostgresOptions) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Refused, Unavailable};
    let place = options.place();
    let table = &options.shown_table();
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
        "08P01" | "0A000" if message.contains("statement pooling") => (
            Misconfigured,
            format!(
                "{place}: {message}; the store needs transactions, so set PgBouncer's pool_mode to transaction or session"
            ),
        ),
        "08P01" | "0A000" if message.contains("startup parameter") || message.contains("options") => (
            Misconfigured,
            format!(
                "{place}: {message}; the connection pooler does not take the URL's `options`; for a search_path write \
                 `schema`"
            ),
        ),
        "28000" if message.contains("certificate") => (
            Misconfigured,
            format!(
                "{place}: {message}; name a certificate for this user that the server trusts as `sslcert`, with its key as \
                 `sslkey`"
            ),
        ),
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
        "3F000" => (
            Misconfigured,
            format!(
                "{place}: there is no schema for {table}; check `schema` in the URL, or make it with CREATE SCHEMA"
            ),
        ),
        "42P01" => problem::no_table(place, table, options.cache.is_some()),
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
