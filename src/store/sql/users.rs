//! The contract of reading users in one kind of database.

use std::fmt;

use async_trait::async_trait;

use crate::site::error::{StoreError, StoreErrorKind};

/// Reads password fields in one kind of database.
#[async_trait]
pub(crate) trait Passwords: Send + Sync {
    /// The ids and password fields of these users, as far as they are there.
    async fn of(&self, ids: &[String]) -> Result<Vec<(String, String)>, StoreError>;
}

/// The error of a table that is not there, or is no table of users.
pub(crate) fn no_users(store: &'static str, place: impl fmt::Display, table: &str) -> StoreError {
    let message = format!(
        "{place}: no table {table} with the columns id and password; name the table of the project's user model \
         (its `_meta.db_table`), or the database that has it"
    );
    StoreError::new(store, StoreErrorKind::Misconfigured, message)
}
