//! The errors, as Python's exceptions.

use std::sync::{Arc, Mutex, PoisonError};

use cloakroom::{Error, StoreErrorKind};
use pyo3::exceptions::{PyException, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::{PyErr, create_exception};

create_exception!(
    django_cloakroom,
    SessionUnreadable,
    PyValueError,
    "A stored session is signed with this site's secret, but its content cannot be read. The row stays as it is."
);
create_exception!(
    django_cloakroom,
    SessionGone,
    PyException,
    "The session was deleted before it could be saved. The engines raise Django's UpdateError for it."
);

/// The exception of a Python callable, kept while the library's error passes through the Rust session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<PyErr>>>);

impl Failure {
    pub(crate) fn set(&self, exception: PyErr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(exception);
    }

    fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The exception for the library's error: the Python callable's own, if that is what failed.
    pub(crate) fn exception(&self, error: &Error) -> PyErr {
        if let Some(exception) = self.take() {
            return exception;
        }
        let message = error.to_string();
        match error {
            Error::Interrupted => SessionGone::new_err(message),
            Error::SaveTimedOut { .. } => PyTimeoutError::new_err(message),
            Error::Value { .. } | Error::Expiry(_) => PyValueError::new_err(message),
            Error::Store(error) if error.kind() == StoreErrorKind::Unreadable => {
                SessionUnreadable::new_err(message)
            }
            Error::Store(error) if error.kind() == StoreErrorKind::Refused => PyValueError::new_err(message),
            _ => PyRuntimeError::new_err(message),
        }
    }
}
