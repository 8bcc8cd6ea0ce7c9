//! The table, exactly as Django's migration makes it.

use chrono::Utc;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;

use super::super::table::{DJANGO_TABLE, MigrationRecord, TableCreation, index_name};
use super::connections::connect;
use super::error::{Failure, TABLE_EXISTS, Task};
use super::{MysqlOptions, quoted};
use crate::site::error::StoreError;

/// MySQL refuses longer names.
const MAX_NAME_LENGTH: usize = 64;

impl MysqlOptions {
    /// Makes the session table and its index, as Django's migration `sessions.0001_initial` does, in the
    /// database's own character set. A table that is there stays as it is.
    ///
    /// # Errors
    /// When the server cannot be reached or the user may not make tables.
    pub async fn create_table(&self, record: MigrationRecord) -> Result<TableCreation, StoreError> {
        let create = create_table(self, record);
        let result = timeout(self.deadline, create).await.unwrap_or(Err(Failure::Deadline));
        result.map_err(|failure| failure.explain(self))
    }
}

async fn create_table(options: &MysqlOptions, record: MigrationRecord) -> Task<TableCreation> {
    let mut connection = connect(options).await?;
    if table_exists(&mut connection, &options.table).await? {
        return Ok(TableCreation::AlreadyThere);
    }
    match connection.query_drop(definition(options)).await.map_err(Failure::from) {
        Err(failure) if failure.is(TABLE_EXISTS) => return Ok(TableCreation::AlreadyThere),
        result => result?,
    }
    let is_django = table_exists(&mut connection, "django_migrations").await?;
    if options.table == DJANGO_TABLE && (is_django || record == MigrationRecord::Always) {
        if !is_django {
            connection.query_drop(MIGRATIONS).await?;
        }
        let now = Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        connection
            .exec_drop(
                "INSERT INTO django_migrations (app, name, applied) SELECT 'sessions', '0001_initial', ? FROM DUAL \
                 WHERE NOT EXISTS (SELECT 1 FROM django_migrations \
                 WHERE app = 'sessions' AND name = '0001_initial')",
                (now,),
            )
            .await?;
    }
    connection.disconnect().await?;
    Ok(TableCreation::Created)
}

async fn table_exists(connection: &mut Conn, table: &str) -> Task<bool> {
    let statement =
        "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
    Ok(connection.exec_first::<u8, _, _>(statement, (table,)).await?.is_some())
}

const MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS `django_migrations` \
     (`id` bigint AUTO_INCREMENT NOT NULL PRIMARY KEY, `app` varchar(255) NOT NULL, \
     `name` varchar(255) NOT NULL, `applied` datetime(6) NOT NULL)";

/// What Django's two statements make, in one, since MySQL cannot undo the first when the second fails.
fn definition(options: &MysqlOptions) -> String {
    let table = options.quoted_table();
    let [key, data, expiry] = options.quoted_columns();
    let index = quoted(&index_name(&options.table, &options.columns.expire_date, "", MAX_NAME_LENGTH));
    format!(
        "CREATE TABLE {table} ({key} varchar(40) NOT NULL PRIMARY KEY, {data} longtext NOT NULL, \
         {expiry} datetime(6) NOT NULL, KEY {index} ({expiry}))"
    )
}
