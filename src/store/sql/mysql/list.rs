//! Listing and counting, in the order of the keys.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};

use super::MysqlStore;
use super::error::Failure;
use super::statements::{List, Stored, Totals};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Count, Listed, Paged, end_of};
use crate::store::sql::row_format;

#[async_trait]
impl Paged<Listed> for MysqlStore {
    type Place = SessionKey;

    async fn page(
        &self,
        after: Option<&SessionKey>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<SessionKey>), StoreError> {
        self.format.check_listable("mysql")?;
        // No key is empty, so all keys come after it.
        let after = after.map(|key| self.format.row_key(key));
        let after = after.map_or_else(String::new, |key| key.as_str().to_owned());
        let listed = |(key, row): (String, Stored)| {
            let expire_date = row.expire_date.map(|time| self.time_zone.from_wall_clock(time));
            row_format::listed(&self.format, key, row.session_data, expire_date, |error| {
                error.map_or(Failure::NotText, Failure::Unreadable).explain(&self.shared.options)
            })
        };
        let rows = self.ask(List { after, limit: limit as u64 }).await?;
        let end = end_of(&rows, limit, |(key, _)| self.format.session_key(key.clone()));
        Ok((rows.into_iter().filter_map(listed).collect(), end))
    }
}

impl MysqlStore {
    pub(super) async fn count_rows(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.format.check_listable("mysql")?;
        let now: NaiveDateTime = self.time_zone.to_wall_clock(now);
        Ok(Count::of(self.ask(Totals { now }).await?))
    }
}
