//! Removes expired sessions, in statements so small that nobody waits for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Error, Row};

use super::PostgresStore;
use super::error::{Failure, Task};
use super::reads::Timestamp;
use super::statements::Query;
use crate::site::error::StoreError;
use crate::store::contract::Progress;
use crate::store::sql::table::BatchSize;

/// The target duration of a statement. It blocks nobody, as it locks only expired rows. But its log records
/// are written before the next commit of others. Much shorter statements would mostly wait for the server's
/// answer on a busy machine: with 20 milliseconds, clearing took twenty times as long as in one statement.
const MEANT: Duration = Duration::from_millis(100);

/// The maximum number of pages that one statement reads, 32 MB: if few rows have expired, it must not read
/// the whole table.
const PAGES: i64 = 4_096;

impl PostgresStore {
    pub(super) async fn clear(
        &self,
        now: DateTime<Utc>,
        progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.format.check_listable("postgres")?;
        let mut batch = BatchSize::up_to(self.options.clear_batch, MEANT);
        let (mut place, mut cleared) = (self.first_place(now).await?, 0);
        loop {
            let (start, most) = (Instant::now(), batch.rows());
            let limit = i64::from(most);
            let found = match &place {
                Place::Expiry(from) => self.clear_batch(Query::Clear, &[&now, &limit, from]).await?,
                Place::Stored { from, page, .. } => {
                    self.clear_batch(Query::Sweep, &[&now, &limit, from, &before(*page)]).await?
                }
            };
            let full = found.rows >= limit;
            cleared += found.removed as u64;
            let more = place.advance(&found, full).map_err(|error| self.explain(error.into()))?;
            if progress(cleared).is_break() || !more {
                return Ok(cleared);
            }
            if full {
                batch.took(start.elapsed());
            }
        }
    }

    /// Chooses how to find expired rows, which may lie anywhere in the table. If there are few, the index of
    /// the expiry finds them; each is on its own page, which is read, changed, logged and written for it. If
    /// there is one for every other page or more, the table is read page by page instead, so that each page
    /// is processed once.
    async fn first_place(&self, now: DateTime<Utc>) -> Result<Place, StoreError> {
        let table = self.options.names().table;
        let pages: i64 = self.first_value(Query::Pages, &[&table]).await?;
        if pages > 0 {
            let plan: String = self.first_value(Query::Estimate, &[&now]).await?;
            let rows = plan.split_once("rows=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            if rows.is_some_and(|rows: i64| rows >= pages / 2) {
                return Ok(Place::Stored { from: before(0), page: PAGES, end: pages });
            }
        }
        Ok(Place::Expiry(Timestamp::FIRST))
    }

    async fn clear_batch(
        &self,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Found, StoreError> {
        let rows = self.rows_alone(self.options.timeout, query, parameters).await?;
        let found = rows.into_iter().next().ok_or(Failure::Closed).and_then(Found::read);
        found.map_err(|failure| self.explain(failure))
    }

    async fn first_value<T: FromSqlOwned>(
        &self,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<T, StoreError> {
        let rows = self.rows_alone(self.options.timeout, query, parameters).await?;
        let value = rows.first().ok_or(Failure::Closed).and_then(|row| Ok(row.try_get(0)?));
        value.map_err(|failure| self.explain(failure))
    }
}

/// The start of a batch.
enum Place {
    /// At this expiry, along its index.
    Expiry(Timestamp),
    /// After this row, in storage order, up to a page; the whole sweep ends at the page that was the last
    /// when it began.
    Stored { from: String, page: i64, end: i64 },
}

impl Place {
    /// Advances behind a batch; returns false after the last one.
    fn advance(&mut self, found: &Found, full: bool) -> Result<bool, Error> {
        match self {
            Place::Expiry(from) => {
                *from = found.row.try_get::<_, Option<_>>(1)?.unwrap_or(*from);
                Ok(full)
            }
            Place::Stored { from, .. } if full => {
                *from = found.row.try_get(1)?;
                Ok(true)
            }
            Place::Stored { from, page, end } => {
                *from = before(*page);
                let more = page < end;
                *page += PAGES;
                Ok(more)
            }
        }
    }
}

/// The place before the first row of a page: PostgreSQL counts the rows of a page from 1.
fn before(page: i64) -> String {
    format!("({page},0)")
}

/// The outcome of one statement.
struct Found {
    rows: i64,
    removed: i64,
    row: Row,
}

impl Found {
    fn read(row: Row) -> Task<Found> {
        Ok(Found { rows: row.try_get(0)?, removed: row.try_get(2)?, row })
    }
}
