//! Listing and counting, in the order of the keys.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::connection::Connection;
use super::error::Failure;
use super::reads::Timestamp;
use super::statements::Query;
use super::{PostgresOptions, PostgresStore};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Count, Listed, Paged, end_of};
use crate::store::sql::row_format;

/// Counting reads a whole index: no request waits for it, and millions of rows take time.
const COUNTING: Duration = Duration::from_secs(10 * 60);

#[async_trait]
impl Paged<Listed> for PostgresStore {
    type Place = SessionKey;

    async fn page(
        &self,
        after: Option<&SessionKey>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<SessionKey>), StoreError> {
        self.format.check_listable("postgres")?;
        // In the database's order, a key may come before its own beginning. No key is empty, so that all come after it.
        let after = after.map(|key| self.format.row_key(key));
        let after = after.as_ref().map_or("", SessionKey::as_str);
        let count = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows_alone(self.options.timeout, Query::List, &[&after, &count]).await?;
        let key_of = |row: &Row| Ok(self.format.session_key(row.try_get(0)?));
        let end = end_of(&rows, limit, key_of).transpose();
        let end = end.map_err(|error: Error| self.explain(error.into()))?;
        let page = rows.iter().filter_map(|row| self.listed(row).transpose());
        let page = page.collect::<Result<_, _>>().map_err(|error| self.explain(error.into()))?;
        Ok((page, end))
    }
}

impl PostgresStore {
    fn listed(&self, row: &Row) -> Result<Option<Listed>, Error> {
        let row_key: String = row.try_get(0)?;
        let data: Option<String> = row.try_get(1)?;
        let expire_date = row.try_get::<_, Option<Timestamp>>(2)?.and_then(Timestamp::to_utc);
        let data = data.map(String::into_bytes);
        Ok(row_format::listed(&self.format, row_key, data, expire_date, |error| {
            self.explain(error.map_or(Failure::NotText, Failure::Unreadable))
        }))
    }

    pub(super) async fn count_rows(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.format.check_listable("postgres")?;
        let rows = self.rows_alone(COUNTING, Query::Count, &[&now]).await?;
        let row = rows.first().ok_or_else(|| self.explain(Failure::Closed))?;
        let counted = || Ok((row.try_get(0)?, row.try_get(1)?));
        counted().map(Count::of).map_err(|error: Error| self.explain(error.into()))
    }

    /// Runs a statement on a separate connection and returns its rows.
    pub(super) async fn rows_alone(
        &self,
        deadline: Duration,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let work = async |connection: &mut Connection, options: &PostgresOptions| {
            connection.rows(options, query, parameters).await
        };
        let alone = &self.tasks().alone;
        alone.run(Instant::now() + deadline, work).await.map_err(|failure| self.explain(failure))
    }

    pub(super) fn explain(&self, failure: Failure) -> StoreError {
        failure.explain(&self.options)
    }
}
