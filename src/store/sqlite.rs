//! Sessions in a SQLite file: Django's `db` back end, in Django's own table.
//!
//! Readers and the writer work apart: a few threads read, and one thread writes whatever has queued up in
//! one transaction, so that many requests share one commit. Each save is acknowledged after its commit.

mod error;
mod schema;
mod threads;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Timelike, Utc};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use self::error::{Failure, Task};
use self::threads::Threads;
use super::table::{self, expected_text};
use super::{Created, Loaded, Progress, Record, Rotated, SessionStore, Updated, Version, no_progress};
use crate::clock::TimeZone;
use crate::codec::SessionCodec;
use crate::error::StoreError;
use crate::session_key::SessionKey;
use crate::settings::Settings;

pub use super::table::{CreateTable, MigrationRecord};

/// Keeps sessions in a SQLite file, in the table that Django's migration makes, beside a running Django.
///
/// The file's journal mode is used as it is; `PRAGMA journal_mode = WAL`, once, lets readers and writers
/// work at the same time, for Django too.
///
/// ```
/// use cloakroom::{Settings, SqliteStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// let settings = Settings::new("the site's SECRET_KEY");
/// let options = SqliteStore::options(&path);
/// options.create_table(Default::default()).await?;
/// let store = options.open(&settings).await?;
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
pub struct SqliteStore {
    options: SqliteOptions,
    codec: SessionCodec,
    time_zone: TimeZone,
    threads: Threads,
}

/// Where a [`SqliteStore`] keeps its sessions, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The database file.
    pub path: PathBuf,
    /// The table: `django_session`.
    pub table: String,
    /// How long to wait for a lock that another program holds: 5 seconds, as Django.
    pub busy_timeout: Duration,
    /// How many threads read: 2.
    pub readers: usize,
    /// How many saves share one transaction at most: 64.
    pub write_batch: usize,
    /// How many expired sessions are removed in one transaction: 1,000.
    pub clear_batch: u32,
}

impl SqliteOptions {
    /// Opens the store. The file and the table must be there; see [`create_table`](Self::create_table).
    ///
    /// # Errors
    /// When the file is missing, is no database, is locked or lacks the table or a column.
    pub async fn open(self, settings: &Settings) -> Result<SqliteStore, StoreError> {
        let threads = Threads::start(&self).await?;
        Ok(SqliteStore {
            codec: SessionCodec::new(settings),
            time_zone: settings.time_zone,
            threads,
            options: self,
        })
    }

    /// The table's name between quotes.
    fn quoted_table(&self) -> String {
        format!("\"{}\"", self.table.replace('"', "\"\""))
    }
}

impl SqliteStore {
    /// The options for a file, which can be changed before [`SqliteOptions::open`].
    pub fn options(path: impl AsRef<Path>) -> SqliteOptions {
        SqliteOptions {
            path: path.as_ref().to_owned(),
            table: "django_session".to_owned(),
            busy_timeout: Duration::from_secs(5),
            readers: 2,
            write_batch: 64,
            clear_batch: 1_000,
        }
    }

    /// Opens a file with the usual options.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    pub async fn open(path: impl AsRef<Path>, settings: &Settings) -> Result<SqliteStore, StoreError> {
        SqliteStore::options(path).open(settings).await
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

    /// A session as a row holds it.
    fn row(&self, record: Record<'_>) -> Result<Row, StoreError> {
        let session_data = self.codec.encode(record.data, record.now);
        Ok(Row {
            session_data: session_data.map_err(|error| StoreError::not_carried("sqlite", error))?,
            expire_date: format_time(self.time_zone.to_wall_clock(record.expire_date)),
        })
    }

    fn time_text(&self, now: DateTime<Utc>) -> String {
        format_time(self.time_zone.to_wall_clock(now))
    }
}

struct Row {
    session_data: String,
    expire_date: String,
}

impl Row {
    fn version(&self) -> Version {
        Version::from_bytes(self.session_data.as_bytes())
    }
}

/// Python's `str(datetime)`: the fraction only when there is one. Texts of this form sort as the times do.
fn format_time(wall_clock: NaiveDateTime) -> String {
    let microseconds = wall_clock.nanosecond() / 1_000;
    let whole = wall_clock.format("%Y-%m-%d %H:%M:%S");
    if microseconds == 0 { whole.to_string() } else { format!("{whole}.{microseconds:06}") }
}

fn parse_time(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok()
}

fn exists(connection: &Connection, table: &str, session_key: &SessionKey) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(&format!("SELECT 1 FROM {table} WHERE session_key = ?1"))?
        .exists(params![session_key.as_str()])
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let (table, key, now) = (self.options.quoted_table(), session_key.clone(), self.time_text(now));
        let row = self
            .read(move |connection| {
                let sql = format!(
                    "SELECT session_data, expire_date FROM {table} WHERE session_key = ?1 AND expire_date > ?2"
                );
                let row = connection
                    .prepare_cached(&sql)?
                    .query_row(params![key.as_str(), now], |row| {
                        let data = match row.get_ref(0)? {
                            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
                            _ => None,
                        };
                        Ok((data, row.get::<_, Option<String>>(1).unwrap_or_default()))
                    })
                    .optional()?;
                Ok(row)
            })
            .await?;
        let Some((session_data, expire_date)) = row else { return Ok(None) };
        let session_data = session_data.ok_or_else(|| Failure::NotText.explain(&self.options))?;
        let (data, genuine) = table::decode(&self.codec, "sqlite", &session_data)
            .map_err(|error| Failure::Unreadable(error).explain(&self.options))?;
        let expire_date =
            expire_date.as_deref().and_then(parse_time).map(|time| self.time_zone.from_wall_clock(time));
        Ok(Some(Loaded { data, version: Version::from_bytes(session_data), expire_date, genuine }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let (table, key, row) = (self.options.quoted_table(), session_key.clone(), self.row(record)?);
        let version = row.version();
        let sql = format!(
            "INSERT INTO {table} (session_key, session_data, expire_date) VALUES (?1, ?2, ?3) \
             ON CONFLICT (session_key) DO NOTHING"
        );
        let inserted = self
            .write(move |connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                Ok(statement.execute(params![key.as_str(), row.session_data, row.expire_date])?)
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
        let (table, key, row) = (self.options.quoted_table(), session_key.clone(), self.row(record)?);
        let (version, expected) = (row.version(), expected_text(expected));
        let sql = format!(
            "UPDATE {table} SET session_data = ?2, expire_date = ?3 \
             WHERE session_key = ?1 AND (?4 IS NULL OR session_data = ?4)"
        );
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            if statement.execute(params![key.as_str(), row.session_data, row.expire_date, expected])? == 1 {
                return Ok(Updated::Updated(version.clone()));
            }
            Ok(if exists(connection, &table, &key)? { Updated::Changed } else { Updated::Missing })
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
        let (table, key, row) = (self.options.quoted_table(), session_key.clone(), self.row(record)?);
        let (new_key, version, expected) = (new_session_key.clone(), row.version(), expected_text(expected));
        // One statement: the row changes its key. `OR IGNORE` leaves it alone when the new key is taken.
        let sql = format!(
            "UPDATE OR IGNORE {table} SET session_key = ?5, session_data = ?2, expire_date = ?3 \
             WHERE session_key = ?1 AND (?4 IS NULL OR session_data = ?4)"
        );
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let values = params![key.as_str(), row.session_data, row.expire_date, expected, new_key.as_str()];
            Ok(if statement.execute(values)? == 1 {
                Rotated::Rotated(version.clone())
            } else if !exists(connection, &table, &key)? {
                Rotated::Missing
            } else if exists(connection, &table, &new_key)? {
                Rotated::KeyTaken
            } else {
                Rotated::Changed
            })
        })
        .await
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let (table, key) = (self.options.quoted_table(), session_key.clone());
        self.write(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("DELETE FROM {table} WHERE session_key = ?1"))?;
            Ok(statement.execute(params![key.as_str()])? > 0)
        })
        .await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let (table, key, now) = (self.options.quoted_table(), session_key.clone(), self.time_text(now));
        self.read(move |connection| {
            let sql = format!("SELECT 1 FROM {table} WHERE session_key = ?1 AND expire_date > ?2");
            Ok(connection.prepare_cached(&sql)?.exists(params![key.as_str(), now])?)
        })
        .await
    }

    async fn clear_expired(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        self.clear_expired_with_progress(now, &mut no_progress).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let now = self.time_text(now);
        let batch = self.options.clear_batch.max(1);
        let sql = format!(
            "DELETE FROM {table} WHERE session_key IN \
             (SELECT session_key FROM {table} WHERE expire_date < ?1 LIMIT {batch})",
            table = self.options.quoted_table()
        );
        let mut cleared = 0;
        loop {
            let (sql, now) = (sql.clone(), now.clone());
            let removed = self
                .write(move |connection| Ok(connection.prepare_cached(&sql)?.execute(params![now])? as u64))
                .await?;
            cleared += removed;
            if progress(cleared).is_break() || removed < u64::from(batch) {
                return Ok(cleared);
            }
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SqliteStore").field("options", &self.options).finish_non_exhaustive()
    }
}
