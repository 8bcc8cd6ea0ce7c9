//! Servers that are there and say nothing or half of it: stopped, behind a firewall that has forgotten a
//! connection, cut off in the middle of an answer.

use std::time::Instant;

use super::*;
use crate::support::proxy::{End, Fault};

const DEADLINE: Duration = Duration::from_millis(800);
/// How much later than its deadline a request may end on a busy machine.
const SLACK: Duration = Duration::from_secs(4);

/// Requests at once, and how often.
const REQUESTS: usize = 60;
const WAVES: usize = 5;

/// Loads and saves at once. Gives how many failed, and how long the slowest took.
async fn wave(proxied: &Proxied, keys: &[SessionKey]) -> (usize, Duration) {
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..REQUESTS {
        let (store, session_key) = (Arc::clone(&proxied.store), keys[number % keys.len()].clone());
        requests.spawn(async move {
            let start = Instant::now();
            let outcome = match number % 2 {
                0 => load(&*store, &session_key).await.map(drop),
                _ => update(&*store, &session_key, number).await.map(drop),
            };
            (outcome, start.elapsed())
        });
    }
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    for (outcome, took) in requests.join_all().await {
        if let Err(error) = outcome {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}: {error}", proxied.name);
            failed += 1;
        }
        slowest = slowest.max(took);
    }
    (failed, slowest)
}

/// Tasks of this test's runtime, but for the proxy's.
fn tasks(proxied: &Proxied) -> usize {
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    alive.saturating_sub(proxied.proxy.open())
}

/// How many connections and tasks a wave leaves behind: on a busy machine those that have ended need a moment to go.
async fn left_over(proxied: &Proxied, before: usize) -> (usize, usize) {
    let start = Instant::now();
    loop {
        let left = (proxied.proxy.open(), tasks(proxied));
        let few = left.0 <= proxied.connections && left.1 <= before + proxied.connections;
        if few || start.elapsed() > SLACK {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn with_sessions(proxied: &Proxied) -> Vec<SessionKey> {
    let mut keys = Vec::new();
    for _ in 0..REQUESTS {
        keys.push(create(&*proxied.store).await.0);
    }
    // A busy machine takes its time over the first connections.
    while wave(proxied, &keys).await.0 > 0 {}
    keys
}

async fn t32(mut proxied: Proxied) {
    let keys = with_sessions(&proxied).await;
    let (name, before) = (proxied.name, tasks(&proxied));
    proxied.server.send("STOP");
    // Nobody tells when a signal has arrived. Who finds out waits no longer than the others.
    loop {
        let start = Instant::now();
        let answered = load(&*proxied.store, &keys[0]).await.is_ok();
        assert!(start.elapsed() < proxied.deadline + SLACK, "{name}: {:?}", start.elapsed());
        if !answered {
            break;
        }
    }
    let (mut failed, mut slowest, mut most) = (0, Duration::ZERO, (0, 0));
    for _ in 0..WAVES {
        let of_wave = wave(&proxied, &keys).await;
        failed += of_wave.0;
        slowest = slowest.max(of_wave.1);
        let left = left_over(&proxied, before).await;
        most = (most.0.max(left.0), most.1.max(left.1));
    }
    assert_eq!(failed, WAVES * REQUESTS, "{name}: it was stopped");
    assert!(slowest < proxied.deadline + SLACK, "{name}: {slowest:?}");
    // One wave's connections may still be closing while the next one's are made.
    assert!(most.0 <= 2 * proxied.connections, "{name}: {} connections", most.0);
    assert!(most.1 <= before + 2 * proxied.connections, "{name}: {} tasks, {before} before", most.1);
    proxied.server.send("CONT");
    let healed = wait_until_healed(name, &*proxied.store, &keys[0]).await;
    let start = Instant::now();
    while tasks(&proxied) > before + proxied.connections || proxied.proxy.open() > proxied.connections {
        assert!(start.elapsed() < Duration::from_secs(10), "{name}: {} tasks are left", tasks(&proxied));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "t32: {name}: stopped: {failed} of {failed} requests ended, the slowest after {slowest:?} of {DEADLINE:?}, with \
         {} connections at the most; healed after {healed:?}",
        most.0
    );
}

/// The connections there are swallow everything; new ones are served.
async fn t31(proxied: Proxied) {
    let keys = with_sessions(&proxied).await;
    let (name, before) = (proxied.name, tasks(&proxied));
    proxied.proxy.swallow_all();
    let start = Instant::now();
    let healed = wait_until_healed(name, &*proxied.store, &keys[0]).await;
    assert!(healed < 3 * DEADLINE + SLACK, "{name}: {healed:?}");
    // The writing connection may be another one, and each of a set is given up by itself.
    while wave(&proxied, &keys).await.0 > 0 {
        assert!(start.elapsed() < 20 * DEADLINE, "{name}: it does not heal");
    }
    let start = Instant::now();
    while proxied.proxy.open() > proxied.connections || tasks(&proxied) > before + proxied.connections {
        assert!(start.elapsed() < 10 * DEADLINE, "{name}: {} connections stay open", proxied.proxy.open());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("t31: {name}: forgotten connections given up, healed after {healed:?}");
}

/// A new connection whose first answers were cut in half is made again.
async fn t37(proxied: Proxied) {
    let keys = with_sessions(&proxied).await;
    let name = proxied.name;
    proxied.proxy.set(Fault::HalfReplies);
    proxied.proxy.end_all(End::Reset);
    for _ in 0..3 {
        assert_eq!(wave(&proxied, &keys).await.0, REQUESTS, "{name}: no answer was whole");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    proxied.proxy.set(Fault::None);
    let healed = wait_until_healed(name, &*proxied.store, &keys[0]).await;
    assert!(healed < Duration::from_secs(5), "{name}: {healed:?}");
    println!("t37: {name}: half answers from the first byte on: errors, and healed {healed:?} afterwards");
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn what_a_stopped_redis_did_not_take_goes_with_its_connection() {
    use crate::support::servers::redis::{start, url_of};
    let mut server = start().await;
    let mut options = cloakroom::RedisStore::options(&url_of(&server)).unwrap();
    options.timeout = DEADLINE;
    let mut settings = settings();
    settings.max_decompressed_bytes = 64 << 20;
    let store = patiently(async || options.clone().open(&settings).await).await;
    let (session_key, _) = create(&store).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    server.send("STOP");
    // More than the sockets between the two hold.
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(32 << 20));
    let data = SessionData::from_json(&text).unwrap();
    let error = store.update(&session_key, None, record(&data)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    let start = Instant::now();
    while tasks() >= before {
        assert!(start.elapsed() < SLACK, "the connection that was given up still waits to send");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

macro_rules! tests {
    ($(#[$feature:meta] $store:ident)*) => { $(
        #[$feature]
        mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_stopped_server_keeps_the_deadline_and_nothing_piles_up() {
                t32(super::super::$store(DEADLINE).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn connections_that_a_firewall_forgot_are_given_up() {
                t31(super::super::$store(DEADLINE).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_handshake_cut_in_half_is_not_the_end() {
                t37(super::super::$store(DEADLINE).await).await;
            }
        }
    )* };
}

tests! {
    #[cfg(feature = "postgres")] postgres
    #[cfg(feature = "mysql")] mariadb
    #[cfg(feature = "redis")] redis
    #[cfg(feature = "memcached")] memcached
}
