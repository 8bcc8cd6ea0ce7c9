//! Sessions in PostgreSQL: Django's `db` back end, in Django's own table.
//!
//! One statement serves many requests. While it is in progress, arriving requests queue up, and the next
//! statement serves up to 64 of them: a `SELECT` of many keys on one connection, an `UPDATE` of many rows on
//! another, which compares, swaps and commits for all of them at once. No request waits for others: a single
//! request goes at once.
//!
//! 1. A locked row delays nobody else: the shared statement skips it, and its request waits on a connection
//!    of its own.
//! 2. If the server refuses a batch, its requests are tried one by one.
//! 3. A cancelled request affects no other, and each request has a deadline.
//! 4. A broken connection is replaced; meanwhile requests fail quickly, as unavailable.
//!
//! # TLS
//! With the feature `postgres-tls`, the URL's `sslmode` decides whether connections are encrypted:
//!
//! | `sslmode` | the connection |
//! |---|---|
//! | missing, or `prefer` | As with libpq's, and so Django's, `prefer`: encrypted if the server supports it, without verifying the server; otherwise plain. This protects against eavesdropping only. |
//! | `require` or `verify-full` | Encrypted, and the server's certificate must be for the URL's host and signed by an authority that the system trusts, or by [`PostgresOptions::root_certificates`]: libpq's `verify-full`. |
//! | `disable` | Plain. |
//!
//! [`PostgresOptions::root_certificates`] alone means `require`. Without the feature, connections are plain,
//! with a warning if the server is on another machine; and `require` is an error.
//!
//! # Connection poolers
//! The store connects to PostgreSQL directly. A connection pooler such as PgBouncer is refused in any pooling
//! mode: it does not report the mode, and the store's settings and prepared statements would affect other
//! clients of the pooler's connections.

mod alone;
mod clear;
mod connection;
mod error;
mod list;
mod reads;
mod schema;
mod start;
mod statements;
mod tasks;
mod user_sessions;
mod users;
mod writes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Timelike, Utc};
use cloakroom_formats::SessionCodec;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use self::connection::{Connection, Link};
use self::error::{Failure, Task};
use self::reads::{Read, Stored, Timestamp};
use self::tasks::Tasks;
use self::writes::{Row, Work, Write};
use super::dialect::{Dialect, Names};
use super::table::{self, expected_text};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Updated};
use crate::store::generation::Generation;
use crate::store::listing::{Count, Listed, Listing, Pages};
use crate::store::loaded::{Loaded, Version};
use crate::store::outcome::WriteOutcome;
use crate::store::per_runtime::PerRuntime;
use crate::store::url::{database_shown, without_login};

pub use super::table::{ColumnValue, Columns, ExtraColumn, MigrationRecord, TableCreation};

/// Keeps sessions in PostgreSQL, in the table that Django's migration creates, beside a running Django.
///
/// It holds two connections, and up to four more while rows are locked by others. They keep prepared
/// statements and settings, so a connection pooler in between is refused. Each Tokio runtime has its own
/// connections, which end with that runtime.
///
/// ```no_run
/// use cloakroom::{PostgresStore, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("the site's SECRET_KEY");
/// let options = PostgresStore::options("postgres://site:password@localhost/site")?;
/// options.create_table(Default::default()).await?;
/// let store = options.open(&settings).await?;
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
pub struct PostgresStore {
    options: Arc<PostgresOptions>,
    codec: SessionCodec,
    tasks: PerRuntime<Arc<Tasks>>,
}

/// The options of a [`PostgresStore`].
///
/// ```
/// use std::time::Duration;
/// use cloakroom::PostgresStore;
///
/// let mut options = PostgresStore::options("postgres://site:password@localhost/site")?;
/// assert_eq!((options.batch, options.clear_batch), (64, 1_000));
/// assert_eq!(options.table, "django_session");
/// options.table = "shop_session".to_owned();
/// options.timeout = Duration::from_secs(2);
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The server, the user and the database.
    config: Config,
    /// A PEM file of certificates to trust in place of the system's: libpq's `sslrootcert`. Setting it
    /// implies `sslmode=require`, unless the URL says `disable`. Default: none.
    #[cfg(feature = "postgres-tls")]
    pub root_certificates: Option<std::path::PathBuf>,
    /// The table. Default: `django_session`.
    pub table: String,
    /// The table's columns. Default: Django's names.
    pub columns: Columns,
    /// Further columns that each save fills, for a table from the site's own migration. Default: none.
    pub extra_columns: Vec<ExtraColumn>,
    /// The extra columns' types in the table.
    extra_types: Vec<String>,
    generation: Generation,
    /// The table of the [index of user sessions](crate::user_sessions), if the site has one. Each of several
    /// sites in one database needs its own. Default: `cloakroom_user_session`.
    pub user_session_table: String,
    /// How long a request waits for its answer. Default: 5 seconds.
    pub timeout: Duration,
    /// The maximum number of requests in one statement. Default: 64.
    pub batch: usize,
    /// The maximum number of expired sessions that one statement removes. On a slow machine a statement
    /// removes fewer, so that no writer waits for long. Default: 1,000.
    pub clear_batch: u32,
}

impl PostgresOptions {
    /// Connects and opens the store. The table must exist; see [`create_table`](Self::create_table).
    ///
    /// ```no_run
    /// use cloakroom::{PostgresStore, SessionStore, Settings};
    ///
    /// # async fn example() -> Result<(), cloakroom::StoreError> {
    /// let mut options = PostgresStore::options("postgres://site:password@localhost/site")?;
    /// options.table = "shop_session".to_owned();
    /// let store = options.open(&Settings::new("the site's SECRET_KEY")).await?;
    /// assert_eq!(store.name(), "postgres");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the server cannot be reached, refuses the user, or lacks the table or a column; or when a
    /// connection pooler answers.
    pub async fn open(mut self, settings: &Settings) -> Result<PostgresStore, StoreError> {
        let connect = async {
            let reading = Connection::open(&self).await?;
            let extra_types = reading.check_table(&self).await?;
            Ok((reading, Connection::open(&self).await?, extra_types))
        };
        let (reading, writing, extra_types) =
            connect.await.map_err(|failure: Failure| failure.explain(&self))?;
        self.extra_types = extra_types;
        #[cfg(not(feature = "postgres-tls"))]
        start::warn_of_plain_connections(&self);
        let options = Arc::new(self);
        let link = |connection| Link::new(Arc::clone(&options), connection);
        let tasks = PerRuntime::new();
        tasks.with(|| Tasks::start(&options, link(reading), link(writing)), |_| ());
        Ok(PostgresStore { options, codec: SessionCodec::new(settings), tasks })
    }

    /// The names in the SQL of the options' table.
    fn names(&self) -> Names {
        DIALECT.names(&self.table, &self.columns, &self.extra_columns)
    }

    /// The server and the database, for messages. The password is hidden: if it contains an `@` that is not
    /// percent-encoded, the driver takes its end for a part of the host.
    fn place(&self) -> String {
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let ports = self.config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{}:{port}", without_login(name)),
                #[cfg(unix)]
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        let database = database_shown(database);
        format!("database {database} at {}", hosts.collect::<Vec<_>>().join(","))
    }
}

const DIALECT: Dialect = Dialect::Postgres;

/// Quotes a name.
fn quoted(name: &str) -> String {
    DIALECT.quoted(name)
}

impl PostgresStore {
    /// Returns the options for a URL, `postgres://user:password@host:5432/database`, which can be changed
    /// before [`PostgresOptions::open`]. Characters with a meaning in URLs are percent-encoded; `?host=`
    /// names the folder of a Unix socket.
    ///
    /// ```
    /// use cloakroom::{PostgresStore, StoreErrorKind};
    ///
    /// let options = PostgresStore::options("postgres://site:p%40ss@localhost/site")?;
    /// assert_eq!(options.table, "django_session");
    /// let error = PostgresStore::options("localhost/site").err().unwrap();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not such a URL.
    pub fn options(url: &str) -> Result<PostgresOptions, StoreError> {
        let options = |config| PostgresOptions {
            config,
            #[cfg(feature = "postgres-tls")]
            root_certificates: None,
            table: table::DJANGO_TABLE.to_owned(),
            columns: Columns::default(),
            extra_columns: Vec::new(),
            extra_types: Vec::new(),
            generation: Generation::default(),
            user_session_table: table::USER_SESSION_TABLE.to_owned(),
            timeout: Duration::from_secs(5),
            batch: 64,
            clear_batch: 1_000,
        };
        let says = |parameter: &str| url.split(['?', '&']).skip(1).any(|part| part == parameter);
        let parsed = match says(VERIFY_FULL) {
            true => url.replace(VERIFY_FULL, "sslmode=require").parse(),
            false => url.parse(),
        };
        match parsed {
            Ok(config) => Ok(options(config)),
            Err(_) if says("sslmode=allow") || says("sslmode=verify-ca") => {
                Err(Failure::SslMode.explain(&options(Config::new())))
            }
            // The driver's own message may contain a part of the password.
            Err(_) => Err(Failure::Url.explain(&options(Config::new()))),
        }
    }

    /// Opens a URL with the default options.
    ///
    /// ```no_run
    /// use cloakroom::{PostgresStore, SessionStore, Settings};
    ///
    /// # async fn example() -> Result<(), cloakroom::StoreError> {
    /// let settings = Settings::new("the site's SECRET_KEY");
    /// let store = PostgresStore::open("postgres://site:password@localhost/site", &settings).await?;
    /// assert_eq!(store.name(), "postgres");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`options`](PostgresStore::options) and [`PostgresOptions::open`].
    pub async fn open(url: &str, settings: &Settings) -> Result<PostgresStore, StoreError> {
        PostgresStore::options(url)?.open(settings).await
    }

    /// The current runtime's tasks.
    fn tasks(&self) -> Arc<Tasks> {
        self.tasks.with(|| Tasks::unopened(&self.options), |tasks| Arc::clone(tasks))
    }

    /// Waits for the answer to a request, up to the deadline.
    async fn answer<T>(&self, answer: oneshot::Receiver<Task<T>>) -> Result<T, StoreError> {
        let answer = match timeout(self.options.timeout, answer).await {
            Ok(answer) => answer.unwrap_or(Err(Failure::Stopped)),
            Err(_) => Err(Failure::Deadline),
        };
        answer.map_err(|failure| failure.explain(&self.options))
    }

    async fn read(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Stored>, StoreError> {
        if has_nul(session_key) {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        // If the task ended with its runtime, the reply is dropped, and waiting for the answer reports that.
        let _ = self.tasks().reads.send(Read { session_key: session_key.clone(), reply });
        let row = self.answer(answer).await?;
        let now = Timestamp::from(now);
        Ok(row.filter(|row| row.expire_date.is_some_and(|expire_date| expire_date > now)))
    }

    async fn write(&self, session_key: &SessionKey, work: Work) -> Result<WriteOutcome, StoreError> {
        if has_nul(session_key) {
            return match work {
                Work::Create { .. } => Err(Failure::NoSuchKey.explain(&self.options)),
                _ => Ok(WriteOutcome::Missing),
            };
        }
        let (reply, answer) = oneshot::channel();
        let end = Instant::now() + self.options.timeout;
        let _ = self.tasks().writes.send(Write { session_key: session_key.clone(), work, end, reply });
        self.answer(answer).await
    }

    fn row(&self, record: Record<'_>) -> Result<Row, StoreError> {
        if !table::python_reads(record.expire_date) {
            return Err(Failure::BeyondPython.explain(&self.options));
        }
        let microseconds = record.expire_date.nanosecond() / 1_000;
        let expire_date =
            record.expire_date.with_nanosecond(microseconds * 1_000).unwrap_or(record.expire_date);
        let session_data = self.codec.encode(record.data, record.now);
        let session_data = session_data.map_err(|error| StoreError::not_carried("postgres", error))?;
        let extra =
            self.options.extra_columns.iter().map(|column| column.value(record.data).into_text()).collect();
        Ok(Row { session_data, expire_date, extra })
    }
}

/// libpq's name for this library's `require`.
const VERIFY_FULL: &str = "sslmode=verify-full";

fn has_nul(session_key: &SessionKey) -> bool {
    session_key.as_str().contains('\0')
}

/// 2000-01-01, PostgreSQL's epoch, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Timestamp {
        Timestamp(time.timestamp_micros() - EPOCH)
    }
}

impl Timestamp {
    /// Converts the time; `None` for `infinity` and for times out of chrono's range.
    fn to_utc(self) -> Option<DateTime<Utc>> {
        self.0.checked_add(EPOCH).and_then(DateTime::from_timestamp_micros)
    }
}

#[async_trait]
impl SessionStore for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let Some(row) = self.read(session_key, now).await? else { return Ok(None) };
        let text = row.session_data.ok_or_else(|| Failure::NotText.explain(&self.options))?;
        let content = table::decode_text(&self.codec, &text)
            .map_err(|error| Failure::Unreadable(error).explain(&self.options))?;
        let expire_date = row.expire_date.and_then(Timestamp::to_utc);
        Ok(Some(Loaded { content, version: Version::from_bytes(text), expire_date }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let row = self.row(record)?;
        let version = row.version();
        Ok(self.write(session_key, Work::Create(row)).await?.created(version))
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let row = self.row(record)?;
        let version = row.version();
        let work = Work::Update { row, expected: expected_text(expected), new_key: None };
        Ok(self.write(session_key, work).await?.updated(version))
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let row = self.row(record)?;
        let version = row.version();
        if has_nul(new_session_key) {
            return Err(Failure::NoSuchKey.explain(&self.options));
        }
        let new_key = Some(new_session_key.clone());
        let work = Work::Update { row, expected: expected_text(expected), new_key };
        Ok(self.write(session_key, work).await?.rotated(version))
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        Ok(self.write(session_key, Work::Delete).await? == WriteOutcome::Done)
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(self.read(session_key, now).await?.is_some())
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
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("place", &self.place())
            .field("table", &self.table)
            .field("columns", &self.columns)
            .field("extra_columns", &self.extra_columns)
            .field("timeout", &self.timeout)
            .field("batch", &self.batch)
            .field("clear_batch", &self.clear_batch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresStore").field("options", &self.options).finish_non_exhaustive()
    }
}
