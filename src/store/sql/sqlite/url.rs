//! The options in a `sqlite:` URL.

use std::path::Path;
use std::time::Duration;

use super::{Mode, SqliteOptions, SqliteStore};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::url::{PathUrl, parameter_of_path};

/// The options of a `sqlite:` URL.
pub(super) fn options(url: &str) -> Result<SqliteOptions, StoreError> {
    let wrong = |message: String| Err(StoreError::new("sqlite", StoreErrorKind::Misconfigured, message));
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
    let mut options = SqliteStore::at(path);
    for parameter in parts.query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (name, value) {
            ("mode", "ro") => options.mode = Mode::ReadOnly,
            ("mode", "rw") => options.mode = Mode::ReadWrite,
            ("mode", "rwc") => options.mode = Mode::ReadWriteCreate,
            ("mode", "memory") => return wrong(in_memory.to_owned()),
            ("cache", "private") => {}
            ("timeout", seconds) => {
                match seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                    Some(timeout) => options.timeout = timeout,
                    None => return wrong(format!("`timeout={seconds}` is not a number of seconds")),
                }
            }
            _ => {
                let parameter = parameter_of_path(parameter);
                return wrong(format!(
                    "`{parameter}` is not known here; behind the `?` of `sqlite:` there may be `mode=ro`, `mode=rw` or \
                     `mode=rwc`, and `timeout=SECONDS`. A `?` in the file's name is written `%3F`"
                ));
            }
        }
    }
    Ok(options)
}
