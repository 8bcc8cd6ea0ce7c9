//! When the user last entered a password, for pages that ask for it again.

use chrono::{DateTime, TimeDelta};
use cloakroom_formats::IntoTimeDelta;

use super::user_id;
use crate::session::Session;
use crate::site::error::Error;

/// The session key of the time of the last authentication, in whole Unix seconds. Django preserves it like any
/// other key.
pub const AUTHENTICATED_KEY: &str = "_authenticated_at";

/// How far the clock of another server of the site may be ahead.
const SLACK: TimeDelta = TimeDelta::minutes(1);

impl Session {
    /// Notes that the user has just entered a password or the like. Call it after
    /// [`auth::login`](crate::auth::login), and after each later check.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use cloakroom::{MemoryStore, Session, Settings, auth};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
    /// auth::login(&session, user).await?;
    /// session.mark_authenticated()?;
    /// assert!(session.authenticated_within(Duration::from_secs(5 * 60)));
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// None in practice: a number can always be stored.
    pub fn mark_authenticated(&self) -> Result<(), Error> {
        self.set(AUTHENTICATED_KEY, self.now().timestamp())
    }

    /// Whether a user is logged in and was authenticated at most this long ago, for pages that ask for the
    /// password again (step-up authentication).
    ///
    /// False without [`mark_authenticated`](Session::mark_authenticated), as in a session that Django logged
    /// in. A logout, and the login of another user, end it. Django has no counterpart.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use cloakroom::{MemoryStore, Session, Settings, auth};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.mark_authenticated()?;
    /// assert!(!session.authenticated_within(Duration::from_secs(5 * 60)), "nobody is logged in");
    /// session.set(auth::USER_ID_KEY, "7")?;
    /// assert!(session.authenticated_within(Duration::from_secs(5 * 60)));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn authenticated_within(&self, age: impl IntoTimeDelta) -> bool {
        if !matches!(user_id(self), Ok(Some(_))) {
            return false;
        }
        // Unreadable, it counts as long ago.
        let Ok(Some(at)) = self.get::<i64>(AUTHENTICATED_KEY) else { return false };
        let Some(at) = DateTime::from_timestamp(at, 0).map(|at| at.timestamp()) else { return false };
        let since = TimeDelta::seconds(self.now().timestamp() - at);
        since >= -SLACK && since <= age.into_time_delta()
    }
}
