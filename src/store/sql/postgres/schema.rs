//! The table, exactly as Django's migration creates it.

use chrono::Utc;
use tokio::time::timeout;

use super::super::table::{DJANGO_TABLE, MigrationRecord, TableCreation};
use super::connection::Connection;
use super::error::{Failure, Task};
use super::{DIALECT, PostgresOptions};
use crate::site::error::StoreError;

impl PostgresOptions {
    /// Creates the session table and its indexes, as Django's migration `sessions.0001_initial` does. An
    /// existing table stays as it is.
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
    let transaction = connection.transaction().await?;
    // When two programs create the table at the same time, the second waits and then finds it.
    let lock = "SELECT pg_advisory_xact_lock(hashtext('cloakroom create_table'))";
    transaction.batch_execute(lock).await?;
    let there = "SELECT to_regclass($1::text) IS NOT NULL";
    let table = options.names().table;
    if transaction.query_one(there, &[&table]).await?.try_get(0)? {
        return Ok(TableCreation::AlreadyThere);
    }
    transaction.batch_execute(&DIALECT.session_table(&options.table, &options.columns)).await?;
    let is_django: bool = transaction.query_one(there, &[&"django_migrations"]).await?.try_get(0)?;
    if options.table == DJANGO_TABLE && (is_django || record == MigrationRecord::Always) {
        transaction.batch_execute(&DIALECT.migration_table()).await?;
        transaction.execute(&DIALECT.note_migration(), &[&Utc::now()]).await?;
    }
    transaction.commit().await?;
    Ok(TableCreation::Created)
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
