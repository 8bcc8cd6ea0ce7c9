//! The index of user sessions, in its own table.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};
use rusqlite::{Connection, Row, params};

use super::error::Task;
use super::schema::table_exists;
use super::{DIALECT, SqliteOptions, SqliteStore, connections, format_time, threads};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listing, Paged, Pages, end_of};
use crate::store::sql::table::TableCreation;
use crate::store::user_session_index::{Client, Entry, UserSessionIndex};

impl SqliteOptions {
    /// Creates the table for the [index of user sessions](crate::user_sessions) in an existing file. An
    /// existing table stays as it is.
    ///
    /// # Errors
    /// When the file is missing, is not a database, is locked or cannot be written.
    pub async fn create_user_session_table(&self) -> Result<TableCreation, StoreError> {
        let options = self.clone();
        let create = move || {
            connections::once(&options, false, |connection| {
                create_table(connection, &options.user_session_table)
            })
        };
        threads::once(create).await.map_err(|failure| failure.explain(&self.of_user_sessions()))
    }

    /// These options, for messages about the index.
    fn of_user_sessions(&self) -> SqliteOptions {
        SqliteOptions { table: self.user_session_table.clone(), cache: None, ..self.clone() }
    }
}

fn create_table(connection: &Connection, table: &str) -> Task<TableCreation> {
    if table_exists(connection, table)? {
        return Ok(TableCreation::AlreadyThere);
    }
    connection.execute_batch(&DIALECT.user_session_table(table))?;
    Ok(TableCreation::Created)
}

impl SqliteStore {
    async fn read_index<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Connection) -> Task<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let result = self.threads.read(task).await;
        result.map_err(|failure| failure.explain(&self.options.of_user_sessions()))
    }

    async fn write_index(
        &self,
        task: impl Fn(&Connection) -> Task<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let result = self.threads.write(task).await;
        result.map_err(|failure| failure.explain(&self.options.of_user_sessions()))
    }
}

#[async_trait]
impl UserSessionIndex for SqliteStore {
    async fn check(&self) -> Result<(), StoreError> {
        let statements = Arc::clone(&self.statements);
        self.read_index(move |connection| Ok(connection.prepare(&statements.index.check).map(drop)?)).await
    }

    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError> {
        let statements = Arc::clone(&self.statements);
        let (entry, moved_from) = (entry.clone(), moved_from.cloned());
        self.write_index(move |connection| {
            connection.prepare_cached(&statements.index.put)?.execute(params![
                entry.user_id,
                entry.session_key.as_str(),
                format_time(entry.first_seen.naive_utc()),
                format_time(entry.last_seen.naive_utc()),
                entry.client.address(),
                entry.client.user_agent(),
                moved_from.as_ref().map(SessionKey::as_str),
            ])?;
            Ok(())
        })
        .await
    }

    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let statements = Arc::clone(&self.statements);
        let entries = entries.to_vec();
        self.write_index(move |connection| {
            let mut statement = connection.prepare_cached(&statements.index.fill)?;
            for entry in &entries {
                statement.execute(params![
                    entry.user_id,
                    entry.session_key.as_str(),
                    format_time(entry.first_seen.naive_utc()),
                    format_time(entry.last_seen.naive_utc()),
                    entry.client.address(),
                    entry.client.user_agent(),
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError> {
        let statements = Arc::clone(&self.statements);
        let user_id = user_id.to_owned();
        self.read_index(move |connection| {
            let mut statement = connection.prepare_cached(&statements.index.of_user)?;
            Ok(statement.query_map(params![user_id], entry)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError> {
        let statements = Arc::clone(&self.statements);
        let places: Vec<(String, SessionKey)> =
            entries.iter().map(|(user_id, key)| ((*user_id).to_owned(), (*key).clone())).collect();
        self.write_index(move |connection| {
            let mut statement = connection.prepare_cached(&statements.index.remove)?;
            for (user_id, session_key) in &places {
                statement.execute(params![user_id, session_key.as_str()])?;
            }
            Ok(())
        })
        .await
    }

    fn entries(&self) -> Box<dyn Listing<Entry> + '_> {
        Box::new(Pages::<_, Entry>::of(self))
    }
}

#[async_trait]
impl Paged<Entry> for SqliteStore {
    type Place = (String, SessionKey);

    async fn page(
        &self,
        after: Option<&(String, SessionKey)>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Entry>, Option<(String, SessionKey)>), StoreError> {
        let statements = Arc::clone(&self.statements);
        let after = after.cloned();
        let (user_id, session_key) = after.unwrap_or_else(|| (String::new(), SessionKey::from_trusted("")));
        let page = self.read_index(move |connection| {
            let mut statement = connection.prepare_cached(&statements.index.page)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![user_id, session_key.as_str(), limit], entry)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        let page = page.await?;
        let end = end_of(&page, limit, Entry::place);
        Ok((page, end))
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        user_id: row.get(0)?,
        session_key: SessionKey::from_trusted(row.get::<_, String>(1)?),
        first_seen: time(row, 2)?,
        last_seen: time(row, 3)?,
        client: Client::new(
            row.get::<_, Option<String>>(4)?.as_deref(),
            row.get::<_, Option<String>>(5)?.as_deref(),
        ),
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    let text: String = row.get(column)?;
    let time = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f");
    Ok(time.map(|time| time.and_utc()).unwrap_or_default())
}
