//! The options in a `sqlite:` URL.

use std::path::Path;
use std::time::Duration;

use super::{Mode, SqliteOptions, SqliteStore};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::sql::row_format::{self, Tables};
use crate::store::url::{Parameters, PathUrl, invalid};

const STORE: &str = "sqlite";

/// The parameters, for the error about an unknown one.
const KNOWN: [&str; 4] = ["mode", "timeout", "table", "user_session_table"];

/// The options of a `sqlite:` URL.
pub(super) fn options(url: &str) -> Result<SqliteOptions, StoreError> {
    let wrong = |message: String| Err(StoreError::new(STORE, StoreErrorKind::Misconfigured, message));
    let Some(parts) = PathUrl::of(url).filter(|parts| parts.scheme == "sqlite") else {
        return wrong("a URL of SQLite begins with `sqlite:`".to_owned());
    };
    let path = parts.path();
    if path.as_os_str().is_empty() {
        return wrong("the store sqlite: lacks its file; write sqlite:PATH".to_owned());
    }
    let in_memory = "SQLite in memory is one database for each connection; use `memory:`";
    if path == Path::new(":memory:") {
        return wrong(in_memory.to_owned());
    }
    if let Some(other) = parts.mistaken(&path) {
        let (path, other) = (path.display(), other.display());
        return wrong(format!(
            "`sqlite:///{path}` counts from the working folder, as in Django, and there is no {path} there; for {other} \
             write `sqlite:///{other}` or `sqlite:{other}`"
        ));
    }
    let (_, mut parameters) = Parameters::of(STORE, url)?;
    let mut options = SqliteStore::at(path);
    match parameters.take("mode")?.as_deref() {
        None => {}
        Some("ro") => options.mode = Mode::ReadOnly,
        Some("rw") => options.mode = Mode::ReadWrite,
        Some("rwc") => options.mode = Mode::ReadWriteCreate,
        Some("memory") => return wrong(in_memory.to_owned()),
        Some(_) => return Err(invalid(STORE, "mode", "has no such value", "`ro`, `rw` or `rwc`")),
    }
    // Others would change what a lock means to other connections.
    if parameters.take("cache")?.is_some_and(|cache| cache != "private") {
        return Err(invalid(STORE, "cache", "has no such value", "`private`, or leave it out"));
    }
    if let Some(seconds) = parameters.take("timeout")? {
        let timeout = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let no_number = || invalid(STORE, "timeout", "is not a number of seconds", "one such as `5`");
        options.timeout = timeout.ok_or_else(no_number)?;
    }
    let tables = Tables::take_from(STORE, &mut parameters)?;
    (options.table, options.cache) = (tables.table, tables.cache);
    options.user_session_table = tables.user_session_table;
    parameters.finish(&[&KNOWN[..], &row_format::PARAMETERS].concat())?;
    Ok(options)
}
