//! The application's code runs under no lock of the library: whatever it asks the session meanwhile, it is answered. A
//! violation is a request that never ends, so each case runs on a thread of its own, within a time limit.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{
    Clock, Error, LazySession, ManualClock, MemoryStore, Session, SessionData, SessionKey, SessionMiddleware,
    SessionStore, Settings, SqliteStore,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::watched_store::{Hold, WatchedStore};

/// Runs a case, which must end.
fn ends(case: &str, run: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        run();
        let _ = done.send(());
    });
    match ended.recv_timeout(Duration::from_secs(20)) {
        Err(RecvTimeoutError::Timeout) => panic!("{case}: it never ends"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// As [`ends`], on a runtime.
fn ends_async<F: Future<Output = ()>>(case: &str, run: impl FnOnce() -> F + Send + 'static) {
    ends(case, || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
    });
}

fn new_session() -> Session {
    Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"))
}

/// All that can be asked and done without waiting, but for what changes "value".
fn use_all_of(session: &Session) {
    session.get::<u32>("other").unwrap();
    session.set("other", 1).unwrap();
    session.modify::<u32>("other", |other| other.unwrap_or(0) + 1).unwrap();
    assert!(session.contains_key("other") && !session.is_empty());
    session.keys();
    session.items();
    session.pop::<u32>("other").unwrap();
    session.set_expiry(300).unwrap();
    session.get_expiry_age().unwrap();
    session.absolute_end();
    session.session_key();
    session.modified();
    assert!(format!("{session:?}").starts_with("Session"));
}

thread_local! {
    /// The session that [`Nosy`] looks at.
    static WATCHED: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// A value whose every step uses the session that it lies in.
#[derive(Clone, Debug, PartialEq)]
struct Nosy(u32);

impl Nosy {
    fn look(&self) {
        let session = WATCHED.with_borrow(Clone::clone);
        session.iter().for_each(use_all_of);
    }
}

impl Serialize for Nosy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.look();
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Nosy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Nosy, D::Error> {
        let nosy = Nosy(u32::deserialize(deserializer)?);
        nosy.look();
        Ok(nosy)
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.look();
    }
}

/// Uses the session when it is dropped.
struct Last(Session);

impl Drop for Last {
    fn drop(&mut self) {
        use_all_of(&self.0);
    }
}

/// Changes "value" by a closure that uses the session when it is called, and when it is dropped.
fn modify_nosily(session: &Session) {
    let last = Last(session.clone());
    let modified = session.modify::<u32>("value", move |value| {
        use_all_of(&last.0);
        value.unwrap_or(0) + 1
    });
    modified.unwrap();
}

#[test]
fn a_closure_may_use_the_session_that_it_changes() {
    ends("modify", || {
        let session = new_session();
        modify_nosily(&session);
        assert_eq!(session.get::<u32>("value").unwrap(), Some(1));
    });
}

#[test]
fn values_may_use_the_session_while_they_are_read_written_and_dropped() {
    ends("Serialize, Deserialize and Drop", || {
        let session = new_session();
        WATCHED.set(Some(session.clone()));
        session.set("value", Nosy(1)).unwrap();
        assert_eq!(session.get::<Nosy>("value").unwrap(), Some(Nosy(1)));
        session.modify::<Nosy>("value", |value| Nosy(value.map_or(0, |value| value.0) + 1)).unwrap();
        assert_eq!(session.set_default("value", Nosy(9)).unwrap(), Nosy(2));
        assert_eq!(session.pop::<Nosy>("value").unwrap(), Some(Nosy(2)));
        assert_eq!(session.set_default("value", Nosy(3)).unwrap(), Nosy(3));
        session.update([("value", Nosy(4))]).unwrap();
        assert_eq!(session.get::<Nosy>("value").unwrap(), Some(Nosy(4)));
        WATCHED.set(None);
    });
}

#[test]
fn closures_that_are_no_longer_needed_are_dropped_outside_of_the_lock() {
    ends("set", || {
        let session = new_session();
        modify_nosily(&session);
        session.set("value", 7).unwrap();
    });
    ends("clear", || {
        let session = new_session();
        modify_nosily(&session);
        session.clear();
    });
    ends("create", || {
        let session = new_session();
        modify_nosily(&session);
        session.create().unwrap();
    });
    ends_async("flush", || async {
        let session = new_session();
        modify_nosily(&session);
        session.flush().await.unwrap();
    });
    ends_async("save", || async {
        let session = new_session();
        modify_nosily(&session);
        session.save().await.unwrap();
    });
}

/// Asks the session whenever something is written to it.
struct Asking<'a>(&'a Session, String);

impl Write for Asking<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        use_all_of(self.0);
        self.1.write_str(text)
    }
}

#[test]
fn who_writes_the_session_down_may_use_it() {
    ends("Debug", || {
        let session = new_session();
        let mut asking = Asking(&session, String::new());
        write!(asking, "{session:?}").unwrap();
        assert!(asking.1.contains("modified"), "{}", asking.1);
    });
}

/// Looks at a session before it tells the time.
struct NosyClock(ManualClock, OnceLock<LazySession>);

impl Clock for NosyClock {
    fn now(&self) -> DateTime<Utc> {
        if let Some(session) = self.1.get() {
            session.is_empty();
        }
        self.0.now()
    }
}

#[test]
fn the_clock_may_use_the_session() {
    ends_async("a clock", || async {
        let mut settings = Settings::new("secret");
        settings.absolute_lifetime = Some(TimeDelta::days(1));
        let store = Arc::new(MemoryStore::new());
        // A session without a beginning, which it gets when it is loaded.
        let plain = Session::new(Arc::clone(&store) as _, Settings::new("secret"));
        plain.set("visits", 1).unwrap();
        plain.save().await.unwrap();
        let cookie = format!("sessionid={}", plain.session_key().unwrap().as_str());
        for cookie in [Some(cookie.as_bytes()), None] {
            let clock = Arc::new(NosyClock(ManualClock::new(Utc::now()), OnceLock::new()));
            let middleware = SessionMiddleware::new(Arc::clone(&store), settings.clone()).unwrap();
            let lazy = middleware.with_clock(Arc::clone(&clock) as _).begin(cookie);
            assert!(clock.1.set(lazy.clone()).is_ok());
            let session = lazy.load().await.unwrap();
            session.set("visits", 2).unwrap();
            session.save().await.unwrap();
            assert!(session.absolute_end().is_some());
        }
    });
}

/// Looks at a session whenever something is told.
struct NosySubscriber(LazySession, Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for NosySubscriber {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.is_empty();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_listens_to_the_log_may_use_the_session() {
    use tracing_subscriber::layer::SubscriberExt;
    ends_async("a subscriber", || async {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteStore::at(folder.path().join("db.sqlite3"));
        options.create_table(Default::default()).await.unwrap();
        let other = options.clone().open(&Settings::new("another secret")).await.unwrap();
        let (session_key, data, now) = (SessionKey::random().unwrap(), SessionData::new(), Utc::now());
        let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
        other.create(&session_key, record).await.unwrap();
        let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
        let middleware = SessionMiddleware::new(store, Settings::new("secret")).unwrap();
        let cookie = format!("sessionid={}", session_key.as_str());
        let lazy = middleware.begin([cookie.as_bytes()]);
        let told = Arc::new(AtomicUsize::new(0));
        let subscriber = NosySubscriber(lazy.clone(), Arc::clone(&told));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(subscriber));
        lazy.load().await.unwrap();
        assert!(told.load(Ordering::Relaxed) > 0, "the warning that the session is not genuine");
    });
}

/// A closure runs again on top of what another request saved, and on top of what was saved while it was called.
#[test]
fn a_closure_that_runs_again_while_saving_may_use_the_session() {
    ends_async("a save", || async {
        let store = WatchedStore::new(Arc::new(MemoryStore::new()));
        let middleware = SessionMiddleware::new(Arc::clone(&store), Settings::new("secret")).unwrap();
        let first = Session::new(Arc::clone(&store) as _, Settings::new("secret"));
        first.set("value", 10).unwrap();
        first.save().await.unwrap();
        let cookie = format!("sessionid={}", first.session_key().unwrap().as_str());
        let session = middleware.begin([cookie.as_bytes()]).load().await.unwrap();
        modify_nosily(&session);
        first.set("value", 20).unwrap();
        first.save().await.unwrap();
        let hold = Hold::before("update");
        store.hold(Some(hold.clone()));
        let saving = tokio::spawn({
            let session = session.clone();
            async move { session.save().await }
        });
        hold.reached().await;
        modify_nosily(&session);
        store.hold(None);
        hold.release();
        saving.await.unwrap().unwrap();
        assert_eq!(session.get::<u32>("value").unwrap(), Some(22), "both again, on top of 20");
        session.save().await.unwrap();
        let stored =
            Session::open(Arc::clone(&store) as _, Settings::new("secret"), session.session_key().unwrap());
        assert_eq!(stored.await.unwrap().get::<u32>("value").unwrap(), Some(22));
    });
}

/// The outcome of the closure counts, whatever it did to its own key before.
#[test]
fn a_closure_that_changes_its_own_key_ends_with_its_own_outcome() {
    ends("a closure that changes its own key", || {
        let session = new_session();
        let same = session.clone();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let modified = session.modify::<u32>("value", move |value| {
            counted.fetch_add(1, Ordering::Relaxed);
            same.modify::<u32>("value", |value| value.unwrap_or(0) + 100).unwrap();
            value.unwrap_or(0) + 1
        });
        assert_eq!(modified.unwrap(), 1);
        assert_eq!(session.get::<u32>("value").unwrap(), Some(1));
        assert_eq!(runs.load(Ordering::Relaxed), 1, "it runs again for others' changes only");
    });
    ends("a closure that clears the session", || {
        let session = new_session();
        session.set("value", 6).unwrap();
        let same = session.clone();
        let modified = session.modify::<u32>("value", move |value| {
            same.clear();
            value.unwrap_or(0) + 1
        });
        assert_eq!(modified.unwrap(), 7);
        assert_eq!(session.data().to_json(), r#"{"value":7}"#);
    });
}

#[test]
fn threads_that_share_a_session_lose_no_change() {
    const THREADS: u32 = 4;
    const TIMES: u32 = 1_000;
    ends("threads", || {
        let session = new_session();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..TIMES {
                        let add = |value: Option<u32>| {
                            std::thread::yield_now();
                            value.unwrap_or(0) + 1
                        };
                        session.modify("value", add).unwrap();
                    }
                });
            }
        });
        assert_eq!(session.get::<u32>("value").unwrap(), Some(THREADS * TIMES));
    });
}

#[test]
fn a_closure_that_panics_leaves_the_session_usable() {
    ends("a panic", || {
        let session = new_session();
        session.set("value", 1).unwrap();
        let panicking = session.clone();
        let panicked = std::thread::spawn(move || {
            let _: Result<u32, Error> = panicking.modify("value", |_| panic!("the application's own"));
        });
        assert!(panicked.join().is_err());
        assert_eq!(session.get::<u32>("value").unwrap(), Some(1));
        modify_nosily(&session);
        assert_eq!(session.get::<u32>("value").unwrap(), Some(2));
    });
}
