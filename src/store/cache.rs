//! The cache stores, and their common code.

mod format;
#[cfg(feature = "memcached")]
pub mod memcached;
#[cfg(feature = "redis")]
pub mod redis;
mod rotation;

pub use format::{
    CacheCompressor, CacheEngine, CacheFormat, CacheSerializer, KeyFunction, UnknownCacheFormat,
};
