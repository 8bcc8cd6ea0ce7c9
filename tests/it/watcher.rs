//! `spawn_watcher`: who waits for a session's end is told of it, and of nothing else.

mod streams;

use std::sync::Arc;
use std::time::Duration;

use cloakroom::chrono::TimeDelta;
use cloakroom::user_sessions::UserSessions;
use cloakroom::{
    EndReason, Error, ManualClock, MemoryStore, Session, SessionEnd, SessionMiddleware, SessionStore,
    SessionWatcher, Settings, SignedCookieStore, StoreErrorKind, WATCH_INTERVAL, auth, spawn_watcher,
};
use tokio::time::{Instant, timeout};

use crate::support::log::Log;
use crate::support::watched_store::{Hold, WatchedStore};

const USER: auth::User<'static> = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };

/// A site in one process. The clock of its sessions stands; Tokio's passes as soon as everybody waits.
struct Site {
    store: Arc<WatchedStore>,
    clock: Arc<ManualClock>,
    user_sessions: UserSessions,
    middleware: SessionMiddleware,
    watcher: SessionWatcher,
}

impl Site {
    async fn start() -> Site {
        let memory = Arc::new(MemoryStore::new());
        let store = WatchedStore::new(memory.clone());
        let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
        let user_sessions = UserSessions::new(store.clone(), memory).await.unwrap().with_clock(clock.clone());
        let middleware = SessionMiddleware::new(store.clone(), Settings::new("secret"))
            .unwrap()
            .with_clock(clock.clone())
            .with_user_sessions(user_sessions.clone());
        let watcher = spawn_watcher(&middleware, WATCH_INTERVAL).unwrap();
        Site { store, clock, user_sessions, middleware, watcher }
    }

    async fn log_in(&self) -> Session {
        let session = self.middleware.begin([]).load().await.unwrap();
        auth::login(&session, USER).await.unwrap();
        session.save().await.unwrap();
        session
    }

    /// A handle of another request, or of a stream.
    async fn another(&self, session: &Session) -> Session {
        self.middleware.find(&session.session_key().unwrap()).await.unwrap().unwrap()
    }
}

/// Ends a session as another process does.
async fn delete(site: &Site, session: &Session) {
    assert!(site.store.delete(&session.session_key().unwrap()).await.unwrap());
}

/// The reason, and how long it took.
async fn ends(end: SessionEnd) -> (EndReason, Duration) {
    let start = Instant::now();
    let reason = timeout(WATCH_INTERVAL * 10, end).await.expect("it has ended");
    (reason, start.elapsed())
}

/// Waits for some rounds; the session goes on.
async fn goes_on(end: &mut SessionEnd) {
    assert!(timeout(WATCH_INTERVAL * 3, end).await.is_err(), "it has not ended");
}

#[tokio::test(start_paused = true)]
async fn what_this_process_ends_is_told_at_once() {
    let site = Site::start().await;
    let (session, reason) = (site.log_in().await, EndReason::LoggedOut);
    let end = site.watcher.watch(&site.another(&session).await);
    auth::logout(&session).await.unwrap();
    assert_eq!(ends(end).await, (reason, Duration::ZERO));

    let session = site.log_in().await;
    let (own, other) = (site.watcher.watch(&session), site.watcher.watch(&site.another(&session).await));
    assert_eq!(site.user_sessions.revoke_all("7").await.unwrap(), 1);
    assert_eq!(ends(own).await, (EndReason::Revoked, Duration::ZERO));
    assert_eq!(ends(other).await, (EndReason::Revoked, Duration::ZERO));

    let [kept, revoked] = [site.log_in().await, site.log_in().await];
    let mut kept_end = site.watcher.watch(&kept);
    let end = site.watcher.watch(&revoked);
    assert_eq!(site.user_sessions.revoke_others("7", &kept).await.unwrap(), 1);
    assert_eq!(ends(end).await, (EndReason::Revoked, Duration::ZERO));
    goes_on(&mut kept_end).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_end_is_told_within_the_interval() {
    let site = Site::start().await;
    let (session, other) = (site.log_in().await, site.log_in().await);
    let (mut end, mut others) = (site.watcher.watch(&session), site.watcher.watch(&other));
    goes_on(&mut end).await;
    delete(&site, &session).await;
    let (reason, took) = ends(end).await;
    assert_eq!(reason, EndReason::Gone);
    assert!(took <= WATCH_INTERVAL, "{took:?}");
    goes_on(&mut others).await;
}

#[tokio::test(start_paused = true)]
async fn expiry_ends_a_session_and_what_extends_it_keeps_it() {
    let site = Site::start().await;
    let session = site.log_in().await;
    let stream = site.another(&session).await;
    let mut end = site.watcher.watch(&stream);
    site.clock.advance(TimeDelta::days(13));
    session.set_modified(true);
    session.save().await.unwrap();
    site.clock.advance(TimeDelta::days(13));
    goes_on(&mut end).await;
    site.clock.advance(TimeDelta::days(2));
    let (reason, took) = ends(end).await;
    assert_eq!(reason, EndReason::Expired);
    assert!(took <= WATCH_INTERVAL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_with_its_own_handles_moves_and_ends_with_those_of_others() {
    let site = Site::start().await;
    let session = site.log_in().await;
    let stream = site.another(&session).await;
    let (mut own, others) = (site.watcher.watch(&session), site.watcher.watch(&stream));
    session.cycle_key().unwrap();
    session.save().await.unwrap();
    assert_eq!(ends(others).await, (EndReason::Moved, Duration::ZERO));
    goes_on(&mut own).await;
    assert!(!stream.reload().await.unwrap(), "the stream does not follow");
    // A watch that begins too late to hear of the move.
    let (reason, took) = ends(site.watcher.watch(&stream)).await;
    assert_eq!(reason, EndReason::Moved);
    assert!(took <= WATCH_INTERVAL * 2, "{took:?}");
    delete(&site, &session).await;
    assert_eq!(ends(own).await.0, EndReason::Gone, "under its new key");
}

/// Between the store's move and the handle's own, the store has nothing under the old key.
#[tokio::test(start_paused = true)]
async fn a_move_under_way_ends_no_watch_of_its_own() {
    let site = Site::start().await;
    let session = site.log_in().await;
    let mut end = site.watcher.watch(&session);
    let hold = Hold::after("rotate");
    site.store.hold(Some(hold.clone()));
    session.cycle_key().unwrap();
    let saving = {
        let session = session.clone();
        tokio::spawn(async move { session.save().await })
    };
    hold.reached().await;
    assert!(timeout(WATCH_INTERVAL, &mut end).await.is_err());
    hold.release();
    saving.await.unwrap().unwrap();
    goes_on(&mut end).await;
    delete(&site, &session).await;
    assert_eq!(ends(end).await.0, EndReason::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_watched_from_its_first_save_on() {
    let site = Site::start().await;
    let session = site.middleware.begin([]).load().await.unwrap();
    let mut end = site.watcher.watch(&session);
    goes_on(&mut end).await;
    session.set("visits", 1).unwrap();
    session.save().await.unwrap();
    goes_on(&mut end).await;
    site.another(&session).await.flush().await.unwrap();
    assert_eq!(ends(end).await, (EndReason::LoggedOut, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_nobody_and_is_told_once() {
    let log = Log::start();
    let told = |what: &str| log.lines().iter().filter(|line| line.contains(what)).count();
    let site = Site::start().await;
    let (staying, leaving) = (site.log_in().await, site.log_in().await);
    let (mut stays, mut leaves) = (site.watcher.watch(&staying), site.watcher.watch(&leaving));
    site.store.fail(Some(("live_among", StoreErrorKind::Unavailable)));
    delete(&site, &leaving).await;
    goes_on(&mut leaves).await;
    goes_on(&mut stays).await;
    assert_eq!(told("cannot say which watched sessions"), 1);
    assert_eq!(told("says again"), 0);
    site.store.fail(None);
    assert_eq!(ends(leaves).await.0, EndReason::Gone);
    goes_on(&mut stays).await;
    assert_eq!((told("cannot say"), told("says again which watched sessions")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watched_sessions_cost_one_call_an_interval_and_none_without() {
    let site = Site::start().await;
    let mut ends = Vec::new();
    for _ in 0..1_000 {
        ends.push(site.watcher.watch(&site.log_in().await));
    }
    site.store.calls();
    tokio::time::sleep(WATCH_INTERVAL * 10).await;
    assert_eq!(site.store.calls(), ["live_among"; 10]);
    drop(ends);
    tokio::time::sleep(WATCH_INTERVAL * 10).await;
    assert!(site.store.calls().is_empty(), "whoever waits no longer is forgotten");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_watcher_tells_everybody() {
    let site = Site::start().await;
    let session = site.log_in().await;
    let (clone, end) = (site.watcher.clone(), site.watcher.watch(&session));
    drop(site.watcher);
    assert!(format!("{clone:?}").contains("is_finished: false"));
    drop(clone);
    assert_eq!(ends(end).await, (EndReason::WatcherStopped, Duration::ZERO));
    tokio::time::sleep(WATCH_INTERVAL * 2).await;
    site.store.calls();
    tokio::time::sleep(WATCH_INTERVAL * 2).await;
    assert!(site.store.calls().is_empty(), "the task is gone");
}

#[tokio::test]
async fn sessions_in_cookies_are_refused() {
    let settings = Settings::new("secret");
    let middleware = SessionMiddleware::new(SignedCookieStore::new(&settings), settings).unwrap();
    let error = spawn_watcher(&middleware, WATCH_INTERVAL).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    assert!(error.to_string().contains("use a store with a server side"), "{error}");
}

/// A handle that outlives its request saves as often as it likes, on top of what others save.
#[tokio::test]
async fn a_lasting_handle_saves_at_will_and_restores_nothing() {
    let site = Site::start().await;
    let session = site.log_in().await;
    let stream = site.another(&session).await;
    for round in 1..=3_u32 {
        session.modify::<u32>("count", |count| count.unwrap_or(0) + 1).unwrap();
        session.save().await.unwrap();
        stream.modify::<u32>("count", |count| count.unwrap_or(0) + 1).unwrap();
        stream.save().await.unwrap();
        assert_eq!(stream.get::<u32>("count").unwrap(), Some(round * 2));
    }
    // Unsaved changes are made again on what was read.
    session.set("theme", "dark").unwrap();
    session.save().await.unwrap();
    stream.modify::<u32>("count", |count| count.unwrap_or(0) + 1).unwrap();
    session.modify::<u32>("count", |count| count.unwrap_or(0) + 1).unwrap();
    session.save().await.unwrap();
    assert!(stream.reload().await.unwrap());
    assert_eq!(stream.get::<u32>("count").unwrap(), Some(8));
    assert_eq!(stream.get::<String>("theme").unwrap().as_deref(), Some("dark"));
    stream.save().await.unwrap();
    assert!(session.reload().await.unwrap());
    assert_eq!(session.get::<u32>("count").unwrap(), Some(8));

    let session_key = session.session_key().unwrap();
    stream.set("late", 1).unwrap();
    session.flush().await.unwrap();
    assert!(matches!(stream.save().await, Err(Error::Interrupted)));
    assert_eq!(auth::user_id(&stream).unwrap().as_deref(), Some("7"), "it has not looked");
    assert!(!stream.reload().await.unwrap());
    assert_eq!(auth::user_id(&stream).unwrap(), None, "nobody is logged in any more");
    stream.set("late", 2).unwrap();
    assert!(matches!(stream.save().await, Err(Error::Interrupted)));
    assert!(!site.store.has(session_key.as_str()).await);
    assert!(site.middleware.find(&session_key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_handle_as_it_is() {
    let site = Site::start().await;
    let session = site.log_in().await;
    session.set("unsaved", 1).unwrap();
    site.store.fail(Some(("load", StoreErrorKind::Unavailable)));
    assert!(matches!(session.reload().await, Err(Error::Store(_))));
    site.store.fail(None);
    assert_eq!(auth::user_id(&session).unwrap().as_deref(), Some("7"));
    session.save().await.unwrap();
    let other = site.another(&session).await;
    assert_eq!(other.get::<u32>("unsaved").unwrap(), Some(1));

    // A change that cannot be made on what another request wrote.
    session.modify::<u32>("unsaved", |count| count.unwrap_or(0) + 1).unwrap();
    other.set("unsaved", "text").unwrap();
    other.save().await.unwrap();
    assert!(matches!(session.reload().await, Err(Error::Value { .. })));
    assert_eq!(session.get::<u32>("unsaved").unwrap(), Some(2));
    session.set("unsaved", 5).unwrap();
    session.save().await.unwrap();
    assert!(other.reload().await.unwrap());
    assert_eq!(other.get::<u32>("unsaved").unwrap(), Some(5));
}
