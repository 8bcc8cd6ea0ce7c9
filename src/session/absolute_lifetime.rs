//! The end of a session that no activity puts off: [`Settings::absolute_lifetime`].

use chrono::{DateTime, Utc};
use cloakroom_formats::private::Text;
use cloakroom_formats::{SessionData, Value};

use super::changes::Change;
use super::{Session, State};
use crate::site::error::Error;
use crate::site::settings::Settings;

/// The key in the session that says when it began, in whole Unix seconds, where there is an absolute age. Django
/// carries it along like any other.
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
    /// Has the absolute age count from now on, because the user has just proved who it is. [`auth::login`](crate::auth::login)
    /// does so; a login of another kind calls it beside [`cycle_key`](Session::cycle_key), which does not: a key is also
    /// changed when nobody entered a password. Does nothing where there is no absolute age.
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
    /// None that can be met: a number can always be stored.
    pub fn restart_absolute_age(&self) -> Result<(), Error> {
        if self.settings().absolute_lifetime.is_some() {
            self.set(SESSION_STARTED_KEY, self.now().timestamp())?;
        }
        Ok(())
    }

    /// When this session ends however active it is; none where there is no absolute age.
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
}

impl State {
    /// Puts the beginning into a session that has none. Nobody looked at the data, and a retry keeps the
    /// beginning that another request wrote.
    pub(super) fn mark_start(&mut self, settings: &Settings, now: DateTime<Utc>) {
        if settings.absolute_lifetime.is_none() || self.data.contains_key(SESSION_STARTED_KEY) {
            return;
        }
        let Ok(started) = Value::serialize(&now.timestamp()) else { return };
        let (accessed, is_late) = (self.accessed, self.is_late);
        let pointless = self.change(Change::SetDefault(Text::of_key(SESSION_STARTED_KEY), started));
        debug_assert!(pointless.is_empty(), "a default makes nothing pointless");
        (self.accessed, self.is_late) = (accessed, is_late);
    }
}

/// Whether a stored session has ended by its absolute age. What is no beginning, nobody can count from: it has.
pub(super) fn is_over(data: &SessionData, settings: &Settings, now: DateTime<Utc>) -> bool {
    data.contains_key(SESSION_STARTED_KEY) && end(data, settings, now).is_some_and(|end| end <= now)
}

/// When a session with this data ends; one without a beginning begins now.
pub(super) fn end(data: &SessionData, settings: &Settings, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let age = settings.absolute_lifetime?;
    let started = match data.get(SESSION_STARTED_KEY) {
        None => Some(now),
        Some(started) => {
            started.deserialize::<i64>().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        }
    };
    // Beyond the end of time there is no end to cut to.
    Some(started.map_or(now, |started| started.checked_add_signed(age).unwrap_or(DateTime::<Utc>::MAX_UTC)))
}
