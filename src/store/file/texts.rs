//! The folder's protocol for texts that the caller has encoded: for the Python package in `python/`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use cloakroom_formats::SessionCodec;

use super::error::{Failure, Task};
use super::folder::{Folder, Found, Replaced};
use super::names::{FileName, Names};
use super::sweep::{Rules, Sweep};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;

/// The files of Django's `file` back end, written as [`FileStore`](super::FileStore) writes them: the same locks, the
/// same comparison, the same exchange. So they are safe against each other.
///
/// The texts are the caller's, because a Django session class may have a serializer of its own, which only Python can
/// run. Expiry is the caller's too. All calls block, and need no runtime.
pub struct TextFiles {
    folder: Folder,
}

/// A session's file.
#[non_exhaustive]
pub struct TextFile {
    /// Its content.
    pub text: Vec<u8>,
    /// When it was written.
    pub modified: DateTime<Utc>,
}

impl From<Found> for TextFile {
    fn from(found: Found) -> TextFile {
        TextFile { text: found.text, modified: found.modified }
    }
}

impl TextFiles {
    /// Opens a folder. The prefix of the files' names is the cookie's name.
    ///
    /// # Errors
    /// As [`FileOptions::open`](super::FileOptions::open).
    pub fn open(path: PathBuf, prefix: String, durable: bool) -> Result<TextFiles, StoreError> {
        let folder = Folder {
            path,
            names: Names::Prefixed(prefix),
            durable,
            lock_timeout: Duration::from_secs(5),
            longest_text: SessionCodec::new(&Settings::new("")).longest_text(),
            head: None,
        };
        let files = TextFiles { folder };
        files.explained(files.folder.names.check())?;
        files.explained(files.folder.check())?;
        Ok(files)
    }

    /// Reads a session's file, whether expired or not.
    ///
    /// # Errors
    /// When the folder or the file cannot be read.
    pub fn read(&self, session_key: &SessionKey) -> Result<Option<TextFile>, StoreError> {
        let Some(name) = self.folder.names.of(session_key) else { return Ok(None) };
        let found = self.explained(self.folder.find(&name))?;
        Ok(found.map(TextFile::from))
    }

    /// Creates a file; returns false if there is one.
    ///
    /// # Errors
    /// When the key cannot be part of a file's name, or the file cannot be written.
    pub fn add(&self, session_key: &SessionKey, text: &[u8]) -> Result<bool, StoreError> {
        let name = self.name(session_key)?;
        self.explained(self.folder.add(&name, text, SystemTime::now()))
    }

    /// Replaces a file if it has the expected text; with `None`, if there is one. Returns whether it did.
    ///
    /// # Errors
    /// When the file cannot be read or written, or another program keeps it locked.
    pub fn replace(
        &self,
        session_key: &SessionKey,
        expected: Option<&[u8]>,
        text: &[u8],
    ) -> Result<bool, StoreError> {
        let Some(name) = self.folder.names.of(session_key) else { return Ok(false) };
        let replaced = self.folder.replace(&name, expected, text, SystemTime::now());
        Ok(self.explained(replaced)? == Replaced::Done)
    }

    /// As [`replace`](TextFiles::replace), under a new key. The old one is gone then.
    ///
    /// # Errors
    /// As `replace`; and when the new key cannot be part of a file's name.
    pub fn rotate(
        &self,
        session_key: &SessionKey,
        expected: &[u8],
        new_session_key: &SessionKey,
        text: &[u8],
    ) -> Result<bool, StoreError> {
        let Some(name) = self.folder.names.of(session_key) else { return Ok(false) };
        let new_name = self.name(new_session_key)?;
        let now = SystemTime::now();
        let moved = self.folder.move_and_replace(&name, Some(expected), &new_name, text, now);
        Ok(self.explained(moved)? == Replaced::Done)
    }

    /// Removes a file; returns whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let Some(name) = self.folder.names.of(session_key) else { return Ok(false) };
        self.explained(self.folder.remove(&name))
    }

    /// Removes the files that are expired, and temporary files that a crash left an hour ago. Returns how many sessions
    /// it removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn clear_expired(
        &self,
        is_expired: &dyn Fn(&[u8], DateTime<Utc>) -> bool,
    ) -> Result<u64, StoreError> {
        let is_expired = |found: &Found| is_expired(&found.text, found.modified);
        let leftover_age = Duration::from_secs(60 * 60);
        let rules = Rules { folder: &self.folder, is_expired: &is_expired, leftover_age };
        let clear = || {
            let (mut sweep, mut cleared) = (Sweep::begin(&self.folder)?, 0);
            while !sweep.is_done() {
                cleared += sweep.batch(&rules)?;
            }
            Ok(cleared)
        };
        self.explained(clear())
    }

    fn name(&self, session_key: &SessionKey) -> Result<FileName, StoreError> {
        self.explained(self.folder.names.of(session_key).ok_or(Failure::Key))
    }

    fn explained<T>(&self, outcome: Task<T>) -> Result<T, StoreError> {
        outcome.map_err(|failure| failure.explain(&self.folder))
    }
}
