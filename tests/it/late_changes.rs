//! What is changed when the response's headers are gone: nobody saves it, and a warning says so.

use std::sync::Arc;

use chrono::TimeDelta;
use cloakroom::{
    LazySession, ManualClock, MemoryStore, Session, SessionMiddleware, SessionStore, Settings,
    SignedCookieStore,
};

use crate::support::log::Log;

const NOT_SAVED: &str = "was never saved";
const NO_COOKIE: &str = "no response carries";

fn site(store: Arc<dyn SessionStore>) -> (SessionMiddleware, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let middleware = SessionMiddleware::new(store, Settings::new("secret")).unwrap();
    (middleware.with_clock(Arc::clone(&clock) as _), clock)
}

/// A response of this status, after whose headers the session is still at hand.
async fn respond(middleware: &SessionMiddleware, status: u16, set: bool) -> (LazySession, Session) {
    let lazy = middleware.begin([]);
    let session = lazy.load().await.unwrap();
    if set {
        session.set("visits", 1).unwrap();
    }
    middleware.finish(&lazy, status).await.unwrap();
    (lazy, session)
}

fn told(log: &Log, what: &str) -> usize {
    log.lines().iter().filter(|line| line.contains("WARN") && line.contains(what)).count()
}

#[tokio::test]
async fn what_was_changed_too_late_and_never_saved_is_told() {
    let (middleware, clock) = site(Arc::new(MemoryStore::new()));
    let log = Log::start();
    let (lazy, session) = respond(&middleware, 200, true).await;
    session.set("late", "the secret of the late change").unwrap();
    assert_eq!(told(&log, NOT_SAVED), 0, "it can still be saved");
    drop((lazy, session));
    assert_eq!(told(&log, NOT_SAVED), 1, "{:#?}", log.lines());
    let lines = log.lines().concat();
    assert!(lines.contains("session.save().await"), "it says what to do: {lines}");
    assert!(!lines.contains("the secret of the late change") && !lines.contains("visits"), "{lines}");

    // Once a minute, with how many there were meanwhile.
    for _ in 0..5 {
        let (_, session) = respond(&middleware, 200, true).await;
        session.remove("visits");
    }
    assert_eq!(told(&log, NOT_SAVED), 1);
    clock.advance(TimeDelta::minutes(1));
    let (_, session) = respond(&middleware, 200, true).await;
    session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1).unwrap();
    drop(session);
    assert_eq!(told(&log, NOT_SAVED), 2);
    assert_eq!(told(&log, "suppressed=5"), 1, "{:#?}", log.lines());
}

#[tokio::test]
async fn what_was_saved_or_dropped_on_purpose_is_not_told() {
    let (middleware, _) = site(Arc::new(MemoryStore::new()));
    let log = Log::start();
    // Saved by the layer, only read afterwards, saved by the application, outside of any request.
    let (_, session) = respond(&middleware, 200, true).await;
    session.get::<u32>("visits").unwrap();
    session.set("late", 1).unwrap();
    session.save().await.unwrap();
    // With a 5xx nothing is saved, as in Django.
    respond(&middleware, 500, true).await;
    let script = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    script.set("visits", 1).unwrap();
    drop((session, script));
    // A handler that is gone before its response: nothing was promised.
    let session = middleware.begin([]).load().await.unwrap();
    session.set("visits", 1).unwrap();
    drop(session);
    assert_eq!(told(&log, ""), 0, "{:#?}", log.lines());
}

#[tokio::test]
async fn a_key_that_no_response_carries_is_told() {
    let (middleware, clock) = site(Arc::new(MemoryStore::new()));
    let log = Log::start();
    let (_, session) = respond(&middleware, 200, false).await;
    session.set("late", 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(told(&log, NO_COOKIE), 1, "a new session: {:#?}", log.lines());
    assert!(!log.lines().concat().contains(session.session_key().unwrap().as_str()));

    clock.advance(TimeDelta::minutes(1));
    let (_, session) = respond(&middleware, 200, true).await;
    session.cycle_key().unwrap();
    session.save().await.unwrap();
    assert_eq!(told(&log, NO_COOKIE), 2, "a new key");

    clock.advance(TimeDelta::minutes(1));
    let (middleware, _) = site(Arc::new(SignedCookieStore::new(&Settings::new("secret"))));
    let (_, session) = respond(&middleware, 200, true).await;
    session.set("late", 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(told(&log, NO_COOKIE), 3, "the cookie is the session");
    drop(session);
    assert_eq!(told(&log, NOT_SAVED), 0, "{:#?}", log.lines());
}
