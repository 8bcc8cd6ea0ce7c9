//! The contract of reading users from a database.

use std::fmt;

use async_trait::async_trait;

use crate::site::error::{StoreError, StoreErrorKind};

/// Reads password fields from a database.
#[async_trait]
pub(crate) trait Passwords: Send + Sync {
    /// Returns the ids and password fields of these users; missing users are left out.
    async fn of(&self, ids: &[String]) -> Result<Vec<(String, String)>, StoreError>;
}

/// The error for a missing table, or one that is not a table of users.
pub(crate) fn no_users(store: &'static str, place: impl fmt::Display, table: &str) -> StoreError {
    let message = format!(
        "{place}: no table {table} with the columns id and password; name the table of the project's user model \
         (its `_meta.db_table`), or the database that has it"
    );
    StoreError::new(store, StoreErrorKind::Misconfigured, message)
}
