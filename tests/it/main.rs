//! The integration tests, in one binary.
// A test may fail where it stands, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The example of each framework has its own copy of what the two share.
#![allow(clippy::duplicate_mod)]

mod application_code;
#[cfg(all(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
mod cache_tables;
mod cached_db;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod caches;
mod cleaner;
mod clearing;
mod connect_or_create;
mod cookie_age;
#[cfg(all(
    feature = "encryption",
    feature = "memcached",
    feature = "mysql",
    feature = "postgres",
    feature = "redis",
    feature = "settings-file",
    feature = "sqlite",
    feature = "tower"
))]
mod debug_output;
mod dependencies;
mod django;
#[cfg(all(feature = "encryption", feature = "redis", feature = "sqlite"))]
mod encryption;
mod extra_columns;
mod faults;
mod file_cache;
mod file_store;
mod forms;
mod fuzz_corpus;
#[cfg(all(feature = "settings-file", feature = "time-zones"))]
mod given_settings;
mod hostile_text;
mod json_dialect;
mod late_changes;
mod layers;
mod listing;
mod login;
mod login_events;
mod logs_page;
#[cfg(all(feature = "memcached-tls", feature = "redis-cluster"))]
mod memcached_tls;
mod model;
#[cfg(all(feature = "memcached", feature = "postgres", feature = "redis"))]
mod moving;
mod named_tests;
mod nulls;
mod observed;
mod passwords;
mod pickle_objects;
mod pickles;
#[cfg(feature = "postgres")]
mod poolers;
#[cfg(feature = "postgres")]
mod postgres_urls;
mod queued_saves;
#[cfg(feature = "redis")]
mod redis_access;
#[cfg(feature = "redis-cluster")]
mod redis_cluster;
#[cfg(all(feature = "redis-cluster", feature = "redis-sentinel"))]
mod redis_schemes;
#[cfg(all(feature = "redis-cluster", feature = "redis-sentinel"))]
mod redis_sentinel;
#[cfg(feature = "redis-tls")]
mod redis_tls;
#[cfg(feature = "redis")]
mod redis_urls;
#[cfg(feature = "redis")]
mod redis_valkey;
mod renewals;
mod runtimes;
mod save_protocol;
mod secrets;
mod session_events;
mod shared_users;
#[cfg(feature = "passwords")]
mod shop;
mod spans;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod sql_stores;
mod sqlite_files;
mod stores;
mod support;
mod testing;
mod unreadable;
mod user_sessions;
mod user_table;
mod values;
mod vectors;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod vectors_cache;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod vectors_sql;
mod warnings;
mod watcher;
mod web;
mod wrong_secret;
