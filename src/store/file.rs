//! Sessions as files in one folder, compatible with a running Django: its `file` back end, and its
//! `FileBasedCache` behind the `cache` back end.
//!
//! - `file`: a file's name is the cookie's name followed by the session key, and its content is the signed
//!   text. Its modification time determines the expiry: Django counts the cookie's age from it.
//! - `FileBasedCache`: a file's name is a hash of the entry's name, and its content is the pickled expiry and
//!   the compressed pickle of the session.
//!
//! Both write a file the same way. They differ in the modules `names` and `contents`.

mod contents;
mod error;
mod folder;
mod list;
mod names;
mod removal;
mod sweep;
#[cfg(test)]
mod tests;
mod texts;
pub(super) mod url;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionCodec;

use self::contents::{Contents, Entry, Text};
use self::error::{Failure, Task};
use self::folder::{Folder, Found, Replaced, TEMPORARY};
use self::names::{FileName, Names};
use self::sweep::{Rules, Sweep};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::{Settings, SettingsDigest};
use crate::store::cache::{CacheCompressor, CacheFormat, CacheSerializer};
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::listing::{Listed, Listing, Pages};
use crate::store::loaded::{Loaded, Version};

/// For the Python package of this repository. It may change in any release.
#[doc(hidden)]
pub mod private {
    pub use super::texts::{TextFile, TextFiles};
}

/// Keeps each session in its own file, as Django's `file` back end does, and concurrently with it. On Linux
/// and macOS.
///
/// - Files are 0600 regardless of the umask, and are replaced in one step: a reader sees the old file or the
///   new one.
/// - No update is lost between programs that use this library. No update restores a removed file, even if
///   Django removes it meanwhile. Django's own saves may overwrite and restore, as they do among themselves.
/// - A session expires at its modification time plus its age. If the age is a number in the session
///   (`set_expiry(300)`), Django's file back end never expires it; this store does. A date in the session
///   (`set_expiry(datetime)`) counts as it is, and overrides a different `expire_date` in the record.
/// - An expired file is absent and stays until [`clear_expired`](SessionStore::clear_expired).
///
/// # Django's `FileBasedCache`
/// With [`FileOptions::cache`], or a URL `filecache:FOLDER`, it keeps sessions as Django's engine `cache` does on
/// `django.core.cache.backends.filebased.FileBasedCache`. The guarantees are the same, except:
///
/// - A file's name does not tell the session key. [`list`](SessionStore::list) and
///   [`count`](SessionStore::count) are errors of [`StoreErrorKind::Unsupported`](crate::StoreErrorKind::Unsupported).
/// - `clear_expired` removes every expired entry of the cache, of whatever it is, as Django's reader does.
/// - Django removes a third of all entries at random when there are `MAX_ENTRIES` (300 by default). A session
///   that it removed is absent. This store removes none, and does not count them.
/// - The pickles are read by this library, and never executed. Files are not signed: whoever can write to the
///   folder can log in as anybody, and can run code in Django.
/// - A folder that is removed while the store is open is an empty cache. The next session creates it again.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{FileStore, Session, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path();
/// let settings = Settings::new("the site's SECRET_KEY");
/// let session = Session::new(Arc::new(FileStore::at(path).open(&settings).await?), settings);
/// session.set("visits", 1)?;
/// session.save().await?;
/// let name = format!("sessionid{}", session.session_key().unwrap().as_str());
/// assert!(path.join(name).exists());
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct FileStore {
    shared: Arc<Shared>,
}

struct Shared {
    folder: Folder,
    leftover_age: Duration,
    contents: Contents,
    /// Of the signed texts.
    opened_with: Option<SettingsDigest>,
}

/// The options of a [`FileStore`].
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{FileStore, SessionStore, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path();
/// let mut options = FileStore::at(path);
/// assert!(options.durable);
/// options.timeout = Duration::from_secs(1);
/// let store = options.open(&Settings::new("the site's SECRET_KEY")).await?;
/// assert_eq!(store.name(), "file");
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileOptions {
    /// The folder: Django's `SESSION_FILE_PATH`. It must exist.
    pub path: PathBuf,
    /// Whether a save waits until it is on the disk, which Django's does not. Without it a power failure may
    /// leave an empty file after a successful save; a crash of the program alone leaves the file intact
    /// either way. Default: true.
    pub durable: bool,
    /// How long to wait for another program that is replacing the same session's file. Default: 5 seconds.
    pub timeout: Duration,
    /// The age from which `clear_expired` treats a temporary file, Django's too, as left behind by a crash.
    /// Default: one hour. Those of Django's `FileBasedCache` stay: their names (`tmp` and 8 characters) could be
    /// another program's.
    pub leftover_age: Duration,
    /// The names of entries, if the sessions are in Django's `FileBasedCache`. Default: `None`, Django's engine
    /// `file`.
    ///
    /// ```
    /// use cloakroom::store::cache::CacheFormat;
    /// use cloakroom::{FileStore, SessionStore, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path();
    /// let mut format = CacheFormat::default();
    /// format.key_prefix = "site1".to_owned();
    /// let mut options = FileStore::at(path);
    /// options.cache = Some(format);
    /// let store = options.open(&Settings::new("the site's SECRET_KEY")).await?;
    /// assert_eq!(store.name(), "filecache");
    /// assert!(store.list().is_err(), "a file's name does not tell the session key");
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    pub cache: Option<CacheFormat>,
}

impl FileOptions {
    /// Opens the store.
    ///
    /// ```
    /// use cloakroom::{FileStore, Settings, StoreErrorKind};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path();
    /// let options = FileStore::at(path.join("not-there"));
    /// let error = options.open(&Settings::new("secret")).await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the folder is missing or not a folder, when this user cannot write to it, or when its file system
    /// cannot exchange two files in one step, such as NFS.
    pub async fn open(self, settings: &Settings) -> Result<FileStore, StoreError> {
        let opened_with = self.cache.is_none().then(|| SettingsDigest::of_files_and_cookies(settings));
        let (names, contents) = match self.cache {
            None => {
                let text = Text {
                    codec: SessionCodec::new(settings),
                    time_zone: settings.time_zone,
                    cookie_age: settings.cookie_age,
                };
                (Names::Prefixed(settings.cookie_name.clone()), Contents::Text(Box::new(text)))
            }
            Some(format) => {
                let entry = Entry { format: format.clone(), limit: settings.max_decompressed_bytes };
                (Names::Hashed(format), Contents::Entry(entry))
            }
        };
        let folder = Folder {
            path: self.path,
            names,
            durable: self.durable,
            lock_timeout: self.timeout,
            longest_text: contents.longest(),
            head: contents.head(),
        };
        folder.names.check().map_err(|failure| failure.explain(&folder))?;
        let shared = Shared { folder, leftover_age: self.leftover_age, contents, opened_with };
        let store = FileStore { shared: Arc::new(shared) };
        store.work(|shared| shared.folder.check()).await?;
        Ok(store)
    }
}

impl FileStore {
    /// Returns the options for a folder, which can be changed before [`FileOptions::open`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::FileStore;
    ///
    /// let options = FileStore::at("sessions");
    /// assert!(options.path.ends_with("sessions"));
    /// assert_eq!(options.leftover_age, Duration::from_secs(60 * 60));
    /// ```
    pub fn at(path: impl AsRef<Path>) -> FileOptions {
        FileOptions {
            path: path.as_ref().to_owned(),
            durable: true,
            timeout: Duration::from_secs(5),
            leftover_age: Duration::from_secs(60 * 60),
            cache: None,
        }
    }

    /// Returns the options for the folder of a URL: `file:FOLDER`, or `file:` for
    /// [`default_path`](FileStore::default_path). For Django's `FileBasedCache`, `filecache:FOLDER`, which takes
    /// `?key_prefix=…&version=…&engine=cached_db`, and for a `KEY_FUNCTION` with another prefix than
    /// `KEY_PREFIX:VERSION:`, `entry_prefix=…`.
    ///
    /// ```
    /// use std::path::Path;
    /// use cloakroom::FileStore;
    ///
    /// assert_eq!(FileStore::options("file:/srv/sessions")?.path, Path::new("/srv/sessions"));
    /// assert_eq!(FileStore::options("file:")?.path, FileStore::default_path());
    /// let options = FileStore::options("filecache:/srv/cache?key_prefix=site1&version=2")?;
    /// assert_eq!(options.path, Path::new("/srv/cache"));
    /// assert_eq!(options.cache.map(|format| format.version), Some(2));
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the URL names another machine, or has a parameter that is not known; `filecache:` alone.
    pub fn options(url: &str) -> Result<FileOptions, StoreError> {
        if let Some((folder, format)) = url::cache(url)? {
            return Ok(FileOptions { cache: Some(format), ..FileStore::at(folder) });
        }
        Ok(FileStore::at(url::folder(url)?.unwrap_or_else(FileStore::default_path)))
    }

    /// Opens a URL, `file:FOLDER` or `filecache:FOLDER`, with the default options.
    ///
    /// ```
    /// use cloakroom::chrono::Utc;
    /// use cloakroom::{FileStore, SessionStore, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// let url = format!("file:{}", folder.path().display());
    /// let store = FileStore::open(&url, &Settings::new("the site's SECRET_KEY")).await?;
    /// assert_eq!(store.count(Utc::now()).await?.live, 0);
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`options`](FileStore::options) and [`FileOptions::open`].
    pub async fn open(url: &str, settings: &Settings) -> Result<FileStore, StoreError> {
        FileStore::options(url)?.open(settings).await
    }

    /// Returns the folder that Django uses without `SESSION_FILE_PATH`: Python's `tempfile.gettempdir()`.
    ///
    /// ```
    /// assert!(cloakroom::FileStore::default_path().is_dir());
    /// ```
    pub fn default_path() -> PathBuf {
        let named = ["TMPDIR", "TEMP", "TMP"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
        let usual = ["/tmp", "/var/tmp", "/usr/tmp"].into_iter().map(PathBuf::from);
        named.chain(usual).find(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir)
    }

    /// Runs file operations on a thread that may block. They run to the end even if nobody waits any more.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Task<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let outcome = tokio::task::spawn_blocking(move || work(&shared)).await;
        outcome.unwrap_or(Err(Failure::Stopped)).map_err(|failure| self.explain(failure))
    }

    fn explain(&self, failure: Failure) -> StoreError {
        failure.explain(&self.shared.folder)
    }

    fn name(&self, session_key: &SessionKey) -> Option<FileName> {
        self.shared.folder.names.of(session_key)
    }
}

impl Shared {
    /// Whether a file's session has not expired. A file that cannot be read counts as a session.
    fn is_live(&self, found: &Found, now: DateTime<Utc>) -> bool {
        self.contents.expire_date(found).is_none_or(|end| end > now)
    }

    fn encode(&self, record: Record<'_>) -> Result<(Vec<u8>, SystemTime), StoreError> {
        let written = self.contents.write(record);
        written.map_err(|error| StoreError::not_carried(self.folder.names.store(), error))
    }
}

impl Names {
    /// Refuses options with which there is no name.
    fn check(&self) -> Task<()> {
        let is_right = match self {
            Names::Prefixed(prefix) => {
                !prefix.is_empty() && !prefix.contains(['/', '\0']) && !TEMPORARY.starts_with(prefix.as_str())
            }
            Names::Hashed(format) => {
                let made_by_django = (CacheSerializer::Pickle, CacheCompressor::None);
                if (format.serializer, format.compressor) != made_by_django {
                    return Err(Failure::Format);
                }
                true
            }
        };
        if is_right { Ok(()) } else { Err(Failure::CookieName) }
    }
}

/// The stored text to compare with, if any.
fn expected_text(expected: Option<&Version>) -> Option<Vec<u8>> {
    // Another store's version never equals a stored text.
    expected.map(|version| version.as_bytes().unwrap_or(b"\0").to_vec())
}

#[async_trait]
impl SessionStore for FileStore {
    fn name(&self) -> &'static str {
        self.shared.folder.names.store()
    }

    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.shared.opened_with.as_ref()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(None) };
        let file = self.shared.folder.names.shown(&name);
        let Some(found) = self.work(move |shared| shared.folder.find(&name)).await? else { return Ok(None) };
        let read = self.shared.contents.read(&found);
        if read.expire_date.is_some_and(|expire_date| expire_date <= now) {
            return Ok(None);
        }
        let content = read.content.map_err(|error| self.explain(Failure::Unreadable { error, file }))?;
        let version = Version::from_bytes(found.text);
        Ok(content.map(|content| Loaded { content, version, expire_date: read.expire_date }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let name = self.name(session_key).ok_or_else(|| self.explain(Failure::Key))?;
        let (text, modified) = self.shared.encode(record)?;
        let version = Version::from_bytes(&*text);
        let added = self.work(move |shared| shared.folder.add(&name, &text, modified)).await?;
        Ok(if added { Created::Created(version) } else { Created::KeyTaken })
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(Updated::Missing) };
        let (text, modified) = self.shared.encode(record)?;
        let (version, expected) = (Version::from_bytes(&*text), expected_text(expected));
        let replace =
            move |shared: &Shared| shared.folder.replace(&name, expected.as_deref(), &text, modified);
        Ok(match self.work(replace).await? {
            Replaced::Done => Updated::Updated(version),
            Replaced::Missing => Updated::Missing,
            Replaced::Changed | Replaced::NameTaken => Updated::Changed,
        })
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(Rotated::Missing) };
        let new_name = self.name(new_session_key).ok_or_else(|| self.explain(Failure::Key))?;
        let (text, modified) = self.shared.encode(record)?;
        let (version, expected) = (Version::from_bytes(&*text), expected_text(expected));
        let replace = move |shared: &Shared| {
            let expected = expected.as_deref();
            shared.folder.move_and_replace(&name, expected, &new_name, &text, modified)
        };
        Ok(match self.work(replace).await? {
            Replaced::Done => Rotated::Rotated(version),
            Replaced::Missing => Rotated::Missing,
            Replaced::Changed => Rotated::Changed,
            Replaced::NameTaken => Rotated::KeyTaken,
        })
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(Touched::Stale) };
        if let Contents::Text(text) = &self.shared.contents {
            let (modified, expected) = (text.modified(record), expected_text(Some(version)));
            let touch = move |shared: &Shared| shared.folder.touch(&name, expected.as_deref(), modified);
            if let Some(outcome) = self.work(touch).await? {
                return Ok(outcome);
            }
        }
        // The expiry is in the file, or the file's time may not be changed: the file is replaced.
        Ok(match self.update(session_key, Some(version), record).await? {
            Updated::Updated(_) => Touched::Extended,
            Updated::Missing | Updated::Changed => Touched::Stale,
        })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(false) };
        self.work(move |shared| shared.folder.remove(&name)).await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(false) };
        let found = self.work(move |shared| shared.folder.look(&name)).await?;
        Ok(found.is_some_and(|found| self.shared.is_live(&found, now)))
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let keys = session_keys.iter().filter_map(|key| Some((key.clone(), self.name(key)?)));
        let keys: Vec<_> = keys.collect();
        self.work(move |shared| {
            let mut live = HashSet::new();
            for (session_key, name) in keys {
                let found = shared.folder.look(&name)?;
                if found.is_some_and(|found| shared.is_live(&found, now)) {
                    live.insert(session_key);
                }
            }
            Ok(live)
        })
        .await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let mut sweep = self.work(|shared| Sweep::begin(&shared.folder)).await?;
        let mut cleared = 0;
        loop {
            let batch = self.work(move |shared| {
                // A file whose expiry cannot be read stays.
                let is_expired =
                    |found: &Found| shared.contents.expire_date(found).is_some_and(|end| end < now);
                let leftover_age = shared.leftover_age;
                let rules = Rules { folder: &shared.folder, is_expired: &is_expired, leftover_age };
                let removed = sweep.batch(&rules)?;
                Ok((sweep, removed))
            });
            let (rest, removed) = batch.await?;
            sweep = rest;
            cleared += removed;
            if progress(cleared).is_break() || sweep.is_done() {
                return Ok(cleared);
            }
        }
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        if matches!(self.shared.folder.names, Names::Hashed(_)) {
            return Err(self.explain(Failure::NoKeys));
        }
        Ok(Box::new(Pages::<_, Listed>::of(self)))
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FileStore").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}
