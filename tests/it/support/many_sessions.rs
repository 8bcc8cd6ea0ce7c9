//! A hundred sessions that say which they are, so that another's data under a key shows.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record};
use cloakroom::{SessionData, SessionKey, SessionStore, StoreError, StoreErrorKind};

pub(crate) async fn create(store: &Arc<dyn SessionStore>, number: usize) -> Result<SessionKey, StoreError> {
    Ok(try_to_create(store, number).await?.expect("a random key is free"))
}

/// No key where the driver asked twice, and the second time found what it had written the first time.
pub(crate) async fn try_to_create(
    store: &Arc<dyn SessionStore>,
    number: usize,
) -> Result<Option<SessionKey>, StoreError> {
    let session_key = SessionKey::random().unwrap();
    let data = SessionData::from_json(&format!(r#"{{"number":{number}}}"#)).unwrap();
    let now = Utc::now();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    match store.create(&session_key, record).await? {
        Created::Created(_) => Ok(Some(session_key)),
        Created::KeyTaken => Ok(None),
    }
}

pub(crate) async fn create_many(store: &Arc<dyn SessionStore>) -> Vec<SessionKey> {
    let mut keys = Vec::new();
    for number in 0..100 {
        keys.push(create(store, number).await.unwrap());
    }
    keys
}

/// Loads all; each that is there must be the right one. Gives how many are there and how many could not be asked for.
pub(crate) async fn load_all(store: &Arc<dyn SessionStore>, keys: &[SessionKey]) -> (usize, usize) {
    let (mut found, mut errors) = (0, 0);
    for (number, session_key) in keys.iter().enumerate() {
        match store.load(session_key, Utc::now()).await {
            Ok(Some(loaded)) => {
                assert_eq!(
                    loaded.data().unwrap().read::<usize>("number").unwrap(),
                    Some(number),
                    "another session's data"
                );
                found += 1;
            }
            Ok(None) => {}
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable);
                // One error says enough; each may take as long as the deadline.
                errors += 1;
                break;
            }
        }
    }
    (found, errors)
}
