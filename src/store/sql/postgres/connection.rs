//! Connections: opened within a deadline, reopened when they break, with their statements prepared once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{Client, Column, Row, Statement, Transaction};

use super::error::{Failure, Task};
use super::start::{start, statement_timeout};
use super::statements::{COUNT, Query};
use super::{PostgresOptions, quoted};

/// A connection and its prepared statements.
pub(super) struct Connection {
    client: Client,
    statements: [Option<Statement>; COUNT],
    last_used: Instant,
    generation: u64,
}

/// Servers and proxies close connections that have been idle for seconds.
const RESTED: Duration = Duration::from_millis(100);

impl Connection {
    /// Connects within the deadline.
    pub(super) async fn open(options: &PostgresOptions) -> Task<Connection> {
        let generation = options.generation.current();
        let client = timeout(options.timeout, start(options)).await.map_err(|_| Failure::Deadline)??;
        let statements = [const { None }; COUNT];
        Ok(Connection { client, statements, last_used: Instant::now(), generation })
    }

    /// Sets how long the caller will wait for the following statements: less than the whole deadline if it
    /// has already waited.
    pub(super) async fn limit(&self, remaining: Duration) -> Task<()> {
        let limit = statement_timeout(remaining);
        Ok(self.client.batch_execute(&format!("SET statement_timeout = {limit}")).await?)
    }

    /// Whether the connection has ended, for example closed by the server, or leads to a replaced server.
    pub(super) async fn is_over(&self, options: &PostgresOptions) -> bool {
        if self.generation != options.generation.current() {
            return true;
        }
        if self.last_used.elapsed() >= RESTED {
            // If nothing has driven the runtime meanwhile, the connection's task notices the end only now.
            tokio::task::yield_now().await;
        }
        self.client.is_closed()
    }

    /// Closes the connection for this failure.
    pub(super) fn close(self, failure: &Failure, options: &PostgresOptions) {
        if failure.only_reads() {
            options.generation.end(self.generation);
        }
    }

    /// Begins a transaction, which is rolled back when it is dropped.
    pub(super) async fn transaction(&mut self) -> Task<Transaction<'_>> {
        Ok(self.client.transaction().await?)
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn rows(
        &mut self,
        options: &PostgresOptions,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Task<Vec<Row>> {
        let statement = self.statement(options, query).await?;
        let hidden = Hidden::all(parameters);
        self.last_used = Instant::now();
        Ok(self.client.query(&statement, &Hidden::references(&hidden)).await?)
    }

    /// Runs a statement and returns the number of changed rows.
    pub(super) async fn count(
        &mut self,
        options: &PostgresOptions,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Task<u64> {
        let statement = self.statement(options, query).await?;
        let hidden = Hidden::all(parameters);
        self.last_used = Instant::now();
        Ok(self.client.execute(&statement, &Hidden::references(&hidden)).await?)
    }

    async fn statement(&mut self, options: &PostgresOptions, query: Query) -> Task<Statement> {
        if let Some(statement) = &self.statements[query as usize] {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&query.sql(options)).await?;
        self.statements[query as usize] = Some(statement.clone());
        Ok(statement)
    }

    /// Checks that the table exists and is Django's; returns the types of the extra columns.
    pub(super) async fn check_table(&self, options: &PostgresOptions) -> Task<Vec<String>> {
        let statement =
            self.client.prepare(&format!("SELECT * FROM {} LIMIT 0", options.names().table)).await?;
        let type_of = |name: &str| {
            let column = statement.columns().iter().find(|column| column.name() == name);
            column.map(Column::type_).ok_or_else(|| Failure::MissingColumn(name.to_owned()))
        };
        let columns = &options.columns;
        for (name, wanted, types) in [
            (&columns.session_key, "character varying(40)", [Type::VARCHAR, Type::TEXT]),
            (&columns.session_data, "text", [Type::VARCHAR, Type::TEXT]),
            (&columns.expire_date, "timestamp with time zone", [Type::TIMESTAMPTZ, Type::TIMESTAMPTZ]),
        ] {
            let found = type_of(name)?;
            if !types.contains(found) {
                let found = found.name().to_owned();
                return Err(Failure::WrongType { column: name.clone(), found, wanted });
            }
        }
        let extra = options.extra_columns.iter().map(|column| {
            let column_type = type_of(column.name())?;
            Ok(format!("{}.{}", quoted(column_type.schema()), quoted(column_type.name())))
        });
        extra.collect()
    }
}

/// A parameter whose `Debug` shows nothing. At the log level `debug` the driver logs each statement's
/// parameters, which here are keys and sessions.
struct Hidden<'a>(&'a (dyn ToSql + Sync));

impl<'a> Hidden<'a> {
    fn all(parameters: &[&'a (dyn ToSql + Sync)]) -> Vec<Hidden<'a>> {
        parameters.iter().map(|parameter| Hidden(*parameter)).collect()
    }

    fn references(hidden: &'a [Hidden<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
        hidden.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect()
    }
}

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("..")
    }
}

impl ToSql for Hidden<'_> {
    fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        self.0.to_sql_checked(column, out)
    }

    fn accepts(_column: &Type) -> bool {
        // The inner value's type is checked when it is written.
        true
    }

    fn to_sql_checked(&self, column: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        self.0.to_sql_checked(column, out)
    }

    fn encode_format(&self, column: &Type) -> Format {
        self.0.encode_format(column)
    }
}

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// A connection that is reopened when it breaks. While the server cannot be reached, attempts are spaced out
/// and requests fail at once.
pub(super) struct Link {
    options: Arc<PostgresOptions>,
    connection: Option<Connection>,
    failed: Option<Failed>,
}

struct Failed {
    failure: Failure,
    wait: Duration,
    next_attempt: Instant,
}

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Link {
    pub(super) fn new(options: Arc<PostgresOptions>, connection: Connection) -> Link {
        Link { options, connection: Some(connection), failed: None }
    }

    /// Connects on first use.
    pub(super) fn unopened(options: Arc<PostgresOptions>) -> Link {
        Link { options, connection: None, failed: None }
    }

    /// Runs work within the deadline. Afterwards the connection is usable or closed.
    pub(super) async fn run<T>(&mut self, work: impl AsyncFnOnce(&mut Connection) -> Task<T>) -> Task<T> {
        let deadline = self.options.timeout;
        let connection = self.connection().await?;
        let result = timeout(deadline, work(connection)).await.unwrap_or(Err(Failure::Deadline));
        if let Err(failure) = &result
            && failure.ends_connection()
            && let Some(connection) = self.connection.take()
        {
            connection.close(failure, &self.options);
        }
        result
    }

    async fn connection(&mut self) -> Task<&mut Connection> {
        let is_over = match &self.connection {
            Some(connection) => connection.is_over(&self.options).await,
            None => true,
        };
        if is_over {
            if let Some(failed) = self.failed.as_ref().filter(|failed| Instant::now() < failed.next_attempt) {
                return Err(failed.failure.clone());
            }
            self.connection = match Connection::open(&self.options).await {
                Ok(connection) => Some(connection),
                Err(failure) => {
                    let last = self.failed.take().map(|failed| failed.wait * 2);
                    let wait = last.unwrap_or(FIRST_WAIT).min(LONGEST_WAIT);
                    let next_attempt = Instant::now() + wait;
                    self.failed = Some(Failed { failure: failure.clone(), wait, next_attempt });
                    return Err(failure);
                }
            };
            self.failed = None;
        }
        self.connection.as_mut().ok_or(Failure::Closed)
    }
}
