//! A store that tells which calls reach it, and fails or waits when told to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use cloakroom::store::{Created, Loaded, Record, Rotated, Touched, Updated, Version};
use cloakroom::{SessionKey, SessionStore, StoreError, StoreErrorKind, async_trait};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct WatchedStore {
    inner: Arc<dyn SessionStore>,
    calls: Mutex<Vec<&'static str>>,
    failure: Mutex<Option<(&'static str, StoreErrorKind)>>,
    hold: Mutex<Option<Hold>>,
    refused: Mutex<Option<&'static str>>,
    always_changed: AtomicBool,
}

/// Where a writing call waits.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    call: &'static str,
    after: bool,
    reached: Arc<Notify>,
    release: Arc<Notify>,
}

impl Hold {
    /// Before the call has done anything.
    pub(crate) fn before(call: &'static str) -> Hold {
        Hold { call, after: false, reached: Arc::default(), release: Arc::default() }
    }

    /// After the call has done its work, before anybody is told.
    pub(crate) fn after(call: &'static str) -> Hold {
        Hold { after: true, ..Hold::before(call) }
    }

    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn release(&self) {
        self.release.notify_one();
    }
}

impl WatchedStore {
    pub(crate) fn new(inner: Arc<dyn SessionStore>) -> Arc<WatchedStore> {
        Arc::new(WatchedStore {
            inner,
            calls: Mutex::default(),
            failure: Mutex::default(),
            hold: Mutex::default(),
            refused: Mutex::default(),
            always_changed: AtomicBool::new(false),
        })
    }

    /// The names of the calls since the last look.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// From now on this call fails; with none, all work again.
    pub(crate) fn fail(&self, failure: Option<(&'static str, StoreErrorKind)>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// From now on calls wait there; with none, they go on.
    pub(crate) fn hold(&self, hold: Option<Hold>) {
        *self.hold.lock().unwrap() = hold;
    }

    /// From now on a session that holds this key is refused by `update`; with none, all are taken.
    pub(crate) fn refuse(&self, key: Option<&'static str>) {
        *self.refused.lock().unwrap() = key;
    }

    /// From now on each update finds the session changed, as if another process were always faster.
    pub(crate) fn always_changed(&self) {
        self.always_changed.store(true, Ordering::Relaxed);
    }

    async fn wait(&self, call: &'static str, after: bool) {
        let hold = self.hold.lock().unwrap().clone();
        if let Some(hold) = hold.filter(|hold| hold.call == call && hold.after == after) {
            hold.reached.notify_one();
            hold.release.notified().await;
        }
    }

    /// Whether this session is there, without counting as a call.
    pub(crate) async fn has(&self, session_key: &str) -> bool {
        let session_key = SessionKey::from_trusted(session_key);
        self.inner.load(&session_key, DateTime::UNIX_EPOCH).await.unwrap().is_some()
    }

    fn called(&self, name: &'static str) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(name);
        match *self.failure.lock().unwrap() {
            Some((failing, kind)) if failing == name => Err(StoreError::new("watched", kind, "it is down")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SessionStore for WatchedStore {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn keeps_data_in_cookie(&self) -> bool {
        self.inner.keeps_data_in_cookie()
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        self.called("load")?;
        self.inner.load(session_key, now).await
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        self.called("create")?;
        self.inner.create(session_key, record).await
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        self.called("update")?;
        self.wait("update", false).await;
        let refused = *self.refused.lock().unwrap();
        if refused.is_some_and(|key| record.data.contains_key(key)) {
            return Err(StoreError::new("watched", StoreErrorKind::Refused, "it is too large"));
        }
        if self.always_changed.load(Ordering::Relaxed) {
            return Ok(Updated::Changed);
        }
        let updated = self.inner.update(session_key, expected, record).await;
        self.wait("update", true).await;
        updated
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        self.called("rotate")?;
        self.wait("rotate", false).await;
        let rotated = self.inner.rotate(session_key, expected, new_session_key, record).await;
        self.wait("rotate", true).await;
        rotated
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        self.called("touch")?;
        self.inner.touch(session_key, version, record).await
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.called("delete")?;
        self.inner.delete(session_key).await
    }

    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.called("exists")?;
        self.inner.exists(session_key, now).await
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        self.called("live_among")?;
        self.inner.live_among(session_keys, now).await
    }

    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut cloakroom::store::Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.called("clear_expired")?;
        self.inner.clear_expired_with_progress(now, progress).await
    }
}
