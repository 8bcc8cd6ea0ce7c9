//! Tracks which file a connection has open, and whether it is still the file at the path.
//!
//! `mv new.db db.sqlite3`, a restore and a deployment replace a file that is in use. SQLite continues with
//! the old one. It finds the write-ahead log and its index by name, so the log of the old file would be taken
//! for the new one's, and damage it.

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::error::{Failure, Task};

/// How long to wait for other programs' readers when a log is copied into its file.
const PATIENCE: Duration = Duration::from_millis(100);

/// Identifies a file, regardless of its current name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FileId {
    /// The file at this path. It is not opened: closing it would release SQLite's locks on it.
    pub(super) fn at(path: &Path) -> Task<FileId> {
        Ok(FileId::of(&fs::metadata(path)?))
    }

    #[cfg(unix)]
    fn of(metadata: &Metadata) -> FileId {
        use std::os::unix::fs::MetadataExt;
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Windows does not allow replacing an open file.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> FileId {
        FileId {}
    }
}

/// The location of an open connection's file.
pub(super) struct Place {
    /// The configured path, made absolute because the working folder may change.
    path: PathBuf,
    /// With links resolved, as SQLite opened it. The log lies beside it.
    pub(super) real: PathBuf,
    pub(super) file: FileId,
    /// The log that the connection has open, if the file has one.
    log: Option<FileId>,
    /// `PRAGMA data_version` when all of the log was known to be this file's. It changes when another
    /// connection commits.
    version: Option<i64>,
}

impl Place {
    pub(super) fn new(path: &Path, real: PathBuf, file: FileId) -> Place {
        let log = FileId::at(&log_of(&real)).ok();
        Place { path: path.to_owned(), real, file, log, version: None }
    }

    /// Whether the path still leads to the file.
    pub(super) fn is_kept(&self) -> bool {
        FileId::at(&self.path).is_ok_and(|file| file == self.file)
    }

    /// Fails when the path leads to another file. Call it with SQLite's write lock held, before anything is
    /// written: until then, nobody can have written to the log for another file.
    pub(super) fn check_before_writing(&mut self, connection: &Connection) -> Task<()> {
        let version = data_version(connection)?;
        if !self.is_kept() {
            return Err(Failure::ReplacedBefore);
        }
        self.version = Some(version);
        // Another program may have switched the file to WAL mode meanwhile.
        self.log = self.log.or_else(|| FileId::at(&log_of(&self.real)).ok());
        Ok(())
    }

    /// Copies the log into the replaced file and empties it, if that is known to be safe: the next program
    /// that opens the new file would read it. If another program may have written to it for the new file, the
    /// log stays.
    pub(super) fn take_log_along(&self, connection: &Connection) {
        let Some(log) = self.log_left() else { return };
        if FileId::at(&self.real).is_ok_and(|file| file == self.file) {
            // A link now leads elsewhere; the file and its log are where they were.
            return;
        }
        let only_ours = self.version.is_some() && data_version(connection).ok() == self.version;
        let is_older = fs::metadata(&self.real).map_or(true, |new| was_written_before(&log, &new));
        if only_ours || is_older {
            // If it fails, the remaining log is detected later.
            let _ = empty_log(connection);
        }
    }

    /// The log, if it lies where a new file's log would be and is not empty.
    fn log_left(&self) -> Option<Metadata> {
        let log = fs::metadata(log_of(&self.real)).ok()?;
        (Some(FileId::of(&log)) == self.log && log.len() > 0).then_some(log)
    }

    /// The log that was left beside the next file. It is kept open, so that no other file gets its number.
    pub(super) fn old_log(&self) -> Option<OldLog> {
        self.log_left()?;
        if FileId::at(&self.real).is_ok_and(|file| file == self.file) {
            return None;
        }
        File::open(log_of(&self.real)).ok().map(OldLog)
    }
}

/// The log of a file that was replaced.
pub(super) struct OldLog(File);

impl OldLog {
    /// Whether it still lies beside the file at this path and is not empty.
    pub(super) fn is_beside(&self, real: &Path) -> bool {
        let (Ok(old), Ok(there)) = (self.0.metadata(), fs::metadata(log_of(real))) else { return false };
        FileId::of(&old) == FileId::of(&there) && there.len() > 0
    }
}

fn log_of(real: &Path) -> PathBuf {
    let mut path = real.as_os_str().to_owned();
    path.push("-wal");
    PathBuf::from(path)
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Whether the last write to the log was before the file came to its path: renaming changes `ctime`.
#[cfg(unix)]
fn was_written_before(log: &Metadata, file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (log.mtime(), log.mtime_nsec()) < (file.ctime(), file.ctime_nsec())
}

#[cfg(not(unix))]
fn was_written_before(_log: &Metadata, _file: &Metadata) -> bool {
    false
}

/// Copies the write-ahead log into the file and empties it; returns false when other programs' readers still
/// need it. Without a log there is nothing to do.
pub(super) fn empty_log(connection: &Connection) -> Task<bool> {
    connection.busy_timeout(PATIENCE)?;
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!is_busy)
}
