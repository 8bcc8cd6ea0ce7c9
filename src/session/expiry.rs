//! The session's own expiry: Django's `set_expiry` and what is asked of it.

use super::Session;
use super::changes::Change;
use crate::error::Error;
use crate::expiry::{EXPIRY_KEY, Expiry, ExpiryAge, ExpiryError, Moment, StoredExpiry};

impl Session {
    /// Says when this session ends. Django's `set_expiry`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Expiry, MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set_expiry(300)?;
    /// assert_eq!(session.get_expiry_age()?.whole_seconds(), 300);
    /// session.set_expiry(Expiry::AtBrowserClose)?;
    /// assert!(session.get_expire_at_browser_close());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Expiry`] when the end lies outside of the years 1 to 9999.
    pub fn set_expiry(&self, expiry: impl Into<Expiry>) -> Result<(), Error> {
        match expiry.into().to_stored(self.now(), self.settings().time_zone)? {
            Some(value) => self.change(Change::Set(EXPIRY_KEY.to_owned(), value)),
            None => {
                self.remove(EXPIRY_KEY);
            }
        }
        Ok(())
    }

    fn stored_expiry(&self) -> StoredExpiry {
        self.read(|data| StoredExpiry::read(data.get(EXPIRY_KEY)))
    }

    /// How long the session lives from now on, were it saved now. Django's `get_expiry_age()`.
    ///
    /// # Errors
    /// [`ExpiryError`] when the session holds an expiry that is none; [`set_expiry`](Session::set_expiry) mends it.
    pub fn get_expiry_age(&self) -> Result<ExpiryAge, ExpiryError> {
        self.get_expiry_age_from(Moment::at(self.now(), self.settings().time_zone))
    }

    /// How long the session lives from a moment on. Django's `get_expiry_age(modification=…)`.
    ///
    /// # Errors
    /// As [`get_expiry_age`](Session::get_expiry_age).
    pub fn get_expiry_age_from(&self, modification: Moment) -> Result<ExpiryAge, ExpiryError> {
        self.stored_expiry().age(modification, self.settings())
    }

    /// When the session ends, were it saved now. Django's `get_expiry_date()`.
    ///
    /// # Errors
    /// As [`get_expiry_age`](Session::get_expiry_age), and when the end lies beyond the year 9999.
    pub fn get_expiry_date(&self) -> Result<Moment, ExpiryError> {
        self.get_expiry_date_from(Moment::at(self.now(), self.settings().time_zone))
    }

    /// When the session ends if it was last changed at a moment. Django's `get_expiry_date(modification=…)`.
    ///
    /// # Errors
    /// As [`get_expiry_date`](Session::get_expiry_date).
    pub fn get_expiry_date_from(&self, modification: Moment) -> Result<Moment, ExpiryError> {
        self.stored_expiry().date(modification, self.settings())
    }

    /// Whether the cookie ends with the browser. Django's `get_expire_at_browser_close`.
    pub fn get_expire_at_browser_close(&self) -> bool {
        self.stored_expiry().at_browser_close(self.settings())
    }

    /// The usual age of a session. Django's `get_session_cookie_age`.
    pub fn get_session_cookie_age(&self) -> chrono::TimeDelta {
        self.settings().cookie_age
    }
}
