//! Saving under concurrency: nothing lost, nobody resurrected, on every server-side store.

mod interleaved;
mod killed;
mod processes;
mod renewals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cloakroom::chrono::Utc;
use cloakroom::store::{Record, Rotated, Updated, Version};
use cloakroom::{
    ConcurrentChanges, Error, KeyGenerator, MemoryStore, Session, SessionKey, SessionMiddleware,
    SessionStore, Settings, Value,
};

use crate::support::stores;

fn settings(concurrent_changes: ConcurrentChanges) -> Settings {
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = concurrent_changes;
    settings
}

async fn new_session(store: &Arc<dyn SessionStore>) -> SessionKey {
    let session = Session::new(Arc::clone(store), Settings::new("secret"));
    session.set("start", true).unwrap();
    session.save().await.unwrap();
    session.session_key().unwrap()
}

async fn open(store: &Arc<dyn SessionStore>, policy: ConcurrentChanges, session_key: &SessionKey) -> Session {
    Session::open(Arc::clone(store), settings(policy), session_key.clone()).await.unwrap()
}

/// 50 requests at once on one session, each with a key of its own and one more on the counter; all have
/// loaded before the first one saves.
async fn fifty(store: &Arc<dyn SessionStore>, policy: ConcurrentChanges) -> (usize, u32) {
    let session_key = new_session(store).await;
    let barrier = Arc::new(tokio::sync::Barrier::new(50));
    let requests: Vec<_> = (0..50)
        .map(|number| {
            let (store, session_key, barrier) =
                (Arc::clone(store), session_key.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let session = open(&store, policy, &session_key).await;
                session.set(&format!("key-{number}"), number).unwrap();
                session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1).unwrap();
                barrier.wait().await;
                session.save().await.unwrap();
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    let session = open(store, policy, &session_key).await;
    let keys = session.keys().iter().filter(|key| key.starts_with("key-")).count();
    (keys, session.get("counter").unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_changes_at_once_all_are_kept() {
    for (name, store, _keep) in stores::all().await {
        for _ in 0..20 {
            assert_eq!(fifty(&store, ConcurrentChanges::Merge).await, (50, 50), "{name}");
        }
        println!("{name}: 50 of 50 keys and a counter of 50 kept, 20 runs of 20");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_last_write_wins_the_same_test_shows_the_loss() {
    for (name, store, _keep) in stores::all().await {
        assert_eq!(fifty(&store, ConcurrentChanges::LastWriteWins).await, (1, 1), "{name}");
    }
}

#[tokio::test]
async fn reject_refuses_and_keeps_what_is_stored() {
    for (name, store, _keep) in stores::all().await {
        let session_key = new_session(&store).await;
        let first = open(&store, ConcurrentChanges::Reject, &session_key).await;
        let second = open(&store, ConcurrentChanges::Reject, &session_key).await;
        first.set("a", 1).unwrap();
        second.set("a", 2).unwrap();
        first.save().await.unwrap();
        assert!(matches!(second.save().await, Err(Error::Conflict { attempts: 1 })), "{name}");
        let stored = open(&store, ConcurrentChanges::Merge, &session_key).await;
        assert_eq!(stored.get::<u8>("a").unwrap(), Some(1), "{name}");
    }
}

#[tokio::test]
async fn each_change_is_done_again_on_top_of_the_others() {
    for (name, store, _keep) in stores::all().await {
        let session_key = new_session(&store).await;
        let prepare = open(&store, ConcurrentChanges::Merge, &session_key).await;
        prepare.update([("removed", 1), ("kept", 1), ("both", 1), ("list", 0)]).unwrap();
        prepare.save().await.unwrap();

        let mine = open(&store, ConcurrentChanges::Merge, &session_key).await;
        let theirs = open(&store, ConcurrentChanges::Merge, &session_key).await;
        theirs.set("theirs", 1).unwrap();
        theirs.set("both", 2).unwrap();
        theirs.set("default", "theirs").unwrap();
        theirs.set("list", 7).unwrap();
        theirs.save().await.unwrap();

        mine.remove("removed");
        mine.set("both", 3).unwrap();
        mine.set_default("default", "mine".to_owned()).unwrap();
        mine.set_default("new", 5).unwrap();
        mine.modify::<i32>("list", |list| list.unwrap_or(0) * 10 + 1).unwrap();
        mine.modify::<i32>("list", |list| list.unwrap_or(0) * 10 + 2).unwrap();
        mine.modify_value("list", |list| Value::serialize(&[list.map(Value::json)]).map(Some)).unwrap();
        mine.save().await.unwrap();

        let expected =
            r#"{"start":true,"kept":1,"both":3,"list":["712"],"theirs":1,"default":"theirs","new":5}"#;
        assert_eq!(mine.data().to_json(), expected, "{name}: what this request sees afterwards");
        let stored = open(&store, ConcurrentChanges::Merge, &session_key).await;
        assert_eq!(stored.data().to_json(), expected, "{name}");

        let mine = open(&store, ConcurrentChanges::Merge, &session_key).await;
        let theirs = open(&store, ConcurrentChanges::Merge, &session_key).await;
        theirs.set("late", 1).unwrap();
        theirs.save().await.unwrap();
        mine.clear();
        mine.set("only", 1).unwrap();
        mine.save().await.unwrap();
        let stored = open(&store, ConcurrentChanges::Merge, &session_key).await;
        assert_eq!(stored.data().to_json(), r#"{"only":1}"#, "{name}: clear replaces the whole");
    }
}

#[tokio::test]
async fn a_session_that_was_logged_out_meanwhile_stays_dead() {
    for (name, store, _keep) in stores::all().await {
        // With and without comparison: nothing is brought back by what overwrites either.
        let policies = [ConcurrentChanges::Merge, ConcurrentChanges::LastWriteWins];
        for (policy, rotate) in policies.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
            let session_key = new_session(&store).await;
            let slow = open(&store, policy, &session_key).await;
            slow.set("late", 1).unwrap();
            if rotate {
                slow.cycle_key().unwrap();
            }
            let logout = open(&store, ConcurrentChanges::Merge, &session_key).await;
            logout.flush().await.unwrap();
            let saved = slow.save().await;
            assert!(
                matches!(saved, Err(Error::Interrupted)),
                "{name}, {policy:?}, rotate {rotate}: {saved:?}"
            );
            for key in [Some(session_key), slow.session_key()].into_iter().flatten() {
                assert!(store.load(&key, Utc::now()).await.unwrap().is_none(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn no_key_of_a_client_is_adopted() {
    for (name, store, _keep) in stores::all().await {
        let middleware = SessionMiddleware::new(Arc::clone(&store), Settings::new("secret")).unwrap();
        for clear in [false, true] {
            let lazy = middleware.begin([b"sessionid=attackersattackers".as_slice()]);
            let session = lazy.load().await.unwrap();
            if clear {
                session.clear();
            }
            session.set("a", 1).unwrap();
            let finished = middleware.finish(&lazy, 200).await.unwrap();
            assert!(!finished.set_cookie.unwrap().contains("attackers"), "{name}");
            let attacker = SessionKey::from_trusted("attackersattackers");
            assert!(store.load(&attacker, Utc::now()).await.unwrap().is_none(), "{name}");
        }
    }
}

#[tokio::test]
async fn cycling_keeps_the_data_and_kills_the_old_key() {
    for (name, store, _keep) in stores::all().await {
        let old_key = new_session(&store).await;
        let session = open(&store, ConcurrentChanges::Merge, &old_key).await;
        session.cycle_key().unwrap();
        assert!(
            store.load(&old_key, Utc::now()).await.unwrap().is_some(),
            "{name}: nothing happens before saving"
        );
        session.save().await.unwrap();
        let new_key = session.session_key().unwrap();
        assert_ne!(new_key, old_key);
        assert!(store.load(&old_key, Utc::now()).await.unwrap().is_none(), "{name}");
        let moved = store.load(&new_key, Utc::now()).await.unwrap().unwrap();
        assert_eq!(moved.data().unwrap().to_json(), r#"{"start":true}"#, "{name}");
        // And once more, from where it is now.
        session.cycle_key().unwrap();
        session.save().await.unwrap();
        assert!(store.load(&new_key, Utc::now()).await.unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn cycling_meets_another_change_and_keeps_it() {
    for (name, store, _keep) in stores::all().await {
        let session_key = new_session(&store).await;
        let login = open(&store, ConcurrentChanges::Merge, &session_key).await;
        let other = open(&store, ConcurrentChanges::Merge, &session_key).await;
        other.set("other", 1).unwrap();
        other.save().await.unwrap();
        login.cycle_key().unwrap();
        login.set("user", 7).unwrap();
        login.save().await.unwrap();
        assert_eq!(login.data().to_json(), r#"{"start":true,"other":1,"user":7}"#, "{name}");
        assert!(store.load(&session_key, Utc::now()).await.unwrap().is_none(), "{name}");
    }
}

/// Gives the same key a few times before it gives new ones.
struct RepeatedKeys {
    key: SessionKey,
    repeats: AtomicU32,
}

impl KeyGenerator for RepeatedKeys {
    fn generate(&self) -> Result<SessionKey, Error> {
        if self.repeats.fetch_sub(1, Ordering::Relaxed) > 0 {
            Ok(self.key.clone())
        } else {
            SessionKey::random()
        }
    }
}

#[tokio::test]
async fn a_taken_key_is_tried_once_and_its_session_stays() {
    for (name, store, _keep) in stores::all().await {
        let theirs = new_session(&store).await;
        for (repeats, cycle) in [(3, false), (3, true), (1_000, false)] {
            let keys = RepeatedKeys { key: theirs.clone(), repeats: AtomicU32::new(repeats) };
            let mine = new_session(&store).await;
            let cookie = if cycle { format!("sessionid={}", mine.as_str()) } else { String::new() };
            let middleware = SessionMiddleware::new(Arc::clone(&store), Settings::new("secret"))
                .unwrap()
                .with_key_generator(Arc::new(keys));
            let session = middleware.begin([cookie.as_bytes()]).load().await.unwrap();
            if cycle {
                session.cycle_key().unwrap();
            }
            session.set("mine", 1).unwrap();
            let saved = session.save().await;
            if repeats < 10 {
                saved.unwrap();
                assert_ne!(session.session_key(), Some(theirs.clone()), "{name}");
            } else {
                assert!(matches!(saved, Err(Error::KeysTaken { .. })), "{name}");
            }
            let stored = store.load(&theirs, Utc::now()).await.unwrap().unwrap();
            assert_eq!(stored.data().unwrap().to_json(), r#"{"start":true}"#, "{name}");
        }
    }
}
