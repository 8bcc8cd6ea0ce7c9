//! The password fields of users.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connections::connect;
use super::error::{Failure, Task};
use super::{MysqlOptions, quoted};
use crate::site::error::StoreError;
use crate::store::sql::users::{Passwords, no_users};

struct Users {
    options: MysqlOptions,
    connection: Mutex<Conn>,
    /// Whether ids are numbers. The server would compare numbers with text as floats.
    are_numbers: bool,
}

impl MysqlOptions {
    /// Creates a reader of users from this table.
    pub(super) async fn users(mut self, table: &str) -> Result<Box<dyn Passwords>, StoreError> {
        table.clone_into(&mut self.table);
        let found = within(&self, async {
            let mut connection = connect(&self).await?;
            let columns: Vec<String> = connection
                .exec(
                    "SELECT CAST(data_type AS CHAR) FROM information_schema.columns WHERE table_schema = DATABASE() \
                     AND table_name = ? AND column_name IN ('id', 'password') ORDER BY column_name",
                    (table,),
                )
                .await?;
            Ok((connection, columns))
        });
        let (connection, columns) = found.await?;
        let [id_type, _] = &columns[..] else { return Err(no_users("mysql", self.place(), table)) };
        let are_numbers = id_type.to_ascii_lowercase().ends_with("int");
        Ok(Box::new(Users { options: self, connection: Mutex::new(connection), are_numbers }))
    }
}

async fn within<T>(options: &MysqlOptions, work: impl Future<Output = Task<T>>) -> Result<T, StoreError> {
    let done = timeout(options.timeout, work).await.unwrap_or(Err(Failure::Deadline));
    done.map_err(|failure| failure.explain(options))
}

#[async_trait]
impl Passwords for Users {
    async fn of(&self, ids: &[String]) -> Result<Vec<(String, String)>, StoreError> {
        let value = |id: &String| match id.parse::<i64>() {
            Ok(number) if self.are_numbers => Some(Value::Int(number)),
            Err(_) if self.are_numbers => None,
            _ => Some(Value::Bytes(id.clone().into_bytes())),
        };
        let values: Vec<Value> = ids.iter().filter_map(value).collect();
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let places = vec!["?"; values.len()].join(", ");
        let table = quoted(&self.options.table);
        let sql = format!("SELECT CAST(id AS CHAR), password FROM {table} WHERE id IN ({places})");
        let rows = within(&self.options, async {
            let mut connection = self.connection.lock().await;
            let rows: Vec<(String, Option<String>)> =
                connection.exec(sql, Params::Positional(values)).await?;
            Ok(rows)
        });
        Ok(rows.await?.into_iter().map(|(id, password)| (id, password.unwrap_or_default())).collect())
    }
}

super::super::database::database!(MysqlOptions);
