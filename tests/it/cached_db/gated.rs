//! A store that can be held up at a chosen call, and that can be down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Created, Loaded, Record, Rotated, Updated, Version};
use cloakroom::{SessionKey, SessionStore, StoreError, StoreErrorKind, async_trait};
use tokio::sync::Notify;

pub(super) struct Gated {
    inner: Arc<dyn SessionStore>,
    /// The next call of this name waits, before it is made or before it returns.
    gate: Mutex<Option<(&'static str, Side)>>,
    pub(super) reached: Notify,
    pub(super) go_on: Notify,
    pub(super) down: AtomicBool,
    calls: Mutex<Vec<&'static str>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl Gated {
    pub(super) fn new(inner: Arc<dyn SessionStore>) -> Arc<Gated> {
        Arc::new(Gated {
            inner,
            gate: Mutex::default(),
            reached: Notify::new(),
            go_on: Notify::new(),
            down: AtomicBool::new(false),
            calls: Mutex::default(),
        })
    }

    pub(super) fn hold(&self, call: &'static str, side: Side) {
        *self.gate.lock().unwrap() = Some((call, side));
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// The calls since the last time.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn pass(&self, call: &'static str, side: Side) -> Result<(), StoreError> {
        if side == Side::Before {
            self.calls.lock().unwrap().push(call);
        }
        let held = self.gate.lock().unwrap().take_if(|gate| *gate == (call, side)).is_some();
        if held {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::new("gated", StoreErrorKind::Unavailable, "it is down"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Gated")
    }
}

macro_rules! passed {
    ($self:ident, $name:literal, $call:expr) => {{
        $self.pass($name, Side::Before).await?;
        let result = $call.await;
        $self.pass($name, Side::After).await?;
        result
    }};
}

#[async_trait]
impl SessionStore for Gated {
    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        passed!(self, "load", self.inner.load(session_key, now))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        passed!(self, "create", self.inner.create(session_key, record))
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        passed!(self, "update", self.inner.update(session_key, expected, record))
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        passed!(self, "rotate", self.inner.rotate(session_key, expected, new_session_key, record))
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        passed!(self, "delete", self.inner.delete(session_key))
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        passed!(self, "exists", self.inner.exists(session_key, now))
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut cloakroom::store::Progress<'_>,
    ) -> Result<u64, StoreError> {
        passed!(self, "clear_expired", self.inner.clear_expired_with_progress(now, progress))
    }
}
