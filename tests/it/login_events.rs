//! Logins and logouts are logged once they are done, by public id and user id, and never by key.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use cloakroom::user_sessions::UserSessions;
use cloakroom::{
    ManualClock, MemoryStore, Session, SessionKey, SessionMiddleware, SessionStore, Settings,
    SignedCookieStore, StoreErrorKind, auth,
};

use crate::support::log::Log;
use crate::support::watched_store::WatchedStore;

const ADA: auth::User<'static> = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };
const BOB: auth::User<'static> = auth::User { id: "8", ..ADA };

fn on(store: Arc<dyn SessionStore>) -> SessionMiddleware {
    SessionMiddleware::new(store, Settings::new("secret")).unwrap()
}

/// The events so far, as message, public id and user.
fn events(log: &Log) -> Vec<String> {
    let lines = log.lines();
    let of_auth = lines.iter().filter(|line| line.contains(" INFO cloakroom::auth: "));
    of_auth.map(|line| line.split_once("cloakroom::auth: ").unwrap().1.to_owned()).collect()
}

fn event(message: &str, session_key: &SessionKey, user: &str) -> String {
    format!("{message} session={} user=\"{user}\"", session_key.public_id())
}

async fn logged_in(middleware: &SessionMiddleware, user: auth::User<'_>) -> (Session, SessionKey) {
    let session = middleware.begin([]).load().await.unwrap();
    auth::login(&session, user).await.unwrap();
    session.save().await.unwrap();
    let session_key = session.session_key().unwrap();
    (session, session_key)
}

async fn opened(middleware: &SessionMiddleware, session_key: &SessionKey) -> Session {
    let cookie = format!("sessionid={}", session_key.as_str());
    middleware.begin([cookie.as_bytes()]).load().await.unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn a_login_and_a_logout_are_logged_once_they_are_done() {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let middleware = on(Arc::clone(&store) as _);
    let log = Log::start();
    let session = middleware.begin([]).load().await.unwrap();
    session.set("basket", "wool").unwrap();
    session.save().await.unwrap();
    let before = session.session_key().unwrap();
    auth::login(&session, ADA).await.unwrap();
    assert_eq!(events(&log), [""; 0], "not saved yet");
    store.fail(Some(("rotate", StoreErrorKind::Unavailable)));
    session.save().await.unwrap_err();
    assert_eq!(events(&log), [""; 0], "a login whose save failed is none");
    store.fail(None);
    session.save().await.unwrap();
    let session_key = session.session_key().unwrap();
    assert_eq!(events(&log), [event("user logged in", &session_key, "7")]);
    session.set("basket", "silk").unwrap();
    session.save().await.unwrap();
    assert_eq!(events(&log).len(), 1, "a later save is no login");

    let session = opened(&middleware, &session_key).await;
    let elsewhere = opened(&middleware, &session_key).await;
    store.fail(Some(("delete", StoreErrorKind::Unavailable)));
    auth::logout(&session).await.unwrap_err();
    assert_eq!(events(&log).len(), 1, "a logout that failed is none");
    store.fail(None);
    auth::logout(&session).await.unwrap();
    assert_eq!(events(&log).last(), Some(&event("user logged out", &session_key, "7")));
    auth::logout(&session).await.unwrap();
    auth::logout(&elsewhere).await.unwrap();
    auth::logout(&opened(&middleware, &session_key).await).await.unwrap();
    assert_eq!(events(&log).len(), 2, "who is logged out already is not logged out again");
    let told = log.lines().concat();
    for key in [&before, &session_key] {
        assert!(!told.contains(key.as_str()), "a key is in the log");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn whose_login_ended_and_why() {
    let middleware = on(Arc::new(MemoryStore::new()));
    let (session, first) = logged_in(&middleware, ADA).await;
    let log = Log::start();
    auth::login(&session, BOB).await.unwrap();
    session.save().await.unwrap();
    let second = session.session_key().unwrap();
    assert_eq!(
        events(&log),
        [event("user logged out", &first, "7"), event("user logged in", &second, "8")],
        "another user's login ends the first"
    );

    let changed = auth::User { password: "another hash", ..BOB };
    assert!(!auth::verify_user(&opened(&middleware, &second).await, changed).await.unwrap());
    let last = events(&log).pop().unwrap();
    assert!(
        last.starts_with("login ended, as its hash does not fit") && last.contains("user=\"8\""),
        "{last}"
    );

    let (session, key) = logged_in(&middleware, ADA).await;
    let count = events(&log).len();
    session.delete().await.unwrap();
    assert_eq!(events(&log)[count..], [event("user logged out", &key, "7")]);

    // A login that was never saved logs nobody out.
    let anonymous = middleware.begin([]).load().await.unwrap();
    anonymous.set("basket", "wool").unwrap();
    anonymous.save().await.unwrap();
    auth::login(&anonymous, ADA).await.unwrap();
    anonymous.flush().await.unwrap();
    anonymous.set("basket", "silk").unwrap();
    anonymous.save().await.unwrap();
    assert_eq!(events(&log).len(), count + 1);

    let cookies = on(Arc::new(SignedCookieStore::new(&Settings::new("secret"))));
    let (session, cookie) = logged_in(&cookies, ADA).await;
    auth::logout(&session).await.unwrap();
    assert_eq!(events(&log).len(), count + 3, "in cookies, too");
    assert!(!log.lines().concat().contains(cookie.as_str()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_user_id_cannot_forge_a_line() {
    let middleware = on(Arc::new(MemoryStore::new()));
    let log = Log::start();
    let (_, key) = logged_in(&middleware, auth::User { id: "7\n WARN forged: user=\"1\"", ..ADA }).await;
    assert_eq!(events(&log), [event("user logged in", &key, r#"7\n WARN forged: user=\"1\""#)]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_revocation_is_logged_for_each_session() {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(DateTime::from_timestamp(1_700_000_000, 0).unwrap()));
    let user_sessions = UserSessions::new(Arc::clone(&store) as _, Arc::clone(&store) as _).await.unwrap();
    let user_sessions = user_sessions.with_clock(Arc::clone(&clock) as _);
    let middleware = on(store).with_clock(Arc::clone(&clock) as _).with_user_sessions(user_sessions.clone());
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(logged_in(&middleware, ADA).await.1);
        clock.advance(TimeDelta::minutes(2));
    }
    let log = Log::start();
    // The last seen first.
    let one = user_sessions.list("7").await.unwrap()[2].id().to_string();
    assert!(user_sessions.revoke("7", &one).await.unwrap());
    assert!(!user_sessions.revoke("7", &one).await.unwrap());
    assert_eq!(events(&log), [event("session revoked", &keys[0], "7")]);
    assert_eq!(user_sessions.revoke_all("7").await.unwrap(), 2);
    let mut rest = events(&log).split_off(1);
    let mut expected: Vec<_> = keys[1..].iter().map(|key| event("session revoked", key, "7")).collect();
    rest.sort();
    expected.sort();
    assert_eq!(rest, expected);
}
