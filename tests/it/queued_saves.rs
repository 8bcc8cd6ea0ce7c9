//! Requests of one process that save one session at once: they share writes, and none pays for another.

mod limits;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use cloakroom::{
    Error, LazySession, MemoryStore, Session, SessionData, SessionKey, SessionMiddleware, SessionStore,
    Settings, StoreErrorKind, auth,
};
use tokio::task::JoinHandle;

use crate::support::watched_store::{Hold, WatchedStore};

/// A site with one session, by whose cookie all requests come.
struct Site {
    store: Arc<WatchedStore>,
    middleware: SessionMiddleware,
    session_key: SessionKey,
}

impl Site {
    async fn on(store: Arc<dyn SessionStore>, settings: Settings) -> Site {
        let store = WatchedStore::new(store);
        let session = Session::new(Arc::clone(&store) as _, Settings::new("secret"));
        session.update([("n", 0), ("was a number", 1)]).unwrap();
        session.save().await.unwrap();
        store.calls();
        let middleware = SessionMiddleware::new(Arc::clone(&store), settings).unwrap();
        Site { store, middleware, session_key: session.session_key().unwrap() }
    }

    async fn in_memory() -> Site {
        Site::on(Arc::new(MemoryStore::new()), Settings::new("secret")).await
    }

    fn begin(&self) -> LazySession {
        let cookie = format!("sessionid={}", self.session_key.as_str());
        self.middleware.begin([cookie.as_bytes()])
    }

    /// A request that has loaded the session and counted itself.
    async fn request(&self) -> Session {
        let session = self.begin().load().await.unwrap();
        count_one(&session);
        session
    }

    async fn stored(&self, session_key: &SessionKey) -> Option<SessionData> {
        self.store.load(session_key, Utc::now()).await.unwrap().map(|loaded| loaded.data().unwrap().clone())
    }

    /// How many requests counted themselves.
    async fn counted(&self) -> Option<u32> {
        self.stored(&self.session_key).await?.read("n").unwrap()
    }
}

fn count_one(session: &Session) {
    session.modify::<u32>("n", |n| n.unwrap_or(0) + 1).unwrap();
}

fn save(session: &Session) -> JoinHandle<Result<(), Error>> {
    let session = session.clone();
    tokio::spawn(async move { session.save().await })
}

/// On the one thread of these tests: lets all tasks go as far as they can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A save that is under way and stays there, and the saves of `queued` behind it, in their order. What is returned first
/// is the hold, reached once.
async fn behind_a_held_save(
    site: &Site,
    hold: Hold,
    first: &Session,
    queued: &[&Session],
) -> (Hold, JoinHandle<Result<(), Error>>, Vec<JoinHandle<Result<(), Error>>>) {
    site.store.calls();
    site.store.hold(Some(hold.clone()));
    let leading = save(first);
    hold.reached().await;
    let mut saves = Vec::new();
    for session in queued {
        saves.push(save(session));
        settle().await;
    }
    assert_eq!(site.store.calls(), ["update"], "the others wait");
    (hold, leading, saves)
}

const REQUESTS: usize = 1_000;

/// 1,000 requests that have all loaded the session before the first of them saves.
async fn storm(site: &Arc<Site>) {
    let barrier = Arc::new(tokio::sync::Barrier::new(REQUESTS));
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let (site, barrier) = (Arc::clone(site), Arc::clone(&barrier));
            tokio::spawn(async move {
                let lazy = site.begin();
                let session = lazy.load().await.unwrap();
                count_one(&session);
                if number % 10 == 0 {
                    session.set(&format!("key {number}"), number).unwrap();
                }
                barrier.wait().await;
                site.middleware.finish(&lazy, 200).await
            })
        })
        .collect();
    let mut failed = Vec::new();
    for request in requests {
        failed.extend(request.await.unwrap().err().map(|error| error.to_string()));
    }
    assert!(failed.is_empty(), "{} of {REQUESTS} failed: {}", failed.len(), failed[0]);
}

/// The median of what a neighbour's visits take, until it is told to stop.
async fn neighbour(store: Arc<dyn SessionStore>, stop: Arc<AtomicUsize>) -> (usize, Duration) {
    let middleware = SessionMiddleware::new(store, Settings::new("secret")).unwrap();
    let session = middleware.begin([]).load().await.unwrap();
    session.set("visits", 0).unwrap();
    session.save().await.unwrap();
    let cookie = format!("sessionid={}", session.session_key().unwrap().as_str());
    let mut took = Vec::new();
    while took.len() < 20 || stop.load(Ordering::Relaxed) == 0 {
        let start = Instant::now();
        let lazy = middleware.begin([cookie.as_bytes()]);
        count_one(&lazy.load().await.unwrap());
        middleware.finish(&lazy, 200).await.unwrap();
        took.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort();
    (took.len(), took[took.len() / 2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_requests_with_one_cookie_all_are_saved_in_few_writes() {
    for (name, store, _keep) in crate::support::stores::all().await {
        let (_, quiet) = neighbour(Arc::clone(&store), Arc::new(AtomicUsize::new(1))).await;
        let site = Arc::new(Site::on(Arc::clone(&store), Settings::new("secret")).await);
        let stop = Arc::new(AtomicUsize::new(0));
        let neighbour = tokio::spawn(neighbour(store, Arc::clone(&stop)));
        let start = Instant::now();
        storm(&site).await;
        let took = start.elapsed();
        stop.store(1, Ordering::Relaxed);
        let (visits, busy) = neighbour.await.unwrap();
        let calls = site.store.calls();
        let writes = calls.iter().filter(|call| **call == "update").count();
        println!(
            "{name}: {REQUESTS} of {REQUESTS} saved in {writes} writes and {took:?}; a neighbour's visit took {quiet:?} \
             before and {busy:?} meanwhile ({visits} visits)"
        );
        assert!(calls.len() <= 2 * REQUESTS, "{name}: {} calls of the store", calls.len());
        // In memory a write takes no time, so that few may have come when it ends: one for each request at the most.
        let most = if name == "memory" { REQUESTS } else { REQUESTS / 4 };
        assert!(writes <= most, "{name}: {writes} writes");
        assert!(busy < 20 * quiet + Duration::from_millis(200), "{name}: a neighbour waits {busy:?}");
        let stored = site.stored(&site.session_key).await.unwrap();
        assert_eq!(stored.read::<usize>("n").unwrap(), Some(REQUESTS), "{name}");
        assert_eq!(stored.len(), 2 + REQUESTS / 10, "{name}");
    }
}

/// By `pg_stat_statements`, which counts each execution.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_counts_less_than_two_statements_a_request() {
    use crate::support::servers::postgres;
    let server = postgres::start_counting().await;
    let url = postgres::url(&server, "postgres");
    let options = cloakroom::PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let site = Arc::new(
        Site::on(Arc::new(options.open(&Settings::new("secret")).await.unwrap()), Settings::new("secret"))
            .await,
    );
    let client = postgres::client(&postgres::url(&server, "template1")).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let count = async || {
        let sql = "SELECT sum(calls)::bigint FROM pg_stat_statements JOIN pg_database ON oid = dbid \
                   WHERE datname = 'postgres'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let before = count().await;
    storm(&site).await;
    let statements = count().await - before;
    println!("PostgreSQL counts {statements} statements for {REQUESTS} requests with one cookie");
    assert!(statements <= 2 * REQUESTS as i64, "{statements}");
    assert_eq!(site.counted().await, Some(REQUESTS as u32));
}

#[tokio::test]
async fn those_who_wait_share_one_write_and_load_nothing() {
    let site = Site::in_memory().await;
    let (first, a, b, c) =
        (site.request().await, site.request().await, site.request().await, site.request().await);
    b.set("b", 1).unwrap();
    let (hold, leading, saves) =
        behind_a_held_save(&site, Hold::before("update"), &first, &[&a, &b, &c]).await;
    site.store.hold(None);
    hold.release();
    leading.await.unwrap().unwrap();
    for save in saves {
        save.await.unwrap().unwrap();
    }
    assert_eq!(site.store.calls(), ["update"], "one for the three, and no load");
    assert_eq!(site.counted().await, Some(4));
    for session in [&a, &b, &c] {
        assert_eq!(session.data().to_json(), r#"{"n":4,"was a number":1,"b":1}"#, "each sees what is stored");
    }
    // What they hold is what is stored, so that they go on without a conflict.
    site.store.calls();
    count_one(&a);
    a.save().await.unwrap();
    assert_eq!(site.store.calls(), ["update"]);
    assert_eq!(site.counted().await, Some(5));
}

#[tokio::test]
async fn a_request_that_is_gone_neither_loses_nor_repeats_the_changes_of_the_others() {
    for hold in [Hold::before("update"), Hold::after("update")] {
        let site = Site::in_memory().await;
        let (first, a, b, c) =
            (site.request().await, site.request().await, site.request().await, site.request().await);
        let (hold, leading, saves) = behind_a_held_save(&site, hold, &first, &[&a, &b, &c]).await;
        hold.release();
        leading.await.unwrap().unwrap();
        hold.reached().await;
        // The one whose task carries the write of all three.
        saves[0].abort();
        settle().await;
        site.store.hold(None);
        hold.release();
        let [gone, b_saved, c_saved] = <[_; 3]>::try_from(saves).unwrap();
        assert!(gone.await.unwrap_err().is_cancelled());
        b_saved.await.unwrap().unwrap();
        c_saved.await.unwrap().unwrap();
        assert_eq!(site.store.calls(), ["update"], "the write went on");
        assert_eq!(site.counted().await, Some(4), "each once: {hold:?}");
    }
}

#[tokio::test]
async fn who_is_gone_before_its_turn_is_left_out_and_can_save_later() {
    for gone in 0..3 {
        let site = Site::in_memory().await;
        let requests = [site.request().await, site.request().await, site.request().await];
        let first = site.request().await;
        let waiting: Vec<_> = requests.iter().collect();
        let (hold, leading, saves) =
            behind_a_held_save(&site, Hold::before("update"), &first, &waiting).await;
        saves[gone].abort();
        settle().await;
        site.store.hold(None);
        hold.release();
        leading.await.unwrap().unwrap();
        for (number, save) in saves.into_iter().enumerate() {
            assert_eq!(save.await.is_ok(), number != gone);
        }
        assert_eq!(site.counted().await, Some(3));
        requests[gone].save().await.unwrap();
        assert_eq!(site.counted().await, Some(4));
    }
}

/// The first of those who wait takes over when the one who saves is gone.
#[tokio::test]
async fn when_the_first_is_gone_the_others_go_on() {
    for hold in [Hold::before("update"), Hold::after("update")] {
        let site = Site::in_memory().await;
        let (first, a, b) = (site.request().await, site.request().await, site.request().await);
        let after = format!("{hold:?}").contains("after: true");
        let (hold, leading, saves) = behind_a_held_save(&site, hold, &first, &[&a, &b]).await;
        site.store.hold(None);
        leading.abort();
        hold.release();
        assert!(leading.await.unwrap_err().is_cancelled());
        for save in saves {
            save.await.unwrap().unwrap();
        }
        assert_eq!(site.counted().await, Some(if after { 3 } else { 2 }));
    }
}

/// What is wrong with one request's change is told to that request.
#[tokio::test]
async fn a_change_that_cannot_be_made_fails_its_own_request_only() {
    let type_error = |session: &Session| {
        session.modify::<u32>("was a number", |n| n.unwrap_or(0) + 1).unwrap();
    };
    let bad_expiry = |session: &Session| session.set("_session_expiry", "tomorrow").unwrap();
    let too_large = |session: &Session| session.set("too large", 1).unwrap();
    type Spoil = fn(&Session);
    type IsRight = fn(&Error) -> bool;
    let cases: [(&str, Spoil, IsRight); 3] = [
        ("type", type_error, |error| matches!(error, Error::Value { key, .. } if key == "was a number")),
        ("expiry", bad_expiry, |error| matches!(error, Error::Expiry(_))),
        (
            "size",
            too_large,
            |error| matches!(error, Error::Store(error) if error.kind() == StoreErrorKind::Refused),
        ),
    ];
    for (case, spoil, is_right) in cases {
        let site = Site::in_memory().await;
        site.store.refuse(Some("too large"));
        let (first, a, b, c) =
            (site.request().await, site.request().await, site.request().await, site.request().await);
        first.set("was a number", "a text").unwrap();
        spoil(&b);
        let (hold, leading, saves) =
            behind_a_held_save(&site, Hold::before("update"), &first, &[&a, &b, &c]).await;
        site.store.hold(None);
        hold.release();
        leading.await.unwrap().unwrap();
        let [a, b, c] = <[_; 3]>::try_from(saves).unwrap();
        a.await.unwrap().unwrap();
        let error = b.await.unwrap().unwrap_err();
        assert!(is_right(&error), "{case}: {error}");
        c.await.unwrap().unwrap();
        assert_eq!(site.counted().await, Some(3), "{case}");
    }
}

#[tokio::test]
async fn a_closure_that_panics_when_it_runs_again_takes_its_own_request_only() {
    let site = Site::in_memory().await;
    let (first, a, b, c) =
        (site.request().await, site.request().await, site.request().await, site.request().await);
    let runs = AtomicUsize::new(0);
    let panics = move |n: Option<u32>| {
        assert_eq!(runs.fetch_add(1, Ordering::Relaxed), 0, "the application's own panic");
        n.unwrap_or(0) + 1
    };
    a.modify("n", panics).unwrap();
    let (hold, leading, saves) =
        behind_a_held_save(&site, Hold::before("update"), &first, &[&a, &b, &c]).await;
    site.store.hold(None);
    hold.release();
    leading.await.unwrap().unwrap();
    let [a, b, c] = <[_; 3]>::try_from(saves).unwrap();
    assert!(a.await.unwrap_err().is_panic());
    b.await.unwrap().unwrap();
    c.await.unwrap().unwrap();
    assert_eq!(site.counted().await, Some(3));
}

/// A change of key is a step of its own: who came before is kept, who comes after finds the session gone, as without a
/// queue.
#[tokio::test]
async fn a_login_in_the_queue_takes_along_what_came_before() {
    let site = Site::in_memory().await;
    let (first, a, login, c) =
        (site.request().await, site.request().await, site.request().await, site.request().await);
    let user = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };
    auth::login(&login, user).await.unwrap();
    let (hold, leading, saves) =
        behind_a_held_save(&site, Hold::before("update"), &first, &[&a, &login, &c]).await;
    site.store.hold(None);
    hold.release();
    leading.await.unwrap().unwrap();
    let [a, moved, c] = <[_; 3]>::try_from(saves).unwrap();
    a.await.unwrap().unwrap();
    moved.await.unwrap().unwrap();
    assert!(matches!(c.await.unwrap(), Err(Error::Interrupted)));
    assert_eq!(site.store.calls(), ["update", "rotate", "load"], "what is gone is looked for once");
    assert!(site.counted().await.is_none(), "the old key is dead");
    let stored = site.stored(&login.session_key().unwrap()).await.unwrap();
    assert_eq!(stored.read::<u32>("n").unwrap(), Some(3));
}

#[tokio::test]
async fn a_logout_does_not_wait_and_all_who_wait_learn_of_it() {
    let site = Site::in_memory().await;
    let (first, a, b) = (site.request().await, site.request().await, site.request().await);
    let logout = site.begin().load().await.unwrap();
    let (hold, leading, saves) = behind_a_held_save(&site, Hold::before("update"), &first, &[&a, &b]).await;
    logout.flush().await.unwrap();
    site.store.hold(None);
    hold.release();
    for save in [leading].into_iter().chain(saves) {
        assert!(matches!(save.await.unwrap(), Err(Error::Interrupted)));
    }
    assert_eq!(site.store.calls(), ["delete", "load"], "one look for those who waited");
    assert!(site.counted().await.is_none());
}

/// A store that fails fails all whose changes it was asked to write, and all of them can be saved later.
#[tokio::test]
async fn a_store_that_fails_fails_those_whose_changes_it_was_given() {
    let site = Site::in_memory().await;
    let (first, a, b) = (site.request().await, site.request().await, site.request().await);
    let (hold, leading, saves) = behind_a_held_save(&site, Hold::before("update"), &first, &[&a, &b]).await;
    site.store.hold(None);
    site.store.fail(Some(("update", StoreErrorKind::Unavailable)));
    hold.release();
    leading.await.unwrap().unwrap();
    for save in saves {
        assert!(matches!(save.await.unwrap(), Err(Error::Store(_))));
    }
    assert_eq!(site.counted().await, Some(1));
    site.store.fail(None);
    a.save().await.unwrap();
    b.save().await.unwrap();
    assert_eq!(site.counted().await, Some(3));
}
