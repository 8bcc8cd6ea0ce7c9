//! The integration tests, in one binary.
// A test may fail where it stands, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod django;
mod json_dialect;
mod save_protocol;
mod sqlite_files;
mod stores;
mod vectors;
mod watched_store;
mod web;
