//! The password fields of users.

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::connection::Connection;
use super::error::{Failure, Task};
use super::{PostgresOptions, quoted};
use crate::site::error::StoreError;
use crate::store::sql::users::{Passwords, no_users};

/// The types of the columns `id` and `password` of the table `$1`.
const COLUMNS: &str = "SELECT format_type(atttypid, NULL) FROM pg_attribute \
     WHERE attrelid = to_regclass($1::text) AND attname IN ('id', 'password') AND attnum > 0 AND NOT attisdropped \
     ORDER BY attname";

struct Users {
    options: PostgresOptions,
    connection: Connection,
    /// With its schema, if one was given.
    table: String,
    /// The type of the ids, as the server names it.
    id_type: String,
}

impl PostgresOptions {
    /// Creates a reader of users from this table.
    pub(super) async fn users(mut self, table: &str) -> Result<Box<dyn Passwords>, StoreError> {
        // For messages.
        table.clone_into(&mut self.table);
        let parts: Vec<String> = table.split('.').map(quoted).collect();
        let quoted_table = parts.join(".");
        let found = within(&self, async {
            let connection = Connection::open(&self).await?;
            let columns = connection.ask(&self, COLUMNS, &[(&quoted_table, Type::TEXT)]).await?;
            let id_type = match &columns[..] {
                [id, _] => Some(id.try_get::<_, String>(0)?),
                _ => None,
            };
            Ok((connection, id_type))
        });
        match found.await? {
            (connection, Some(id_type)) => {
                Ok(Box::new(Users { options: self, connection, table: quoted_table, id_type }))
            }
            _ => Err(no_users("postgres", self.place(), table)),
        }
    }
}

async fn within<T>(options: &PostgresOptions, work: impl Future<Output = Task<T>>) -> Result<T, StoreError> {
    let done = timeout(options.timeout, work).await.unwrap_or(Err(Failure::Deadline));
    done.map_err(|failure| failure.explain(options))
}

impl Users {
    /// Whether the server would read the text as an id of this type.
    fn may_be_id(&self, id: &str) -> bool {
        match self.id_type.as_str() {
            "smallint" => id.parse::<i16>().is_ok(),
            "integer" => id.parse::<i32>().is_ok(),
            "bigint" => id.parse::<i64>().is_ok(),
            "uuid" => id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            _ => true,
        }
    }
}

#[async_trait]
impl Passwords for Users {
    async fn of(&self, ids: &[String]) -> Result<Vec<(String, String)>, StoreError> {
        let Users { table, id_type, .. } = self;
        let ids: Vec<&String> = ids.iter().filter(|id| self.may_be_id(id)).collect();
        let is_uuid = id_type == "uuid";
        let id = if is_uuid { "replace(\"id\"::text, '-', '')" } else { "\"id\"::text" };
        let sql = format!(
            "SELECT {id}, \"password\"::text FROM {table} WHERE \"id\" = ANY ($1::text[]::{id_type}[])"
        );
        let rows =
            within(&self.options, self.connection.ask(&self.options, &sql, &[(&ids, Type::TEXT_ARRAY)]))
                .await?;
        let read = |row: &tokio_postgres::Row| -> Task<(String, String)> {
            Ok((row.try_get(0)?, row.try_get::<_, Option<String>>(1)?.unwrap_or_default()))
        };
        let read = rows.iter().map(read).collect::<Task<Vec<_>>>();
        read.map_err(|failure| failure.explain(&self.options))
    }
}

super::super::database::database!(PostgresOptions);
