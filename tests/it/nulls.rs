//! A stored `None`: whoever asks for a type that cannot be null finds nothing, and nobody fails.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use cloakroom::auth::{self, UserId};
use cloakroom::store::Record;
use cloakroom::{Key, MemoryStore, Session, SessionData, SessionKey, SessionStore, Settings};

const NULLS: &str = r#"{"n":null,"_auth_user_id":null,"_auth_user_backend":null,"_auth_user_hash":null,"_session_expiry":null}"#;

/// A session in which all is null, as Django or another program may leave it.
async fn stored() -> (Arc<MemoryStore>, Session) {
    let (store, session_key, now) = (Arc::new(MemoryStore::new()), SessionKey::random().unwrap(), Utc::now());
    let data = SessionData::from_json(NULLS).unwrap();
    let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
    store.create(&session_key, record).await.unwrap();
    let session = Session::open(Arc::clone(&store) as _, Settings::new("secret"), session_key).await.unwrap();
    (store, session)
}

#[tokio::test]
async fn a_null_reads_as_nothing_unless_the_type_takes_it() {
    let (_, session) = stored().await;
    const TYPED: Key<u32> = Key::new("n");
    assert_eq!(session.get::<u32>("n").unwrap(), None);
    assert_eq!(session.get(TYPED).unwrap(), None);
    assert_eq!(session.get::<Vec<String>>("n").unwrap(), None);
    assert_eq!(session.get::<Option<u32>>("n").unwrap(), Some(None), "it is there, and it is null");
    assert_eq!(session.get::<Option<u32>>("other").unwrap(), None, "it is not there");
    assert_eq!(session.get::<serde_json::Value>("n").unwrap(), Some(serde_json::Value::Null));
    assert!(session.contains_key("n"));
    assert_eq!(session.data().read::<u32>("n").unwrap(), None);
    assert!(!session.modified(), "reading changes nothing");
    session.set("n", "text").unwrap();
    assert!(session.get::<u32>("n").is_err(), "a text is an error as before");
}

#[tokio::test]
async fn pop_takes_a_null_away() {
    let (_, session) = stored().await;
    assert_eq!(session.pop::<u32>("n").unwrap(), None);
    assert!(!session.contains_key("n") && session.modified());
    let (_, session) = stored().await;
    assert_eq!(session.pop::<Option<u32>>("n").unwrap(), Some(None));
    assert!(!session.contains_key("n"));
}

#[tokio::test]
async fn modify_begins_from_nothing() {
    let (store, session) = stored().await;
    assert_eq!(session.modify::<u32>("n", |n| n.unwrap_or(41) + 1).unwrap(), 42);
    let (_, other) = stored().await;
    let kept = other.modify::<Option<u32>>("n", |n| {
        assert_eq!(n, Some(None), "a type that takes null sees it");
        None
    });
    assert_eq!(kept.unwrap(), None);

    // Another request puts a null there meanwhile: the closure runs again, and gets nothing again.
    let session_key = session.session_key().unwrap();
    let meanwhile =
        Session::open(Arc::clone(&store) as _, Settings::new("secret"), session_key).await.unwrap();
    meanwhile.set("n", None::<u32>).unwrap();
    meanwhile.save().await.unwrap();
    session.save().await.unwrap();
    assert_eq!(session.get::<u32>("n").unwrap(), Some(42));
}

#[tokio::test]
async fn set_default_takes_a_null_for_nothing_unless_the_type_takes_it() {
    let (store, session) = stored().await;
    assert_eq!(session.set_default("n", None::<u32>).unwrap(), None, "Django's setdefault");
    assert!(!session.modified());
    assert_eq!(session.set_default("n", 5).unwrap(), 5);
    assert_eq!(session.get::<u32>("n").unwrap(), Some(5));

    // So it is on top of what another request saved.
    let session_key = session.session_key().unwrap();
    let meanwhile =
        Session::open(Arc::clone(&store) as _, Settings::new("secret"), session_key).await.unwrap();
    meanwhile.set("other", 1).unwrap();
    meanwhile.save().await.unwrap();
    session.save().await.unwrap();
    assert_eq!(session.get::<u32>("n").unwrap(), Some(5));
}

#[tokio::test]
async fn nobody_is_logged_in_and_everybody_can_log_in() {
    let user = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };
    let (_, session) = stored().await;
    assert_eq!(auth::user_id(&session).unwrap(), None);
    assert_eq!(UserId::<i64>::of(&session).unwrap(), None);
    assert!(!auth::verify_user(&session, user).await.unwrap());
    session.get_expiry_age().unwrap();
    auth::login(&session, user).await.unwrap();
    assert_eq!(auth::user_id(&session).unwrap().as_deref(), Some("7"));
    assert!(auth::verify_user(&session, user).await.unwrap());
    session.save().await.unwrap();

    // Only the id is there.
    let (_, session) = stored().await;
    session.set(auth::USER_ID_KEY, "7").unwrap();
    auth::login(&session, user).await.unwrap();
    assert!(auth::verify_user(&session, user).await.unwrap());
}
