//! The users' table.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::alone::Alone;
use super::connection::Connection;
use super::error::{Failure, Task};
use super::pooled::{Answer, Parameter};
use super::{DIALECT, PostgresOptions, quoted};
use crate::site::error::StoreError;
use crate::store::per_runtime::PerRuntime;
use crate::store::sql::table::ColumnValue;
use crate::store::sql::users::{Described, UserConnection, UserRow, Users};

/// The columns of the table `$1` and their types. The -1 keeps `character` from meaning one character.
const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, -1) FROM pg_attribute \
     WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped";

struct OpenUsers {
    options: Arc<PostgresOptions>,
    connections: PerRuntime<Alone>,
}

impl PostgresOptions {
    /// Opens a table of users.
    pub(super) async fn users(mut self, table: &str, columns: &[&str]) -> Result<Users, StoreError> {
        // For messages.
        table.clone_into(&mut self.table);
        let parts: Vec<String> = table.split('.').map(quoted).collect();
        let quoted_table = parts.join(".");
        let look = async {
            let connection = Connection::open(&self).await?;
            let rows = connection.ask(&self, COLUMNS, &[(&quoted_table, Type::TEXT)]).await?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Task<_>>()
        };
        let types = timeout(self.timeout, look).await.unwrap_or(Err(Failure::Deadline));
        let types = types.map_err(|failure| failure.explain(&self))?;
        let described = Described { store: "postgres", place: self.place(), table: table.to_owned(), types };
        described.require(columns)?;
        let users = OpenUsers { options: Arc::new(self), connections: PerRuntime::new() };
        Ok(Users::new(Box::new(users), DIALECT, described))
    }
}

impl OpenUsers {
    async fn ask(&self, sql: &str, values: &[ColumnValue], end: Instant) -> Task<Answer> {
        let values: Vec<Option<String>> = values.iter().map(text).collect();
        let parameters: Vec<Parameter<'_>> = values.iter().map(|value| (value as _, Type::TEXT)).collect();
        let ask = async |connection: &mut Connection, options: &PostgresOptions| {
            connection.answer_again(options, sql, &parameters).await
        };
        self.connections().lend(end, ask).await
    }

    /// Those of the current runtime.
    fn connections(&self) -> Alone {
        self.connections.with(|| Alone::new(Arc::clone(&self.options)), |own| own.clone())
    }

    fn explain(&self, failure: Failure) -> StoreError {
        match &failure {
            Failure::Server { code, message }
                if [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN].contains(code) =>
            {
                Described::missing("postgres", &self.options.place(), message)
            }
            _ => failure.explain(&self.options),
        }
    }
}

fn text(value: &ColumnValue) -> Option<String> {
    match value {
        ColumnValue::Null => None,
        ColumnValue::Integer(number) => Some(number.to_string()),
        ColumnValue::Text(text) => Some(text.clone()),
    }
}

#[async_trait]
impl UserConnection for OpenUsers {
    async fn rows(&self, sql: String, values: Vec<ColumnValue>) -> Result<Option<Vec<UserRow>>, StoreError> {
        let end = Instant::now() + self.options.timeout;
        let answer = match self.ask(&sql, &values, end).await {
            // The server has ended the connection, and probably the others too. A read may run again.
            Err(failure) if failure.ends_connection() && !matches!(failure, Failure::Deadline) => {
                self.connections().forget_idle();
                self.ask(&sql, &values, end).await
            }
            answer => answer,
        };
        let read = |answer: Answer| {
            let row = |row: &tokio_postgres::Row| {
                (0..row.len()).map(|column| Ok(row.try_get(column)?)).collect::<Task<UserRow>>()
            };
            answer.rows.iter().map(row).collect::<Task<Vec<UserRow>>>()
        };
        match answer.and_then(read) {
            Ok(rows) => Ok(Some(rows)),
            Err(Failure::Server { code, .. }) if code == SqlState::UNTRANSLATABLE_CHARACTER => Ok(None),
            Err(failure) => Err(self.explain(failure)),
        }
    }

    async fn change(&self, sql: String, values: Vec<ColumnValue>) -> Result<u64, StoreError> {
        let end = Instant::now() + self.options.timeout;
        let answer = self.ask(&sql, &values, end).await;
        answer.map(|answer| answer.changed).map_err(|failure| self.explain(failure))
    }

    fn limit(&self) -> Duration {
        self.options.timeout
    }

    fn too_late(&self) -> StoreError {
        Failure::Deadline.explain(&self.options)
    }
}

super::super::database::database!(PostgresOptions);
