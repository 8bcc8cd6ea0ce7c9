//! The errors, in the caller's terms.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_formats::{ExpiryError, ValueError};

/// Why a session could not be loaded, read, changed or saved.
///
/// A session that is missing, expired or not signed with this secret is not an error: it is empty.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Error, MemoryStore, Session, Settings};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set("visits", "many")?;
/// let error = session.get::<u32>("visits").unwrap_err();
/// assert!(matches!(&error, Error::Value { key, .. } if key == "visits"));
/// assert_eq!(session.get::<String>("visits")?.as_deref(), Some("many"), "the data stays");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A stored value is not of the requested type, or a value cannot be stored. The data stays.
    #[error("session key {key:?}: {source}")]
    Value {
        /// The session key, as the application wrote it.
        key: String,
        /// The mismatch.
        source: ValueError,
    },
    /// The store failed. The state of the session is unknown: this does not mean "not found".
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session was deleted, such as by a logout, while this request changed it. Django's
    /// `SessionInterrupted`.
    #[error(
        "the session was deleted before the request completed; the user may have logged out in a concurrent request"
    )]
    Interrupted,
    /// Another request changed the session meanwhile, and the settings say to refuse.
    #[error("the session was changed by other requests meanwhile; given up after {attempts} attempts")]
    Conflict {
        /// The number of save attempts.
        attempts: u32,
    },
    /// Other requests kept the session busy for all of
    /// [`Settings::save_timeout`](crate::Settings::save_timeout). The changes are still in the session,
    /// unsaved or in an unknown state, and saving can be retried.
    #[error(
        "the session could not be saved within {limit:?}, in {attempts} attempts, because other requests keep changing \
         it; write to it in fewer requests, or raise the setting `save_timeout`"
    )]
    SaveTimedOut {
        /// The value of the setting.
        limit: Duration,
        /// The number of attempted writes; 0 when other requests had not finished theirs.
        attempts: u32,
    },
    /// Every newly generated key was already taken. Django's `CreateError`.
    #[error("no free session key after {attempts} attempts; is the key generator random?")]
    KeysTaken {
        /// The number of keys tried.
        attempts: u32,
    },
    /// The stored expiry is invalid.
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
    /// The operating system gave no random bytes, for a new session key or a password.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// A handler asked for the session, but the request did not pass through the session layer.
    #[error(
        "no session on this request; put `SessionLayer` (tower, axum) or `SessionTransform` (actix-web) around this handler"
    )]
    NoLayer,
    /// A handler asked for what another layer than the session's gives.
    #[error("no {argument} on this request; put `{layer}` around this handler, inside the session layer")]
    LayerMissing {
        /// The handler's argument.
        argument: &'static str,
        /// The layers that give it.
        layer: &'static str,
    },
    /// A request passed through two session layers with the same cookie or header, but different stores or
    /// different indexes of user sessions. The layer that saved last would overwrite the other layer's
    /// session.
    #[error(
        "two session layers of {of} around one handler, each with a store or an index of user sessions of its own; \
         make the layer once and give each router a clone, or give one another name"
    )]
    LayersDiffer {
        /// The place where both layers look for the session key, such as ``the cookie `sessionid` ``.
        of: String,
    },
    /// A login was refused, because its user has as many sessions as
    /// [`UserSessions::with_limit`](crate::UserSessions::with_limit) allows. The session is again what it was before
    /// the login.
    #[error("the user has {limit} sessions already, which is the limit; end one of them before the login")]
    TooManySessions {
        /// The number of sessions that a user may have.
        limit: usize,
    },
    /// The page requires a logged-in user, and nobody is logged in: [`auth::CurrentUser`](crate::auth::CurrentUser),
    /// [`auth::UserId`](crate::auth::UserId), [`auth::Requirement`](crate::auth::Requirement).
    #[error("nobody is logged in")]
    NotLoggedIn,
    /// The logged-in user lacks what the page requires: [`auth::Requirement`](crate::auth::Requirement). Django's
    /// `PermissionDenied`.
    #[error("the user may not see this page")]
    Forbidden,
}

impl Error {
    /// The HTTP status of a response to this error: 400 for a session that was deleted meanwhile, as in
    /// Django; 401 where a logged-in user is required; 403 where the user lacks a permission, and for a login beyond
    /// the limit, which trying again does not help; 409 for a conflict; 503 for a store that may recover and a save
    /// that took too long; 500 for all others.
    ///
    /// The layers and the extractors answer with it. Use it where a handler's own error type becomes a
    /// response.
    ///
    /// ```
    /// use cloakroom::{Error, StoreError, StoreErrorKind};
    ///
    /// assert_eq!(Error::Interrupted.status(), 400);
    /// assert_eq!(Error::NotLoggedIn.status(), 401);
    /// assert_eq!(Error::Forbidden.status(), 403);
    /// assert_eq!(Error::TooManySessions { limit: 3 }.status(), 403);
    /// assert_eq!(Error::Conflict { attempts: 1 }.status(), 409);
    /// let down = StoreError::new("redis", StoreErrorKind::Unavailable, "no answer");
    /// assert_eq!(Error::from(down).status(), 503);
    /// ```
    pub fn status(&self) -> u16 {
        match self {
            Error::Interrupted => 400,
            Error::NotLoggedIn => 401,
            Error::Forbidden | Error::TooManySessions { .. } => 403,
            Error::Conflict { .. } => 409,
            Error::SaveTimedOut { .. } => 503,
            Error::Store(error) if error.kind() == StoreErrorKind::Unavailable => 503,
            _ => 500,
        }
    }
}

/// Why a store failed. The message says what to do next.
///
/// ```
/// use cloakroom::{StoreError, StoreErrorKind};
///
/// let message = "no answer within 5 seconds; is the server running?";
/// let error = StoreError::new("redis", StoreErrorKind::Unavailable, message);
/// assert_eq!((error.store(), error.kind()), ("redis", StoreErrorKind::Unavailable));
/// assert_eq!(error.to_string(), format!("session store redis: {message}"));
/// ```
#[derive(Clone)]
pub struct StoreError {
    store: &'static str,
    kind: StoreErrorKind,
    message: String,
    /// Shared, because one failure may be reported to several requests.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kind of failure: whether to retry, to call the operator, or to look at one entry.
///
/// ```
/// use cloakroom::{Settings, StoreErrorKind};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let error = cloakroom::connect("carrier-pigeon:", &Settings::new("secret")).await.unwrap_err();
/// let try_again = matches!(error.kind(), StoreErrorKind::Unavailable);
/// assert!(!try_again, "{error}");
/// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached or did not answer in time. The same call may succeed later.
    Unavailable,
    /// The store does not match the settings: a missing file or table, no permission to write, another
    /// version.
    Misconfigured,
    /// The entry is genuine but cannot be carried without loss. It stays as it is.
    Unreadable,
    /// The store does not accept this value, for example because it is too large.
    Refused,
    /// This kind of store does not support the operation, for example listing sessions that are kept in
    /// cookies.
    Unsupported,
}

impl StoreError {
    /// Creates a store's error. `store` is its short name, empty if the error concerns no particular store;
    /// `message` says what is wrong and what to do.
    ///
    /// ```
    /// use cloakroom::{StoreError, StoreErrorKind};
    ///
    /// let error = StoreError::new("shelf", StoreErrorKind::Refused, "the session takes 2 MB; keep less in it");
    /// assert_eq!(error.to_string(), "session store shelf: the session takes 2 MB; keep less in it");
    /// ```
    pub fn new(store: &'static str, kind: StoreErrorKind, message: impl Into<String>) -> Self {
        StoreError { store, kind, message: message.into(), source: None }
    }

    /// Creates the error of a store that cannot keep the session's data.
    pub(crate) fn not_carried(store: &'static str, error: ValueError) -> Self {
        let message = format!("the session {error}; nothing was written");
        StoreError::new(store, StoreErrorKind::Refused, message).with_source(error)
    }

    /// Adds the error that caused this one.
    ///
    /// ```
    /// use std::{error::Error, io};
    /// use cloakroom::{StoreError, StoreErrorKind};
    ///
    /// let cause = io::Error::from(io::ErrorKind::TimedOut);
    /// let error = StoreError::new("shelf", StoreErrorKind::Unavailable, "no answer").with_source(cause);
    /// assert_eq!(error.source().unwrap().to_string(), "timed out");
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The store's short name, such as `sqlite`.
    pub fn store(&self) -> &'static str {
        self.store
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store {
            // A URL without a store's name, or an error of no particular store.
            "" => write!(formatter, "session store: {}", self.message),
            store => write!(formatter, "session store {store}: {}", self.message),
        }
    }
}

/// Shows the message, and the causes that it does not mention: Rust prints this form of an error that `main`
/// returns.
impl fmt::Debug for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        formatter.write_str(&said)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(formatter, "; caused by: {text}")?;
                said.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
