//! `on_event`: what an audit trail hears, once it has happened.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::SessionEventKind::{HashDiffers, LoggedIn, LoggedOut, LoginRefused, OverLimit, Revoked};
use cloakroom::user_sessions::{AtLimit, Client};
use cloakroom::{
    Error, MemoryStore, Session, SessionEvent, SessionEventKind, SessionMiddleware, Settings, StoreErrorKind,
    UserSessions, auth,
};

use crate::support::log::Log;
use crate::support::watched_store::WatchedStore;

const USER: auth::User<'static> = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };

type Trail = Arc<Mutex<Vec<SessionEvent>>>;

struct Site {
    middleware: SessionMiddleware,
    user_sessions: UserSessions,
    store: Arc<WatchedStore>,
    trail: Trail,
}

async fn site(limit: Option<(usize, AtLimit)>) -> Site {
    let memory = Arc::new(MemoryStore::new());
    let store = WatchedStore::new(memory.clone());
    let mut user_sessions = UserSessions::new(store.clone(), memory).await.unwrap();
    if let Some((sessions, at_limit)) = limit {
        user_sessions = user_sessions.with_limit(sessions, at_limit);
    }
    let trail = Trail::default();
    let writer = Arc::clone(&trail);
    // Before the index, which takes the listener over.
    let middleware = SessionMiddleware::new(store.clone(), Settings::new("secret"))
        .unwrap()
        .on_event(move |event| writer.lock().unwrap().push(event.clone()))
        .with_user_sessions(user_sessions.clone());
    Site { middleware, user_sessions, store, trail }
}

impl Site {
    async fn begin(&self, address: &str) -> Session {
        let session = self.middleware.begin([]).load().await.unwrap();
        session.set_client(Client::new(Some(address), None));
        session
    }

    async fn log_in(&self, address: &str) -> Session {
        let session = self.begin(address).await;
        auth::login(&session, USER).await.unwrap();
        session.save().await.unwrap();
        session
    }

    /// What was told since the last look: the kind, the session's public id, and the address.
    fn told(&self) -> Vec<(SessionEventKind, Option<String>, String)> {
        let told = std::mem::take(&mut *self.trail.lock().unwrap());
        let told = told.into_iter().map(|event| {
            assert_eq!(event.user_id(), "7");
            let address = event.client().address().unwrap_or_default().to_owned();
            (event.kind(), event.session().map(str::to_owned), address)
        });
        told.collect()
    }
}

fn id(session: &Session) -> Option<String> {
    session.session_key().map(|session_key| session_key.public_id())
}

#[tokio::test]
async fn each_event_is_told_once_it_has_happened() {
    let site = site(None).await;
    let session = site.begin("192.0.2.1").await;
    auth::login(&session, USER).await.unwrap();
    site.store.fail(Some(("create", StoreErrorKind::Unavailable)));
    session.save().await.unwrap_err();
    assert!(site.told().is_empty(), "the login is not saved");
    site.store.fail(None);
    session.save().await.unwrap();
    let address = || "192.0.2.1".to_owned();
    assert_eq!(site.told(), [(LoggedIn, id(&session), address())]);

    let key = id(&session);
    site.store.fail(Some(("delete", StoreErrorKind::Unavailable)));
    auth::logout(&session).await.unwrap_err();
    assert!(site.told().is_empty(), "the session is still there");
    site.store.fail(None);
    auth::logout(&session).await.unwrap();
    assert_eq!(site.told(), [(LoggedOut, key, address())]);

    let session = site.log_in("192.0.2.2").await;
    let key = id(&session);
    site.told();
    let changed = auth::User { password: "another", ..USER };
    assert!(!auth::verify_user(&session, changed).await.unwrap());
    assert_eq!(site.told(), [(HashDiffers, key, "192.0.2.2".to_owned())]);

    let session = site.log_in("192.0.2.3").await;
    site.told();
    site.user_sessions.revoke_all("7").await.unwrap();
    assert_eq!(site.told(), [(Revoked, id(&session), "192.0.2.3".to_owned())]);
}

#[tokio::test]
async fn the_limit_is_told() {
    let site_of_oldest = site(Some((1, AtLimit::EndOldest))).await;
    let first = site_of_oldest.log_in("192.0.2.1").await;
    site_of_oldest.told();
    let second = site_of_oldest.log_in("192.0.2.2").await;
    let (one, two) = ("192.0.2.1".to_owned(), "192.0.2.2".to_owned());
    let expected = [(LoggedIn, id(&second), two.clone()), (OverLimit, id(&first), one)];
    assert_eq!(site_of_oldest.told(), expected);

    let site_of_new = site(Some((1, AtLimit::RefuseNew))).await;
    site_of_new.log_in("192.0.2.1").await;
    site_of_new.told();
    let session = site_of_new.begin("192.0.2.2").await;
    auth::login(&session, USER).await.unwrap();
    assert!(matches!(session.save().await, Err(Error::TooManySessions { limit: 1 })));
    assert_eq!(site_of_new.told(), [(LoginRefused, None, two)]);
}

/// Panics in a listener lose neither the save nor the other listeners' events.
#[tokio::test]
async fn a_listener_that_panics_loses_nothing() {
    let log = Log::start();
    let (trail, memory) = (Trail::default(), Arc::new(MemoryStore::new()));
    let writer = Arc::clone(&trail);
    let middleware = SessionMiddleware::new(memory, Settings::new("secret"))
        .unwrap()
        .on_event(|event| panic!("no room for {:?}", event.kind()))
        .on_event(move |event| writer.lock().unwrap().push(event.clone()));
    let session = middleware.begin([]).load().await.unwrap();
    auth::login(&session, USER).await.unwrap();
    session.save().await.unwrap();
    assert!(middleware.find(&session.session_key().unwrap()).await.unwrap().is_some());
    auth::logout(&session).await.unwrap();
    let kinds: Vec<_> = trail.lock().unwrap().iter().map(SessionEvent::kind).collect();
    assert_eq!(kinds, [LoggedIn, LoggedOut]);
    let told =
        log.lines().iter().filter(|line| line.contains("a listener of session events panicked")).count();
    assert_eq!(told, 2);
}

/// A listener may use the library: here it waits for a save of the same session, which would wait for ever for a
/// save or a turn that is still held.
#[tokio::test]
async fn a_listener_runs_without_a_lock() {
    for at_limit in [AtLimit::EndOldest, AtLimit::RefuseNew] {
        let site = site(Some((1, at_limit))).await;
        let first = site.log_in("192.0.2.1").await;
        site.told();
        let session = site.begin("192.0.2.2").await;
        let (handle, saved) = (session.clone(), Arc::new(Mutex::new(Vec::new())));
        let writer = Arc::clone(&saved);
        let middleware = site.middleware.clone().on_event(move |event| {
            let (handle, kind) = (handle.clone(), event.kind());
            let (done, is_done) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    handle.set("told", true).unwrap();
                    handle.save().await.unwrap();
                });
                done.send(()).unwrap();
            });
            is_done.recv_timeout(Duration::from_secs(10)).unwrap();
            writer.lock().unwrap().push(kind);
        });
        auth::login(&session, USER).await.unwrap();
        let refused = session.save().await.is_err();
        assert_eq!(refused, at_limit == AtLimit::RefuseNew);
        let expected = if refused { vec![LoginRefused] } else { vec![LoggedIn, OverLimit] };
        assert_eq!(*saved.lock().unwrap(), expected);
        let stored = middleware.find(&session.session_key().unwrap()).await.unwrap().unwrap();
        assert_eq!(stored.get::<bool>("told").unwrap(), Some(true));
        assert_eq!(first.reload().await.unwrap(), refused);
    }
}
