//! The table, exactly as Django's migration creates it.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, TransactionBehavior, params};

use super::super::table::{DJANGO_TABLE, MigrationRecord, TableCreation};
use super::error::Task;
use super::{DIALECT, Mode, SqliteOptions, connections, format_time, threads};
use crate::site::error::StoreError;

impl SqliteOptions {
    /// Creates the session table and its index, and the database file if missing, as Django's migration
    /// `sessions.0001_initial` does; a cache table as its `createcachetable` does. An existing table stays as it is.
    ///
    /// It creates no extra columns: a table with extra columns is the site's own, and so is its migration.
    ///
    /// A new file gets write-ahead logging, so that readers and writers do not wait for each other.
    ///
    /// # Errors
    /// When the file is not a database, is locked or cannot be written.
    pub async fn create_table(&self, record: MigrationRecord) -> Result<TableCreation, StoreError> {
        let options = self.clone();
        let create = move || -> Task<TableCreation> {
            let may_create = options.mode == Mode::ReadWriteCreate;
            // An empty file is not a database yet: somebody created it in advance with the right permissions.
            let is_empty = || std::fs::metadata(&options.path).map_or(true, |metadata| metadata.len() == 0);
            let is_new = may_create && is_empty();
            connections::once(&options, may_create, |connection| {
                if is_new {
                    connection.pragma_update(None, "journal_mode", "WAL")?;
                }
                create_table(connection, &options, record, Utc::now())
            })
        };
        threads::once(create).await.map_err(|failure| failure.explain(self))
    }
}

fn create_table(
    connection: &mut Connection,
    options: &SqliteOptions,
    record: MigrationRecord,
    now: DateTime<Utc>,
) -> Task<TableCreation> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if table_exists(&transaction, &options.table)? {
        return Ok(TableCreation::AlreadyThere);
    }
    let columns = options.columns();
    let definition = match options.cache {
        Some(_) => DIALECT.cache_table(&options.table, &columns),
        None => DIALECT.session_table(&options.table, &columns),
    };
    transaction.execute_batch(&definition)?;
    let is_django = table_exists(&transaction, "django_migrations")?;
    let is_djangos = options.cache.is_none() && options.table == DJANGO_TABLE;
    if is_djangos && (is_django || record == MigrationRecord::Always) {
        transaction.execute_batch(&DIALECT.migration_table())?;
        transaction.execute(&DIALECT.note_migration(), params![format_time(now.naive_utc())])?;
    }
    transaction.commit()?;
    Ok(TableCreation::Created)
}

pub(super) fn table_exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?
        .exists(params![table])
}
