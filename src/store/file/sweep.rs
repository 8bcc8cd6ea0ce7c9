//! Cleaning the folder: what expired, and what crashed writers left behind.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use super::error::{Failure, Task, doing};
use super::folder::{FileName, Folder, Found, TEMPORARY};

/// One walk through the folder.
pub(super) struct Sweep<'a> {
    pub(super) folder: &'a Folder,
    pub(super) is_expired: &'a dyn Fn(&Found) -> bool,
    /// How old a temporary file must be to count as left behind.
    pub(super) leftover_age: Duration,
}

impl Sweep<'_> {
    /// Removes what expired, and tells how many sessions. Reads the folder bit by bit, however large it is.
    pub(super) fn run(&self) -> Task<u64> {
        self.folder.must_be_there()?;
        let entries = fs::read_dir(&self.folder.path).map_err(doing("read the folder"))?;
        let (mut cleared, mut skipped) = (0, None);
        for entry in entries {
            let entry = entry.map_err(doing("read the folder"))?;
            let file_name = entry.file_name();
            // Names of sessions are ASCII.
            let Some(name) = file_name.to_str() else { continue };
            let outcome = match self.folder.parse(name) {
                Some(session) => self.clear(&session),
                None if self.is_temporary(file_name.as_bytes()) => self.reap(&entry).map(|()| false),
                None => Ok(false),
            };
            match outcome {
                Ok(removed) => cleared += u64::from(removed),
                // Another user's file in a shared folder must not keep the others from being cleared.
                Err(failure) => skipped = skipped.or(Some(failure)),
            }
        }
        if let Some(failure) = skipped {
            let error = failure.explain(&self.folder.path);
            tracing::warn!(store = "file", %error, "some files could not be looked at, and were left");
        }
        Ok(cleared)
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
