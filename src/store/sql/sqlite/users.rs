//! The password fields of users.

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::error::Task;
use super::{DIALECT, SqliteOptions, connections, threads};
use crate::site::error::StoreError;
use crate::store::sql::users::{Passwords, no_users};

/// The number of values that every SQLite accepts in one statement.
const VALUES: usize = 900;

struct Users(SqliteOptions);

impl SqliteOptions {
    /// Creates a reader of users from this table.
    pub(super) async fn users(mut self, table: &str) -> Result<Box<dyn Passwords>, StoreError> {
        table.clone_into(&mut self.table);
        let is_there = look(&self, |connection, table| {
            let columns = "SELECT COUNT(*) FROM pragma_table_info(?1) WHERE name IN ('id', 'password')";
            Ok(connection.query_row(columns, params![table], |row| row.get::<_, i64>(0))? == 2)
        });
        if is_there.await? {
            Ok(Box::new(Users(self)))
        } else {
            Err(no_users("sqlite", self.path.display(), table))
        }
    }
}

/// Runs read-only work, with the name of the table.
async fn look<T: Send + 'static>(
    options: &SqliteOptions,
    work: impl FnOnce(&Connection, &str) -> Task<T> + Send + 'static,
) -> Result<T, StoreError> {
    let own = options.clone();
    let look = move || {
        connections::alone(&own, false, |connection| {
            connection.pragma_update(None, "query_only", true)?;
            work(connection, &own.table)
        })
    };
    threads::once(look).await.map_err(|failure| failure.explain(options))
}

#[async_trait]
impl Passwords for Users {
    async fn of(&self, ids: &[String]) -> Result<Vec<(String, String)>, StoreError> {
        let ids = ids.to_owned();
        let read = move |connection: &Connection, table: &str| {
            let mut found = Vec::new();
            for ids in ids.chunks(VALUES) {
                // The column's type decides the comparison: `7` is a number where ids are numbers.
                let places = vec!["?"; ids.len()].join(", ");
                let sql = format!(
                    "SELECT CAST(\"id\" AS TEXT), \"password\" FROM {} WHERE \"id\" IN ({places})",
                    DIALECT.quoted(table)
                );
                let values = params_from_iter(ids.iter().map(|id| Value::Text(id.clone())));
                let mut statement = connection.prepare(&sql)?;
                let rows = statement.query_map(values, |row| {
                    Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default()))
                })?;
                for row in rows {
                    found.push(row?);
                }
            }
            Ok(found)
        };
        look(&self.0, read).await
    }
}

super::super::database::database!(SqliteOptions);
