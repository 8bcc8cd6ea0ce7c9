//! The SQL stores, and their common code.

pub(super) mod database;
mod dialect;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod table;
pub(super) mod users;
