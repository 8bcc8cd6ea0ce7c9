//! The signed text of a session, and a session as it is stored.

use std::sync::Arc;

use cloakroom::chrono::Utc;
use cloakroom::signing::SecretKey;
use cloakroom::{DecodeError, SessionCodec, SessionCodecConfig, SessionData, ValueError};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::SessionUnreadable;

/// Reads and writes the signed text of one site's sessions. Django's `SessionBase.encode` and `decode`.
#[pyclass(frozen, module = "django_cloakroom._core")]
#[derive(Debug)]
pub(crate) struct Codec(pub(crate) Arc<SessionCodec>);

#[pymethods]
impl Codec {
    /// The secrets as bytes, the current one first; the salt is the session class's `key_salt`, and the class its
    /// `__qualname__`.
    #[new]
    fn new(secrets: Vec<Vec<u8>>, salt: &str, session_class: String) -> PyResult<Codec> {
        let mut secrets = secrets.into_iter().map(|secret| SecretKey::from(&*secret));
        let secret = secrets.next().ok_or_else(|| PyValueError::new_err("SECRET_KEY is missing"))?;
        let mut config = SessionCodecConfig::new(secret);
        config.secret_key_fallbacks = secrets.collect();
        config.session_class = session_class;
        Ok(Codec(Arc::new(SessionCodec::with_salt(config, salt))))
    }

    /// Signs the JSON text of a dictionary.
    fn encode(&self, json: &str) -> PyResult<String> {
        let data = data(json)?;
        self.0.encode(&data, Utc::now()).map_err(invalid)
    }

    /// The session in a signed text; None if it was not signed with these secrets.
    fn decode(&self, text: String) -> PyResult<Option<Stored>> {
        match self.0.decode(&text) {
            Ok(data) => Ok(Some(Stored { data, text })),
            Err(DecodeError::BadSignature | DecodeError::Expired(_)) => Ok(None),
            Err(error) => Err(SessionUnreadable::new_err(error.to_string())),
        }
    }
}

/// A session as it was last read from the store or written to it.
#[pyclass(frozen, module = "django_cloakroom._core")]
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) data: SessionData,
    /// What the store holds, to compare with.
    pub(crate) text: String,
}

#[pymethods]
impl Stored {
    /// A session whose text another codec than [`Codec`] made.
    #[new]
    fn new(text: String, json: &str) -> PyResult<Stored> {
        Ok(Stored { data: data(json)?, text })
    }

    /// The dictionary as JSON, letter for letter as it is stored.
    #[getter]
    fn json(&self) -> String {
        self.data.to_json()
    }

    /// What the store holds.
    #[getter]
    fn text(&self) -> &str {
        &self.text
    }

    /// The JSON text of one value.
    fn value(&self, key: &str) -> Option<&str> {
        self.data.get(key).map(cloakroom::Value::json)
    }

    /// For `copy` and `pickle`, which Django's own sessions allow.
    fn __reduce__<'python>(slf: &Bound<'python, Self>) -> (Bound<'python, PyType>, (String, String)) {
        let stored = slf.get();
        (slf.get_type(), (stored.text.clone(), stored.data.to_json()))
    }

    fn __repr__(&self) -> String {
        format!("<Stored: {} keys>", self.data.len())
    }
}

/// Reads the JSON text that Python made of a session's dictionary.
pub(crate) fn data(json: &str) -> PyResult<SessionData> {
    SessionData::from_json(json).map_err(invalid)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn invalid(error: ValueError) -> PyErr {
    PyValueError::new_err(format!("the session {error}"))
}
