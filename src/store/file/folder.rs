//! The folder of session files: operations on a file, each atomic for any observer.
//!
//! A session's file is never written to; a new file replaces it. A writer holds the lock (`flock`) of the
//! file that it replaces, so writers of this library wait for each other and for nobody else. Django takes no
//! lock. A file that it put in place meanwhile is detected after the exchange, and put back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{Failure, Task, doing};
use super::names::{FileName, Names};
use crate::store::contract::Touched;

/// The prefix of temporary files. No session's file has it, so Django's `clear_expired` ignores them.
pub(super) const TEMPORARY: &str = ".cloakroom-";

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) names: Names,
    pub(super) durable: bool,
    pub(super) lock_timeout: Duration,
    /// The maximum size of a session's file. A longer file holds no session, and is not read.
    pub(super) longest_text: usize,
    /// The number of bytes that tell a file's expiry; `None` if it takes the whole file.
    pub(super) head: Option<usize>,
}

/// Identifies a file, regardless of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// A session's file as it was found: consistent, because files are replaced and never changed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) modified: DateTime<Utc>,
    pub(super) text: Vec<u8>,
}

/// A file that will be a session's, or was one. Removed in the end.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    /// The written file. Kept open, so that the file system does not reuse its number meanwhile.
    pub(super) file: Option<File>,
}

/// The outcome of replacing or moving a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    Done,
    Missing,
    Changed,
    NameTaken,
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Identity {
        Identity(metadata.dev(), metadata.ino())
    }
}

impl Found {
    fn is(&self, expected: Option<&[u8]>) -> bool {
        expected.is_none_or(|expected| self.text == expected)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is already gone if it became the session's file; a leftover is removed by `clear_expired`.
        let _ = fs::remove_file(&self.path);
    }
}

impl Folder {
    /// Checks that this is a folder, and that this store can work in it.
    pub(super) fn check(&self) -> Task<()> {
        self.is_there()?.then_some(()).ok_or(Failure::NotAFolder)?;
        let now = SystemTime::now();
        let (one, other) = (self.temporary(b"", now)?, self.temporary(b"", now)?);
        match rename(&one.path, &other.path, RenameFlags::EXCHANGE) {
            Err(error @ (Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)) => {
                Err(Failure::NoExchange(error.into()))
            }
            result => result.map_err(doing("exchange two files")),
        }
    }

    /// Distinguishes a missing session from a missing folder, in which all sessions would seem gone. A cache's
    /// folder may be gone.
    pub(super) fn must_be_there(&self) -> Task<()> {
        let is_right = self.is_there()? || self.names.come_with_folder();
        is_right.then_some(()).ok_or(Failure::NotAFolder)
    }

    fn is_there(&self) -> Task<bool> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => Ok(true),
            Ok(_) => Err(Failure::NotAFolder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(doing("look at the folder")(error)),
        }
    }

    /// Creates a cache's folder again, for this user alone. `FileBasedCache._createdir`.
    fn make(&self) -> Task<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.path).map_err(doing("make the folder"))
    }

    pub(super) fn path_of(&self, name: &FileName) -> PathBuf {
        self.path.join(&name.0)
    }

    /// Reads the whole file.
    pub(super) fn find(&self, name: &FileName) -> Task<Option<Found>> {
        self.read(name, None)
    }

    /// Reads as much of the file as tells its expiry.
    pub(super) fn look(&self, name: &FileName) -> Task<Option<Found>> {
        self.read(name, self.head)
    }

    /// Reads a file, or its beginning. Only a regular file is a session's. A link could lead out of the folder,
    /// and a pipe could block the reader.
    fn read(&self, name: &FileName, head: Option<usize>) -> Task<Option<Found>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(self.path_of(name)) {
            Ok(file) => file,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => return self.must_be_there().map(|()| None),
                Some(Errno::LOOP | Errno::NXIO) => {
                    self.must_be_there()?;
                    warn_of_what_is_no_file(self.names.store());
                    return Ok(None);
                }
                _ => return Err(doing("open a session's file")(error)),
            },
        };
        let metadata = file.metadata().map_err(doing("look at a session's file"))?;
        if !metadata.is_file() {
            warn_of_what_is_no_file(self.names.store());
            return Ok(None);
        }
        let limit = head.unwrap_or(self.longest_text) as u64;
        let too_large = |size| Err(Failure::TooLarge { size, limit, file: self.names.shown(name) });
        if metadata.len() > limit && head.is_none() {
            return too_large(metadata.len());
        }
        let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(1 << 20) + 1);
        // It may grow while it is read, and some kernel files report no length.
        let most = limit + u64::from(head.is_none());
        (&mut file).take(most).read_to_end(&mut text).map_err(doing("read a session's file"))?;
        if text.len() as u64 > limit {
            return too_large(text.len() as u64);
        }
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        let modified = DateTime::from_timestamp(metadata.mtime(), nanoseconds).unwrap_or_default();
        Ok(Some(Found { file, identity: Identity::of(&metadata), modified, text }))
    }

    /// Creates a file with this text, already on the disk if the folder is durable. 0600, regardless of the
    /// umask.
    pub(super) fn temporary(&self, text: &[u8], modified: SystemTime) -> Task<Temporary> {
        let path = self.temporary_path()?;
        let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut made = make();
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        if self.names.come_with_folder() && made.as_ref().is_err_and(is_missing) {
            self.make()?;
            made = make();
        }
        let mut file = made.map_err(doing("make a temporary file"))?;
        // From here on the file is removed in any case.
        let mut temporary = Temporary { path, file: None };
        let write = |file: &mut File| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text)?;
            file.set_modified(modified)?;
            if self.durable { file.sync_all() } else { Ok(()) }
        };
        write(&mut file).map_err(doing("write a temporary file"))?;
        temporary.file = Some(file);
        Ok(temporary)
    }

    pub(super) fn temporary_path(&self) -> Task<PathBuf> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::Io("name a temporary file", io::Error::other(error.to_string())))?;
        Ok(self.path.join(format!("{TEMPORARY}{:016x}", u64::from_ne_bytes(random))))
    }

    /// Creates a new session's file, unless the name exists.
    pub(super) fn add(&self, name: &FileName, text: &[u8], modified: SystemTime) -> Task<bool> {
        let temporary = self.temporary(text, modified)?;
        match rename(&temporary.path, &self.path_of(name), RenameFlags::NOREPLACE) {
            Ok(()) => self.synchronize().map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(doing("name a session's file")(error)),
        }
    }

    /// Gives a file with the expected content another modification time; `None` when its owner is another user.
    /// A file that is replaced or removed meanwhile is not affected: the time is that of the opened one.
    pub(super) fn touch(
        &self,
        name: &FileName,
        expected: Option<&[u8]>,
        modified: SystemTime,
    ) -> Task<Option<Touched>> {
        let Some(found) = self.find(name)?.filter(|found| found.is(expected)) else {
            return Ok(Some(Touched::Stale));
        };
        match found.file.set_modified(modified) {
            Ok(()) => Ok(Some(Touched::Extended)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(doing("change the time of a session's file")(error)),
        }
    }

    /// Replaces a file if it has the expected content.
    pub(super) fn replace(
        &self,
        name: &FileName,
        expected: Option<&[u8]>,
        text: &[u8],
        modified: SystemTime,
    ) -> Task<Replaced> {
        let (found, temporary) = match self.prepare(name, expected, text, modified)? {
            Ok(prepared) => prepared,
            Err(outcome) => return Ok(outcome),
        };
        let expected = expected.map(|_| found.identity);
        let outcome = self.exchange(name, expected, &temporary)?;
        if outcome == Replaced::Done {
            self.synchronize()?;
        }
        Ok(outcome)
    }

    /// Replaces a file if it has the expected content, and renames it.
    ///
    /// First the old file moves to its new name, which ends the old key; then its replacement takes its
    /// place. After a crash in between the old key is gone, and the session's data from before the change
    /// lies under a key that nobody was told. The other order could leave a login under the key from before
    /// it.
    pub(super) fn move_and_replace(
        &self,
        name: &FileName,
        expected: Option<&[u8]>,
        new_name: &FileName,
        text: &[u8],
        modified: SystemTime,
    ) -> Task<Replaced> {
        let (found, temporary) = match self.prepare(name, expected, text, modified)? {
            Ok(prepared) => prepared,
            Err(outcome) => return Ok(outcome),
        };
        let (path, new_path) = (self.path_of(name), self.path_of(new_name));
        match rename(&path, &new_path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return self.must_be_there().map(|()| Replaced::Missing),
            Err(Errno::EXIST) => return Ok(Replaced::NameTaken),
            Err(error) => return Err(doing("move a session's file")(error)),
        }
        if expected.is_some() && identity_of(&new_path)? != Some(found.identity) {
            // Django replaced the file after it was compared: its file goes back, unless Django has replaced
            // it again.
            if rename(&new_path, &path, RenameFlags::NOREPLACE).is_err() {
                let _ = fs::remove_file(&new_path);
            }
            return Ok(Replaced::Changed);
        }
        let outcome = self.exchange(new_name, None, &temporary)?;
        self.synchronize()?;
        Ok(outcome)
    }

    /// The locked file to replace, and its replacement; or why there is nothing to replace.
    pub(super) fn prepare(
        &self,
        name: &FileName,
        expected: Option<&[u8]>,
        text: &[u8],
        modified: SystemTime,
    ) -> Task<Result<(Found, Temporary), Replaced>> {
        // Written before the file is locked, so that others need not wait for the disk.
        let mut temporary = None;
        let deadline = Instant::now() + self.lock_timeout;
        loop {
            let Some(found) = self.find(name)? else { return Ok(Err(Replaced::Missing)) };
            if !found.is(expected) {
                return Ok(Err(Replaced::Changed));
            }
            let replacement = match temporary.take() {
                Some(replacement) => replacement,
                None => self.temporary(text, modified)?,
            };
            lock(&found.file, deadline)?;
            // The previous holder of the lock may have replaced the file; then this lock is on an old file.
            if self.is_current(name, &found)? && self.is_unchanged(&found)? {
                return Ok(Ok((found, replacement)));
            }
            temporary = Some(replacement);
        }
    }

    pub(super) fn is_current(&self, name: &FileName, found: &Found) -> Task<bool> {
        Ok(identity_of(&self.path_of(name))? == Some(found.identity))
    }

    /// Whether the file still begins with what was read of it.
    pub(super) fn is_unchanged(&self, found: &Found) -> Task<bool> {
        if !self.names.may_change_in_place() {
            return Ok(true);
        }
        let mut now = vec![0; found.text.len()];
        match found.file.read_exact_at(&mut now, 0) {
            Ok(()) => Ok(now == found.text),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(doing("read a session's file")(error)),
        }
    }

    /// Exchanges a file and its replacement. Fails when the file was removed, so it is never restored. If
    /// something else than `expected` came out, everything is restored.
    pub(super) fn exchange(
        &self,
        name: &FileName,
        expected: Option<Identity>,
        new: &Temporary,
    ) -> Task<Replaced> {
        let path = self.path_of(name);
        let exchange = || match rename(&new.path, &path, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => self.must_be_there().map(|()| false),
            Err(error) => Err(doing("replace a session's file")(error)),
        };
        if !exchange()? {
            return Ok(Replaced::Missing);
        }
        if expected.is_none() || identity_of(&new.path)? == expected {
            return Ok(Replaced::Done);
        }
        // Django, which takes no lock, replaced the file after it was compared. Its file goes back. If Django
        // has replaced ours by then too, the later file stays.
        let ours = new.file.as_ref().map(File::metadata).transpose().map_err(doing("look at a new file"))?;
        let mut in_place = ours.as_ref().map(Identity::of);
        let mut held = Vec::new();
        loop {
            held.push(File::open(&new.path).map_err(doing("open a replaced file"))?);
            let putting_back = identity_of(&new.path)?;
            if !exchange()? {
                return Ok(Replaced::Missing);
            }
            if identity_of(&new.path)? == in_place {
                return Ok(Replaced::Changed);
            }
            in_place = putting_back;
        }
    }

    /// Waits until changes to names in the folder are on the disk.
    pub(super) fn synchronize(&self) -> Task<()> {
        if !self.durable {
            return Ok(());
        }
        let folder = File::open(&self.path).map_err(doing("open the folder"))?;
        folder.sync_all().map_err(doing("write the folder to the disk"))
    }
}

/// Identifies the file with this name, if any.
pub(super) fn identity_of(path: &Path) -> Task<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(Identity::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(doing("look at a session's file")(error)),
    }
}

pub(super) fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::renameat_with(CWD, from, CWD, to, flags))
}

/// Locks a file until it is closed. Polls, because a blocking lock call has no time limit.
fn lock(file: &File, deadline: Instant) -> Task<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK) => return Err(Failure::Locked),
            Err(error) => return Err(doing("lock a session's file")(error)),
        }
    }
}

fn warn_of_what_is_no_file(store: &'static str) {
    tracing::warn!(
        store,
        "what has the name of a session's file is no file but a link, a folder or the like; it counts as no session"
    );
}
