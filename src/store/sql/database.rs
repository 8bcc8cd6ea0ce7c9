//! The contract of a database that is inspected or changed before a store exists.

use async_trait::async_trait;

use super::table::{MigrationRecord, TableCreation};
use super::users::Users;
use crate::site::error::StoreError;

/// The options of one kind of database.
#[async_trait]
pub(in crate::store) trait Database: Send + Sync {
    /// Creates the session table.
    async fn create_table(&self, record: MigrationRecord) -> Result<TableCreation, StoreError>;

    /// Creates the table of the index of user sessions.
    async fn create_user_session_table(&self) -> Result<TableCreation, StoreError>;

    /// Opens a table of users, which must have these columns; the first one is the id's.
    async fn users(&self, table: &str, columns: &[&str]) -> Result<Users, StoreError>;
}

/// Implements [`Database`] for the options of a database, which have methods with these names.
macro_rules! database {
    ($options:ty) => {
        #[async_trait::async_trait]
        impl $crate::store::sql::database::Database for $options {
            async fn create_table(
                &self,
                record: $crate::store::sql::table::MigrationRecord,
            ) -> Result<$crate::store::sql::table::TableCreation, $crate::site::error::StoreError> {
                <$options>::create_table(self, record).await
            }

            async fn create_user_session_table(
                &self,
            ) -> Result<$crate::store::sql::table::TableCreation, $crate::site::error::StoreError> {
                <$options>::create_user_session_table(self).await
            }

            async fn users(
                &self,
                table: &str,
                columns: &[&str],
            ) -> Result<$crate::store::sql::users::Users, $crate::site::error::StoreError> {
                <$options>::users(self.clone(), table, columns).await
            }
        }
    };
}
pub(super) use database;
