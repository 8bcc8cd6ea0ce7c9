//! The users' table.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, params_from_iter};

use super::error::{Failure, Task};
use super::threads::Threads;
use super::{Columns, DIALECT, ExtraValue, SqliteOptions, connections, threads};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::sql::table::ColumnValue;
use crate::store::sql::users::{Described, UserConnection, UserRow, Users};

/// SQLite itself ends the wait for another program's lock; its error says more.
const GRACE: Duration = Duration::from_millis(100);

struct OpenUsers {
    options: SqliteOptions,
    threads: Threads,
}

impl SqliteOptions {
    /// Opens a table of users; the first of the columns is the id's.
    pub(super) async fn users(mut self, table: &str, columns: &[&str]) -> Result<Users, StoreError> {
        table.clone_into(&mut self.table);
        let own = self.clone();
        let look = move || {
            connections::alone(&own, false, |connection| {
                let sql = "SELECT name, type FROM pragma_table_xinfo(?1)";
                let mut statement = connection.prepare(sql)?;
                let types = statement.query_map([&own.table], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(types.collect::<Result<_, _>>()?)
            })
        };
        let types = threads::once(look).await.map_err(|failure| failure.explain(&self))?;
        let place = self.path.display().to_string();
        let described = Described { store: "sqlite", place, table: table.to_owned(), types };
        described.require(columns)?;
        // What the threads look for when they open the file: the table, and its id.
        let id = columns.first().copied().unwrap_or_default().to_owned();
        self.columns = Columns { session_key: id.clone(), session_data: id.clone(), expire_date: id };
        (self.extra_columns, self.cache) = (Vec::new(), None);
        let threads = Threads::start(&self).await.map_err(|failure| failure.explain(&self))?;
        Ok(Users::new(Box::new(OpenUsers { options: self, threads }), DIALECT, described))
    }
}

impl OpenUsers {
    fn explain(&self, failure: Failure) -> StoreError {
        match &failure {
            Failure::Sqlite(error) if error.to_string().contains("no such ") => {
                Described::missing("sqlite", &self.options.path.display().to_string(), &error.to_string())
            }
            _ => failure.explain(&self.options),
        }
    }
}

#[async_trait]
impl UserConnection for OpenUsers {
    async fn rows(&self, sql: String, values: Vec<ColumnValue>) -> Result<Option<Vec<UserRow>>, StoreError> {
        let read = move |connection: &Connection| -> Task<Vec<UserRow>> {
            let mut statement = connection.prepare_cached(&sql)?;
            let count = statement.column_count();
            let rows = statement.query_map(params_from_iter(values.into_iter().map(ExtraValue)), |row| {
                (0..count).map(|column| row.get(column)).collect()
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.threads.read(read).await.map(Some).map_err(|failure| self.explain(failure))
    }

    async fn change(&self, sql: String, values: Vec<ColumnValue>) -> Result<u64, StoreError> {
        let write = move |connection: &Connection| -> Task<u64> {
            let values = params_from_iter(values.iter().cloned().map(ExtraValue));
            Ok(connection.prepare_cached(&sql)?.execute(values)? as u64)
        };
        self.threads.write(write).await.map_err(|failure| self.explain(failure))
    }

    fn limit(&self) -> Duration {
        self.options.timeout + GRACE
    }

    fn too_late(&self) -> StoreError {
        let (path, seconds) = (self.options.path.display(), self.options.timeout.as_secs_f32());
        let message = format!(
            "{path}: no answer within {seconds} seconds; try again, or find what keeps the disk busy"
        );
        StoreError::new("sqlite", StoreErrorKind::Unavailable, message)
    }
}

super::super::database::database!(SqliteOptions);
