//! A store whose calls are Python's: they run statements on Django's own connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Content, Created, Loaded, Progress, Record, Rotated, Updated, Version};
use cloakroom::{
    DecodeError, SessionCodec, SessionData, SessionKey, SessionStore, StoreError, StoreErrorKind, async_trait,
};
use pyo3::prelude::*;

use crate::codec::Stored;
use crate::error::Failure;

/// The store of one save. Its first `load` answers with the session that Python has loaded before, without a statement:
/// so the Rust session starts from what the view saw.
#[derive(Debug)]
pub(crate) struct PythonStore {
    /// `reread`, `update` and `rotate`: `django_cloakroom.protocol.Statements`.
    pub(crate) statements: Py<PyAny>,
    /// None if the session class has another serializer or codec: then `statements` encode.
    pub(crate) codec: Option<Arc<SessionCodec>>,
    pub(crate) loaded: Mutex<Option<(SessionData, Version)>>,
    /// What was written last.
    pub(crate) written: Mutex<Option<Stored>>,
    pub(crate) failure: Failure,
}

impl PythonStore {
    /// Runs a Python callable. Its exception is kept for the caller of the save.
    fn call<T>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> Result<T, StoreError> {
        Python::attach(|python| call(self.statements.bind(python))).map_err(|exception| {
            self.failure.set(exception);
            error(StoreErrorKind::Unavailable, "a statement raised an exception")
        })
    }

    /// The data to write, as JSON and, unless Python encodes it, as text.
    fn encoded(&self, record: Record<'_>) -> Result<(SessionData, Option<String>), StoreError> {
        let data = record.data.clone();
        let text = match &self.codec {
            Some(codec) => Some(codec.encode(&data, record.now).map_err(|unfit| {
                error(StoreErrorKind::Refused, &format!("the session {unfit}; nothing was written"))
            })?),
            None => None,
        };
        Ok((data, text))
    }

    /// Notes what was written; returns its version.
    fn note(&self, data: SessionData, text: String) -> Version {
        let version = Version::from_bytes(text.as_bytes());
        *lock(&self.written) = Some(Stored { data, text });
        version
    }
}

#[async_trait]
impl SessionStore for PythonStore {
    fn name(&self) -> &'static str {
        "django"
    }

    async fn load(&self, _: &SessionKey, _: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let loaded = lock(&self.loaded).take();
        Ok(loaded.map(|(data, version)| Loaded {
            content: Content::Genuine(data),
            version,
            expire_date: None,
        }))
    }

    async fn load_for_update(
        &self,
        session_key: &SessionKey,
        _: DateTime<Utc>,
    ) -> Result<Option<Loaded>, StoreError> {
        let row: Option<(String, Option<String>)> =
            self.call(|statements| statements.call_method1("reread", (session_key.as_str(),))?.extract())?;
        let Some((text, json)) = row else { return Ok(None) };
        let content = match (&self.codec, json) {
            (_, Some(json)) => Content::Genuine(
                SessionData::from_json(&json)
                    .map_err(|unfit| error(StoreErrorKind::Unreadable, &format!("the session {unfit}")))?,
            ),
            (Some(codec), None) => match codec.decode(&text) {
                Ok(data) => Content::Genuine(data),
                Err(DecodeError::BadSignature | DecodeError::Expired(_)) => Content::NotGenuine,
                Err(unfit) => return Err(error(StoreErrorKind::Unreadable, &unfit.to_string())),
            },
            (None, None) => Content::NotGenuine,
        };
        Ok(Some(Loaded { content, version: Version::from_bytes(text.as_bytes()), expire_date: None }))
    }

    async fn create(&self, _: &SessionKey, _: Record<'_>) -> Result<Created, StoreError> {
        Err(error(StoreErrorKind::Unsupported, "new sessions are inserted by Django's model"))
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let (data, text) = self.encoded(record)?;
        let written: Option<String> = self.call(|statements| {
            let arguments = (session_key.as_str(), expected_text(expected), data.to_json(), text);
            statements.call_method1("update", arguments)?.extract()
        })?;
        Ok(match written {
            Some(text) => Updated::Updated(self.note(data, text)),
            // Changed or deleted: the locking read that follows tells.
            None => Updated::Changed,
        })
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        let (data, text) = self.encoded(record)?;
        let (key, new_key) = (session_key.as_str(), new_session_key.as_str());
        let written: Option<String> = self.call(|statements| {
            let arguments = (key, expected_text(expected), new_key, data.to_json(), text);
            statements.call_method1("rotate", arguments)?.extract()
        })?;
        Ok(match written {
            Some(text) => Rotated::Rotated(self.note(data, text)),
            None => Rotated::Changed,
        })
    }

    async fn delete(&self, _: &SessionKey) -> Result<bool, StoreError> {
        Err(error(StoreErrorKind::Unsupported, "sessions are deleted by Django's model"))
    }

    async fn exists(&self, _: &SessionKey, _: DateTime<Utc>) -> Result<bool, StoreError> {
        Err(error(StoreErrorKind::Unsupported, "Django's model is asked whether a session exists"))
    }

    async fn clear_expired_with_progress(
        &self,
        _: DateTime<Utc>,
        _: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        Err(error(StoreErrorKind::Unsupported, "expired sessions are cleared by Django's model"))
    }
}

fn expected_text(expected: Option<&Version>) -> Option<&str> {
    expected.and_then(Version::as_bytes).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

fn error(kind: StoreErrorKind, message: &str) -> StoreError {
    StoreError::new("django", kind, message)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
