//! Django's session framework: sessions, signed values and logins that a Rust service shares with a Django site, or has
//! to itself.
//!
//! # Map
//!
//! | To | see |
//! |---|---|
//! | use the session in a handler | [`Session`], [`LazySession`], and [`Key`] for keys that know their type |
//! | add sessions to a service | `SessionLayer` for axum and tower, `SessionTransform` for actix-web; [`middleware`] has their rules, for any other framework |
//! | configure a site | [`Settings`]: Django's settings under their names; [`GivenSettings`] reads them from the environment and from files |
//! | have it all from one place | [`Site`]: the layer, the index of user sessions, the cleaner, a session by its key |
//! | open a store | [`connect`] has the URLs; [`store`] has the stores and their options |
//! | show messages once | [`messages`]: `MessagesLayer` for axum and tower, `MessagesTransform` for actix-web |
//! | refuse forged requests | [`csrf`]: `CsrfLayer` for axum and tower, `CsrfTransform` for actix-web |
//! | know the user | [`auth`]: Django's login in the session, its users and their passwords; `AuthLayer` for axum and tower, `AuthTransform` for actix-web: the verified user |
//! | require a user | `RequireLayer` and `RequireTransform`; [`LoginRedirect`] leads to the login page |
//! | end logins | [`user_sessions`]: where a user is logged in, and how to log out everywhere |
//! | read and write the formats | [`signing`], [`SessionCodec`], [`SessionData`], [`Value`]; alone they are the crate `cloakroom-formats` |
//! | outlive a request | [`spawn_watcher`]: closes WebSockets and event streams when their session ends; [`Session::reload`] |
//! | operate it | [`telemetry`]: logs, spans and metrics; [`spawn_cleaner`] |
//! | test an application | `testing`: sessions in one line, a clock to move, and what a response did to a session |
//! | write a store | [`SessionStore`] has the contract and a worked example; `conformance` is the suite that it should pass |
//!
//! # Start
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # mod start {
//! use axum::{Router, routing::get};
//! use cloakroom::{Key, Session, SessionLayer, Settings, connect_or_create};
//!
//! const VISITS: Key<u32> = Key::new("visits");
//!
//! async fn visit(session: Session) -> Result<String, cloakroom::Error> {
//!     // Correct even when the same visitor sends many requests at once.
//!     let visits = session.edit(VISITS, |visits| *visits += 1)?;
//!     Ok(format!("visit {visits}"))
//! }
//!
//! async fn site() -> Result<Router, Box<dyn std::error::Error>> {
//!     // `SECRET_KEY`, from the environment. Beside a Django site: that site's.
//!     let settings = Settings::from_env()?;
//!     // Beside a Django site: `connect`, which never changes a schema.
//!     let store = connect_or_create("sqlite:db.sqlite3", &settings).await?;
//!     Ok(Router::new().route("/", get(visit)).layer(SessionLayer::new(store, settings)?))
//! }
//! # }
//! ```
//!
//! # Promises
//!
//! 1. **No lost updates.** A save compares and swaps. On a conflict the session is loaded again, and this request's changes
//!    are applied on top.
//! 2. **No resurrected logins.** A session that was deleted is never written again.
//! 3. **Nothing of Python's is lost.** Values that nobody touches go back letter for letter.
//! 4. **An error is not "not found".** A failed read never leads to a write, and touches no cookie.
//!
//! # Features
//!
//! `axum` is the default. Each store is a feature: `sqlite`, `postgres`, `mysql`, `redis` (also `redis-cluster`,
//! `redis-sentinel`, `redis-formats`), `memcached`, `file`. TLS is one more each: `postgres-tls`, `mysql-tls`, `redis-tls`,
//! `memcached-tls`. Others are `actix`, `tower`, `time-zones` (for Django sites with `USE_TZ = False`), `settings-file`,
//! `passwords`, `encryption`, `metrics`, `testing` and `conformance`. A feature adds API and changes no default.

mod cleaner;
#[cfg(feature = "conformance")]
pub mod conformance;
mod events;
mod forms;
mod login;
mod login_keys;
mod session;
mod site;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod user_sessions;
mod watcher;
mod web;

pub use async_trait::async_trait;
pub use chrono;
pub use cloakroom_formats::{
    DecodeError, EXPIRY_KEY, Expiry, ExpiryAge, ExpiryError, IntoTimeDelta, Kind, MAX_DEPTH, MAX_VALUE_DEPTH,
    Moment, OpcodeName, PickleError, SessionCodec, SessionCodecConfig, SessionData, TextFormat, TimeZone,
    Value, ValueError, signing,
};

pub use cleaner::{Cleaner, spawn_cleaner};
#[cfg(feature = "time-zones")]
pub use cloakroom_formats::{NamedTimeZone, UnknownTimeZone};
pub use events::{EndReason, SessionEvent, SessionEventKind};
pub use forms::{csrf, messages};
pub use login::auth;
pub use session::{
    AsKey, Key, KeyFor, KeyName, LazySession, SESSION_STARTED_KEY, Session, StoredFrom, TEST_COOKIE_NAME,
    TEST_COOKIE_VALUE,
};
pub use site::clock::{Clock, ManualClock, SystemClock};
pub use site::error::{Error, StoreError, StoreErrorKind};
pub use site::session_key::{KeyGenerator, RandomKeys, SessionKey, SessionKeyFormat};
#[cfg(feature = "settings-file")]
pub use site::settings::SettingsFileError;
pub use site::settings::{
    ConcurrentChanges, CookieScope, GivenSettings, InterruptedSession, SameSite, SecretCheck, Settings,
    SettingsDigest, SettingsError, Transport,
};
#[cfg(feature = "encryption")]
pub use store::EncryptedStore;
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
pub use watcher::{SessionEnd, SessionWatcher, WATCH_INTERVAL, spawn_watcher};
#[cfg(feature = "actix")]
pub use web::actix::{AuthTransform, CsrfTransform, MessagesTransform, RequireTransform, SessionTransform};
pub use web::csrf::{CsrfMiddleware, CsrfStep};
pub use web::login_redirect::LoginRedirect;
pub use web::messages::MessagesMiddleware;
pub use web::middleware::{self, SessionMiddleware};
pub use web::request_head::RequestHead;
pub use web::site::Site;
#[cfg(feature = "tower")]
pub use web::tower::{
    AuthLayer, AuthService, CsrfLayer, CsrfService, ErrorResponse, FormBody, MessagesLayer, MessagesService,
    PlainText, RequireLayer, RequireService, SessionBody, SessionFuture, SessionLayer, SessionService,
};

/// The Markdown documents: their examples are compiled.
#[cfg(all(doctest, feature = "axum"))]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[cfg(feature = "encryption")]
    #[doc = include_str!("../docs/encryption.md")]
    mod encryption {}
    #[doc = include_str!("../docs/from-django.md")]
    mod from_django {}
    #[doc = include_str!("../docs/from-tower-sessions.md")]
    mod from_tower_sessions {}
    #[doc = include_str!("../docs/forms.md")]
    mod forms {}
    #[doc = include_str!("../docs/login.md")]
    mod login {}
    #[doc = include_str!("../docs/logs.md")]
    mod logs {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[cfg(all(feature = "passwords", feature = "postgres"))]
    #[doc = include_str!("../docs/passwords.md")]
    mod passwords {}
    #[cfg(feature = "sqlite")]
    #[doc = include_str!("../docs/site.md")]
    mod site {}
    #[cfg(feature = "passwords")]
    #[doc = include_str!("../docs/shop.md")]
    mod shop {}
    #[doc = include_str!("../docs/stores.md")]
    mod stores {}
    #[doc = include_str!("../docs/streams.md")]
    mod streams {}
    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}
    #[doc = include_str!("../docs/timeouts.md")]
    mod timeouts {}
}
