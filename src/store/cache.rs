//! The cache stores, and their common code.

mod format;
#[cfg(feature = "memcached")]
pub mod memcached;
#[cfg(feature = "redis")]
pub mod redis;
mod rotation;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod ssl_parameters;
#[cfg(any(feature = "redis-tls", feature = "memcached-tls"))]
mod tls;

pub use format::{
    CacheCompressor, CacheEngine, CacheFormat, CacheSerializer, KeyFunction, UnknownCacheFormat,
};
