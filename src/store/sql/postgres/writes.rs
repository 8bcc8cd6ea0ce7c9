//! Writes: requests that queued up while one statement was in progress are written by the next, and share its
//! commit.
//!
//! A row locked by another transaction must not delay the others. So the shared statement skips it, and its
//! request runs alone, on its own connection.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::PostgresOptions;
use super::alone::Alone;
use super::connection::{Connection, Link};
use super::error::Task;
use super::statements::Query;
use crate::site::session_key::SessionKey;
use crate::store::loaded::Version;
use crate::store::outcome::WriteOutcome;

/// A request to write.
pub(super) struct Write {
    pub(super) session_key: SessionKey,
    pub(super) work: Work,
    /// The caller's deadline.
    pub(super) end: Instant,
    pub(super) reply: oneshot::Sender<Task<WriteOutcome>>,
}

pub(super) enum Work {
    Create(Row),
    /// Without a new key the row keeps its own.
    Update {
        row: Row,
        expected: Option<String>,
        new_key: Option<SessionKey>,
    },
    Delete,
}

/// The new content of a row.
#[derive(Clone, Default)]
pub(super) struct Row {
    pub(super) session_data: String,
    pub(super) expire_date: DateTime<Utc>,
    /// The extra columns, as texts; `None` for null.
    pub(super) extra: Vec<Option<String>>,
}

impl Row {
    pub(super) fn version(&self) -> Version {
        Version::from_bytes(self.session_data.as_bytes())
    }
}

impl Write {
    /// The key that the row will have.
    fn new_key(&self) -> &SessionKey {
        match &self.work {
            Work::Update { new_key: Some(new_key), .. } => new_key,
            _ => &self.session_key,
        }
    }

    fn answer(self, outcome: Task<WriteOutcome>) {
        // Nobody is waiting any more if the request was cancelled.
        let _ = self.reply.send(outcome);
    }
}

/// Serves requests until the store is dropped.
pub(super) async fn serve(
    mut link: Link,
    alone: Alone,
    options: Arc<PostgresOptions>,
    mut writes: mpsc::UnboundedReceiver<Write>,
) {
    let limit = options.batch.max(1);
    let mut waiting: Vec<Write> = Vec::new();
    loop {
        if waiting.is_empty() && writes.recv_many(&mut waiting, limit).await == 0 {
            return;
        }
        while waiting.len() < limit
            && let Ok(write) = writes.try_recv()
        {
            waiting.push(write);
        }
        waiting.retain(|write| !write.reply.is_closed());
        let (mut batch, later) = one_of_each_key(std::mem::take(&mut waiting));
        waiting = later;
        // The same order everywhere.
        batch.sort_unstable_by(|left, right| left.session_key.cmp(&right.session_key));
        let of = |query: Query, batch: Vec<Write>| -> (Vec<Write>, Vec<Write>) {
            batch.into_iter().partition(|write| write.work.shared_query() as usize == query as usize)
        };
        let (updates, batch) = of(Query::Update, batch);
        let (creates, deletes) = of(Query::Create, batch);
        for (query, writes) in [(Query::Update, updates), (Query::Create, creates), (Query::Delete, deletes)]
        {
            if !writes.is_empty() {
                together(&mut link, &alone, &options, query, writes).await;
            }
        }
    }
}

/// Splits off writes that name a key a second time: one statement changes a row only once.
fn one_of_each_key(writes: Vec<Write>) -> (Vec<Write>, Vec<Write>) {
    let mut keys = HashSet::new();
    writes.into_iter().partition(|write| {
        // Both keys are recorded in any case, so that later writes to either stay behind this one.
        let new_key = write.new_key().clone();
        let rotates = new_key != write.session_key;
        let first = keys.insert(write.session_key.clone());
        let first_new = !rotates || keys.insert(new_key);
        first && first_new
    })
}

/// Runs one statement for all requests, and answers each.
async fn together(
    link: &mut Link,
    alone: &Alone,
    options: &PostgresOptions,
    query: Query,
    writes: Vec<Write>,
) {
    match link.run(async |connection| shared(connection, options, query, &writes).await).await {
        Ok(outcomes) => {
            for (write, outcome) in writes.into_iter().zip(outcomes) {
                match outcome {
                    Some(outcome) => write.answer(Ok(outcome)),
                    None => alone.spawn(write),
                }
            }
        }
        // One by one, so that a request that the server refuses does not fail the others.
        Err(failure) if failure.may_be_one_request() || failure.may_be_the_connection() => {
            writes.into_iter().for_each(|write| alone.spawn(write));
        }
        Err(failure) => writes.into_iter().for_each(|write| write.answer(Err(failure.clone()))),
    }
}

/// Runs a statement for all requests, and returns the keys of the completed ones.
async fn run(
    connection: &mut Connection,
    options: &PostgresOptions,
    query: Query,
    writes: &[Write],
) -> Task<Vec<tokio_postgres::Row>> {
    if let (Query::Update, [write]) = (query, writes)
        && let Some(row) = write.work.row()
    {
        return update(connection, options, Query::UpdateOne, write, row).await;
    }
    let keys: Vec<&str> = writes.iter().map(|write| write.session_key.as_str()).collect();
    let new_keys: Vec<&str> = writes.iter().map(|write| write.new_key().as_str()).collect();
    let rows: Vec<&Row> = writes.iter().filter_map(|write| write.work.row()).collect();
    let data: Vec<&str> = rows.iter().map(|row| row.session_data.as_str()).collect();
    let expiries: Vec<DateTime<Utc>> = rows.iter().map(|row| row.expire_date).collect();
    let expected: Vec<Option<&str>> = writes.iter().map(|write| write.work.expected()).collect();
    let extra: Vec<Vec<Option<&str>>> = (0..options.extra_columns.len())
        .map(|index| rows.iter().map(|row| row.extra[index].as_deref()).collect())
        .collect();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = match query {
        Query::Create => vec![&keys, &data, &expiries],
        Query::Delete => vec![&keys],
        _ => vec![&keys, &data, &expiries, &expected, &new_keys],
    };
    if !matches!(query, Query::Delete) {
        parameters.extend(extra.iter().map(|column| column as &(dyn ToSql + Sync)));
    }
    connection.rows(options, query, &parameters).await
}

/// Runs the statements for one row.
async fn update(
    connection: &mut Connection,
    options: &PostgresOptions,
    query: Query,
    write: &Write,
    row: &Row,
) -> Task<Vec<tokio_postgres::Row>> {
    let (key, new_key) = (write.session_key.as_str(), write.new_key().as_str());
    let expected = write.work.expected();
    let mut parameters: Vec<&(dyn ToSql + Sync)> =
        vec![&key, &row.session_data, &row.expire_date, &expected, &new_key];
    parameters.extend(row.extra.iter().map(|value| value as &(dyn ToSql + Sync)));
    connection.rows(options, query, &parameters).await
}

/// The outcome of each write; `None` for those that must run alone.
async fn shared(
    connection: &mut Connection,
    options: &PostgresOptions,
    query: Query,
    writes: &[Write],
) -> Task<Vec<Option<WriteOutcome>>> {
    let keys: Vec<&str> = writes.iter().map(|write| write.session_key.as_str()).collect();
    let done = run(connection, options, query, writes).await?;
    let done = done.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<&str>, _>>()?;
    let mut outcomes: Vec<Option<WriteOutcome>> =
        keys.iter().map(|key| done.contains(key).then_some(WriteOutcome::Done)).collect();
    if matches!(query, Query::Create) {
        outcomes.iter_mut().for_each(|outcome| _ = outcome.get_or_insert(WriteOutcome::KeyTaken));
        return Ok(outcomes);
    }
    // A skipped row is missing, does not hold the expected data, or is locked.
    let left: Vec<usize> = (0..writes.len()).filter(|index| outcomes[*index].is_none()).collect();
    if left.is_empty() {
        return Ok(outcomes);
    }
    let left_keys: Vec<&str> = left.iter().map(|index| keys[*index]).collect();
    let left_expected: Vec<Option<&str>> = left.iter().map(|index| writes[*index].work.expected()).collect();
    let rows = connection.rows(options, Query::Compare, &[&left_keys, &left_expected]).await?;
    let mut there = std::collections::HashMap::new();
    for row in &rows {
        there.insert(row.try_get::<_, &str>(0)?, row.try_get::<_, bool>(1)?);
    }
    for index in left {
        outcomes[index] = match there.get(keys[index]) {
            None => Some(WriteOutcome::Missing),
            Some(false) => Some(WriteOutcome::Changed),
            Some(true) => None,
        };
    }
    Ok(outcomes)
}

/// Runs one request by itself, and waits for the row's lock if it is taken.
pub(super) async fn by_itself(
    connection: &mut Connection,
    options: &PostgresOptions,
    write: &Write,
) -> Task<WriteOutcome> {
    let (key, new_key) = (write.session_key.as_str(), write.new_key().as_str());
    let (query, count) = match &write.work {
        // It waits for no lock, so the statement for many serves one as well.
        Work::Create(_) => {
            let outcomes = shared(connection, options, Query::Create, std::slice::from_ref(write)).await?;
            return Ok(outcomes.into_iter().flatten().next().unwrap_or(WriteOutcome::KeyTaken));
        }
        Work::Update { row, .. } => {
            let updated = update(connection, options, Query::UpdateAlone, write, row).await;
            (Query::UpdateAlone, updated.map(|rows| rows.len() as u64))
        }
        Work::Delete => (Query::DeleteAlone, connection.count(options, Query::DeleteAlone, &[&key]).await),
    };
    match (count, query) {
        (Ok(0), Query::DeleteAlone) => Ok(WriteOutcome::Missing),
        (Ok(0), _) => match connection.rows(options, Query::Exists, &[&key]).await?.is_empty() {
            true => Ok(WriteOutcome::Missing),
            false => Ok(WriteOutcome::Changed),
        },
        (Ok(_), _) => Ok(WriteOutcome::Done),
        // The new key, or a value in another unique column.
        (Err(failure), _) if failure.is(&SqlState::UNIQUE_VIOLATION) && key != new_key => {
            match connection.rows(options, Query::Exists, &[&new_key]).await?.is_empty() {
                true => Err(failure),
                false => Ok(WriteOutcome::KeyTaken),
            }
        }
        (Err(failure), _) => Err(failure),
    }
}

impl Work {
    /// The statement that serves many requests of this kind.
    fn shared_query(&self) -> Query {
        match self {
            Work::Create(_) => Query::Create,
            Work::Update { .. } => Query::Update,
            Work::Delete => Query::Delete,
        }
    }

    /// The row's new content; `None` for a deletion.
    fn row(&self) -> Option<&Row> {
        match self {
            Work::Create(row) | Work::Update { row, .. } => Some(row),
            Work::Delete => None,
        }
    }

    fn expected(&self) -> Option<&str> {
        match self {
            Work::Update { expected, .. } => expected.as_deref(),
            _ => None,
        }
    }
}
