//! Statements behind a connection pooler, which lends the same connection to one client after the other.
//!
//! A setting or a prepared statement that one client leaves there reaches the next. So each statement is unnamed,
//! and runs in a transaction of its own, whose settings end with it:
//!
//! 1. The transaction's beginning, its settings, the statement and the commit are sent together, without waiting
//!    for an answer in between: one round trip. A caller that gives up in the middle leaves no open transaction,
//!    as the commit was sent before.
//! 2. If the statement fails, the commit is a rollback.
//! 3. Each statement is planned anew, for the values that it has. So the settings that keep a prepared statement
//!    from a bad plan are not needed.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join4;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, IsolationLevel, Row, RowStream, Statement, Transaction};

use super::PostgresOptions;
use super::connection::Hidden;
use super::error::Task;
use super::start::statement_timeout;

/// A parameter and its type. The types must be known: asking the server for them needs a prepared statement.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Applies the settings of the URL's `options`: names `$1`, values `$2`.
const APPLY: &str =
    "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS setting (name, value)";

/// Runs a statement in a transaction of its own.
pub(super) async fn run(
    client: &Client,
    options: &PostgresOptions,
    limit: Duration,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Task<Answer> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}",
        statement_timeout(limit)
    );
    // Each future sends its message when it is first polled, and they are polled in this order.
    let (begun, applied, answer, committed) = join4(
        client.batch_execute(&begin),
        apply(client, options),
        unnamed(client, sql, parameters),
        client.batch_execute("COMMIT"),
    )
    .await;
    match answer {
        Ok(answer) => {
            committed?;
            Ok(answer)
        }
        // In a failed transaction the statement's own error says only that.
        Err(error) => Err(begun.and(applied).err().unwrap_or(error).into()),
    }
}

/// A statement's rows, and how many it changed.
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    pub(super) changed: u64,
}

/// Runs a statement without giving it a name.
pub(super) async fn unnamed(
    client: &Client,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Answer, Error> {
    let parameters = parameters.iter().map(|(value, found)| (Hidden(*value), found.clone()));
    answer(client.query_typed_raw(sql, parameters).await?).await
}

/// Runs a prepared statement.
pub(super) async fn prepared(
    client: &Client,
    statement: &Statement,
    parameters: &[Parameter<'_>],
) -> Result<Answer, Error> {
    let parameters = parameters.iter().map(|(value, _)| Hidden(*value));
    answer(client.query_raw(statement, parameters).await?).await
}

async fn answer(stream: RowStream) -> Result<Answer, Error> {
    let mut stream = pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.as_mut().try_next().await? {
        rows.push(row);
    }
    Ok(Answer { rows, changed: stream.rows_affected().unwrap_or_default() })
}

/// Begins a transaction for several statements. It is rolled back when it is dropped.
pub(super) async fn transaction<'a>(
    client: &'a mut Client,
    options: &PostgresOptions,
    limit: Duration,
) -> Task<Transaction<'a>> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let limit = statement_timeout(limit);
    transaction.batch_execute(&format!("SET LOCAL statement_timeout = {limit}")).await?;
    apply(transaction.client(), options).await?;
    Ok(transaction)
}

/// Applies the site's own settings to the current transaction, as parameters: the driver would log a text.
async fn apply(client: &Client, options: &PostgresOptions) -> Result<(), Error> {
    let settings = &options.server_options.settings;
    if settings.is_empty() {
        return Ok(());
    }
    let (names, values): (Vec<&str>, Vec<&str>) =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).unzip();
    unnamed(client, APPLY, &[(&names, Type::TEXT_ARRAY), (&values, Type::TEXT_ARRAY)]).await.map(drop)
}
