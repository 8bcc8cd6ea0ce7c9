//! Sessions in MySQL or MariaDB: Django's `db` back end, in Django's own table.
//!
//! 1. Keys and stored data are compared byte by byte, regardless of the collation: MariaDB's usual one treats
//!    `KEY` and `key ` as equal to `key`.
//! 2. Saving unchanged data succeeds: updates count the rows that they found, not those that changed.
//! 3. Deadlocks and locked rows are retried until the request's deadline.
//! 4. A cancelled request leaves its connection clean.
//! 5. An idle connection is checked before a write. A connection to a read-only server is dropped: the
//!    address may now lead to another primary.
//!
//! 6. Connections are encrypted if the server can, with the feature `mysql-tls`; stricter modes verify the
//!    server.
//!
//! Each Tokio runtime has its own connections.

mod connections;
#[cfg(all(feature = "mysql-tls", unix))]
mod encryption;
mod error;
mod list;
mod schema;
mod statements;
mod url;
mod user_sessions;
mod users;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
#[cfg(all(feature = "mysql-tls", unix))]
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};
use cloakroom_formats::TimeZone;
use mysql_async::Opts;
use tokio::time::timeout;

use self::connections::{Connections, check_table, connect};
use self::error::Failure;
use self::statements::{
    Clear, Content, Create, Delete, Live, Load, Request, Statements, Stored, Touch, Update,
};
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
use crate::store::password::PasswordSource;
use crate::store::tls::TlsOptions;
use crate::store::url::database_shown;

pub use super::table::{ColumnValue, Columns, ExtraColumn, MigrationRecord, TableCreation};

/// Keeps sessions in MySQL or MariaDB, in the table that Django's migration creates, beside a running Django.
///
/// ```no_run
/// use cloakroom::{MysqlStore, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("the site's SECRET_KEY");
/// let options = MysqlStore::options("mysql://site:password@localhost/site")?;
/// options.create_table(Default::default()).await?;
/// let store = options.open(&settings).await?;
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
pub struct MysqlStore {
    shared: Arc<Shared>,
    format: RowFormat,
    time_zone: TimeZone,
}

struct Shared {
    options: Arc<MysqlOptions>,
    statements: Statements,
    connections: Connections,
}

/// The options of a [`MysqlStore`].
///
/// ```
/// use std::time::Duration;
/// use cloakroom::MysqlStore;
///
/// let mut options = MysqlStore::options("mysql://site:password@localhost/site")?;
/// assert_eq!((options.connections, options.clear_batch), (16, 1_000));
/// assert_eq!(options.table, "django_session");
/// options.table = "shop_session".to_owned();
/// options.timeout = Duration::from_secs(2);
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct MysqlOptions {
    /// The server, the user and the database.
    connection: Opts,
    /// Whether connections are encrypted, and what is verified: the URL's `ssl-mode`, `ssl-ca`, `ssl-cert` and
    /// `ssl-key`. Default: [`TlsMode::Prefer`](crate::store::TlsMode::Prefer), as in MySQL's client library.
    /// `Allow` means the same here. Unix sockets are never encrypted.
    pub tls: TlsOptions,
    /// Whether a server that is allowed to be without TLS was found to be.
    #[cfg(all(feature = "mysql-tls", unix))]
    has_no_tls: Arc<AtomicBool>,
    /// The password for each new connection, in place of the URL's. Default: none.
    pub password: Option<PasswordSource>,
    /// The part of `timeout` that connecting may take. Default: all of it.
    connect_timeout: Option<Duration>,
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
    /// How long a request waits for its answer. Default: 5 seconds.
    pub timeout: Duration,
    /// The maximum number of connections. Default: 16.
    pub connections: usize,
    /// The number of expired sessions that one statement removes. Default: 1,000.
    pub clear_batch: u32,
}

impl MysqlOptions {
    /// Connects and opens the store. The table must exist; see [`create_table`](Self::create_table).
    ///
    /// ```no_run
    /// use cloakroom::{MysqlStore, SessionStore, Settings};
    ///
    /// # async fn example() -> Result<(), cloakroom::StoreError> {
    /// let mut options = MysqlStore::options("mysql://site:password@localhost/site")?;
    /// options.table = "shop_session".to_owned();
    /// let store = options.open(&Settings::new("the site's SECRET_KEY")).await?;
    /// assert_eq!(store.name(), "mysql");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the server cannot be reached, refuses the user, or lacks the table or a column.
    pub async fn open(self, settings: &Settings) -> Result<MysqlStore, StoreError> {
        let check = async {
            let mut connection = connect(&self).await?;
            check_table(&mut connection, &self).await?;
            Ok(connection.disconnect().await?)
        };
        let checked = timeout(self.timeout, check).await.unwrap_or(Err(Failure::Deadline));
        checked.map_err(|failure| failure.explain(&self))?;
        #[cfg(not(feature = "mysql-tls"))]
        self.warn_of_plain_connections();
        let options = Arc::new(self);
        let shared = Arc::new(Shared {
            statements: Statements::new(&options),
            connections: Connections::new(Arc::clone(&options)),
            options,
        });
        let format = RowFormat::new(shared.options.cache.as_ref(), settings);
        Ok(MysqlStore { shared, format, time_zone: settings.time_zone })
    }

    /// Logs a warning when sessions will cross a network unencrypted and nobody has asked for that.
    #[cfg(not(feature = "mysql-tls"))]
    fn warn_of_plain_connections(&self) {
        let host = self.connection.ip_or_hostname();
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let is_near = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let is_meant = self.tls.mode == crate::store::tls::TlsMode::Disable;
        if !is_near && !is_meant && self.connection.socket().is_none() {
            tracing::warn!(
                store = "mysql",
                place = self.place(),
                "connections are not encrypted, as this build lacks TLS, where Django may encrypt them if the server can; \
                 add the feature `mysql-tls`, or write `ssl-mode=DISABLED` into the URL if that is meant"
            );
        }
    }

    /// The names in the SQL of the options' table.
    fn names(&self) -> Names {
        DIALECT.names(&self.table, &self.columns(), &self.extra_columns)
    }

    fn columns(&self) -> Columns {
        row_format::columns(self.cache.as_ref(), &self.columns)
    }

    /// The server and the database, for messages. The password is hidden: if it contains a slash that is not
    /// percent-encoded, the driver takes its end for the database's name.
    fn place(&self) -> String {
        let opts = &self.connection;
        let database = database_shown(opts.db_name().unwrap_or_default());
        match opts.socket() {
            Some(socket) => format!("database {database} at {socket}"),
            None => format!("database {database} at {}:{}", opts.ip_or_hostname(), opts.tcp_port()),
        }
    }
}

const DIALECT: Dialect = Dialect::Mysql;

/// Quotes a name.
fn quoted(name: &str) -> String {
    DIALECT.quoted(name)
}

impl MysqlStore {
    /// Returns the options for a URL, `mysql://user:password@host:3306/database` or `mariadb://…`, which can
    /// be changed before [`MysqlOptions::open`]. Characters with a meaning in URLs are percent-encoded. The
    /// parameters after the `?`:
    ///
    /// | parameter | meaning |
    /// |---|---|
    /// | `ssl-mode`, also `ssl_mode`, `sslmode` | `DISABLED`, `PREFERRED`, `REQUIRED`, `VERIFY_CA` or `VERIFY_IDENTITY`; libpq's words are understood too |
    /// | `ssl-ca`, `ssl-cert`, `ssl-key`, also with `_` | PEM files. `ssl-ca` alone means `VERIFY_CA`, `ssl-cert` alone `REQUIRED` |
    /// | `require_ssl=true`, `sslaccept=strict`, `ssl={"rejectUnauthorized":true}` | as other drivers write `ssl-mode=VERIFY_IDENTITY` |
    /// | `unix_socket`, also `socket` | a Unix socket |
    /// | `table`, `user_session_table` | the tables' names |
    /// | `cache_table`; `key_prefix`, `version`, `entry_prefix`, `engine` | the table of Django's `DatabaseCache`, in place of a session table; the settings of that cache |
    /// | `timeout`, `connect_timeout` | seconds, for a request, and for connecting as a part of it |
    /// | `charset` | `utf8mb4` |
    /// | `compression`, `enable_cleartext_plugin`, `max_allowed_packet`, `secure_auth`, `stmt_cache_size`, `tcp_keepalive`, `tcp_nodelay`, `wait_timeout` | as in the driver `mysql_async`; `tcp_keepalive` without TLS alone |
    ///
    /// With `ssl-ca`, `REQUIRED` verifies as `VERIFY_CA` does.
    ///
    /// ```
    /// use cloakroom::{MysqlStore, StoreErrorKind};
    ///
    /// let options = MysqlStore::options("mysql://site:p%40ss@localhost/site")?;
    /// assert_eq!(options.table, "django_session");
    /// let error = MysqlStore::options("localhost/site").err().unwrap();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not such a URL, or has a parameter that is unknown or has an impossible value.
    pub fn options(url: &str) -> Result<MysqlOptions, StoreError> {
        url::options(url)
    }

    /// Returns the options for a server that the driver's own options name, for programs that have them. The
    /// store opens its own connections, so [`PoolOpts`](mysql_async::PoolOpts) have no effect.
    ///
    /// ```
    /// use cloakroom::MysqlStore;
    /// use cloakroom::store::TlsMode;
    /// use mysql_async::{OptsBuilder, SslOpts};
    ///
    /// let builder = OptsBuilder::default().ip_or_hostname("db.example").user(Some("site")).db_name(Some("site"));
    /// let mut options = MysqlStore::from_opts(builder.clone())?;
    /// options.tls.mode = TlsMode::VerifyFull;
    /// assert!(format!("{options:?}").contains("database site at db.example:3306"));
    ///
    /// let error = MysqlStore::from_opts(builder.ssl_opts(SslOpts::default())).unwrap_err();
    /// assert!(error.to_string().contains("`MysqlOptions::tls`"));
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When they contain [`SslOpts`](mysql_async::SslOpts): the store encrypts by [`MysqlOptions::tls`].
    pub fn from_opts(opts: impl Into<Opts>) -> Result<MysqlOptions, StoreError> {
        url::of_opts(opts.into())
    }

    /// Opens a URL with the default options.
    ///
    /// ```no_run
    /// use cloakroom::{MysqlStore, SessionStore, Settings};
    ///
    /// # async fn example() -> Result<(), cloakroom::StoreError> {
    /// let settings = Settings::new("the site's SECRET_KEY");
    /// let store = MysqlStore::open("mysql://site:password@localhost/site", &settings).await?;
    /// assert_eq!(store.name(), "mysql");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`options`](MysqlStore::options) and [`MysqlOptions::open`].
    pub async fn open(url: &str, settings: &Settings) -> Result<MysqlStore, StoreError> {
        MysqlStore::options(url)?.open(settings).await
    }

    /// Runs a request in its own task, which continues when the caller is cancelled.
    async fn ask<R: Request>(&self, request: R) -> Result<R::Answer, StoreError> {
        let shared = Arc::clone(&self.shared);
        let answer = tokio::spawn(async move { shared.connections.run(&shared.statements, &request).await });
        answer.await.unwrap_or(Err(Failure::Stopped)).map_err(|failure| failure.explain(&self.shared.options))
    }

    /// Reads the row, unless it has expired.
    async fn read(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Stored>, StoreError> {
        let now = self.time_zone.to_wall_clock(now);
        let row = self.ask(Load { key: self.format.row_key(session_key) }).await?;
        Ok(row.filter(|row| row.expire_date.is_some_and(|expire_date| expire_date > now)))
    }

    /// The new expiry of a row.
    fn expire_date(&self, record: Record<'_>) -> Result<NaiveDateTime, StoreError> {
        let expire_date: NaiveDateTime = self.time_zone.to_wall_clock(record.expire_date);
        if !table::python_reads(expire_date.and_utc()) {
            return Err(Failure::BeyondPython.explain(&self.shared.options));
        }
        Ok(expire_date)
    }

    /// The new content of a row.
    fn content(&self, record: Record<'_>) -> Result<Content, StoreError> {
        let expire_date = self.expire_date(record)?;
        let session_data = self.format.encode(record);
        let session_data = session_data.map_err(|error| StoreError::not_carried("mysql", error))?;
        let extra = &self.shared.options.extra_columns;
        let extra = extra.iter().map(|column| column.value(record.data).into()).collect();
        Ok(Content { session_data, expire_date, extra })
    }
}

fn version(content: &Content) -> Version {
    Version::from_bytes(content.session_data.as_bytes())
}

#[async_trait]
impl SessionStore for MysqlStore {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn opened_with(&self) -> Option<&SettingsDigest> {
        self.format.opened_with()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let Some(row) = self.read(session_key, now).await? else { return Ok(None) };
        let options = &self.shared.options;
        let bytes = row.session_data.ok_or_else(|| Failure::NotText.explain(options))?;
        let content =
            self.format.decode(&bytes).map_err(|error| Failure::Unreadable(error).explain(options))?;
        let Some(content) = content else { return Ok(None) };
        let expire_date = row.expire_date.map(|time| self.time_zone.from_wall_clock(time));
        Ok(Some(Loaded { content, version: Version::from_bytes(bytes), expire_date }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let content = self.content(record)?;
        let version = version(&content);
        let key = self.format.row_key(session_key);
        let replaces_expired = self.shared.options.cache.is_some();
        let now = replaces_expired.then(|| self.time_zone.to_wall_clock(record.now));
        Ok(self.ask(Create { key, content, now }).await?.created(version))
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let content = self.content(record)?;
        let version = version(&content);
        let key = self.format.row_key(session_key);
        let (new_key, expected) = (key.clone(), expected_text(expected));
        Ok(self.ask(Update { key, expected, new_key, content }).await?.updated(version))
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let content = self.content(record)?;
        let version = version(&content);
        let (key, new_key) = (self.format.row_key(session_key), self.format.row_key(new_session_key));
        Ok(self
            .ask(Update { key, expected: expected_text(expected), new_key, content })
            .await?
            .rotated(version))
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let (key, expire_date) = (self.format.row_key(session_key), self.expire_date(record)?);
        self.ask(Touch { key, expected: expected_text(Some(version)), expire_date }).await
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.ask(Delete { key: self.format.row_key(session_key) }).await
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
        let live = Live { keys: keys.keys().cloned().collect(), now: self.time_zone.to_wall_clock(now) };
        let live = self.ask(live).await?;
        Ok(live.iter().filter_map(|key| keys.get(key)).map(|key| SessionKey::clone(key)).collect())
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.format.check_listable("mysql")?;
        let now = self.time_zone.to_wall_clock(now);
        let batch = self.shared.options.clear_batch.clamp(1, 10_000);
        let (mut cleared, mut from) = (0, None);
        loop {
            let done = self.ask(Clear { now, from, batch }).await?;
            cleared += done.removed;
            from = done.last.or(from);
            if progress(cleared).is_break() || done.found < batch as usize {
                return Ok(cleared);
            }
        }
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(Pages::<_, Listed>::of(self)))
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.count_rows(now).await
    }
}

impl fmt::Debug for MysqlOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MysqlOptions")
            .field("place", &self.place())
            .field("tls", &self.tls)
            .field("password", &self.password)
            .field("table", &self.table)
            .field("columns", &self.columns)
            .field("extra_columns", &self.extra_columns)
            .field("cache", &self.cache)
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .field("clear_batch", &self.clear_batch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MysqlStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MysqlStore").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
