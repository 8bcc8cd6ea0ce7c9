//! The problems that are the same in every database: their messages and remedies.

use std::fmt::Display;

use crate::site::error::StoreErrorKind::{self, Misconfigured, Refused, Unreadable};

type Problem = (StoreErrorKind, String);

pub(crate) fn no_table(place: impl Display, table: &str, is_cache: bool) -> Problem {
    if is_cache {
        let message = format!(
            "{place}: no cache table {table}; make it with `cloakroom create-table` or Django's `manage.py \
             createcachetable`"
        );
        return (Misconfigured, message);
    }
    // A schema may come before it.
    if table.rsplit('.').next() == Some(super::USER_SESSION_TABLE) {
        let message =
            format!("{place}: no table {table}; make it with `cloakroom create-table --user-sessions`");
        return (Misconfigured, message);
    }
    let message = format!(
        "{place}: no table {table}; make it with `cloakroom create-table` or Django's `manage.py migrate`"
    );
    (Misconfigured, message)
}

pub(crate) fn missing_column(place: impl Display, table: &str, column: &str, is_cache: bool) -> Problem {
    let (of_django, columns) = match is_cache {
        true => ("Django's cache table", "cache_key, value and expires"),
        false => ("Django's table", "session_key, session_data and expire_date"),
    };
    let message = format!(
        "{place}: the table {table} has no column {column}; {of_django} has {columns}. Is this the right table?"
    );
    (Misconfigured, message)
}

pub(crate) fn not_text(place: impl Display, table: &str) -> Problem {
    (Unreadable, format!("{place}: a session in {table} holds no text; it was left as it is"))
}

/// `why` is in the server's words, if they contain no values of the row.
pub(crate) fn constraint(place: impl Display, table: &str, why: impl Display) -> Problem {
    let message = format!(
        "{place}: a constraint of the table {table} refuses the session ({why}); nothing was written. Check what \
         fills its extra columns"
    );
    (Refused, message)
}

/// `code` replaces the server's words, which would show the value.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn value(place: impl Display, table: &str, code: impl Display) -> Problem {
    let message = format!(
        "{place}: the server refuses a value (error {code}): it is too long, too large or of another type than its \
         column in {table}; nothing was written. Check what fills the extra columns"
    );
    (Refused, message)
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn beyond_python(place: impl Display) -> Problem {
    let message = format!(
        "{place}: the session would expire outside of the years 1 to 9999, which Python cannot read; nothing was \
         written. Give it a nearer expiry"
    );
    (Refused, message)
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn no_permission(place: impl Display, table: &str, message: &str) -> Problem {
    let message = format!("{place}: {message}; GRANT SELECT, INSERT, UPDATE, DELETE ON {table} to this user");
    (Misconfigured, message)
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn only_reads(place: impl Display) -> Problem {
    let message = format!(
        "{place}: the server only reads (a standby?); nothing was written. Use the primary's address"
    );
    (StoreErrorKind::Unavailable, message)
}
