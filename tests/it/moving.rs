//! Two stores as one, while a site moves from the old one to the new one.

mod conformance;
mod crashes;
mod halting;
mod interleaved;
mod processes;
mod real_stores;

use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record, Updated};
use cloakroom::{MovingStore, SessionData, SessionKey, SessionStore, StoreError};

/// One process's view of the two stores.
fn process(old: &Arc<dyn SessionStore>, new: &Arc<dyn SessionStore>) -> Arc<MovingStore> {
    Arc::new(MovingStore::new(Arc::clone(old), Arc::clone(new)).unwrap())
}

fn number(number: u64) -> SessionData {
    SessionData::from_json(&format!(r#"{{"number":{number}}}"#)).unwrap()
}

fn record(data: &SessionData) -> Record<'_> {
    let now = Utc::now();
    Record { data, expire_date: now + TimeDelta::hours(1), now }
}

/// Makes a session whose number is 0.
async fn create(store: &dyn SessionStore) -> SessionKey {
    let key = SessionKey::random().unwrap();
    assert!(matches!(store.create(&key, record(&number(0))).await.unwrap(), Created::Created(_)));
    key
}

/// The number in a session; nothing but it may be there.
async fn read(store: &dyn SessionStore, key: &SessionKey) -> Result<Option<u64>, StoreError> {
    Ok(store.load(key, Utc::now()).await?.map(|loaded| {
        assert_eq!(
            loaded.data().unwrap().len(),
            1,
            "{:?}",
            loaded.data().unwrap().iter().map(|(key, _)| key).collect::<Vec<_>>()
        );
        loaded.data().unwrap().read("number").unwrap().unwrap()
    }))
}

/// Adds one, as often as it takes; false when there is no such session.
async fn add_one(store: &dyn SessionStore, key: &SessionKey) -> Result<bool, StoreError> {
    loop {
        let Some(loaded) = store.load_for_update(key, Utc::now()).await? else { return Ok(false) };
        let read: u64 = loaded.data().unwrap().read("number").unwrap().unwrap();
        match store.update(key, Some(&loaded.version), record(&number(read + 1))).await? {
            Updated::Updated(_) => return Ok(true),
            Updated::Missing => return Ok(false),
            Updated::Changed => tokio::task::yield_now().await,
        }
    }
}
