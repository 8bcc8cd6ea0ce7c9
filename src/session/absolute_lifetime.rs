//! The absolute lifetime, which no activity extends: [`Settings::absolute_lifetime`].

use chrono::{DateTime, Utc};
use cloakroom_formats::private::Text;
use cloakroom_formats::{SessionData, Value};

use super::changes::Change;
use super::{Session, State};
use crate::site::error::Error;
use crate::site::settings::Settings;

/// The session key that holds the session's start time, in whole Unix seconds, if there is an absolute
/// lifetime. Django preserves it like any other key.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SESSION_STARTED_KEY, Session, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::hardened("secret"));
/// session.set("visits", 1)?;
/// session.save().await?;
/// assert!(session.get::<i64>(SESSION_STARTED_KEY)?.is_some());
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
pub const SESSION_STARTED_KEY: &str = "_session_started";

impl Session {
    /// Restarts the absolute lifetime, because the user has just authenticated. Does nothing without an
    /// absolute lifetime.
    ///
    /// [`auth::login`](crate::auth::login) calls it. A login of another kind calls it beside
    /// [`cycle_key`](Session::cycle_key), which does not restart it: a key also changes when nobody entered a
    /// password.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, SESSION_STARTED_KEY, Session, Settings};
    /// use cloakroom::chrono::TimeDelta;
    ///
    /// let mut settings = Settings::new("secret");
    /// settings.absolute_lifetime = Some(TimeDelta::weeks(1));
    /// let session = Session::new(Arc::new(MemoryStore::new()), settings);
    /// session.restart_absolute_age()?;
    /// assert!(session.contains_key(SESSION_STARTED_KEY));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// None in practice: a number can always be stored.
    pub fn restart_absolute_age(&self) -> Result<(), Error> {
        if self.settings().absolute_lifetime.is_some() {
            self.set(SESSION_STARTED_KEY, self.now().timestamp())?;
        }
        Ok(())
    }

    /// When the absolute lifetime of this session ends; `None` without an absolute lifetime.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    /// use cloakroom::chrono::{TimeDelta, Utc};
    ///
    /// let mut settings = Settings::new("secret");
    /// settings.absolute_lifetime = Some(TimeDelta::weeks(1));
    /// let session = Session::new(Arc::new(MemoryStore::new()), settings);
    /// session.restart_absolute_age()?;
    /// assert!(session.absolute_end().unwrap() <= Utc::now() + TimeDelta::weeks(1));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn absolute_end(&self) -> Option<DateTime<Utc>> {
        self.absolute_end_from(self.now())
    }

    pub(crate) fn absolute_end_from(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        end(&self.inner.state().data, self.settings(), now)
    }

    /// The start time for a session that has none yet; `None` without an absolute lifetime.
    pub(super) fn start_to_mark(&self) -> Option<DateTime<Utc>> {
        self.settings().absolute_lifetime.map(|_| self.now())
    }
}

impl State {
    /// Adds the start time to a session without one. This does not count as access, and a retry keeps a start
    /// time that another request wrote.
    pub(super) fn mark_start(&mut self, start: Option<DateTime<Utc>>) {
        let Some(start) = start.filter(|_| !self.data.contains_key(SESSION_STARTED_KEY)) else { return };
        let Ok(started) = Value::serialize(&start.timestamp()) else { return };
        let (accessed, is_late) = (self.accessed, self.is_late);
        let pointless = self.change(Change::SetDefault(Text::of_key(SESSION_STARTED_KEY), started));
        debug_assert!(pointless.is_empty(), "a default makes nothing pointless");
        (self.accessed, self.is_late) = (accessed, is_late);
    }
}

/// Whether a stored session's absolute lifetime has ended. An unreadable start time counts as expired.
pub(super) fn is_over(data: &SessionData, settings: &Settings, now: DateTime<Utc>) -> bool {
    data.contains_key(SESSION_STARTED_KEY) && end(data, settings, now).is_some_and(|end| end <= now)
}

/// When the absolute lifetime of a session with this data ends; a session without a start time starts now.
pub(super) fn end(data: &SessionData, settings: &Settings, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let age = settings.absolute_lifetime?;
    let started = match data.get(SESSION_STARTED_KEY) {
        None => Some(now),
        Some(started) => {
            started.deserialize::<i64>().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        }
    };
    // On overflow no cap applies.
    Some(started.map_or(now, |started| started.checked_add_signed(age).unwrap_or(DateTime::<Utc>::MAX_UTC)))
}
