//! A store that outlives the Tokio runtime on which it was opened, as one in a static does that several `#[tokio::test]`s
//! share; and one that two runtimes use at once.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record, Updated};
use cloakroom::{MemoryStore, Session, SessionData, SessionKey, SessionStore, Settings};
use tokio::runtime::{Builder, Runtime};

/// As `#[tokio::test]` makes it: its tasks run only while somebody waits for something on it.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn data(number: usize) -> SessionData {
    SessionData::from_json(&format!(r#"{{"number":{number}}}"#)).unwrap()
}

fn record(data: &SessionData) -> Record<'_> {
    let now = Utc::now();
    Record { data, expire_date: now + TimeDelta::days(1), now }
}

async fn create(store: &dyn SessionStore) -> SessionKey {
    let session_key = SessionKey::random().unwrap();
    let created = store.create(&session_key, record(&data(0))).await.unwrap();
    assert!(matches!(created, Created::Created(_)));
    session_key
}

async fn update(name: &str, store: &dyn SessionStore, session_key: &SessionKey, number: usize) {
    let updated = store.update(session_key, None, record(&data(number))).await;
    assert!(matches!(updated, Ok(Updated::Updated(_))), "{name}: {updated:?}");
}

async fn load(store: &dyn SessionStore, session_key: &SessionKey) -> usize {
    let loaded = store.load(session_key, Utc::now()).await.unwrap().expect("the session is gone");
    loaded.data().unwrap().read("number").unwrap().unwrap()
}

fn open(runtime: &Runtime, url: &str) -> Arc<dyn SessionStore> {
    runtime.block_on(cloakroom::connect(url, &Settings::new("secret"))).unwrap()
}

/// The first call on the next runtime is a save.
fn one_after_the_other(name: &str, url: &str) {
    let first = runtime();
    let store = open(&first, url);
    let session_key = first.block_on(create(&*store));
    first.block_on(update(name, &*store, &session_key, 1));
    drop(first);
    let second = runtime();
    second.block_on(update(name, &*store, &session_key, 2));
    assert_eq!(second.block_on(load(&*store, &session_key)), 2, "{name}");
    // It is there still, but nobody drives it.
    let third = runtime();
    third.block_on(update(name, &*store, &session_key, 3));
    assert_eq!(third.block_on(load(&*store, &session_key)), 3, "{name}");
    assert_eq!(second.block_on(load(&*store, &session_key)), 3, "{name}");
    drop((second, third));
    let last = runtime();
    // It cannot count.
    if name != "filecache" {
        assert_eq!(last.block_on(store.count(Utc::now())).unwrap().live, 1, "{name}");
    }
    assert!(last.block_on(store.delete(&session_key)).unwrap(), "{name}");
    let there = last.block_on(store.exists(&session_key, Utc::now())).unwrap();
    assert!(!there, "{name}");
}

/// One runtime saves all the time while others come and go.
fn at_the_same_time(name: &str, url: &str) {
    let first = runtime();
    let store = open(&first, url);
    let kept = first.block_on(create(&*store));
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            both.wait();
            for _ in 0..10 {
                let passing = runtime();
                let session_key = passing.block_on(create(&*store));
                for number in 1..=5 {
                    passing.block_on(update(name, &*store, &session_key, number));
                }
                assert_eq!(passing.block_on(load(&*store, &session_key)), 5, "{name}");
            }
        });
        both.wait();
        first.block_on(async {
            for number in 1..=100 {
                update(name, &*store, &kept, number).await;
                assert_eq!(load(&*store, &kept).await, number, "{name}");
            }
        });
    });
}

/// Calls this with each store there is, by its URL, on a thread without a runtime.
fn with_each_store(test: impl Fn(&str, &str)) {
    let servers = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, url) in servers.block_on(crate::support::stores::shared_by_processes(folder.path())) {
        test(name, &url);
    }
    test("memory", "memory:");
    #[cfg(feature = "redis-sentinel")]
    {
        let watched = servers.block_on(crate::support::servers::redis::start_watched());
        test("redis sentinel", &watched.url);
    }
    #[cfg(all(feature = "postgres", feature = "redis-cluster"))]
    {
        let url = servers.block_on(async {
            let database = crate::support::servers::postgres::database().await;
            cloakroom::store::create_table(&database, Default::default()).await.unwrap();
            format!("cached_db:{database}|{}", crate::support::servers::redis::cluster_url().await)
        });
        test("cached_db of postgres and a cluster", &url);
    }
}

#[test]
fn a_store_serves_one_runtime_after_the_other() {
    with_each_store(one_after_the_other);
}

#[test]
fn a_store_serves_two_runtimes_at_the_same_time() {
    with_each_store(at_the_same_time);
}

/// Drives a future on this thread, as a binding to another language does that has no runtime.
fn drive<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_save_without_a_runtime_outlasts_conflicts() {
    const CONFLICTS: u32 = 6;
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let settings = Settings::new("secret");
    let first = Session::new(Arc::clone(&store), settings.clone());
    first.set("theirs", 0).unwrap();
    drive(first.save()).unwrap();
    let session_key = first.session_key().unwrap();
    let open =
        move || drive(Session::open(Arc::clone(&store), settings.clone(), session_key.clone())).unwrap();

    let mine = open();
    let calls = Arc::new(AtomicU32::new(0));
    let (counting, opening) = (Arc::clone(&calls), open.clone());
    // Whenever the change is made, somebody else saves before it is written.
    let increment = move |count: Option<u32>| {
        if counting.fetch_add(1, Ordering::Relaxed) < CONFLICTS {
            let theirs = opening();
            theirs.modify::<u32>("theirs", |count| count.unwrap_or(0) + 1).unwrap();
            drive(theirs.save()).unwrap();
        }
        count.unwrap_or(0) + 1
    };
    mine.modify("mine", increment).unwrap();
    drive(mine.save()).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), CONFLICTS + 1);
    assert_eq!(open().data().to_json(), r#"{"theirs":6,"mine":1}"#);
}
