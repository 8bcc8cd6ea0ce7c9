//! The table, exactly as Django's migration creates it.

use chrono::Utc;
use tokio::time::timeout;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::super::table::{DJANGO_TABLE, MigrationRecord, TableCreation};
use super::connection::Connection;
use super::error::{Failure, Task};
use super::{DIALECT, PostgresOptions, quoted};
use crate::site::error::StoreError;

impl PostgresOptions {
    /// Creates the session table and its indexes, as Django's migration `sessions.0001_initial` does; a cache table as
    /// its `createcachetable` does. An existing table stays as it is.
    ///
    /// # Errors
    /// When the server cannot be reached or the user may not create tables.
    pub async fn create_table(&self, record: MigrationRecord) -> Result<TableCreation, StoreError> {
        let create = async { create_table(self, record).await };
        let result = timeout(self.timeout, create).await.unwrap_or(Err(Failure::Deadline));
        result.map_err(|failure| failure.explain(self))
    }
}

async fn create_table(options: &PostgresOptions, record: MigrationRecord) -> Task<TableCreation> {
    let mut connection = Connection::open(options).await?;
    let transaction = connection.transaction(options).await?;
    let (_, table) = options.place_of(&options.table);
    if !lock_and_look(&transaction, options, &options.table).await? {
        return Ok(TableCreation::AlreadyThere);
    }
    let columns = options.columns();
    let definition = match options.cache {
        Some(_) => DIALECT.cache_table(table, &columns),
        None => DIALECT.session_table(table, &columns),
    };
    transaction.batch_execute(&definition).await?;
    let is_django = exists(&transaction, "django_migrations").await?;
    let is_djangos = options.cache.is_none() && table == DJANGO_TABLE;
    if is_djangos && (is_django || record == MigrationRecord::Always) {
        transaction.batch_execute(&DIALECT.migration_table()).await?;
        let now = Utc::now();
        transaction.query_typed(&DIALECT.note_migration(), &[(&now, Type::TIMESTAMPTZ)]).await?;
    }
    transaction.commit().await?;
    Ok(TableCreation::Created)
}

/// Waits for other programs that create the table at the same time. Returns whether the table is still missing.
/// From then on the transaction creates in the table's schema.
pub(super) async fn lock_and_look(
    transaction: &Transaction<'_>,
    options: &PostgresOptions,
    table: &str,
) -> Task<bool> {
    let lock = "SELECT pg_advisory_xact_lock(hashtext('cloakroom create_table'))";
    transaction.batch_execute(lock).await?;
    if let (Some(schema), _) = options.place_of(table) {
        let path = quoted(schema);
        let set = "SELECT set_config('search_path', $1::text, true)";
        transaction.query_typed(set, &[(&path, Type::TEXT)]).await?;
    }
    Ok(!exists(transaction, &options.quoted_table(table)).await?)
}

/// Whether there is a table of this quoted name. No statement is prepared, as a connection pooler would keep it.
async fn exists(transaction: &Transaction<'_>, table: &str) -> Task<bool> {
    let there = "SELECT to_regclass($1::text) IS NOT NULL";
    let rows = transaction.query_typed(there, &[(&table, Type::TEXT)]).await?;
    Ok(rows.first().ok_or(Failure::Closed)?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::DIALECT;
    use crate::store::sql::table::{Columns, DJANGO_TABLE};

    /// The vectors of `sqlmigrate` are compared with the same file in `tests/it/vectors_sql.rs`.
    #[test]
    fn the_definition_is_djangos() {
        let definition = DIALECT.session_table(DJANGO_TABLE, &Columns::default());
        assert_eq!(definition, include_str!("django_session.sql"));
    }
}
