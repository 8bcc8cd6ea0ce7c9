//! The table, exactly as Django's migration creates it.

use chrono::Utc;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;

use super::super::table::{DJANGO_TABLE, MigrationRecord, TableCreation};
use super::connections::connect;
use super::error::{Failure, TABLE_EXISTS, Task};
use super::{DIALECT, MysqlOptions};
use crate::site::error::StoreError;

impl MysqlOptions {
    /// Creates the session table and its index, as Django's migration `sessions.0001_initial` does, in the
    /// database's own character set; a cache table as its `createcachetable` does. An existing table stays as it is.
    ///
    /// # Errors
    /// When the server cannot be reached or the user may not create tables.
    pub async fn create_table(&self, record: MigrationRecord) -> Result<TableCreation, StoreError> {
        let create = create_table(self, record);
        let result = timeout(self.timeout, create).await.unwrap_or(Err(Failure::Deadline));
        result.map_err(|failure| failure.explain(self))
    }
}

async fn create_table(options: &MysqlOptions, record: MigrationRecord) -> Task<TableCreation> {
    let mut connection = connect(options).await?;
    if table_exists(&mut connection, &options.table).await? {
        return Ok(TableCreation::AlreadyThere);
    }
    let columns = options.columns();
    let definition = match options.cache {
        Some(_) => DIALECT.cache_table(&options.table, &columns),
        None => DIALECT.session_table(&options.table, &columns),
    };
    match connection.query_drop(definition).await.map_err(Failure::from) {
        Err(failure) if failure.is(TABLE_EXISTS) => return Ok(TableCreation::AlreadyThere),
        result => result?,
    }
    let is_django = table_exists(&mut connection, "django_migrations").await?;
    let is_djangos = options.cache.is_none() && options.table == DJANGO_TABLE;
    if is_djangos && (is_django || record == MigrationRecord::Always) {
        if !is_django {
            connection.query_drop(DIALECT.migration_table()).await?;
        }
        let now = Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        connection.exec_drop(DIALECT.note_migration(), (now,)).await?;
    }
    connection.disconnect().await?;
    Ok(TableCreation::Created)
}

async fn table_exists(connection: &mut Conn, table: &str) -> Task<bool> {
    let statement =
        "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
    Ok(connection.exec_first::<u8, _, _>(statement, (table,)).await?.is_some())
}
