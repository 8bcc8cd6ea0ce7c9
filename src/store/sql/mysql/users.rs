//! The users' table.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};
use tokio::time::timeout;

use super::connections::{Connections, connect};
use super::error::{Failure, Task};
use super::statements::{Request, Statements};
use super::{DIALECT, MysqlOptions};
use crate::site::error::StoreError;
use crate::store::sql::table::ColumnValue;
use crate::store::sql::users::{Described, UserConnection, UserRow, Users};

/// The maximum number of connections.
const CONNECTIONS: usize = 8;

/// A table or a column that is missing: `ER_NO_SUCH_TABLE`, `ER_BAD_FIELD_ERROR`.
const MISSING: [u16; 2] = [1146, 1054];

struct OpenUsers(Arc<Shared>);

struct Shared {
    options: Arc<MysqlOptions>,
    connections: Connections,
    /// Of the session table, which these requests do not use.
    statements: Statements,
}

impl MysqlOptions {
    /// Opens a table of users.
    pub(super) async fn users(mut self, table: &str, columns: &[&str]) -> Result<Users, StoreError> {
        table.clone_into(&mut self.table);
        self.connections = CONNECTIONS.min(self.connections);
        let look = async {
            let mut connection = connect(&self).await?;
            let sql = "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR) FROM information_schema.columns \
                       WHERE table_schema = DATABASE() AND table_name = ?";
            let types: Vec<(String, String)> = connection.exec(sql, (table,)).await?;
            connection.disconnect().await?;
            Ok(types)
        };
        let types = timeout(self.timeout, look).await.unwrap_or(Err(Failure::Deadline));
        let types = types.map_err(|failure| failure.explain(&self))?.into_iter().collect();
        let described = Described { store: "mysql", place: self.place(), table: table.to_owned(), types };
        described.require(columns)?;
        let options = Arc::new(self);
        let (statements, connections) = (Statements::new(&options), Connections::new(Arc::clone(&options)));
        let shared = Arc::new(Shared { options, connections, statements });
        Ok(Users::new(Box::new(OpenUsers(shared)), DIALECT, described))
    }
}

impl OpenUsers {
    /// Runs a request in its own task, which continues when the caller is cancelled.
    async fn ask<R: Request>(&self, request: R) -> Result<Option<R::Answer>, StoreError> {
        let shared = Arc::clone(&self.0);
        let asked = tokio::spawn(async move { shared.connections.run(&shared.statements, &request).await });
        match asked.await.unwrap_or(Err(Failure::Stopped)) {
            Ok(answer) => Ok(Some(answer)),
            // A name or an id with characters that the column cannot hold is nobody's.
            Err(failure) if failure.means_absent() => Ok(None),
            Err(Failure::Server(answer)) if MISSING.contains(&answer.code) => {
                Err(Described::missing("mysql", &self.0.options.place(), &answer.message))
            }
            Err(failure) => Err(failure.explain(&self.0.options)),
        }
    }
}

struct Read {
    sql: String,
    values: Vec<Value>,
}

impl Request for Read {
    type Answer = Vec<UserRow>;
    const READS: bool = true;

    fn size(&self) -> usize {
        size(&self.values)
    }

    async fn run(&self, _: &Statements, connection: &mut Conn) -> Task<Vec<UserRow>> {
        let values = Params::Positional(self.values.clone());
        let rows: Vec<Row> = connection.exec(self.sql.as_str(), values).await?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }
}

struct Change {
    sql: String,
    values: Vec<Value>,
}

impl Request for Change {
    type Answer = u64;

    fn size(&self) -> usize {
        size(&self.values)
    }

    async fn run(&self, _: &Statements, connection: &mut Conn) -> Task<u64> {
        connection.exec_drop(self.sql.as_str(), Params::Positional(self.values.clone())).await?;
        Ok(connection.affected_rows())
    }
}

fn size(values: &[Value]) -> usize {
    // In the protocol, other values take up to 13 bytes.
    let sizes = values.iter().map(|value| match value {
        Value::Bytes(bytes) => bytes.len() + 13,
        _ => 13,
    });
    sizes.sum()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

#[async_trait]
impl UserConnection for OpenUsers {
    async fn rows(&self, sql: String, values: Vec<ColumnValue>) -> Result<Option<Vec<UserRow>>, StoreError> {
        let values = values.into_iter().map(Value::from).collect();
        self.ask(Read { sql, values }).await
    }

    async fn change(&self, sql: String, values: Vec<ColumnValue>) -> Result<u64, StoreError> {
        let values = values.into_iter().map(Value::from).collect();
        Ok(self.ask(Change { sql, values }).await?.unwrap_or_default())
    }

    fn limit(&self) -> Duration {
        self.0.options.timeout
    }

    fn too_late(&self) -> StoreError {
        Failure::Deadline.explain(&self.0.options)
    }
}

super::super::database::database!(MysqlOptions);
