//! Listing and counting, in the order of the keys.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::params;

use super::error::Failure;
use super::{SqliteStore, stored};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Count, Listed, Paged, end_of};
use crate::store::sql::row_format;

#[async_trait]
impl Paged<Listed> for SqliteStore {
    type Place = SessionKey;

    async fn page(
        &self,
        after: Option<&SessionKey>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<SessionKey>), StoreError> {
        self.format.check_listable("sqlite")?;
        let after = after.map(|key| self.format.row_key(key));
        let after = after.map_or_else(|| self.format.before_the_first(), |key| key.as_str().to_owned());
        let statements = Arc::clone(&self.statements);
        let rows = self.read(move |connection| {
            let mut statement = connection.prepare_cached(&statements.list)?;
            statement.raw_bind_parameter(1, i64::try_from(limit).unwrap_or(i64::MAX))?;
            statement.raw_bind_parameter(2, after.as_str())?;
            let mut found = Vec::new();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let key = row.get_ref(0)?.as_bytes().map_err(|_| Failure::NotText)?;
                found.push((String::from_utf8_lossy(key).into_owned(), stored(row, 1)?));
            }
            Ok(found)
        });
        let listed = |(key, (data, expiry)): (String, (_, Option<String>))| {
            let expire_date = self.parse_time(expiry.as_deref());
            row_format::listed(&self.format, key, data, expire_date, |error| {
                error.map_or(Failure::NotText, Failure::Unreadable).explain(&self.options)
            })
        };
        let rows = rows.await?;
        let end = end_of(&rows, limit, |(key, _)| self.format.session_key(key.clone()));
        Ok((rows.into_iter().filter_map(listed).collect(), end))
    }
}

impl SqliteStore {
    pub(super) async fn count_rows(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.format.check_listable("sqlite")?;
        let (now, statements) = (self.time_text(now), Arc::clone(&self.statements));
        let counted = self.read(move |connection| {
            let row: (i64, i64) = connection
                .query_row(&statements.count, params![now], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(row)
        });
        Ok(Count::of(counted.await?))
    }
}
