//! The errors of MySQL and MariaDB, and their remedies.

use mysql_async::{Error, ServerError};

use super::super::row_format::RowError;
use super::super::table::problem;
use super::MysqlOptions;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::tls::{RootCertificates, TlsMode};
use crate::store::url::said_by_server;

/// The result of a request on a connection.
pub(super) type Task<T> = Result<T, Failure>;

#[derive(Debug)]
pub(super) enum Failure {
    Server(ServerError),
    /// The driver's other errors, including a broken connection.
    Driver(Error),
    Url,
    Tls(TlsProblem),
    /// The driver would send the password as it is over a connection that is not encrypted.
    Cleartext,
    /// The source of passwords failed.
    Password(String),
    Deadline,
    ConnectDeadline,
    Stopped,
    MissingColumn(String),
    WrongType {
        column: String,
        wanted: &'static str,
    },
    NotText,
    /// The statement is longer than the server accepts.
    TooLarge {
        size: usize,
        limit: usize,
    },
    BeyondPython,
    Unreadable(RowError),
}

/// A connection that cannot be encrypted as the options say.
#[derive(Debug)]
#[allow(dead_code, reason = "the first is of builds without TLS, the others of those with it")]
pub(super) enum TlsProblem {
    NotCompiledIn,
    NotOffered,
    /// A file of the options.
    Files(String),
    /// The server's certificate: what is wrong with it.
    Certificate(String),
    UnknownAuthority,
    OtherHost,
    Handshake(String),
}

impl From<TlsProblem> for Failure {
    fn from(problem: TlsProblem) -> Self {
        Failure::Tls(problem)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(answer) => Failure::Server(answer),
            other => Failure::Driver(other),
        }
    }
}

/// A duplicate key: `ER_DUP_ENTRY`.
pub(super) const DUPLICATE: u16 = 1062;
/// An existing table: `ER_TABLE_EXISTS_ERROR`.
pub(super) const TABLE_EXISTS: u16 = 1050;
/// `ER_LOCK_WAIT_TIMEOUT`: another transaction has locked the row for a second.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// `ER_LOCK_DEADLOCK`: nothing was written, and a retry may succeed.
const DEADLOCK: u16 = 1213;
/// The server or its transactions have become read-only: nothing was written.
const ONLY_READS: [u16; 3] = [1290, 1792, 1836];
/// The server is shutting down (1053), has ended the connection (1080, 1152, 1927, 3169, 4031), or is about
/// to because it received malformed packets (1153, 1156 to 1161). Or it has left its cluster (1047); then a
/// proxy leads to another.
const ENDS_CONNECTION: [u16; 14] =
    [1047, 1053, 1080, 1152, 1153, 1156, 1157, 1158, 1159, 1160, 1161, 1927, 3169, 4031];
/// A key with characters that the column cannot hold: no row has it.
const OTHER_CHARACTERS: [u16; 4] = [1267, 1270, 1271, 3988];

impl Failure {
    pub(super) fn is(&self, code: u16) -> bool {
        matches!(self, Failure::Server(answer) if answer.code == code)
    }

    /// Whether the statement did nothing and may be retried.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.is(DEADLOCK) || self.is(LOCK_WAIT_TIMEOUT)
    }

    /// Whether another transaction kept the row locked.
    pub(super) fn waited_for_a_lock(&self) -> bool {
        self.is(LOCK_WAIT_TIMEOUT)
    }

    /// Whether no row can have such a key.
    pub(super) fn means_absent(&self) -> bool {
        OTHER_CHARACTERS.iter().any(|code| self.is(*code))
    }

    /// Whether the server wrote nothing because it is read-only. A new connection shows where the address
    /// leads now.
    pub(super) fn only_reads(&self) -> bool {
        ONLY_READS.iter().any(|code| self.is(*code))
    }

    /// Whether the connection is no longer usable.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Failure::Driver(_) | Failure::Tls(_) | Failure::Deadline => true,
            Failure::Server(answer) => ENDS_CONNECTION.contains(&answer.code) || self.only_reads(),
            _ => false,
        }
    }

    /// The error for the caller: what is wrong, where, and what to do next.
    pub(super) fn explain(self, options: &MysqlOptions) -> StoreError {
        use StoreErrorKind::{Misconfigured, Unavailable, Unreadable};
        let place = options.place();
        let table = &options.table;
        let (kind, message) = match &self {
            Failure::Server(answer) => explain_server(answer, options),
            Failure::Driver(Error::Io(error)) => (
                Unavailable,
                format!("{place}: {error}; is the server running, and are host and port right?"),
            ),
            Failure::Driver(error) => (Unavailable, format!("{place}: {error}; try again")),
            Failure::Url => (
                Misconfigured,
                "this is not a MySQL URL; write mysql://user:password@host:3306/database, with special characters \
                 in the password percent-encoded"
                    .to_owned(),
            ),
            Failure::Tls(problem) => explain_tls(problem, options),
            Failure::Cleartext => (
                Misconfigured,
                format!(
                    "{place}: `enable_cleartext_plugin` sends the password as it is, and the connection would not be \
                     encrypted; write `ssl-mode=VERIFY_IDENTITY`, or at least `ssl-mode=REQUIRED`"
                ),
            ),
            Failure::Password(error) => {
                (Unavailable, format!("{place}: the source of the password failed: {error}"))
            }
            Failure::ConnectDeadline => (
                Unavailable,
                format!(
                    "{place}: no connection within `connect_timeout`; is the server running, and are host and port right?"
                ),
            ),
            Failure::Deadline => (
                Unavailable,
                format!(
                    "{place}: no answer within {} seconds; try again, or find what holds the server or the \
                     session's row up (SHOW PROCESSLIST, information_schema.innodb_trx)",
                    options.timeout.as_secs_f32()
                ),
            ),
            Failure::Stopped => {
                (Unavailable, format!("{place}: the Tokio runtime of this request has ended; call on another"))
            }
            Failure::MissingColumn(column) => {
                problem::missing_column(&place, table, column, options.cache.is_some())
            },
            Failure::WrongType { column, wanted } => (
                Misconfigured,
                format!(
                    "{place}: the column {column} of {table} is of another type than Django's, which is \
                     {wanted}. Is this the right table?"
                ),
            ),
            Failure::NotText => problem::not_text(&place, table),
            Failure::TooLarge { size, limit } => (
                StoreErrorKind::Refused,
                format!(
                    "{place}: saving takes a packet of {size} bytes, and the server's max_allowed_packet is {limit}; \
                     nothing was written. Keep less in the session, or raise max_allowed_packet: a save sends the \
                     session as it shall be, and as it was"
                ),
            ),
            Failure::BeyondPython => problem::beyond_python(&place),
            Failure::Unreadable(error) => (Unreadable, format!("{place}: {error}; it was left as it is")),
        };
        let error = StoreError::new("mysql", kind, message);
        match self {
            // The other errors may contain a row's values.
            Failure::Driver(Error::Io(source)) => error.with_source(source),
            Failure::Unreadable(source) => source.source_of(error),
            _ => error,
        }
    }
}

/// MySQL's word for a mode.
pub(super) fn mode_word(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "DISABLED",
        TlsMode::Allow | TlsMode::Prefer => "PREFERRED",
        TlsMode::Require => "REQUIRED",
        TlsMode::VerifyCa => "VERIFY_CA",
        TlsMode::VerifyFull => "VERIFY_IDENTITY",
    }
}

fn explain_tls(problem: &TlsProblem, options: &MysqlOptions) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let place = options.place();
    let tls = &options.tls;
    let mode = mode_word(tls.mode);
    let authorities = match &tls.root_certificates {
        Some(RootCertificates::File(path)) => format!("in the file of `ssl-ca`, {}", path.display()),
        _ => "that this system trusts; `ssl-ca` names the file of another".to_owned(),
    };
    match problem {
        TlsProblem::NotCompiledIn => (
            Misconfigured,
            format!(
                "{place}: `ssl-mode={mode}` needs the feature `mysql-tls` of cloakroom, on a Unix system"
            ),
        ),
        TlsProblem::NotOffered => (
            Misconfigured,
            format!(
                "{place}: the server offers no TLS, and `ssl-mode={mode}` asks for it; turn it on at the server \
                 (ssl_cert, ssl_key), or write `ssl-mode=PREFERRED`"
            ),
        ),
        TlsProblem::Files(error) => {
            let names = |path: &std::path::Path| error.contains(&*path.display().to_string());
            let name = match &tls.root_certificates {
                _ if tls.client_key.as_deref().is_some_and(names) => "ssl-key",
                _ if tls.client_certificate.as_deref().is_some_and(names) => "ssl-cert",
                _ => "ssl-ca",
            };
            (Misconfigured, format!("{place}: no TLS, because of `{name}`: {error}"))
        }
        TlsProblem::UnknownAuthority => (
            Misconfigured,
            format!(
                "{place}: `ssl-mode={mode}` refuses the server's certificate: it is not signed by an authority {authorities}"
            ),
        ),
        TlsProblem::OtherHost => (
            Misconfigured,
            format!(
                "{place}: `ssl-mode={mode}` refuses the server's certificate: it is for another host than {}; write the \
                 host that it names, or `ssl-mode=VERIFY_CA`",
                options.connection.ip_or_hostname()
            ),
        ),
        TlsProblem::Certificate(error) => {
            (Misconfigured, format!("{place}: `ssl-mode={mode}` refuses the server's certificate: {error}"))
        }
        TlsProblem::Handshake(error) => (
            Unavailable,
            format!(
                "{place}: TLS with the server (`ssl-mode={mode}`) fails: {error}. It needs TLS 1.2 or 1.3, and if it asks \
                 for a client's certificate, `ssl-cert` and `ssl-key`"
            ),
        ),
    }
}

fn explain_server(answer: &ServerError, options: &MysqlOptions) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Unavailable};
    let place = options.place();
    let table = &options.table;
    let ServerError { code, message, .. } = answer;
    let message = &said_by_server(message, options.connection.user(), options.connection.db_name());
    match *code {
        1044 | 1045 | 1698 => (
            Misconfigured,
            format!(
                "{place}: {message}; check user and password in the URL, and the user's grants. A user with `REQUIRE SSL`, \
                 or a server with require_secure_transport, needs `ssl-mode=REQUIRED`; a user with `REQUIRE X509` also \
                 needs `ssl-cert` and `ssl-key`"
            ),
        ),
        3159 => (
            Misconfigured,
            format!(
                "{place}: the server wants TLS (require_secure_transport); write `ssl-mode=REQUIRED` or a stricter mode, \
                 with the feature `mysql-tls`"
            ),
        ),
        1049 => (
            Misconfigured,
            format!("{place}: {message}; check the database in the URL, or make it with CREATE DATABASE"),
        ),
        1046 => (
            Misconfigured,
            "the URL names no database; write mysql://user:password@host:3306/database".to_owned(),
        ),
        1146 => problem::no_table(place, table, options.cache.is_some()),
        1054 => (Misconfigured, format!("{place}: {message}; is {table} the right table?")),
        1142 | 1143 => problem::no_permission(place, table, message),
        code if ONLY_READS.contains(&code) => problem::only_reads(place),
        LOCK_WAIT_TIMEOUT | DEADLOCK => (
            Unavailable,
            format!(
                "{place}: nothing was written within {} seconds; another transaction keeps the session's row \
                 locked (information_schema.innodb_trx)",
                options.timeout.as_secs_f32()
            ),
        ),
        1021 | 1114 => (Unavailable, format!("{place}: the server's disk is full; nothing was written")),
        1153 => (
            StoreErrorKind::Refused,
            format!(
                "{place}: the session is larger than the server's max_allowed_packet; nothing was written. Keep less \
                 in it, or raise max_allowed_packet"
            ),
        ),
        // The server's words name the limit: a row's, or a part of the redo log.
        1118 => (StoreErrorKind::Refused, format!("{place}: {message}; nothing was written")),
        1264 | 1265 | 1292 | 1366 | 1406 => problem::value(place, table, code),
        // The server's words are left out, because they would show the value.
        DUPLICATE => {
            problem::constraint(place, table, "another session has the same value in a unique column")
        }
        1048 | 1364 | 1452 | 3819 | 4025 => problem::constraint(place, table, message),
        code => (Unavailable, format!("{place}: the server answers with error {code}; try again")),
    }
}
