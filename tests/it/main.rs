//! The integration tests, in one binary.
// A test may fail where it stands, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod cached_db;
mod django;
mod file_store;
mod json_dialect;
mod save_protocol;
#[allow(dead_code, reason = "each feature uses a part of it")]
mod servers;
mod sqlite_files;
mod stores;
mod vectors;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod vectors_sql;
mod watched_store;
mod web;
