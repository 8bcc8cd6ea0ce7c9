//! Sessions in a SQLite file: Django's `db` back end, in Django's own table.
//!
//! Reads and writes are separate. One thread writes all queued saves in one transaction, so that many requests share
//! one commit. Each save is acknowledged after its commit. A session is read in the thread of its request while a
//! connection is free and reads are fast; otherwise a few threads read.

mod clear;
mod connections;
mod error;
mod list;
mod mode;
mod place;
mod schema;
mod statements;
mod threads;
mod url;
mod user_sessions;
mod users;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Timelike, Utc};
use cloakroom_formats::{SessionData, TimeZone};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use self::error::{Failure, Task};
use self::statements::Statements;
use self::threads::Threads;
use super::dialect::{Dialect, Names};
use super::row_format::{self, RowFormat};
use super::table::{self, expected_text};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::{Settings, SettingsDigest};
use crate::store::cache::CacheFormat;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::listing::{Count, Listed, Listing, Pages};
use crate::store::loaded::{Loaded, Version};

pub use self::mode::Mode;
pub use super::table::{ColumnValue, Columns, ExtraColumn, MigrationRecord, TableCreation};

/// Keeps sessions in a SQLite file, in the table that Django's migration creates, beside a running Django.
///
/// The file's journal mode is not changed. Run `PRAGMA journal_mode = WAL` once to let readers and writers
/// work concurrently, for Django too.
///
/// Connections are open while there is work. After a quarter of a second without work they are closed, and
/// the file alone contains everything: SQLite copies the write-ahead log (`-wal`) into it and removes the
/// log, unless another program has the file open. [`close`](SessionStore::close) does so at once. So does
/// dropping the store, which waits for it, and on Linux and macOS the return of `main`, for a store in a
/// static. A killed program leaves the log; the next program that opens the file recovers it.
///
/// The file may be replaced while it is in use (`mv new.db db.sqlite3`, a restore). The next call uses the
/// new file, and a call in progress fails with [`StoreErrorKind::Unavailable`](crate::StoreErrorKind). A
/// program that writes to the *old* file meanwhile may still damage the new one through the log: in WAL mode,
/// stop the other programs first.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Session, Settings, SqliteStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// let settings = Settings::new("the site's SECRET_KEY");
/// let options = SqliteStore::at(&path);
/// options.create_table(Default::default()).await?;
/// let store = options.open(&settings).await?;
///
/// let session = Session::new(Arc::new(store), settings);
/// session.set("visits", 1)?;
/// session.save().await?;
/// assert!(session.exists(&session.session_key().unwrap()).await?);
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
pub struct SqliteStore {
    options: SqliteOptions,
    format: RowFormat,
    time_zone: TimeZone,
    statements: Arc<Statements>,
    threads: Threads,
}

/// The options of a [`SqliteStore`].
///
/// ```
/// use std::time::Duration;
/// use cloakroom::SqliteStore;
///
/// let mut options = SqliteStore::at("db.sqlite3");
/// assert_eq!((options.table.as_str(), options.readers), ("django_session", 2));
/// options.table = "shop_session".to_owned();
/// options.timeout = Duration::from_secs(1);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The database file. A relative path is resolved against the working folder at the time of
    /// [`open`](Self::open).
    pub path: PathBuf,
    /// Whether the file may be written and created. Default: [`Mode::ReadWriteCreate`].
    pub mode: Mode,
    /// The table. Default: `django_session`.
    pub table: String,
    /// The table's columns. Default: Django's names.
    pub columns: Columns,
    /// Further columns that each save fills, for a table from the site's own migration. Default: none.
    pub extra_columns: Vec<ExtraColumn>,
    /// The names and the contents of entries, if the sessions are those of Django's engine `cache` in its
    /// `DatabaseCache`: then `table` is the cache's, and its columns are `cache_key`, `value` and `expires`. Default:
    /// none.
    pub cache: Option<CacheFormat>,
    /// The table of the [index of user sessions](crate::user_sessions), if the site has one. Each of several
    /// sites in one database needs its own. Default: `cloakroom_user_session`.
    pub user_session_table: String,
    /// How long to wait for a lock that another program holds. Default: 5 seconds, as in Django.
    pub timeout: Duration,
    /// The number of reading threads. Default: 2.
    pub readers: usize,
    /// The maximum number of saves in one transaction. Default: 64.
    pub write_batch: usize,
    /// The maximum number of expired sessions that one transaction removes. On a slow machine a transaction
    /// removes fewer, so that no writer waits for long. Default: 1,000.
    pub clear_batch: u32,
}

impl SqliteOptions {
    /// Opens the store. The file and the table must exist; see [`create_table`](Self::create_table).
    ///
    /// ```
    /// use cloakroom::{SessionStore, Settings, SqliteStore, StoreErrorKind};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("db.sqlite3");
    /// let (options, settings) = (SqliteStore::at(&path), Settings::new("secret"));
    /// let error = options.clone().open(&settings).await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// options.create_table(Default::default()).await?;
    /// assert_eq!(options.open(&settings).await?.name(), "sqlite");
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the file is missing, is not a database, is locked, or lacks the table or a column.
    pub async fn open(self, settings: &Settings) -> Result<SqliteStore, StoreError> {
        let threads = Threads::start(&self).await.map_err(|failure| failure.explain(&self))?;
        Ok(SqliteStore {
            format: RowFormat::new(self.cache.as_ref(), settings),
            time_zone: settings.time_zone,
            statements: Arc::new(Statements::new(&self)),
            threads,
            options: self,
        })
    }

    /// The names in the SQL of the options' table.
    fn names(&self) -> Names {
        DIALECT.names(&self.table, &self.columns(), &self.extra_columns)
    }

    fn columns(&self) -> Columns {
        row_format::columns(self.cache.as_ref(), &self.columns)
    }
}

const DIALECT: Dialect = Dialect::Sqlite;

impl SqliteStore {
    /// Returns the options for a file, which can be changed before [`SqliteOptions::open`].
    ///
    /// ```
    /// use cloakroom::SqliteStore;
    ///
    /// let options = SqliteStore::at("db.sqlite3");
    /// assert_eq!(options.path.to_str(), Some("db.sqlite3"));
    /// assert_eq!(options.timeout.as_secs(), 5);
    /// ```
    pub fn at(path: impl AsRef<Path>) -> SqliteOptions {
        SqliteOptions {
            path: path.as_ref().to_owned(),
            mode: Mode::default(),
            table: table::DJANGO_TABLE.to_owned(),
            columns: Columns::default(),
            extra_columns: Vec::new(),
            cache: None,
            user_session_table: table::USER_SESSION_TABLE.to_owned(),
            timeout: Duration::from_secs(5),
            readers: 2,
            write_batch: 64,
            clear_batch: 1_000,
        }
    }

    /// Returns the options in a URL, as [`connect`](crate::connect) reads it. The parameters after the `?`:
    ///
    /// | parameter | meaning |
    /// |---|---|
    /// | `mode` | `ro`, `rw` or `rwc`: [`Mode`] |
    /// | `timeout` | seconds to wait for another program's lock |
    /// | `table`, `user_session_table` | the tables' names |
    /// | `cache_table`; `key_prefix`, `version`, `entry_prefix`, `engine` | the table of Django's `DatabaseCache`, in place of a session table; the settings of that cache |
    ///
    /// ```
    /// use std::path::Path;
    /// use cloakroom::SqliteStore;
    /// use cloakroom::store::sqlite::Mode;
    ///
    /// let options = SqliteStore::options("sqlite:///db.sqlite3?mode=ro&timeout=20&table=shop_session")?;
    /// assert_eq!(options.path, Path::new("db.sqlite3"), "three slashes: relative, as in Django");
    /// assert_eq!((options.mode, options.timeout.as_secs()), (Mode::ReadOnly, 20));
    /// assert_eq!(options.table, "shop_session");
    /// let options = SqliteStore::options("sqlite:db.sqlite3?cache_table=my_cache_table&key_prefix=shop")?;
    /// assert_eq!(options.table, "my_cache_table");
    /// assert_eq!(options.cache.map(|format| format.key_prefix).as_deref(), Some("shop"));
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the URL names no file, or for a parameter that is unknown or has an impossible value: the error names it.
    pub fn options(url: &str) -> Result<SqliteOptions, StoreError> {
        url::options(url)
    }

    /// Opens a URL, `sqlite:PATH`, with the default options.
    ///
    /// ```
    /// use cloakroom::{SessionStore, Settings, SqliteStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("db.sqlite3");
    /// SqliteStore::at(&path).create_table(Default::default()).await?;
    /// let store = SqliteStore::open(&format!("sqlite:{}", path.display()), &Settings::new("secret")).await?;
    /// assert_eq!(store.name(), "sqlite");
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`options`](SqliteStore::options) and [`SqliteOptions::open`].
    pub async fn open(url: &str, settings: &Settings) -> Result<SqliteStore, StoreError> {
        SqliteStore::options(url)?.open(settings).await
    }

    async fn read<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Connection) -> Task<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.threads.read(task).await.map_err(|failure| failure.explain(&self.options))
    }

    async fn write<T: Send + 'static>(
        &self,
        task: impl Fn(&Connection) -> Task<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.threads.write(task).await.map_err(|failure| failure.explain(&self.options))
    }

    /// Converts a session to a row.
    fn row(&self, record: Record<'_>) -> Result<Row, StoreError> {
        let session_data = self.format.encode(record);
        Ok(Row {
            session_data: session_data.map_err(|error| StoreError::not_carried("sqlite", error))?,
            expire_date: format_time(self.time_zone.to_wall_clock(record.expire_date)),
            extra: self.extra_values(record.data),
        })
    }

    fn extra_values(&self, data: &SessionData) -> Vec<ExtraValue> {
        self.options.extra_columns.iter().map(|column| ExtraValue(column.value(data))).collect()
    }

    fn time_text(&self, now: DateTime<Utc>) -> String {
        format_time(self.time_zone.to_wall_clock(now))
    }

    fn parse_time(&self, text: Option<&str>) -> Option<DateTime<Utc>> {
        let time = NaiveDateTime::parse_from_str(text?, "%Y-%m-%d %H:%M:%S%.f").ok()?;
        Some(self.time_zone.from_wall_clock(time))
    }
}

struct Row {
    session_data: String,
    expire_date: String,
    extra: Vec<ExtraValue>,
}

/// Converts an extra column's value for the driver.
struct ExtraValue(ColumnValue);

impl ToSql for ExtraValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.0 {
            ColumnValue::Null => ValueRef::Null,
            ColumnValue::Integer(number) => ValueRef::Integer(*number),
            ColumnValue::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Row {
    /// Returns these values, followed by those of the extra columns.
    fn with_extra<'a>(&'a self, values: &[&'a dyn ToSql]) -> Vec<&'a dyn ToSql> {
        values.iter().copied().chain(self.extra.iter().map(|value| value as &dyn ToSql)).collect()
    }

    fn version(&self) -> Version {
        Version::from_bytes(self.session_data.as_bytes())
    }
}

/// Python's `str(datetime)`: with a fraction only if it is not zero. Texts of this form sort like their
/// times.
fn format_time(wall_clock: NaiveDateTime) -> String {
    let microseconds = wall_clock.nanosecond() / 1_000;
    let whole = wall_clock.format("%Y-%m-%d %H:%M:%S");
    if microseconds == 0 { whole.to_string() } else { format!("{whole}.{microseconds:06}") }
}

/// Returns the data and the expiry from these columns of a row; `None` for a column that is not text.
fn stored(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<(Option<Vec<u8>>, Option<String>)> {
    let data = match row.get_ref(first)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => None,
    };
    Ok((data, row.get(first + 1).unwrap_or_default()))
}

/// Whether the key is taken, according to this `SELECT`.
fn exists(connection: &Connection, select: &str, session_key: &SessionKey) -> rusqlite::Result<bool> {
    connection.prepare_cached(select)?.exists(params![session_key.as_str()])
}

#[async_trait]
impl SessionStore for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.format.opened_with()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let (key, now) = (self.format.row_key(session_key), self.time_text(now));
        let statements = Arc::clone(&self.statements);
        let row = self
            .threads
            .read_short(move |connection| {
                let row = connection
                    .prepare_cached(&statements.load)?
                    .query_row(params![key.as_str(), now], |row| stored(row, 0))
                    .optional()?;
                Ok(row)
            })
            .await
            .map_err(|failure| failure.explain(&self.options))?;
        let Some((session_data, expire_date)) = row else { return Ok(None) };
        let session_data = session_data.ok_or_else(|| Failure::NotText.explain(&self.options))?;
        let content = self
            .format
            .decode(&session_data)
            .map_err(|error| Failure::Unreadable(error).explain(&self.options))?;
        let Some(content) = content else { return Ok(None) };
        let expire_date = self.parse_time(expire_date.as_deref());
        Ok(Some(Loaded { content, version: Version::from_bytes(session_data), expire_date }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let (key, row) = (self.format.row_key(session_key), self.row(record)?);
        let (version, statements) = (row.version(), Arc::clone(&self.statements));
        let now = self.options.cache.is_some().then(|| self.time_text(record.now));
        let inserted = self
            .write(move |connection| {
                let mut statement = connection.prepare_cached(&statements.create)?;
                let key = key.as_str();
                let values = row.with_extra(&[&key, &row.session_data, &row.expire_date]);
                let inserted = statement.execute(values.as_slice())?;
                // Django's cache takes the place of an expired entry.
                if inserted == 0
                    && let Some(now) = &now
                    && connection.execute(&statements.delete_expired, params![key, now])? > 0
                {
                    return Ok(statement.execute(values.as_slice())?);
                }
                Ok(inserted)
            })
            .await?;
        Ok(if inserted == 1 { Created::Created(version) } else { Created::KeyTaken })
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let (key, row) = (self.format.row_key(session_key), self.row(record)?);
        let (version, expected) = (row.version(), expected_text(expected));
        let statements = Arc::clone(&self.statements);
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&statements.update)?;
            let key_text = key.as_str();
            let values = row.with_extra(&[&key_text, &row.session_data, &row.expire_date, &expected]);
            if statement.execute(values.as_slice())? == 1 {
                return Ok(Updated::Updated(version.clone()));
            }
            Ok(if exists(connection, &statements.select_key, &key)? {
                Updated::Changed
            } else {
                Updated::Missing
            })
        })
        .await
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let (key, row) = (self.format.row_key(session_key), self.row(record)?);
        let new_key = self.format.row_key(new_session_key);
        let (version, expected) = (row.version(), expected_text(expected));
        let statements = Arc::clone(&self.statements);
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&statements.rotate)?;
            let (old, new) = (key.as_str(), new_key.as_str());
            let values = row.with_extra(&[&old, &row.session_data, &row.expire_date, &expected, &new]);
            Ok(if statement.execute(values.as_slice())? == 1 {
                Rotated::Rotated(version.clone())
            } else if !exists(connection, &statements.select_key, &key)? {
                Rotated::Missing
            } else if exists(connection, &statements.select_key, &new_key)? {
                Rotated::KeyTaken
            } else {
                Rotated::Changed
            })
        })
        .await
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let (key, expire_date) = (self.format.row_key(session_key), self.time_text(record.expire_date));
        let (expected, statements) = (expected_text(Some(version)), Arc::clone(&self.statements));
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&statements.touch)?;
            let touched = statement.execute(params![key.as_str(), expire_date, expected])?;
            Ok(if touched == 1 { Touched::Extended } else { Touched::Stale })
        })
        .await
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let (key, statements) = (self.format.row_key(session_key), Arc::clone(&self.statements));
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&statements.delete)?;
            Ok(statement.execute(params![key.as_str()])? > 0)
        })
        .await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let (key, now) = (self.format.row_key(session_key), self.time_text(now));
        let statements = Arc::clone(&self.statements);
        self.read(move |connection| {
            Ok(connection.prepare_cached(&statements.exists)?.exists(params![key.as_str(), now])?)
        })
        .await
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let keys: Vec<_> = session_keys.iter().map(|key| (key.clone(), self.format.row_key(key))).collect();
        let (now, statements) = (self.time_text(now), Arc::clone(&self.statements));
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&statements.exists)?;
            let mut live = HashSet::new();
            for (session_key, key) in keys {
                if statement.exists(params![key.as_str(), now])? {
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
        self.clear(now, progress).await
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(Pages::<_, Listed>::of(self)))
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.count_rows(now).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.threads.close().await.map_err(|failure| failure.explain(&self.options))
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SqliteStore").field("options", &self.options).finish_non_exhaustive()
    }
}
