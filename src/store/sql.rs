//! The SQL stores, and their common code.

pub(super) mod database;
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "each store uses a part of it")
)]
mod dialect;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
mod row_format;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod table;
pub(super) mod users;
