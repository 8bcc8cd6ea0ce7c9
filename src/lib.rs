#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! - [`Session`], [`LazySession`], [`Key`]: what handlers use. [`auth`]: Django's login in it.
//! - [`Settings`]: Django's settings by their names. [`connect`], [`store`]: where sessions are kept.
//! - [`SessionLayer`] for tower and axum, `SessionTransform` for actix-web; [`middleware`]: the rules behind it, for any other framework.
//! - [`signing`], [`SessionCodec`], [`SessionData`], [`Value`]: the formats.
//! - [`user_sessions`]: where a user is logged in, and how to log out everywhere.
//! - [`observe`]: what an operator sees of all that.
//! - `conformance`: the suite that a store of your own should pass.

#[cfg(feature = "actix")]
mod actix;
pub mod auth;
#[cfg(feature = "axum")]
mod axum;
mod clock;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod expiry;
pub mod middleware;
pub mod observe;
mod scratch;
mod session;
mod session_data;
mod session_key;
mod settings;
pub mod signing;
pub mod store;
#[cfg(feature = "tower")]
mod tower;
pub mod user_sessions;
mod value;
mod zlib;

#[cfg(feature = "actix")]
pub use actix::SessionTransform;
pub use async_trait::async_trait;
pub use chrono;

pub use clock::{Clock, ManualClock, SystemClock, TimeZone};
pub use codec::pickle::PickleError;
pub use codec::{DecodeError, SessionCodec, TextFormat};
pub use error::{Error, StoreError, StoreErrorKind};
pub use expiry::{EXPIRY_KEY, Expiry, ExpiryAge, ExpiryError, Moment};
pub use middleware::SessionMiddleware;
pub use session::{AsKey, Key, LazySession, STARTED_KEY, Session, TEST_COOKIE_NAME, TEST_COOKIE_VALUE};
pub use session_data::SessionData;
pub use session_key::{KeyGenerator, RandomKeys, SessionKey, SessionKeyFormat};
pub use settings::{
    ConcurrentChanges, CookieScope, InterruptedSession, SameSite, SecretCheck, Settings, SettingsError,
    Transport,
};
#[cfg(feature = "file")]
pub use store::FileStore;
#[cfg(feature = "memcached")]
pub use store::MemcachedStore;
#[cfg(feature = "mysql")]
pub use store::MysqlStore;
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
#[cfg(feature = "redis")]
pub use store::RedisStore;
#[cfg(feature = "sqlite")]
pub use store::SqliteStore;
pub use store::{
    CachedDbStore, MemoryStore, MovingStore, SessionStore, SignedCookieStore, connect, connect_or_create,
};
#[cfg(feature = "tower")]
pub use tower::{ErrorResponse, PlainText, SessionBody, SessionFuture, SessionLayer, SessionService};
pub use user_sessions::UserSessions;
pub use value::{Kind, MAX_DEPTH, MAX_VALUE_DEPTH, Value, ValueError};

/// Locks, also after another thread panicked with the lock held: what is under these locks is changed in
/// single steps and always whole.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The documents: their examples compile.
#[cfg(all(doctest, feature = "axum"))]
mod documents {
    #[doc = include_str!("../docs/from-django.md")]
    mod from_django {}
    #[doc = include_str!("../docs/from-tower-sessions.md")]
    mod from_tower_sessions {}
    #[doc = include_str!("../docs/logs.md")]
    mod logs {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/stores.md")]
    mod stores {}
}
