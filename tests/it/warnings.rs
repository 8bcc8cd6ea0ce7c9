//! What the log warns of: requests with several session cookies, and sessions whose client is not told their key.

use std::sync::Arc;

use chrono::TimeDelta;
use cloakroom::{
    ConcurrentChanges, LazySession, ManualClock, MemoryStore, Session, SessionMiddleware, SessionStore,
    Settings, SignedCookieStore, StoreErrorKind,
};

use crate::support::log::Log;
use crate::support::watched_store::WatchedStore;

const SEVERAL: &str = "several session cookies";
const UNTOLD: &str = "does not tell the client";

fn middleware(
    store: Arc<dyn SessionStore>,
    settings: Settings,
    clock: &Arc<ManualClock>,
) -> SessionMiddleware {
    SessionMiddleware::new(store, settings).unwrap().with_clock(Arc::clone(clock) as _)
}

fn warnings(log: &Log, text: &str) -> Vec<String> {
    log.lines().into_iter().filter(|line| line.contains("WARN") && line.contains(text)).collect()
}

/// Each a minute later, so that no warning is suppressed.
fn next_minute(clock: &ManualClock) {
    clock.advance(TimeDelta::minutes(1));
}

#[tokio::test]
async fn of_requests_with_several_session_cookies_it_warns_once_a_minute_and_says_what_to_do() {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let mut settings = Settings::new("secret");
    let cookies = |key: &str| format!("sessionid={key}; sessionid=0{key}");
    let log = Log::start();
    let lenient = middleware(Arc::new(MemoryStore::new()), settings.clone(), &clock);
    drop(lenient.begin([cookies("abcdefgh").as_bytes()]));
    assert_eq!(warnings(&log, SEVERAL).len(), 0, "the last one counts, as in Django");

    settings.reject_duplicate_cookies = true;
    let strict = middleware(Arc::new(MemoryStore::new()), settings, &clock);
    let mut counts = Vec::new();
    for (seconds, requests) in [(0, 1), (59, 5), (1, 1)] {
        clock.advance(TimeDelta::seconds(seconds));
        for _ in 0..requests {
            drop(strict.begin([cookies("abcdefgh").as_bytes()]));
        }
        counts.push(warnings(&log, SEVERAL).len());
    }
    drop(strict.begin(["sessionid=abcdefgh".as_bytes()]));
    assert_eq!(counts, [1, 1, 2]);
    let last = warnings(&log, SEVERAL).pop().unwrap();
    assert!(last.contains("suppressed=5") && last.contains("former_cookies"), "{last}");
    assert!(!log.lines().concat().contains("abcdefgh"), "no cookie is shown");
}

/// What a handler does, and the status of its answer.
async fn answer(middleware: &SessionMiddleware, lazy: &LazySession, steps: &[&str], status: u16) -> bool {
    let session: Session = lazy.load().await.unwrap();
    for step in steps {
        match *step {
            "set" => session.set("visits", 1).unwrap(),
            "save" => session.save().await.unwrap(),
            "cycle_key" => session.cycle_key().unwrap(),
            "take back" => session.set_modified(false),
            "flush" => session.flush().await.unwrap(),
            "delete" => _ = session.delete().await.unwrap(),
            other => panic!("no step {other}"),
        }
    }
    middleware.finish(lazy, status).await.is_ok_and(|finished| finished.set_cookie.is_some())
}

#[tokio::test]
async fn of_a_session_whose_client_is_not_told_its_key_it_warns() {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let stores: [(&str, Arc<dyn SessionStore>); 2] = [
        ("memory", Arc::new(MemoryStore::new())),
        ("signed cookies", Arc::new(SignedCookieStore::new(&Settings::new("secret")))),
    ];
    for (name, store) in stores {
        for save_every_request in [false, true] {
            let mut settings = Settings::new("secret");
            settings.save_every_request = save_every_request;
            let middleware = middleware(Arc::clone(&store), settings, &clock);
            let log = Log::start();
            let mut warned = 0;
            let is_in_cookie = store.keeps_data_in_cookie();
            let cases: [(&[&str], u16, bool); 9] = [
                (&["set"], 500, false),
                (&["set", "save"], 200, false),
                (&["set", "save"], 404, false),
                (&["set", "save"], 500, true),
                (&["set", "save", "set", "save"], 503, true),
                (&["set", "save", "flush"], 500, false),
                (&["set", "save", "cycle_key", "save"], 500, true),
                (&["set", "save", "cycle_key"], 500, true),
                (&["set", "save", "take back"], 200, !save_every_request),
            ];
            for (steps, status, warns) in cases {
                next_minute(&clock);
                answer(&middleware, &middleware.begin([]), steps, status).await;
                warned += usize::from(warns);
                assert_eq!(warnings(&log, UNTOLD).len(), warned, "{name}: {steps:?}, {status}");
            }

            // A client that has a session already: it is told of it, unless the key changes.
            let lazy = middleware.begin([]);
            answer(&middleware, &lazy, &["set"], 200).await;
            let cookie = format!("sessionid={}", lazy.session_key().unwrap().as_str());
            for (steps, warns) in [
                (&["set", "save"] as &[&str], is_in_cookie),
                (&["cycle_key", "set"], false),
                (&["set", "cycle_key", "save"], true),
            ] {
                next_minute(&clock);
                answer(&middleware, &middleware.begin([cookie.as_bytes()]), steps, 500).await;
                warned += usize::from(warns);
                assert_eq!(
                    warnings(&log, UNTOLD).len(),
                    warned,
                    "{name}: {steps:?} of a client with a session"
                );
            }
        }
    }
}

#[tokio::test]
async fn of_a_session_that_was_saved_before_a_save_failed_it_warns() {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = ConcurrentChanges::Reject;
    let middleware = middleware(Arc::clone(&store) as _, settings, &clock);
    let log = Log::start();
    let lazy = middleware.begin([]);
    let session = lazy.load().await.unwrap();
    session.set("visits", 1).unwrap();
    session.save().await.unwrap();
    session.set("visits", 2).unwrap();
    store.fail(Some(("update", StoreErrorKind::Unavailable)));
    middleware.finish(&lazy, 200).await.unwrap_err();
    assert_eq!(warnings(&log, UNTOLD).len(), 1);
    let key = session.session_key().unwrap();
    assert!(!log.lines().concat().contains(key.as_str()));
}
