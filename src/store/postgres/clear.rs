//! Removing what has expired, in statements so small that nobody waits for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_postgres::{Error, Row};

use super::PostgresStore;
use super::error::Failure;
use super::reads::Timestamp;
use super::statements::Query;
use crate::error::StoreError;
use crate::store::Progress;
use crate::store::table::BatchSize;

/// How long a statement is meant to take. It holds up nobody, as it locks only what has expired; but what it writes
/// stands in the log before the next commit of others. Much shorter ones would be all waiting for the server's answer
/// on a busy machine: with 20 milliseconds, clearing took twenty times as long as in one statement.
const MEANT: Duration = Duration::from_millis(100);

impl PostgresStore {
    pub(super) async fn clear(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        let mut batch = BatchSize::up_to(self.options.clear_batch, MEANT);
        let (mut cleared, mut from) = (0, Timestamp::FIRST);
        loop {
            let (start, most) = (Instant::now(), batch.rows());
            let rows = self
                .rows_alone(self.options.deadline, Query::Clear, &[&now, &i64::from(most), &from])
                .await?;
            let found = rows.first().ok_or(Failure::Closed).and_then(|row| Ok(Found::read(row)?));
            let found = found.map_err(|failure| self.explain(failure))?;
            cleared += found.removed as u64;
            from = found.last.unwrap_or(from);
            if progress(cleared).is_break() || found.rows < i64::from(most) {
                return Ok(cleared);
            }
            batch.took(start.elapsed());
        }
    }
}

/// What one statement did.
struct Found {
    rows: i64,
    last: Option<Timestamp>,
    removed: i64,
}

impl Found {
    fn read(row: &Row) -> Result<Found, Error> {
        Ok(Found { rows: row.try_get(0)?, last: row.try_get(1)?, removed: row.try_get(2)? })
    }
}
