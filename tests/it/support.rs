//! Helpers of the tests. One that a single module needs stands in that module.

pub(crate) mod axum_site;
pub(crate) mod back_end;
pub(crate) mod browser;
#[allow(dead_code, reason = "the command's tests need more of it")]
pub(crate) mod chromium;
pub(crate) mod django;
pub(crate) mod limited;
pub(crate) mod log;
#[cfg(feature = "redis-cluster")]
pub(crate) mod many_sessions;
pub(crate) mod primaries;
pub(crate) mod proxy;
pub(crate) mod random;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod raw_caches;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod raw_database;
pub(crate) mod records;
#[allow(dead_code, reason = "each feature uses a part of it")]
pub(crate) mod servers;
pub(crate) mod site_process;
pub(crate) mod soak;
pub(crate) mod source_files;
pub(crate) mod stores;
pub(crate) mod vectors;
pub(crate) mod watched_store;
pub(crate) mod web;
