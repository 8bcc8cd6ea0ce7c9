//! Removes files: unconditionally, or only the very file that was looked at.

use rustix::fs::{FlockOperation, RenameFlags};
use rustix::io::Errno;

use super::error::{Task, doing};
use super::folder::{Folder, Found, Temporary, identity_of, rename};
use super::names::FileName;

impl Folder {
    /// Removes a file; returns whether there was one. Does not wait for locks.
    pub(super) fn remove(&self, name: &FileName) -> Task<bool> {
        match rustix::fs::unlink(self.path_of(name)) {
            Ok(()) => self.synchronize().map(|()| true),
            Err(Errno::NOENT) => self.must_be_there().map(|()| false),
            // A folder is not a session.
            Err(Errno::ISDIR | Errno::PERM) if self.path_of(name).is_dir() => Ok(false),
            Err(error) => Err(doing("remove a session's file")(error)),
        }
    }

    /// Removes this very file and not one that replaced it; returns whether it did. A file that somebody is
    /// about to replace is left alone.
    pub(super) fn remove_found(&self, name: &FileName, found: &Found) -> Task<bool> {
        match rustix::fs::flock(&found.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(doing("lock a session's file")(error)),
        }
        if !self.is_current(name, found)? || !self.is_unchanged(found)? {
            return Ok(false);
        }
        self.take(name, found)
    }

    /// Removes this very file: renames it away and checks it again, because Django may renew the session
    /// concurrently.
    pub(super) fn take(&self, name: &FileName, found: &Found) -> Task<bool> {
        let path = self.path_of(name);
        let taken = Temporary { path: self.temporary_path()?, file: None };
        match rename(&path, &taken.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(doing("remove a session's file")(error)),
        }
        if identity_of(&taken.path)? == Some(found.identity) {
            return Ok(true);
        }
        match rename(&taken.path, &path, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(doing("put a renewed session's file back")(error)),
        }
    }
}
