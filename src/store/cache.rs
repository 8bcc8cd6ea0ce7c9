//! The cache stores, and their common code.

#[cfg_attr(
    not(all(feature = "redis", feature = "memcached", feature = "file")),
    allow(dead_code, reason = "each store uses a part of it")
)]
mod format;
#[cfg(feature = "memcached")]
pub mod memcached;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod rotation;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod ssl_parameters;
#[cfg(any(feature = "redis-tls", feature = "memcached-tls"))]
mod tls;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "file"))]
pub(super) use format::EntryError;
pub use format::{
    CacheCompressor, CacheEngine, CacheFormat, CacheSerializer, KeyFunction, UnknownCacheFormat,
};
#[cfg(feature = "file")]
pub(super) use format::{deflate, inflate};
