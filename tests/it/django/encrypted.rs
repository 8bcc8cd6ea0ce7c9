//! What a live Django sees of an encrypted session: nobody's, and unread it stays as it is.

use std::sync::Arc;

use cloakroom::store::{EncryptionKey, EncryptionKeys, encryption_key_id};
use cloakroom::{EncryptedStore, Session, SqliteStore, StoreErrorKind, auth};

use super::*;

#[tokio::test]
async fn django_sees_a_session_without_a_user_and_can_only_be_refused() {
    let sites = Sites::start().await;
    let settings = Settings::new(SECRET);
    let inner = Arc::new(SqliteStore::at(&sites.database).open(&settings).await.unwrap());
    let keys = EncryptionKeys::new([EncryptionKey::from_bytes([7; 32])]).unwrap();
    let store = Arc::new(EncryptedStore::new(inner.clone(), keys));
    let session = Session::new(store.clone(), settings.clone());
    session.set("cart", [1, 2]).unwrap();
    auth::login(&session, auth::User { id: "1", password: "hash", backend: auth::MODEL_BACKEND })
        .await
        .unwrap();
    session.save().await.unwrap();
    let key = session.session_key().unwrap();
    let row = sites.row(key.as_str()).unwrap();

    let mut browser = Browser::with_session(key.as_str());
    let (user, seen) = whoami(&mut browser, sites.django("/whoami")).await;
    assert_eq!(user, None);
    let seen = cloakroom::SessionData::from_json(&seen).unwrap();
    assert!(encryption_key_id(&seen).is_some() && seen.len() == 1, "{}", seen.to_json());
    assert_eq!(sites.row(key.as_str()), Some(row), "byte for byte");
    let again = Session::open(store.clone(), settings.clone(), key.clone()).await.unwrap();
    assert_eq!(again.get::<Vec<u32>>("cart").unwrap(), Some(vec![1, 2]));

    // What Django adds is refused: it was not encrypted.
    browser.post(sites.django("/put"), r#"{"_auth_user_id":"1"}"#).await.ok();
    let error = Session::open(store, settings, key).await.map(drop).unwrap_err();
    assert!(matches!(&error, cloakroom::Error::Store(error) if error.kind() == StoreErrorKind::Unreadable));
    assert!(error.to_string().contains("beside the encrypted ones"), "{error}");
}
