//! What happens to a session while it is being saved.

use std::sync::atomic::AtomicUsize;

use cloakroom::StoreError;
use cloakroom::chrono::DateTime;
use cloakroom::store::{Created, Loaded};

use super::*;

#[tokio::test]
async fn changes_made_while_saving_are_saved_by_the_next_save() {
    for (name, store, _keep) in stores::all().await {
        let session_key = new_session(&store).await;
        let gate = Arc::new(Gate::new(Arc::clone(&store)));
        let gated: Arc<dyn SessionStore> = Arc::clone(&gate) as _;
        let session = open(&gated, ConcurrentChanges::Merge, &session_key).await;
        session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1).unwrap();
        let saving = tokio::spawn({
            let session = session.clone();
            async move { session.save().await }
        });
        gate.reached.notified().await;
        session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1).unwrap();
        gate.go_on.notify_one();
        saving.await.unwrap().unwrap();
        let stored = || async {
            open(&store, ConcurrentChanges::Merge, &session_key).await.get::<u32>("counter").unwrap()
        };
        assert_eq!(stored().await, Some(1), "{name}");
        gate.go_on.notify_one();
        session.save().await.unwrap();
        assert_eq!(stored().await, Some(2), "{name}");
        assert_eq!(session.get::<u32>("counter").unwrap(), Some(2), "{name}");
    }
}

#[tokio::test]
async fn a_save_that_is_cancelled_is_done_by_the_next_one() {
    for (name, store, _keep) in stores::all().await {
        let session_key = new_session(&store).await;
        let gate = Arc::new(Gate::new(Arc::clone(&store)));
        let gated: Arc<dyn SessionStore> = Arc::clone(&gate) as _;
        let session = open(&gated, ConcurrentChanges::Merge, &session_key).await;
        session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1).unwrap();
        {
            let saving = session.save();
            tokio::pin!(saving);
            tokio::select! {
                _ = &mut saving => panic!("the gate is shut"),
                () = gate.reached.notified() => {}
            }
        }
        let before = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
        assert_eq!(before.data().unwrap().to_json(), r#"{"start":true}"#, "{name}: nothing was written");
        gate.go_on.notify_one();
        session.save().await.unwrap();
        let after = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
        assert_eq!(after.data().unwrap().to_json(), r#"{"start":true,"counter":1}"#, "{name}");
    }
}

#[tokio::test]
async fn a_failed_save_leaves_the_changes_to_the_next_one() {
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let session_key = new_session(&store).await;
    let gate = Arc::new(Gate::new(Arc::clone(&store)));
    gate.failures.store(1, Ordering::Relaxed);
    let gated: Arc<dyn SessionStore> = Arc::clone(&gate) as _;
    let session = open(&gated, ConcurrentChanges::Merge, &session_key).await;
    session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1).unwrap();
    gate.go_on.notify_one();
    assert!(matches!(session.save().await, Err(Error::Store(_))));
    gate.reached.notified().await;
    let other = open(&store, ConcurrentChanges::Merge, &session_key).await;
    other.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1).unwrap();
    other.save().await.unwrap();
    // Two updates: the first one meets the other request's change.
    let (saved, ()) = tokio::join!(session.save(), async {
        for _ in 0..2 {
            gate.reached.notified().await;
            gate.go_on.notify_one();
        }
    });
    saved.unwrap();
    let stored = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
    assert_eq!(stored.data().unwrap().read::<u32>("counter").unwrap(), Some(2));
}

/// Stops before each update until it is told to go on, or fails it.
#[derive(Debug)]
struct Gate {
    store: Arc<dyn SessionStore>,
    reached: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
    failures: AtomicUsize,
}

impl Gate {
    fn new(store: Arc<dyn SessionStore>) -> Gate {
        Gate { store, reached: Default::default(), go_on: Default::default(), failures: AtomicUsize::new(0) }
    }
}

#[cloakroom::async_trait]
impl SessionStore for Gate {
    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        self.store.load(session_key, now).await
    }
    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        self.store.create(session_key, record).await
    }
    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        self.reached.notify_one();
        self.go_on.notified().await;
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError::new("gate", cloakroom::StoreErrorKind::Unavailable, "shut"));
        }
        self.store.update(session_key, expected, record).await
    }
    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        self.store.rotate(session_key, expected, new_session_key, record).await
    }
    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.store.delete(session_key).await
    }
    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.store.exists(session_key, now).await
    }
    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut cloakroom::store::Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.store.clear_expired_with_progress(now, progress).await
    }
}
