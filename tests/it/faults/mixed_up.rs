//! Requests are given up at any moment, and answers are delayed, halved, cut and reset on their way; nobody ever
//! gets another key's value. Each session's data names its key.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::support::proxy::{End, Fault};
use crate::support::random::Random;

/// How many requests to each store.
const REQUESTS: &str = "CLOAKROOM_SOAK_REQUESTS";
const WORKERS: usize = 16;
const SESSIONS: usize = 24;
/// No request may take longer than its deadline; this is how much later it may end on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Counts {
    loaded: AtomicUsize,
    written: AtomicUsize,
    given_up: AtomicUsize,
    errors: AtomicUsize,
}

async fn requests(
    proxied: Arc<Proxied>,
    keys: Arc<Vec<SessionKey>>,
    mut random: Random,
    count: usize,
    counts: Arc<Counts>,
) {
    let add = |counter: &AtomicUsize| _ = counter.fetch_add(1, Ordering::Relaxed);
    let mut done = 0;
    for number in 0.. {
        if done == count {
            return;
        }
        let session_key = &keys[random.below(keys.len())];
        let start = Instant::now();
        let saves = random.percent(30);
        let request = async {
            match saves {
                true => update(&*proxied.store, session_key, number).await.map(|outcome| {
                    // Nothing removes them, and nothing is compared.
                    assert!(matches!(outcome, Updated::Updated(_)), "{}: {outcome:?}", proxied.name);
                }),
                false => load(&*proxied.store, session_key).await.map(drop),
            }
        };
        let given_up = Duration::from_micros(random.below(8_000) as u64);
        let outcome = match random.percent(25) {
            true => tokio::time::timeout(given_up, request).await.ok(),
            false => Some(request.await),
        };
        // What fails at once, while a new connection is waited for, shows nothing.
        done += usize::from(!matches!(outcome, Some(Err(_))));
        match outcome {
            None => add(&counts.given_up),
            Some(Ok(())) if saves => add(&counts.written),
            Some(Ok(())) => add(&counts.loaded),
            Some(Err(error)) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}: {error}", proxied.name);
                add(&counts.errors);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(start.elapsed() < proxied.deadline + SLACK, "{}: {:?}", proxied.name, start.elapsed());
    }
}

async fn t37(proxied: Proxied) {
    // PostgreSQL takes its time over a new connection. Together they are 10,000.
    let short = if proxied.name == "postgres" { 1_000 } else { 3_000 };
    let (proxied, count) = (Arc::new(proxied), given(REQUESTS, short) as usize);
    let mut keys = Vec::new();
    for _ in 0..SESSIONS {
        keys.push(create(&*proxied.store).await.0);
    }
    let (keys, counts) = (Arc::new(keys), Arc::new(Counts::default()));
    let seed = u64::from(Utc::now().timestamp_subsec_nanos());
    println!("t37: {}: seed {seed}", proxied.name);
    // PostgreSQL says hello in many pieces, and would say little else.
    let spared = if proxied.name == "postgres" { 30 } else { 0 };
    let start = Instant::now();
    proxied.proxy.set(Fault::Random { seed, cuts: 1, spared });
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let random = Random(seed.wrapping_add(worker as u64));
        let (proxied, keys, counts) = (Arc::clone(&proxied), Arc::clone(&keys), Arc::clone(&counts));
        workers.spawn(requests(proxied, keys, random, count / WORKERS + 1, counts));
    }
    let mut random = Random(seed ^ 1);
    while !workers.is_empty() {
        tokio::select! {
            worker = workers.join_next() => worker.unwrap().unwrap(),
            () = tokio::time::sleep(Duration::from_millis(200)) => match random.below(6) {
                0 => proxied.proxy.end_all(End::Reset),
                1 => proxied.proxy.end_all(End::Closed),
                2 => {
                    proxied.proxy.set(Fault::HalfReplies);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    proxied.proxy.set(Fault::Random { seed: seed ^ random.0, cuts: 1, spared });
                }
                3 => proxied.proxy.set(Fault::Throttle(64)),
                _ => proxied.proxy.set(Fault::Random { seed: seed ^ random.0, cuts: 1, spared }),
            },
        }
    }
    let took = start.elapsed();
    proxied.proxy.set(Fault::None);
    for session_key in keys.iter() {
        wait_until_healed(proxied.name, &*proxied.store, session_key).await;
    }
    let [loaded, written, given_up, errors] =
        [&counts.loaded, &counts.written, &counts.given_up, &counts.errors]
            .map(|count| count.load(Ordering::Relaxed));
    assert!(
        loaded > count / 10 && written > count / 50 && given_up > count / 50,
        "{loaded} {written} {given_up}"
    );
    println!(
        "t37: {}: {loaded} of {loaded} answers were the key's own, beside {written} saves, {given_up} requests given up \
         and {errors} errors, over {} connections in {took:?}",
        proxied.name,
        proxied.proxy.accepted()
    );
}

macro_rules! tests {
    ($(#[$feature:meta] $store:ident)*) => { $(
        #[$feature]
        mod $store {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn no_answer_is_ever_anothers() {
                super::t37(super::super::$store(std::time::Duration::from_secs(1)).await).await;
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
