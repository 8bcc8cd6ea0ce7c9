#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! - [`Session`], [`LazySession`], [`Key`]: the session in a handler. [`auth`]: Django's login in the
//!   session.
//! - [`Settings`]: Django's settings under their names. [`connect`], [`store`]: where sessions are kept.
//! - [`SessionLayer`] for tower and axum, `SessionTransform` for actix-web; [`middleware`]: their rules, for any
//!   other framework.
//! - [`signing`], [`SessionCodec`], [`SessionData`], [`Value`]: the formats.
//! - [`user_sessions`]: where a user is logged in, and how to log out everywhere.
//! - [`telemetry`]: logs, spans and metrics for operators.
//! - `conformance`: the suite that a store of your own should pass.

mod cleaner;
#[cfg(feature = "conformance")]
pub mod conformance;
mod login;
mod login_keys;
mod session;
mod site;
pub mod store;
pub mod telemetry;
pub mod user_sessions;
mod web;

pub use async_trait::async_trait;
pub use chrono;
pub use cloakroom_formats::{
    DecodeError, EXPIRY_KEY, Expiry, ExpiryAge, ExpiryError, Kind, MAX_DEPTH, MAX_VALUE_DEPTH, Moment,
    OpcodeName, PickleError, SessionCodec, SessionCodecConfig, SessionData, TextFormat, TimeZone, Value,
    ValueError, signing,
};

pub use cleaner::{Cleaner, spawn_cleaner};
#[cfg(feature = "time-zones")]
pub use cloakroom_formats::{NamedTimeZone, UnknownTimeZone};
pub use login::auth;
pub use session::{
    AsKey, Key, LazySession, SESSION_STARTED_KEY, Session, TEST_COOKIE_NAME, TEST_COOKIE_VALUE,
};
pub use site::clock::{Clock, ManualClock, SystemClock};
pub use site::error::{Error, StoreError, StoreErrorKind};
pub use site::session_key::{KeyGenerator, RandomKeys, SessionKey, SessionKeyFormat};
pub use site::settings::{
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
pub use user_sessions::UserSessions;
#[cfg(feature = "actix")]
pub use web::actix::SessionTransform;
pub use web::middleware::{self, SessionMiddleware};
#[cfg(feature = "tower")]
pub use web::tower::{ErrorResponse, PlainText, SessionBody, SessionFuture, SessionLayer, SessionService};

/// The Markdown documents: their examples are compiled.
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
