//! The session files of Django's `file` engine, by the library's own protocol.

use std::path::PathBuf;

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::file::private::TextFiles;
use cloakroom::{SessionKey, StoreError, StoreErrorKind};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::SessionUnreadable;

/// The files of one folder. Each call blocks without the GIL.
#[pyclass(frozen, module = "django_cloakroom._core")]
pub(crate) struct Files(TextFiles);

#[pymethods]
impl Files {
    /// `path` is SESSION_FILE_PATH, `prefix` the cookie's name. `durable`: a save waits until it is on the disk.
    #[new]
    fn new(python: Python<'_>, path: PathBuf, prefix: String, durable: bool) -> PyResult<Files> {
        python.detach(|| TextFiles::open(path, prefix, durable)).map(Files).map_err(exception)
    }

    /// A file's text and modification time; None if there is none.
    fn read<'python>(
        &self,
        python: Python<'python>,
        session_key: &str,
    ) -> PyResult<Option<(Bound<'python, PyBytes>, f64)>> {
        let found = python.detach(|| self.0.read(&key(session_key))).map_err(exception)?;
        Ok(found.map(|file| (PyBytes::new(python, &file.text), seconds(file.modified))))
    }

    /// Whether a new file was made; False if there is one.
    fn add(&self, python: Python<'_>, session_key: &str, text: &[u8]) -> PyResult<bool> {
        python.detach(|| self.0.add(&key(session_key), text)).map_err(exception)
    }

    /// Whether the file had the expected text, and was replaced. With None: whether there was one.
    #[pyo3(signature = (session_key, expected, text))]
    fn replace(
        &self,
        python: Python<'_>,
        session_key: &str,
        expected: Option<&[u8]>,
        text: &[u8],
    ) -> PyResult<bool> {
        python.detach(|| self.0.replace(&key(session_key), expected, text)).map_err(exception)
    }

    /// As `replace`, under a new key.
    fn rotate(
        &self,
        python: Python<'_>,
        session_key: &str,
        expected: &[u8],
        new_session_key: &str,
        text: &[u8],
    ) -> PyResult<bool> {
        let (old, new) = (key(session_key), key(new_session_key));
        python.detach(|| self.0.rotate(&old, expected, &new, text)).map_err(exception)
    }

    /// Whether there was a file, which is removed.
    fn remove(&self, python: Python<'_>, session_key: &str) -> PyResult<bool> {
        python.detach(|| self.0.remove(&key(session_key))).map_err(exception)
    }

    /// Removes the files of which `is_expired(text, modification time)` is true; returns how many. If it raises an
    /// exception, that file stays.
    #[expect(clippy::needless_pass_by_value, reason = "to leave the GIL with it")]
    fn clear_expired(&self, python: Python<'_>, is_expired: Py<PyAny>) -> PyResult<u64> {
        let ask = |text: &[u8], modified| {
            let answer: PyResult<bool> = Python::attach(|python| {
                let arguments = (PyBytes::new(python, text), seconds(modified));
                is_expired.bind(python).call1(arguments)?.extract()
            });
            answer.unwrap_or(false)
        };
        python.detach(|| self.0.clear_expired(&ask)).map_err(exception)
    }

    fn __repr__(&self) -> &'static str {
        "<Files>"
    }
}

fn key(session_key: &str) -> SessionKey {
    SessionKey::from_trusted(session_key.to_owned())
}

/// As `os.stat` has it.
#[expect(clippy::cast_precision_loss, reason = "as in Python")]
fn seconds(modified: DateTime<Utc>) -> f64 {
    modified.timestamp() as f64 + f64::from(modified.timestamp_subsec_nanos()) / 1e9
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn exception(error: StoreError) -> PyErr {
    let message = error.to_string();
    match error.kind() {
        StoreErrorKind::Unreadable => SessionUnreadable::new_err(message),
        _ => PyOSError::new_err(message),
    }
}
