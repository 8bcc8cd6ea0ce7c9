//! Where sessions are kept: the stores' contract, the stores, and opening one by its URL.

#[cfg(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "redis",
    feature = "memcached",
    feature = "file"
))]
#[cfg_attr(
    not(any(feature = "redis", feature = "memcached")),
    allow(dead_code, reason = "a database's cache table and a cache's folder use a part of it")
)]
pub mod cache;
pub mod cached_db;
mod connect;
mod connect_or_create;
pub(crate) mod contract;
#[cfg(feature = "encryption")]
mod encrypted;
#[cfg(feature = "file")]
pub mod file;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod generation;
pub(crate) mod listing;
pub(crate) mod loaded;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod look_ups;
pub mod memory;
pub mod moving;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis", feature = "memcached"))]
#[cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "redis", feature = "memcached")),
    allow(dead_code, reason = "each store uses a part of it")
)]
mod outcome;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis"))]
mod password;
#[cfg(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "redis",
    feature = "memcached"
))]
mod per_runtime;
mod secret_check;
pub mod signed_cookies;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod tables;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis", feature = "memcached"))]
mod tls;
pub(crate) mod url;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod user_model;
pub(crate) mod user_session_index;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod user_table;

#[cfg(feature = "memcached")]
pub use cache::memcached::{self, MemcachedStore};
#[cfg(feature = "redis")]
pub use cache::redis::{self, RedisStore};
pub use cached_db::CachedDbStore;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use connect::check_url;
pub(crate) use connect::open_checked;
pub use connect::{connect, open_cache};
pub use connect_or_create::connect_or_create;
pub(crate) use connect_or_create::create;
pub use contract::{Created, IntoSharedStore, Progress, Record, Rotated, SessionStore, Touched, Updated};
#[cfg(feature = "encryption")]
pub use encrypted::{EncryptedStore, EncryptionKey, EncryptionKeys, encryption_key_id};
#[cfg(feature = "file")]
pub use file::FileStore;
pub use listing::{Count, Listed, Listing, Paged, Pages};
pub use loaded::{Content, Loaded, Version};
pub use memory::MemoryStore;
pub use moving::MovingStore;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis"))]
pub use password::PasswordSource;
pub use signed_cookies::SignedCookieStore;
#[cfg(feature = "mysql")]
pub use sql::mysql::{self, MysqlStore};
#[cfg(feature = "postgres")]
pub use sql::postgres::{self, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sql::sqlite::{self, SqliteStore};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use sql::table;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use tables::{create_table, create_user_session_table};
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis", feature = "memcached"))]
pub use tls::{RootCertificates, TlsMode, TlsOptions, UnknownTlsMode};
pub use url::{StoreScheme, StoreUrl, StoreUrlParts};
