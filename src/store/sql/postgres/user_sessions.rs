//! The index of user sessions, in its own table.
//!
//! Its statements are rare: one at a login, then one in minutes for each session. So one connection serves
//! them sequentially; it is opened on first use.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connection::Connection;
use super::error::{Failure, Task};
use super::schema::lock_and_look;
use super::statements::Query;
use super::{DIALECT, PostgresOptions, PostgresStore};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listing, Paged, Pages, end_of};
use crate::store::sql::table::TableCreation;
use crate::store::user_session_index::{Client, Entry, UserSessionIndex};

impl PostgresOptions {
    /// Creates the table for the [index of user sessions](crate::user_sessions). An existing table stays as
    /// it is.
    ///
    /// # Errors
    /// When the server cannot be reached or the user may not create tables.
    pub async fn create_user_session_table(&self) -> Result<TableCreation, StoreError> {
        let create = async { create_table(self).await };
        let result = timeout(self.timeout, create).await.unwrap_or(Err(Failure::Deadline));
        result.map_err(|failure| failure.explain(&self.of_user_sessions()))
    }

    /// These options, for messages about the index.
    fn of_user_sessions(&self) -> PostgresOptions {
        PostgresOptions { table: self.user_session_table.clone(), cache: None, ..self.clone() }
    }
}

async fn create_table(options: &PostgresOptions) -> Task<TableCreation> {
    let mut connection = Connection::open(options).await?;
    let transaction = connection.transaction(options).await?;
    if !lock_and_look(&transaction, options, &options.user_session_table).await? {
        return Ok(TableCreation::AlreadyThere);
    }
    let (_, table) = options.place_of(&options.user_session_table);
    transaction.batch_execute(&DIALECT.user_session_table(table)).await?;
    transaction.commit().await?;
    Ok(TableCreation::Created)
}

impl PostgresStore {
    async fn ask_index<T>(&self, work: impl AsyncFnOnce(&mut Connection) -> Task<T>) -> Task<T> {
        let tasks = self.tasks();
        let answer = async { tasks.index.lock().await.run(work).await };
        timeout(self.options.timeout, answer).await.unwrap_or(Err(Failure::Deadline))
    }

    fn explain_of_index(&self, failure: Failure) -> StoreError {
        failure.explain(&self.options.of_user_sessions())
    }

    async fn index_rows(
        &self,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Entry>, StoreError> {
        let ask = async |connection: &mut Connection| {
            let rows = connection.rows(&self.options, query, parameters).await?;
            rows.iter().map(entry).collect::<Task<Vec<Entry>>>()
        };
        self.ask_index(ask).await.map_err(|failure| self.explain_of_index(failure))
    }

    /// Changes entries. A login fails together with its entry, so a failure of the connection is retried on
    /// another.
    async fn change_index(&self, query: Query, parameters: &[&(dyn ToSql + Sync)]) -> Result<(), StoreError> {
        let changed = match self.change_index_once(query, parameters).await {
            Err(failure) if failure.may_be_the_connection() => {
                self.change_index_once(query, parameters).await
            }
            changed => changed,
        };
        changed.map_err(|failure| self.explain_of_index(failure))
    }

    async fn change_index_once(&self, query: Query, parameters: &[&(dyn ToSql + Sync)]) -> Task<()> {
        let ask = async |connection: &mut Connection| {
            connection.count(&self.options, query, parameters).await.map(drop)
        };
        self.ask_index(ask).await
    }
}

/// PostgreSQL cannot store NUL in text, so no entry contains it.
fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

#[async_trait]
impl UserSessionIndex for PostgresStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.index_rows(Query::IndexOfUser, &[&""]).await.map(drop)
    }

    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError> {
        let moved_from = moved_from.map(SessionKey::as_str);
        self.change_index(
            Query::IndexPut,
            &[
                &entry.user_id,
                &entry.session_key.as_str(),
                &entry.first_seen,
                &entry.last_seen,
                &entry.client.address(),
                &entry.client.user_agent(),
                &moved_from,
            ],
        )
        .await
    }

    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let entries: Vec<&Entry> = entries.iter().filter(|entry| !has_nul(&entry.user_id)).collect();
        let users: Vec<&str> = entries.iter().map(|entry| entry.user_id.as_str()).collect();
        let keys: Vec<&str> = entries.iter().map(|entry| entry.session_key.as_str()).collect();
        let first: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.first_seen).collect();
        let last: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.last_seen).collect();
        let addresses: Vec<Option<&str>> = entries.iter().map(|entry| entry.client.address()).collect();
        let agents: Vec<Option<&str>> = entries.iter().map(|entry| entry.client.user_agent()).collect();
        self.change_index(Query::IndexFill, &[&users, &keys, &first, &last, &addresses, &agents]).await
    }

    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError> {
        if has_nul(user_id) {
            return Ok(Vec::new());
        }
        self.index_rows(Query::IndexOfUser, &[&user_id]).await
    }

    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError> {
        let entries = entries.iter().filter(|(user_id, _)| !has_nul(user_id));
        let (users, keys): (Vec<&str>, Vec<&str>) = entries.map(|(user, key)| (*user, key.as_str())).unzip();
        self.change_index(Query::IndexRemove, &[&users, &keys]).await
    }

    fn entries(&self) -> Box<dyn Listing<Entry> + '_> {
        Box::new(Pages::<_, Entry>::of(self))
    }
}

#[async_trait]
impl Paged<Entry> for PostgresStore {
    type Place = (String, SessionKey);

    async fn page(
        &self,
        after: Option<&(String, SessionKey)>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Entry>, Option<(String, SessionKey)>), StoreError> {
        let after = after.cloned();
        let (user_id, session_key) = after.unwrap_or_else(|| (String::new(), SessionKey::from_trusted("")));
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let page = self.index_rows(Query::IndexPage, &[&user_id, &session_key.as_str(), &rows]).await?;
        let end = end_of(&page, limit, Entry::place);
        Ok((page, end))
    }
}

fn entry(row: &Row) -> Task<Entry> {
    Ok(Entry {
        user_id: row.try_get(0)?,
        session_key: SessionKey::from_trusted(row.try_get::<_, String>(1)?),
        first_seen: row.try_get(2)?,
        last_seen: row.try_get(3)?,
        client: Client::new(row.try_get(4)?, row.try_get(5)?),
    })
}
