//! The test cookie, which shows whether a browser keeps cookies.

use super::Session;
use crate::site::error::Error;

/// The key of the test cookie. Django's `TEST_COOKIE_NAME`.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, TEST_COOKIE_NAME, TEST_COOKIE_VALUE};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set_test_cookie()?;
/// assert_eq!(session.get::<String>(TEST_COOKIE_NAME)?.as_deref(), Some(TEST_COOKIE_VALUE));
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub const TEST_COOKIE_NAME: &str = "testcookie";
/// The value of the test cookie. Django's `TEST_COOKIE_VALUE`.
pub const TEST_COOKIE_VALUE: &str = "worked";

impl Session {
    /// Sets the test value; the next request shows whether the browser keeps cookies.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set_test_cookie()?;
    /// assert!(session.test_cookie_worked());
    /// assert!(session.delete_test_cookie());
    /// assert!(!session.test_cookie_worked());
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn set_test_cookie(&self) -> Result<(), Error> {
        self.set(TEST_COOKIE_NAME, TEST_COOKIE_VALUE.to_owned())
    }

    /// Whether the test value of an earlier request came back.
    pub fn test_cookie_worked(&self) -> bool {
        self.read(|data| data.get(TEST_COOKIE_NAME).is_some_and(|value| value.json() == "\"worked\""))
    }

    /// Removes the test value. Returns false if it was missing, where Django raises `KeyError`.
    pub fn delete_test_cookie(&self) -> bool {
        self.remove(TEST_COOKIE_NAME)
    }
}
