//! The errors of file operations, and their remedies.

use std::io;

use super::contents::Unreadable;
use super::folder::Folder;
use super::names::Names;
use crate::site::error::{StoreError, StoreErrorKind};

/// The result of file operations.
pub(super) type Task<T> = Result<T, Failure>;

#[derive(Debug)]
pub(super) enum Failure {
    /// An operating system call, with its purpose.
    Io(&'static str, io::Error),
    NotAFolder,
    /// The file system cannot exchange two files.
    NoExchange(io::Error),
    /// The cookie's name cannot start a file name.
    CookieName,
    /// The key cannot be part of a file name.
    Key,
    /// A `FileBasedCache` always pickles, and compresses in its own way.
    Format,
    /// A file's name does not tell the session key.
    NoKeys,
    Locked,
    Unreadable {
        error: Unreadable,
        /// The file's name, if it may be shown.
        file: Option<String>,
    },
    /// The file is longer than any session's text.
    TooLarge {
        size: u64,
        limit: u64,
        /// The file's name, if it may be shown.
        file: Option<String>,
    },
    Stopped,
}

/// Turns an operating system error into a [`Failure`] with the purpose of the call.
pub(super) fn doing<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Io(what, error.into())
}

impl Failure {
    /// The error for the caller: what is wrong, where, and what to do next. Names no file whose name contains
    /// the session key.
    pub(super) fn explain(self, folder: &Folder) -> StoreError {
        use StoreErrorKind::{Misconfigured, Refused, Unavailable, Unreadable, Unsupported};
        let (names, folder) = (&folder.names, folder.path.display());
        let place = |file: &Option<String>| match file {
            Some(file) => format!("{folder}/{file}"),
            None => folder.to_string(),
        };
        let (kind, message) = match &self {
            Failure::Io(what, error) => explain_io(what, error, &folder),
            Failure::NotAFolder => (
                Misconfigured,
                match names {
                    Names::Prefixed(_) => format!(
                        "{folder}: no such folder; make it, or set SESSION_FILE_PATH to the one that Django uses"
                    ),
                    Names::Hashed(_) => format!(
                        "{folder}: no such folder; make it, or name the LOCATION of the site's FileBasedCache"
                    ),
                },
            ),
            Failure::NoExchange(error) => (
                Misconfigured,
                format!(
                    "{folder}: this file system cannot exchange two files in one step ({error}), without which a \
                     session could come back after its logout; use a local file system (ext4, XFS, Btrfs, tmpfs, \
                     APFS) or a database"
                ),
            ),
            Failure::CookieName => (
                Misconfigured,
                format!(
                    "{folder}: the cookie's name begins the names of the files; it must be set, and hold no `/`"
                ),
            ),
            Failure::Key => (
                Refused,
                format!(
                    "{folder}: this session key cannot be part of a file's name; keys for files hold `a` to `z` and \
                     `0` to `9` only, as in Django"
                ),
            ),
            Failure::Format => (
                Misconfigured,
                "Django's FileBasedCache knows no other serializer than pickle, and no compressor; leave both at \
                 their defaults"
                    .to_owned(),
            ),
            Failure::NoKeys => (
                Unsupported,
                format!(
                    "{folder}: sessions in Django's FileBasedCache cannot be listed or counted. A file's name is a \
                     hash, which tells neither a session key nor whether the entry is a session"
                ),
            ),
            Failure::Locked => (
                Unavailable,
                format!(
                    "{folder}: another program keeps this session's file locked; nothing was written, try again"
                ),
            ),
            Failure::Unreadable { error, file } => {
                (Unreadable, format!("{}: {error}; the file was left as it is", place(file)))
            }
            Failure::TooLarge { size, limit, file } => (
                Unreadable,
                format!(
                    "{}: a session's file has {size} bytes or more, and a session takes at most {limit}, \
                     which follows from `max_decompressed_bytes`; the file was left as it is. If it is a session, raise the limit; \
                     else find out who put it there",
                    place(file)
                ),
            ),
            Failure::Stopped => (Unavailable, format!("{folder}: the runtime is shutting down")),
        };
        let error = StoreError::new(names.store(), kind, message);
        match self {
            Failure::Io(_, source) | Failure::NoExchange(source) => error.with_source(source),
            Failure::Unreadable { error: source, .. } => error.with_source(source),
            _ => error,
        }
    }
}

fn explain_io(what: &str, error: &io::Error, folder: &std::path::Display<'_>) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Misconfigured, Unavailable};
    const TOO_MANY_OPEN_FILES: [rustix::io::Errno; 2] = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            Unavailable,
            format!("{folder}: cannot {what}: the disk or the quota is full; nothing was written"),
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            Misconfigured,
            format!(
                "{folder}: cannot {what}: {error}; the folder and its files must belong to this user (Django's files \
                 can be read by the user alone who runs Django)"
            ),
        ),
        _ if rustix::io::Errno::from_io_error(error)
            .is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code)) =>
        {
            (
                Unavailable,
                format!("{folder}: cannot {what}: {error}; raise the limit of open files (`ulimit -n`)"),
            )
        }
        _ => (Unavailable, format!("{folder}: cannot {what}: {error}")),
    }
}
