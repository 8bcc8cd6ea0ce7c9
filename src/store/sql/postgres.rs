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
//! `sslmode` and the parameters beside it mean what they mean for libpq, and so for Django. TLS needs the feature
//! `postgres-tls`; without it, `sslmode=require` and stronger are an error, and a warning says that connections to
//! other machines are not encrypted.
//!
//! | `sslmode` | the connection |
//! |---|---|
//! | `disable` | Plain. |
//! | `allow` | Plain; encrypted if the server accepts nothing else. |
//! | missing, or `prefer` | Encrypted if the server supports it, without verifying the server; otherwise plain. If the server offers TLS and then refuses it, a warning says so. |
//! | `require` | Encrypted. The server is verified only with `sslrootcert`, and then as by `verify-ca`. |
//! | `verify-ca` | Encrypted, with a certificate of a trusted authority, for whatever host. |
//! | `verify-full` | Encrypted, with a certificate of a trusted authority for the URL's host. |
//!
//! `sslrootcert` is a PEM file of authorities, or `system`, which makes `verify-full` the default. Without it the
//! system's are trusted. `sslcert` and `sslkey` are this client's certificate and key. `channel_binding` is
//! `disable`, `prefer` or `require`. Two points differ from libpq: no file in the home folder is read; and where
//! `allow` or `prefer` has an `sslrootcert`, a server that it does not verify is an error, where libpq would go on
//! unencrypted.
//!
//! # Connection poolers
//! Behind a connection pooler, such as PgBouncer in transaction or session mode, the store leaves nothing on the
//! connections that others use after it:
//!
//! 1. Each statement is unnamed and runs in a transaction of its own, sent together with it in one round trip. Its
//!    settings end with it. That includes those of the URL's `options`.
//! 2. The first connection finds out whether there is a pooler: its startup packet has settings, and a pooler
//!    refuses or withholds them. [`Pooler`] names one beforehand, as `pooler=yes` in the URL does.
//! 3. A direct connection has its settings in the startup packet, and prepares its statements once.
//! 4. PgBouncer's statement mode is refused, as it has no transactions.
//! 5. In session mode each connection of the store takes one of the pool: two, and up to five more.

mod alone;
mod clear;
mod connection;
mod error;
mod list;
mod pooled;
mod pooler;
mod reads;
mod schema;
mod server_options;
mod servers;
mod start;
mod statements;
mod tasks;
mod url;
mod user_sessions;
mod users;
mod writes;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Timelike, Utc};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::ToSql;

use self::connection::{Connection, Link};
use self::error::{Failure, Task};
use self::pooler::Found;
use self::reads::{Read, Stored, Timestamp};
use self::server_options::ServerOptions;
use self::statements::Query;
use self::tasks::Tasks;
use self::writes::{Row, Work, Write};
use super::dialect::{Dialect, Names};
use super::row_format::{self, RowFormat};
use super::table::{self, expected_text};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::{Settings, SettingsDigest};
use crate::store::cache::CacheFormat;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::generation::Generation;
use crate::store::listing::{Count, Listed, Listing, Pages};
use crate::store::loaded::{Loaded, Version};
use crate::store::outcome::WriteOutcome;
use crate::store::password::PasswordSource;
use crate::store::per_runtime::PerRuntime;
use crate::store::tls::{TlsMode, TlsOptions};
use crate::store::url::{database_shown, without_login};

pub use self::pooler::Pooler;
pub use super::table::{ColumnValue, Columns, ExtraColumn, MigrationRecord, TableCreation};

/// Keeps sessions in PostgreSQL, in the table that Django's migration creates, beside a running Django.
///
/// It holds two connections, one more for the index of user sessions, and up to four while rows are locked by
/// others. Each Tokio runtime has its own connections, which end with that runtime. A connection pooler may stand
/// in between: see the [module](self).
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
    format: RowFormat,
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
    /// The server, the user and the database, without `options`.
    config: Config,
    server_options: ServerOptions,
    /// Whether a connection pooler stands before the server. Default: the first connection finds out.
    pub pooler: Pooler,
    found_pooler: Found,
    /// Whether connections are encrypted, and what is verified: the URL's `sslmode`, `sslrootcert`, `sslcert` and
    /// `sslkey`. Default: [`TlsMode::Prefer`](crate::store::TlsMode::Prefer).
    pub tls: TlsOptions,
    /// The password for each new connection, in place of the URL's. Default: none.
    pub password: Option<PasswordSource>,
    /// The schema of both tables. Default: none, and the server's `search_path` finds them.
    pub schema: Option<String>,
    /// The table. Default: `django_session`. A name as some Django models have it, `shop"."session`, names the
    /// schema too.
    pub table: String,
    /// The table's columns. Default: Django's names.
    pub columns: Columns,
    /// Further columns that each save fills, for a table from the site's own migration. Default: none.
    pub extra_columns: Vec<ExtraColumn>,
    /// The extra columns' types in the table.
    extra_types: Vec<String>,
    generation: Generation,
    /// The names and the contents of entries, if the sessions are those of Django's engine `cache` in its
    /// `DatabaseCache`: then `table` is the cache's, and its columns are `cache_key`, `value` and `expires`. Default:
    /// none.
    pub cache: Option<CacheFormat>,
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
    /// When the server cannot be reached, refuses the user, or lacks the table or a column.
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
        let format = RowFormat::new(options.cache.as_ref(), settings);
        Ok(PostgresStore { options, format, tasks })
    }

    /// The options of this configuration.
    fn of(config: Config) -> PostgresOptions {
        let server_options = ServerOptions::of(config.get_options().unwrap_or_default());
        let mode = match config.get_ssl_mode() {
            SslMode::Disable => TlsMode::Disable,
            SslMode::Require => TlsMode::Require,
            _ => TlsMode::Prefer,
        };
        let config = if config.get_options().is_some() { servers::without_options(&config) } else { config };
        PostgresOptions {
            config,
            server_options,
            pooler: Pooler::default(),
            found_pooler: Found::default(),
            tls: TlsOptions::new(mode),
            password: None,
            schema: None,
            table: table::DJANGO_TABLE.to_owned(),
            columns: Columns::default(),
            extra_columns: Vec::new(),
            extra_types: Vec::new(),
            generation: Generation::default(),
            cache: None,
            user_session_table: table::USER_SESSION_TABLE.to_owned(),
            timeout: Duration::from_secs(5),
            batch: 64,
            clear_batch: 1_000,
        }
    }

    /// The names in the SQL of the options' table.
    fn names(&self) -> Names {
        let table = self.quoted_table(&self.table);
        Names { table, ..DIALECT.names(&self.table, &self.columns(), &self.extra_columns) }
    }

    fn columns(&self) -> Columns {
        row_format::columns(self.cache.as_ref(), &self.columns)
    }

    /// The schema of a table, if one is given, and the table's own name.
    fn place_of<'a>(&'a self, table: &'a str) -> (Option<&'a str>, &'a str) {
        // Django quotes a name at both ends only, so models name a schema with the quotes in the middle.
        match table.trim_matches('"').split_once("\".\"") {
            Some((schema, table)) => (Some(schema), table),
            None => (self.schema.as_deref(), table),
        }
    }

    fn quoted_table(&self, table: &str) -> String {
        match self.place_of(table) {
            (Some(schema), table) => format!("{}.{}", quoted(schema), quoted(table)),
            (None, table) => quoted(table),
        }
    }

    /// The table with its schema, for messages.
    fn shown_table(&self) -> String {
        match self.place_of(&self.table) {
            (Some(schema), table) => format!("{schema}.{table}"),
            (None, table) => table.to_owned(),
        }
    }

    /// The server and the database, for messages. The password is hidden: if it contains an `@` that is not
    /// percent-encoded, the driver takes its end for a part of the host.
    fn place(&self) -> String {
        let hosts = (0..servers::count(&self.config)).map(|index| {
            let ports = self.config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match (self.config.get_hosts().get(index), self.config.get_hostaddrs().get(index)) {
                (Some(Host::Tcp(name)), _) => format!("{}:{port}", without_login(name)),
                #[cfg(unix)]
                (Some(Host::Unix(folder)), _) => format!("{}:{port}", folder.display()),
                (None, Some(address)) => format!("{address}:{port}"),
                (None, None) => format!("?:{port}"),
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
    /// before [`PostgresOptions::open`]. Characters with a meaning in URLs are percent-encoded.
    ///
    /// The parameters have libpq's names and meanings, several hosts among them: `host=a,b&port=1,2`. `?host=` may
    /// name the folder of a Unix socket. These are this library's own:
    ///
    /// | parameter | meaning |
    /// |---|---|
    /// | `table`, `user_session_table` | the tables' names |
    /// | `cache_table`; `key_prefix`, `version`, `entry_prefix`, `engine` | the table of Django's `DatabaseCache`, in place of a session table; the settings of that cache |
    /// | `schema` | the schema of both tables, such as a tenant's |
    /// | `pooler=yes`, `pooler=no` | whether a connection pooler stands before the server: [`Pooler`]; Prisma's `pgbouncer=true` is the same as `pooler=yes` |
    ///
    /// ```
    /// use cloakroom::{PostgresStore, StoreErrorKind};
    ///
    /// let options = PostgresStore::options("postgres://site:p%40ss@localhost/site?schema=shop")?;
    /// assert_eq!(options.table, "django_session");
    /// assert_eq!(options.schema.as_deref(), Some("shop"));
    /// let error = PostgresStore::options("postgres://localhost/site?sslmod=require").unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// assert!(error.to_string().contains("`sslmod`"));
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not such a URL, or for a parameter that is unknown or says something impossible: the error
    /// names it.
    pub fn options(url: &str) -> Result<PostgresOptions, StoreError> {
        url::options(url)
    }

    /// Returns the options for a configuration of the driver's, for programs that have one. The store opens its own
    /// connections with it: it needs them to itself for prepared statements and batches.
    ///
    /// Its `ssl_mode` becomes [`PostgresOptions::tls`], where the certificates and the stronger modes are.
    ///
    /// ```
    /// use cloakroom::PostgresStore;
    /// use cloakroom::store::TlsMode;
    ///
    /// let mut config = tokio_postgres::Config::new();
    /// config.host("db.example").user("site").dbname("site");
    /// let mut options = PostgresStore::from_config(config);
    /// options.tls.mode = TlsMode::VerifyFull;
    /// assert!(format!("{options:?}").contains("database site at db.example:5432"));
    /// ```
    pub fn from_config(config: Config) -> PostgresOptions {
        PostgresOptions::of(config)
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
        let session_key = self.format.row_key(session_key);
        if has_nul(&session_key) {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        // If the task ended with its runtime, the reply is dropped, and waiting for the answer reports that.
        let _ = self.tasks().reads.send(Read { session_key, reply });
        let row = self.answer(answer).await?;
        let now = Timestamp::from(now);
        Ok(row.filter(|row| row.expire_date.is_some_and(|expire_date| expire_date > now)))
    }

    async fn write(&self, session_key: &SessionKey, work: Work) -> Result<WriteOutcome, StoreError> {
        let session_key = self.format.row_key(session_key);
        if has_nul(&session_key) {
            return match work {
                Work::Create { .. } => Err(Failure::NoSuchKey.explain(&self.options)),
                _ => Ok(WriteOutcome::Missing),
            };
        }
        let (reply, answer) = oneshot::channel();
        let end = Instant::now() + self.options.timeout;
        let _ = self.tasks().writes.send(Write { session_key, work, end, reply });
        self.answer(answer).await
    }

    /// The new expiry of a row.
    fn expire_date(&self, record: Record<'_>) -> Result<DateTime<Utc>, StoreError> {
        if !table::python_reads(record.expire_date) {
            return Err(Failure::BeyondPython.explain(&self.options));
        }
        let microseconds = record.expire_date.nanosecond() / 1_000;
        Ok(record.expire_date.with_nanosecond(microseconds * 1_000).unwrap_or(record.expire_date))
    }

    fn row(&self, record: Record<'_>) -> Result<Row, StoreError> {
        let expire_date = self.expire_date(record)?;
        let session_data = self.format.encode(record);
        let session_data = session_data.map_err(|error| StoreError::not_carried("postgres", error))?;
        let extra =
            self.options.extra_columns.iter().map(|column| column.value(record.data).into_text()).collect();
        Ok(Row { session_data, expire_date, extra })
    }
}

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

    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.format.opened_with()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let Some(row) = self.read(session_key, now).await? else { return Ok(None) };
        let text = row.session_data.ok_or_else(|| Failure::NotText.explain(&self.options))?;
        let content = self.format.decode(text.as_bytes());
        let content = content.map_err(|error| Failure::Unreadable(error).explain(&self.options))?;
        let Some(content) = content else { return Ok(None) };
        let expire_date = row.expire_date.and_then(Timestamp::to_utc);
        Ok(Some(Loaded { content, version: Version::from_bytes(text), expire_date }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let row = self.row(record)?;
        let version = row.version();
        let again = self.options.cache.is_some().then(|| row.clone());
        let mut outcome = self.write(session_key, Work::Create(row)).await?;
        // Django's cache takes the place of an expired entry.
        if outcome == WriteOutcome::KeyTaken
            && let Some(row) = again
        {
            let key = self.format.row_key(session_key);
            let parameters: [&(dyn ToSql + Sync); 2] = [&key.as_str(), &record.now];
            let removed = self.rows_alone(self.options.timeout, Query::DeleteExpired, &parameters);
            if !Box::pin(removed).await?.is_empty() {
                outcome = self.write(session_key, Work::Create(row)).await?;
            }
        }
        Ok(outcome.created(version))
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
        let new_key = Some(self.format.row_key(new_session_key));
        let work = Work::Update { row, expected: expected_text(expected), new_key };
        Ok(self.write(session_key, work).await?.rotated(version))
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let (key, expire_date) = (self.format.row_key(session_key), self.expire_date(record)?);
        if has_nul(&key) {
            return Ok(Touched::Stale);
        }
        let expected = expected_text(Some(version));
        let parameters: [&(dyn ToSql + Sync); 3] = [&key.as_str(), &expected, &expire_date];
        let rows = self.rows_alone(self.options.timeout, Query::Touch, &parameters).await?;
        Ok(if rows.is_empty() { Touched::Stale } else { Touched::Extended })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        Ok(self.write(session_key, Work::Delete).await? == WriteOutcome::Done)
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(self.read(session_key, now).await?.is_some())
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let keys: HashMap<SessionKey, &SessionKey> =
            session_keys.iter().map(|key| (self.format.row_key(key), key)).collect();
        let row_keys: Vec<&str> = keys.keys().filter(|key| !has_nul(key)).map(SessionKey::as_str).collect();
        let rows = self.rows_alone(self.options.timeout, Query::Live, &[&row_keys, &now]).await?;
        // By the exact key: the site's collation may have found others.
        let live = rows.iter().map(|row| Ok(keys.get(&SessionKey::from_trusted(row.try_get::<_, &str>(0)?))));
        let live: Result<Vec<_>, tokio_postgres::Error> = live.collect();
        let live = live.map_err(|error| self.explain(error.into()))?;
        Ok(live.into_iter().flatten().map(|key| SessionKey::clone(key)).collect())
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
            .field("pooler", &self.pooler)
            .field("tls", &self.tls)
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("columns", &self.columns)
            .field("extra_columns", &self.extra_columns)
            .field("cache", &self.cache)
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
