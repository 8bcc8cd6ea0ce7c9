//! Connections: opened within a deadline, reopened when they break, with their statements prepared once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{Client, Row, Statement, Transaction};

use super::error::{Failure, Task};
use super::pooled::{self, Answer, Parameter};
use super::start::{Started, start, statement_timeout};
use super::statements::{COUNT, Query};
use super::{Columns, PostgresOptions, quoted};

/// A connection and its prepared statements.
pub(super) struct Connection {
    client: Client,
    /// Whether a connection pooler shares the server's connections among its clients. Then nothing is prepared
    /// and no setting outlives a transaction: see [`pooled`].
    is_pooled: bool,
    /// How long the following statements may take, behind a pooler.
    limit: Duration,
    statements: [Option<Statement>; COUNT],
    /// Further ones, by their texts.
    prepared: HashMap<String, Statement>,
    last_used: Instant,
    generation: u64,
}

/// The most statements that are prepared by their texts. A program has a few.
const MOST_PREPARED: usize = 32;

/// Servers and proxies close connections that have been idle for seconds.
const RESTED: Duration = Duration::from_millis(100);

impl Connection {
    /// Connects within the deadline.
    pub(super) async fn open(options: &PostgresOptions) -> Task<Connection> {
        let generation = options.generation.current();
        let started = timeout(options.timeout, start(options)).await.map_err(|_| Failure::Deadline)??;
        let Started { client, is_pooled } = started;
        let (statements, limit) = ([const { None }; COUNT], options.timeout);
        let (prepared, last_used) = (HashMap::new(), Instant::now());
        Ok(Connection { client, is_pooled, limit, statements, prepared, last_used, generation })
    }

    /// Sets how long the caller will wait for the following statements: less than the whole deadline if it
    /// has already waited.
    pub(super) async fn limit(&mut self, remaining: Duration) -> Task<()> {
        if self.is_pooled {
            self.limit = remaining;
            return Ok(());
        }
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
    pub(super) async fn transaction(&mut self, options: &PostgresOptions) -> Task<Transaction<'_>> {
        match self.is_pooled {
            true => pooled::transaction(&mut self.client, options, self.limit).await,
            false => Ok(self.client.transaction().await?),
        }
    }

    /// Runs a statement that is too rare to be prepared.
    pub(super) async fn ask(
        &self,
        options: &PostgresOptions,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Task<Vec<Row>> {
        Ok(self.answer(options, sql, parameters).await?.rows)
    }

    /// Runs a statement that is not prepared; returns its rows, and how many it changed.
    pub(super) async fn answer(
        &self,
        options: &PostgresOptions,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Task<Answer> {
        match self.is_pooled {
            true => pooled::run(&self.client, options, self.limit, sql, parameters).await,
            false => Ok(pooled::unnamed(&self.client, sql, parameters).await?),
        }
    }

    /// Runs a statement that often comes again with other values: it is prepared, but for a pooler.
    pub(super) async fn answer_again(
        &mut self,
        options: &PostgresOptions,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Task<Answer> {
        let is_known = self.prepared.contains_key(sql);
        if self.is_pooled || !is_known && self.prepared.len() == MOST_PREPARED {
            return self.answer(options, sql, parameters).await;
        }
        if !is_known {
            let types: Vec<Type> = parameters.iter().map(|(_, found)| found.clone()).collect();
            let statement = self.client.prepare_typed(sql, &types).await?;
            self.prepared.insert(sql.to_owned(), statement);
        }
        self.last_used = Instant::now();
        Ok(pooled::prepared(&self.client, &self.prepared[sql], parameters).await?)
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn rows(
        &mut self,
        options: &PostgresOptions,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Task<Vec<Row>> {
        if self.is_pooled {
            return Ok(self.pooled(options, query, parameters).await?.rows);
        }
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
        if self.is_pooled {
            return Ok(self.pooled(options, query, parameters).await?.changed);
        }
        let statement = self.statement(options, query).await?;
        let hidden = Hidden::all(parameters);
        self.last_used = Instant::now();
        Ok(self.client.execute(&statement, &Hidden::references(&hidden)).await?)
    }

    async fn pooled(
        &mut self,
        options: &PostgresOptions,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Task<Answer> {
        self.last_used = Instant::now();
        let (sql, parameters) = (query.sql(options), query.typed(options, parameters));
        pooled::run(&self.client, options, self.limit, &sql, &parameters).await
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
        let table = options.names().table;
        let rows = self.ask(options, COLUMNS, &[(&table, Type::TEXT)]).await?;
        let columns = rows.iter().map(|row| Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?]));
        let columns = columns.collect::<Task<Vec<[&str; 3]>>>()?;
        let type_of = |name: &str| {
            let found = columns.iter().find(|[column, ..]| *column == name);
            found.map(|[_, schema, name]| (*schema, *name)).ok_or(Failure::MissingColumn(name.to_owned()))
        };
        let Columns { session_key, session_data, expire_date } = &options.columns();
        let of_key = if options.cache.is_some() { "character varying(255)" } else { "character varying(40)" };
        for (name, wanted, types) in [
            (session_key, of_key, ["varchar", "text"]),
            (session_data, "text", ["varchar", "text"]),
            (expire_date, "timestamp with time zone", ["timestamptz", "timestamptz"]),
        ] {
            let (schema, found) = type_of(name)?;
            if schema != "pg_catalog" || !types.contains(&found) {
                let (column, found) = (name.clone(), found.to_owned());
                return Err(Failure::WrongType { column, found, wanted });
            }
        }
        let extra = options.extra_columns.iter().map(|column| {
            let (schema, name) = type_of(column.name())?;
            Ok(format!("{}.{}", quoted(schema), quoted(name)))
        });
        extra.collect()
    }
}

/// The columns of the table `$1`, each with the schema and the name of its type. No statement is prepared for
/// them, as a connection pooler would keep it.
const COLUMNS: &str = "SELECT attname::text, nspname::text, typname::text \
     FROM pg_catalog.pg_attribute \
     JOIN pg_catalog.pg_type ON pg_type.oid = atttypid \
     JOIN pg_catalog.pg_namespace ON pg_namespace.oid = typnamespace \
     WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";

/// A parameter whose `Debug` shows nothing. At the log level `debug` the driver logs each statement's
/// parameters, which here are keys and sessions.
pub(super) struct Hidden<'a>(pub(super) &'a (dyn ToSql + Sync));

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
