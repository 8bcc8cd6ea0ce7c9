//! Sessions as files in one folder: Django's `file` back end, compatible with a running Django.
//!
//! A file's name is the cookie's name followed by the session key, and its content is the signed text. Its
//! modification time determines the expiry: Django counts the cookie's age from it.

mod error;
mod folder;
mod list;
mod removal;
mod sweep;
#[cfg(test)]
mod tests;
pub(super) mod url;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::private::StoredExpiry;
use cloakroom_formats::{DecodeError, EXPIRY_KEY, Moment, SessionCodec, SessionData};

use self::error::{Failure, Task};
use self::folder::{FileName, Folder, Found, Replaced, TEMPORARY};
use self::sweep::{Rules, Sweep};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Updated};
use crate::store::listing::{Listed, Listing, Pages};
use crate::store::loaded::{Loaded, Version};

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
    codec: SessionCodec,
    settings: Settings,
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
    /// Default: one hour.
    pub leftover_age: Duration,
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
        let codec = SessionCodec::new(settings);
        let folder = Folder {
            path: self.path,
            prefix: settings.cookie_name.clone(),
            durable: self.durable,
            lock_timeout: self.timeout,
            longest_text: codec.longest_text(),
        };
        let prefix = &folder.prefix;
        if prefix.is_empty() || prefix.contains(['/', '\0']) || TEMPORARY.starts_with(prefix.as_str()) {
            return Err(Failure::CookieName.explain(&folder.path));
        }
        let store = FileStore {
            shared: Arc::new(Shared {
                folder,
                leftover_age: self.leftover_age,
                codec,
                settings: settings.clone(),
            }),
        };
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
        }
    }

    /// Returns the options for the folder of a URL: `file:FOLDER`, or `file:` for
    /// [`default_path`](FileStore::default_path).
    ///
    /// ```
    /// use std::path::Path;
    /// use cloakroom::FileStore;
    ///
    /// assert_eq!(FileStore::options("file:/srv/sessions")?.path, Path::new("/srv/sessions"));
    /// assert_eq!(FileStore::options("file:")?.path, FileStore::default_path());
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the URL names another machine, or has a query.
    pub fn options(url: &str) -> Result<FileOptions, StoreError> {
        Ok(FileStore::at(url::folder(url)?.unwrap_or_else(FileStore::default_path)))
    }

    /// Opens a URL, `file:FOLDER`, with the default options.
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
        failure.explain(&self.shared.folder.path)
    }

    fn name(&self, session_key: &SessionKey) -> Option<FileName> {
        self.shared.folder.name(session_key)
    }

    async fn find(&self, session_key: &SessionKey) -> Result<Option<Found>, StoreError> {
        match self.name(session_key) {
            Some(name) => self.work(move |shared| shared.folder.find(&name)).await,
            None => Ok(None),
        }
    }
}

impl Shared {
    /// Decodes the data and the expiry. None of Django's forms of expiry is an error here: a session whose
    /// expiry Django cannot read expires after the site's age, so that none stays without an expiry.
    fn decode(&self, found: &Found) -> Result<(SessionData, DateTime<Utc>), DecodeError> {
        let text = std::str::from_utf8(&found.text).map_err(|_| DecodeError::BadSignature)?;
        // Django first creates an empty file for a new session, and reads it as an empty session.
        let data = if text.is_empty() { SessionData::new() } else { self.codec.decode(text)? };
        let expire_date = self.end(&data, found.modified);
        Ok((data, expire_date))
    }

    /// The expiry of a session that was last modified at this time.
    fn end(&self, data: &SessionData, modified: DateTime<Utc>) -> DateTime<Utc> {
        let time_zone = self.settings.time_zone;
        StoredExpiry::read(data.get(EXPIRY_KEY))
            .date(Moment::at(modified, time_zone), self.settings.cookie_age)
            .and_then(|end| end.to_utc(time_zone))
            .unwrap_or_else(|_| self.usual_end(modified))
    }

    fn usual_end(&self, modified: DateTime<Utc>) -> DateTime<Utc> {
        modified.checked_add_signed(self.settings.cookie_age).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The modification time that gives this expiry with the session's age: usually now.
    fn modified(&self, record: Record<'_>) -> SystemTime {
        let age = self.end(record.data, record.now) - record.now;
        let fixed = matches!(StoredExpiry::read(record.data.get(EXPIRY_KEY)), StoredExpiry::At(_));
        let modified = if fixed { Some(record.now) } else { record.expire_date.checked_sub_signed(age) };
        modified.unwrap_or(record.now).into()
    }

    /// Whether to clear this file. A file that is not genuine expires after the site's age, as in Django. An
    /// unreadable file stays, as it may contain its own expiry.
    fn is_expired(&self, found: &Found, now: DateTime<Utc>) -> bool {
        match self.decode(found) {
            Ok((_, expire_date)) => expire_date < now,
            Err(DecodeError::BadSignature) => self.usual_end(found.modified) < now,
            Err(_) => false,
        }
    }

    fn encode(&self, record: Record<'_>) -> Result<(String, SystemTime), StoreError> {
        let text = self.codec.encode(record.data, record.now);
        Ok((text.map_err(|error| StoreError::not_carried("file", error))?, self.modified(record)))
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
        "file"
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let Some(found) = self.find(session_key).await? else { return Ok(None) };
        let read = self.shared.read(&found);
        let (content, expire_date) = read.map_err(|error| self.explain(Failure::Unreadable(error)))?;
        if expire_date <= now {
            return Ok(None);
        }
        let version = Version::from_bytes(found.text);
        Ok(Some(Loaded { content, version, expire_date: Some(expire_date) }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let name = self.name(session_key).ok_or_else(|| self.explain(Failure::Key))?;
        let (text, modified) = self.shared.encode(record)?;
        let version = Version::from_bytes(text.as_bytes());
        let added = self.work(move |shared| shared.folder.add(&name, text.as_bytes(), modified)).await?;
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
        let (version, expected) = (Version::from_bytes(text.as_bytes()), expected_text(expected));
        let replace = move |shared: &Shared| {
            shared.folder.replace(&name, expected.as_deref(), text.as_bytes(), modified)
        };
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
        let (version, expected) = (Version::from_bytes(text.as_bytes()), expected_text(expected));
        let replace = move |shared: &Shared| {
            let expected = expected.as_deref();
            shared.folder.move_and_replace(&name, expected, &new_name, text.as_bytes(), modified)
        };
        Ok(match self.work(replace).await? {
            Replaced::Done => Rotated::Rotated(version),
            Replaced::Missing => Rotated::Missing,
            Replaced::Changed => Rotated::Changed,
            Replaced::NameTaken => Rotated::KeyTaken,
        })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let Some(name) = self.name(session_key) else { return Ok(false) };
        self.work(move |shared| shared.folder.remove(&name)).await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let Some(found) = self.find(session_key).await? else { return Ok(false) };
        Ok(match self.shared.decode(&found) {
            Ok((_, expire_date)) => expire_date > now,
            Err(DecodeError::BadSignature) => self.shared.usual_end(found.modified) > now,
            Err(_) => true,
        })
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
                let is_expired = |found: &Found| shared.is_expired(found, now);
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
        Ok(Box::new(Pages::<_, Listed>::of(self)))
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FileStore").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}
