//! A connection pool of limited size; each connection serves one request at a time.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::MysqlOptions;
use super::error::{Failure, Task};
use super::statements::{Request, Statements};
use crate::store::generation::Generation;
use crate::store::per_runtime::PerRuntime;
use crate::store::tls::TlsMode;

/// The connection pool. The driver's own pool is not used, because it checks a connection before each use: a
/// second round trip. This pool checks only idle connections.
pub(super) struct Connections {
    options: Arc<MysqlOptions>,
    free: Semaphore,
    idle: PerRuntime<Vec<Idle>>,
    generation: Generation,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection, and the longest packet that the server accepts on it.
struct Connection {
    conn: Conn,
    max_allowed_packet: usize,
    generation: u64,
}

/// After this idle time a firewall may have forgotten the connection, and a request on it would wait in vain.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// After this idle time the server or a proxy may have closed the connection: `wait_timeout` counts in
/// seconds. The driver notices only after sending, and then it is unknown whether a write was carried out. A
/// read is simply repeated, so it needs no check. So a request that loads and then saves checks neither
/// before the one nor before the other.
const CLOSED: Duration = Duration::from_millis(500);

/// Packet space for everything but the longest values.
const PACKET_OVERHEAD: usize = 256;

/// How long to wait for the server while closing a connection.
const FAREWELL: Duration = Duration::from_millis(100);

/// The initial wait between retries after a deadlock.
const FIRST_WAIT: Duration = Duration::from_millis(2);

/// `innodb_lock_wait_timeout`, in whole seconds.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The settings of each connection, as Django sets them. In addition, a locked row fails early enough to keep
/// the deadline, nothing is truncated to fit, and each statement commits.
const SETTINGS: [&str; 2] = [
    "SET SESSION innodb_lock_wait_timeout = 1, autocommit = 1, \
     sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

impl Connections {
    pub(super) fn new(options: Arc<MysqlOptions>) -> Connections {
        let free = Semaphore::new(options.connections.max(1));
        Connections { options, free, idle: PerRuntime::new(), generation: Generation::default() }
    }

    /// Runs a request within the deadline. It is retried in three cases: after a deadlock, because nothing
    /// was written; on another connection when the server is read-only, because nothing was written either;
    /// and when a read finds its connection broken.
    ///
    /// Call it from a task that is not cancelled: a connection in the middle of a statement is unusable.
    pub(super) async fn run<R: Request>(&self, statements: &Statements, request: &R) -> Task<R::Answer> {
        let deadline = R::DEADLINE.unwrap_or(self.options.timeout);
        let end = Instant::now() + deadline;
        let attempts = async {
            let _permit = self.free.acquire().await.map_err(|_| Failure::Stopped)?;
            let mut wait = FIRST_WAIT;
            loop {
                let (mut lent, used) = self.connection(R::READS).await?;
                let connection = lent.connection()?;
                let generation = connection.generation;
                let (size, limit) = (request.size() + PACKET_OVERHEAD, connection.max_allowed_packet);
                if size > limit {
                    lent.give_back();
                    return Err(Failure::TooLarge { size, limit });
                }
                let result = request.run(statements, &mut connection.conn).await;
                let failure = match result {
                    Err(failure) => failure,
                    Ok(value) => {
                        lent.give_back();
                        return Ok(value);
                    }
                };
                if failure.ends_connection() {
                    drop(lent);
                    if failure.only_reads() {
                        self.generation.end(generation);
                    }
                    if used && (R::READS || failure.only_reads()) {
                        continue;
                    }
                    return Err(failure);
                }
                lent.give_back();
                // An attempt that the deadline would cut off might still be carried out.
                let longest = if failure.waited_for_a_lock() { LOCK_WAIT } else { Duration::ZERO };
                if !failure.may_be_repeated() || Instant::now() + wait + longest >= end {
                    return Err(failure);
                }
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        };
        timeout(deadline, attempts).await.unwrap_or(Err(Failure::Deadline))
    }

    /// Returns a connection, and whether it has been used before.
    async fn connection(&self, only_reads: bool) -> Task<(Lent<'_>, bool)> {
        let rest = if only_reads { FORGOTTEN } else { CLOSED };
        while let Some(Idle { connection, since }) = self.idle(Vec::pop) {
            if connection.generation != self.generation.current() {
                continue;
            }
            let mut lent = Lent { connection: Some(connection), home: self };
            if since.elapsed() < rest || lent.connection()?.conn.ping().await.is_ok() {
                return Ok((lent, true));
            }
        }
        let connection = Connection::open(&self.options, self.generation.current()).await?;
        Ok((Lent { connection: Some(connection), home: self }, false))
    }

    /// Gives access to the current runtime's idle connections.
    fn idle<R>(&self, take: impl FnOnce(&mut Vec<Idle>) -> R) -> R {
        self.idle.with(Vec::new, take)
    }
}

impl Connection {
    async fn open(options: &MysqlOptions, generation: u64) -> Task<Connection> {
        let mut conn = connect(options).await?;
        // The driver asks too, but does not expose the answer. It would send a longer packet in pieces, which
        // the server would take for other commands.
        let of_server: Option<usize> = conn.query_first("SELECT @@max_allowed_packet").await?;
        let of_site = options.connection.max_allowed_packet();
        let max_allowed_packet = of_server.into_iter().chain(of_site).min().unwrap_or(usize::MAX);
        Ok(Connection { conn, max_allowed_packet, generation })
    }
}

/// A connection in use. If it is dropped without being returned, at the deadline or because it broke, it is
/// closed.
struct Lent<'a> {
    connection: Option<Connection>,
    home: &'a Connections,
}

impl Lent<'_> {
    fn connection(&mut self) -> Task<&mut Connection> {
        self.connection.as_mut().ok_or(Failure::Stopped)
    }

    fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.idle(|idle| idle.push(Idle { connection, since: Instant::now() }));
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // The other idle connections are probably broken too.
            self.home.idle(Vec::clear);
            // Otherwise the driver would keep the connection open until the unused answer has arrived.
            runtime.spawn(timeout(FAREWELL, connection.conn.disconnect()));
        }
    }
}

/// Connects; the caller enforces the deadline.
pub(super) async fn connect(options: &MysqlOptions) -> Task<Conn> {
    let settings = SETTINGS.iter().map(|setting| (*setting).to_owned());
    let builder = OptsBuilder::from_opts(options.connection.clone())
        // An update counts the rows it found, even if their values did not change.
        .client_found_rows(true)
        // The driver would switch from a local port to the socket that the server names, which may be another
        // server's.
        .prefer_socket(false)
        .init(settings.chain(options.connection.init().iter().cloned()).collect());
    let connected = async {
        let builder = match &options.password {
            Some(source) => builder.pass(Some(source.next().await.map_err(Failure::Password)?)),
            None => builder,
        };
        if options.connection.socket().is_some() || options.tls.mode == TlsMode::Disable {
            return connect_plain(options, builder).await;
        }
        #[cfg(all(feature = "mysql-tls", unix))]
        return super::encryption::connect(options, builder).await;
        #[cfg(not(all(feature = "mysql-tls", unix)))]
        match options.tls.mode {
            TlsMode::Allow | TlsMode::Prefer => connect_plain(options, builder).await,
            _ => Err(super::error::TlsProblem::NotCompiledIn.into()),
        }
    };
    match options.connect_timeout {
        Some(limit) => timeout(limit, connected).await.unwrap_or(Err(Failure::ConnectDeadline)),
        None => connected.await,
    }
}

/// Connects without encryption. A Unix socket needs none.
pub(super) async fn connect_plain(options: &MysqlOptions, builder: OptsBuilder) -> Task<Conn> {
    let opts = &options.connection;
    if opts.enable_cleartext_plugin() && opts.socket().is_none() {
        return Err(Failure::Cleartext);
    }
    Ok(Conn::new(builder).await?)
}

/// Checks that the table exists and is Django's.
pub(super) async fn check_table(connection: &mut Conn, options: &MysqlOptions) -> Task<()> {
    use ColumnType::{
        MYSQL_TYPE_BLOB, MYSQL_TYPE_DATETIME, MYSQL_TYPE_LONG_BLOB, MYSQL_TYPE_MEDIUM_BLOB,
        MYSQL_TYPE_STRING, MYSQL_TYPE_VAR_STRING, MYSQL_TYPE_VARCHAR,
    };
    let statement = connection.prep(format!("SELECT * FROM {} LIMIT 0", options.names().table)).await?;
    let texts = [MYSQL_TYPE_VAR_STRING, MYSQL_TYPE_VARCHAR, MYSQL_TYPE_STRING];
    // The protocol says `blob` for texts too.
    let long_texts = [
        MYSQL_TYPE_BLOB,
        MYSQL_TYPE_MEDIUM_BLOB,
        MYSQL_TYPE_LONG_BLOB,
        MYSQL_TYPE_VAR_STRING,
        MYSQL_TYPE_VARCHAR,
    ];
    let there = statement.columns();
    let columns = &options.columns();
    let of_key = if options.cache.is_some() { "varchar(255)" } else { "varchar(40)" };
    let column_of = |name: &str| {
        let column = there.iter().find(|column| column.name_str() == name);
        column.ok_or_else(|| Failure::MissingColumn(name.to_owned()))
    };
    for (name, wanted, types) in [
        (&columns.session_key, of_key, texts.as_slice()),
        (&columns.session_data, "longtext", &long_texts),
        (&columns.expire_date, "datetime(6)", &[MYSQL_TYPE_DATETIME]),
    ] {
        if !types.contains(&column_of(name)?.column_type()) {
            return Err(Failure::WrongType { column: name.clone(), wanted });
        }
    }
    for column in &options.extra_columns {
        column_of(column.name())?;
    }
    Ok(connection.close(statement).await?)
}
