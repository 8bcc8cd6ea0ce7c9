//! Cleans the folder: expired sessions, and leftovers of crashed writers.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use super::error::{Failure, Task, doing};
use super::folder::{Folder, Found, TEMPORARY};
use super::names::FileName;

/// The number of file names in one batch.
const BATCH: usize = 1_000;

/// The rules for removal.
pub(super) struct Rules<'a> {
    pub(super) folder: &'a Folder,
    pub(super) is_expired: &'a dyn Fn(&Found) -> bool,
    /// The age from which a temporary file counts as left behind.
    pub(super) leftover_age: Duration,
}

/// One walk through the folder in batches, regardless of its size.
pub(super) struct Sweep {
    /// The remaining names; `None` at the end.
    entries: Option<fs::ReadDir>,
    /// Whether a file was skipped because of an error. Only the first one is reported.
    skipped: bool,
}

impl Sweep {
    pub(super) fn begin(folder: &Folder) -> Task<Sweep> {
        folder.must_be_there()?;
        match fs::read_dir(&folder.path) {
            Ok(entries) => Ok(Sweep { entries: Some(entries), skipped: false }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.names.come_with_folder() => {
                Ok(Sweep { entries: None, skipped: false })
            }
            Err(error) => Err(doing("read the folder")(error)),
        }
    }

    /// Whether the walk has ended.
    pub(super) fn is_done(&self) -> bool {
        self.entries.is_none()
    }

    /// Processes a batch and removes expired sessions; returns how many.
    pub(super) fn batch(&mut self, rules: &Rules<'_>) -> Task<u64> {
        let mut cleared = 0;
        for _ in 0..BATCH {
            let Some(entry) = self.entries.as_mut().and_then(Iterator::next) else {
                self.entries = None;
                break;
            };
            match rules.apply(&entry.map_err(doing("read the folder"))?) {
                Ok(removed) => cleared += u64::from(removed),
                // Another user's file in a shared folder must not prevent clearing the others.
                Err(failure) if !self.skipped => {
                    self.skipped = true;
                    let error = failure.explain(rules.folder);
                    let store = rules.folder.names.store();
                    tracing::warn!(store, %error, "some files could not be looked at, and were left");
                }
                Err(_) => {}
            }
        }
        Ok(cleared)
    }
}

impl Rules<'_> {
    /// Removes the file of this entry if it should go; returns whether that was a session.
    fn apply(&self, entry: &fs::DirEntry) -> Task<bool> {
        let file_name = entry.file_name();
        // Session file names are ASCII.
        let Some(name) = file_name.to_str() else { return Ok(false) };
        match self.folder.names.parse(name) {
            Some(session) => self.clear(&session),
            None if self.is_temporary(file_name.as_bytes()) => self.reap(entry).map(|()| false),
            None => Ok(false),
        }
    }

    fn clear(&self, name: &FileName) -> Task<bool> {
        match self.folder.look(name)? {
            Some(found) if (self.is_expired)(&found) => self.folder.remove_found(name, &found),
            _ => Ok(false),
        }
    }

    /// Whether this library or Django creates such names.
    fn is_temporary(&self, name: &[u8]) -> bool {
        name.starts_with(TEMPORARY.as_bytes())
            || std::str::from_utf8(name).is_ok_and(|name| self.folder.names.is_temporary_of_django(name))
    }

    /// Removes a temporary file that is no longer in use.
    fn reap(&self, entry: &fs::DirEntry) -> Task<()> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(doing("look at a temporary file")(error)),
        };
        // The last change of its name or content: the modification time is set to the value that the session
        // needs.
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
