//! The session's own expiry: Django's `set_expiry` and its getters.

use chrono::{DateTime, Utc};
use cloakroom_formats::private::{StoredExpiry, Text};
use cloakroom_formats::{EXPIRY_KEY, Expiry, ExpiryAge, ExpiryError, Moment};

use super::Session;
use super::changes::Change;
use crate::site::error::Error;

impl Session {
    /// Sets when this session expires. Django's `set_expiry`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use cloakroom::{Expiry, MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set_expiry(Expiry::sliding(Duration::from_secs(300)))?;
    /// assert_eq!(session.get_expiry_age()?.whole_seconds(), 300);
    /// session.set_expiry(Expiry::AtBrowserClose)?;
    /// assert!(session.get_expire_at_browser_close());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Expiry`] when the expiry is outside of the years 1 to 9999.
    pub fn set_expiry(&self, expiry: impl Into<Expiry>) -> Result<(), Error> {
        match expiry.into().to_stored(self.now(), self.settings().time_zone)? {
            Some(value) => self.change(Change::Set(Text::of_key(EXPIRY_KEY), value)),
            None => {
                self.remove(EXPIRY_KEY);
            }
        }
        Ok(())
    }

    /// When the session expires if it is saved now, in UTC: by its own expiry or by the settings, and at the
    /// end of the absolute lifetime at the latest. Does not count as access.
    ///
    /// Django's counterpart is `get_expiry_date`, which is here too: it gives a date in the form that the
    /// site's `USE_TZ` says, and knows no absolute lifetime.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use cloakroom::chrono::{TimeDelta, Utc};
    /// use cloakroom::{Expiry, MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set_expiry(Expiry::fixed(Duration::from_secs(60)))?;
    /// assert!(session.expires_at()? <= Utc::now() + TimeDelta::seconds(60));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Expiry`] when the stored expiry is invalid.
    pub fn expires_at(&self) -> Result<DateTime<Utc>, Error> {
        let data = self.inner.state().data.clone();
        self.expire_date(&data, self.now())
    }

    fn stored_expiry(&self) -> StoredExpiry {
        self.read(|data| StoredExpiry::read(data.get(EXPIRY_KEY)))
    }

    /// How long the session would live if it were saved now. Django's `get_expiry_age()`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{ExpiryError, MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert_eq!(session.get_expiry_age()?.whole_seconds(), 14 * 24 * 60 * 60, "two weeks");
    /// session.set("_session_expiry", "tomorrow")?;
    /// assert_eq!(session.get_expiry_age(), Err(ExpiryError::NotADate));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ExpiryError`] when the stored expiry is invalid; [`set_expiry`](Session::set_expiry) repairs it.
    pub fn get_expiry_age(&self) -> Result<ExpiryAge, ExpiryError> {
        self.get_expiry_age_from(Moment::at(self.now(), self.settings().time_zone))
    }

    /// How long the session lives from a given moment. Django's `get_expiry_age(modification=…)`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Moment, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let start = Moment::from_isoformat("2030-05-06T07:08:09+00:00").unwrap();
    /// session.set("_session_expiry", "2030-05-06T08:08:09+00:00")?;
    /// assert_eq!(session.get_expiry_age_from(start)?.whole_seconds(), 3_600);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_expiry_age`](Session::get_expiry_age).
    pub fn get_expiry_age_from(&self, modification: Moment) -> Result<ExpiryAge, ExpiryError> {
        self.stored_expiry().age(modification, self.settings().cookie_age)
    }

    /// When the session would expire if it were saved now. Django's `get_expiry_date()`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::chrono::DateTime;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let end = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
    /// session.set_expiry(end)?;
    /// assert_eq!(session.get_expiry_date()?.isoformat(), "2030-03-17T17:46:40+00:00");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_expiry_age`](Session::get_expiry_age), and when the expiry is after the year 9999.
    pub fn get_expiry_date(&self) -> Result<Moment, ExpiryError> {
        self.get_expiry_date_from(Moment::at(self.now(), self.settings().time_zone))
    }

    /// When the session expires if it was last changed at the given moment. Django's
    /// `get_expiry_date(modification=…)`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Moment, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// let start = Moment::from_isoformat("2030-05-06T07:08:09+00:00").unwrap();
    /// session.set_expiry(60)?;
    /// assert_eq!(session.get_expiry_date_from(start)?.isoformat(), "2030-05-06T07:09:09+00:00");
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_expiry_date`](Session::get_expiry_date).
    pub fn get_expiry_date_from(&self, modification: Moment) -> Result<Moment, ExpiryError> {
        self.stored_expiry().date(modification, self.settings().cookie_age)
    }

    /// Whether the cookie ends with the browser. Django's `get_expire_at_browser_close`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert!(!session.get_expire_at_browser_close());
    /// session.set_expiry(0)?;
    /// assert!(session.get_expire_at_browser_close());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn get_expire_at_browser_close(&self) -> bool {
        self.stored_expiry().at_browser_close(self.settings().expire_at_browser_close)
    }

    /// The default age of a session. Django's `get_session_cookie_age`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert_eq!(session.get_session_cookie_age().num_days(), 14);
    /// ```
    pub fn get_session_cookie_age(&self) -> chrono::TimeDelta {
        self.settings().cookie_age
    }
}
