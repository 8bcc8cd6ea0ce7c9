//! Reads: while one statement is in progress, arriving requests queue up, and the next statement serves them
//! all. A single request goes at once.

use std::error::Error;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::PostgresOptions;
use super::connection::{Connection, Link};
use super::error::Task;
use super::statements::Query;
use crate::site::session_key::SessionKey;

/// A stored row.
#[derive(Clone)]
pub(super) struct Stored {
    /// `None` when the column is null.
    pub(super) session_data: Option<Arc<str>>,
    pub(super) expire_date: Option<Timestamp>,
}

/// PostgreSQL's time: microseconds since 2000, or the ends of the range for `infinity`. Its range is wider
/// than that of Python and chrono.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timestamp(pub(super) i64);

impl Timestamp {
    /// `-infinity`.
    pub(super) const FIRST: Timestamp = Timestamp(i64::MIN);
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Timestamp, Box<dyn Error + Sync + Send>> {
        Ok(Timestamp(i64::from_be_bytes(bytes.try_into()?)))
    }

    fn accepts(found: &Type) -> bool {
        *found == Type::TIMESTAMPTZ
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0);
        Ok(IsNull::No)
    }

    fn accepts(column: &Type) -> bool {
        *column == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// A request for one row.
pub(super) struct Read {
    pub(super) session_key: SessionKey,
    pub(super) reply: oneshot::Sender<Task<Option<Stored>>>,
}

/// Serves requests until the store is dropped.
pub(super) async fn serve(
    mut link: Link,
    options: Arc<PostgresOptions>,
    mut reads: mpsc::UnboundedReceiver<Read>,
) {
    let mut batch = Vec::new();
    while reads.recv_many(&mut batch, options.batch.max(1)).await > 0 {
        // Cancelled requests are dropped.
        batch.retain(|read| !read.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        batch.sort_unstable_by(|left, right| left.session_key.cmp(&right.session_key));
        let keys: Vec<&str> = batch.iter().map(|read| read.session_key.as_str()).collect();
        let mut rows = link.run(async |connection| load(connection, &options, &keys).await).await;
        if rows.as_ref().is_err_and(super::error::Failure::ends_connection)
            && !matches!(rows, Err(super::error::Failure::Deadline))
        {
            // A connection that broke while idle is noticed only now; reading twice is harmless.
            rows = link.run(async |connection| load(connection, &options, &keys).await).await;
        }
        match rows {
            Ok(rows) => {
                for (read, row) in batch.drain(..).zip(rows) {
                    let _ = read.reply.send(Ok(row));
                }
            }
            Err(failure) => {
                for read in batch.drain(..) {
                    let _ = read.reply.send(Err(failure.clone()));
                }
            }
        }
    }
}

/// Loads the row of each of these sorted keys. A repeated key is looked up once.
async fn load(
    connection: &mut Connection,
    options: &PostgresOptions,
    keys: &[&str],
) -> Task<Vec<Option<Stored>>> {
    let rows = connection.rows(options, Query::Load, &[&keys]).await?;
    let mut found = vec![None; keys.len()];
    for row in &rows {
        // Matched by the exact key: the site's collation may have found others.
        let key: &str = row.try_get(0)?;
        let first = keys.partition_point(|other| *other < key);
        for position in (first..keys.len()).take_while(|position| keys[*position] == key) {
            found[position] = Some(stored(row)?);
        }
    }
    Ok(found)
}

fn stored(row: &Row) -> Task<Stored> {
    let session_data: Option<&str> = row.try_get(1)?;
    Ok(Stored { session_data: session_data.map(Arc::from), expire_date: row.try_get(2)? })
}
