//! Cleaning the folder: what expired, and what crashed writers left behind.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use super::error::{Failure, Task, doing};
use super::folder::{FileName, Folder, Found, TEMPORARY};

/// How many names of files are looked at in one batch.
const BATCH: usize = 1_000;

/// What to remove.
pub(super) struct Rules<'a> {
    pub(super) folder: &'a Folder,
    pub(super) is_expired: &'a dyn Fn(&Found) -> bool,
    /// How old a temporary file must be to count as left behind.
    pub(super) leftover_age: Duration,
}

/// One walk through the folder, batch by batch, however large it is.
pub(super) struct Sweep {
    /// The names not yet looked at; none at the end.
    entries: Option<fs::ReadDir>,
    /// Whether a file was left that could not be looked at. The first one is told of.
    skipped: bool,
}

impl Sweep {
    pub(super) fn begin(folder: &Folder) -> Task<Sweep> {
        folder.must_be_there()?;
        let entries = fs::read_dir(&folder.path).map_err(doing("read the folder"))?;
        Ok(Sweep { entries: Some(entries), skipped: false })
    }

    /// Whether the walk has come to its end.
    pub(super) fn is_done(&self) -> bool {
        self.entries.is_none()
    }

    /// Goes on for a batch and removes what expired; tells how many sessions.
    pub(super) fn batch(&mut self, rules: &Rules<'_>) -> Task<u64> {
        let mut cleared = 0;
        for _ in 0..BATCH {
            let Some(entry) = self.entries.as_mut().and_then(Iterator::next) else {
                self.entries = None;
                break;
            };
            match rules.apply(&entry.map_err(doing("read the folder"))?) {
                Ok(removed) => cleared += u64::from(removed),
                // Another user's file in a shared folder must not keep the others from being cleared.
                Err(failure) if !self.skipped => {
                    self.skipped = true;
                    let error = failure.explain(&rules.folder.path);
                    tracing::warn!(store = "file", %error, "some files could not be looked at, and were left");
                }
                Err(_) => {}
            }
        }
        Ok(cleared)
    }
}

impl Rules<'_> {
    /// Removes what this entry names if it is to go; tells whether that was a session.
    fn apply(&self, entry: &fs::DirEntry) -> Task<bool> {
        let file_name = entry.file_name();
        // Names of sessions are ASCII.
        let Some(name) = file_name.to_str() else { return Ok(false) };
        match self.folder.parse(name) {
            Some(session) => self.clear(&session),
            None if self.is_temporary(file_name.as_bytes()) => self.reap(entry).map(|()| false),
            None => Ok(false),
        }
    }

    fn clear(&self, name: &FileName) -> Task<bool> {
        match self.folder.find(name)? {
            Some(found) if (self.is_expired)(&found) => self.folder.remove_found(name, &found),
            _ => Ok(false),
        }
    }

    /// Whether this library or Django (`<name of a session's file>_out_<8 characters>`) makes such names.
    fn is_temporary(&self, name: &[u8]) -> bool {
        name.starts_with(TEMPORARY.as_bytes())
            || std::str::from_utf8(name)
                .ok()
                .and_then(|name| name.rsplit_once("_out_"))
                .is_some_and(|(session, random)| random.len() == 8 && self.folder.parse(session).is_some())
    }

    /// Removes a temporary file that nobody is working on any more.
    fn reap(&self, entry: &fs::DirEntry) -> Task<()> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(doing("look at a temporary file")(error)),
        };
        // When it last got a name or content: the modification time is set to what the session needs.
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.ctime().max(0).unsigned_abs());
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        if !metadata.is_file() || age < self.leftover_age {
            return Ok(());
        }
        match fs::remove_file(entry.path()) {
            Err(error) if !gone(&error) => Err(Failure::Io("remove a temporary file", error)),
            _ => Ok(()),
        }
    }
}
