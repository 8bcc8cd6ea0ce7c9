//! Processes of both orders in all sorts of interleavings: each call to a store waits for a number of turns that a seed
//! gives. The stores are in memory, so that thousands of runs take seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cloakroom::store::Rotated;
use cloakroom::{MemoryStore, MovingStore, SessionKey, SessionStore};
use tokio::task::JoinSet;

use super::halting::Process;
use super::{add_one, create, number, process, read, record};

const RUNS: u64 = 1_500;

struct Site {
    old: Arc<dyn SessionStore>,
    new: Arc<dyn SessionStore>,
    key: SessionKey,
}

impl Site {
    /// With a session in either of the stores.
    async fn new(seed: u64) -> Arc<Site> {
        let [old, new] = [(); 2].map(|()| Arc::new(MemoryStore::new()) as Arc<dyn SessionStore>);
        let key = create(if seed.is_multiple_of(2) { &*old } else { &*new }).await;
        Arc::new(Site { old, new, key })
    }

    /// The process with this number. Every other one has the stores in the other order.
    fn process(&self, seed: u64, number: u64) -> Arc<MovingStore> {
        let put_off = Process::put_off(seed.wrapping_mul(1_000) + number);
        let (old, new) = (put_off.with(&self.old), put_off.with(&self.new));
        if number.is_multiple_of(2) { process(&old, &new) } else { process(&new, &old) }
    }

    async fn read_by_all(&self) -> Vec<Option<u64>> {
        let mut seen = Vec::new();
        for process in [process(&self.old, &self.new), process(&self.new, &self.old)] {
            seen.push(read(&*process, &self.key).await.unwrap());
        }
        seen
    }
}

#[tokio::test(start_paused = true)]
async fn counters_lose_nothing_and_no_reader_misses_the_session() {
    for seed in 0..RUNS {
        let site = Site::new(seed).await;
        let is_done = Arc::new(AtomicBool::new(false));
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        for process in 0..4 {
            let (store, key) = (site.process(seed, process), site.key.clone());
            writers.spawn(async move {
                for _ in 0..3 {
                    assert!(add_one(&*store, &key).await.unwrap(), "seed {seed}");
                }
            });
        }
        for process in 4..6 {
            let (store, key, is_done) = (site.process(seed, process), site.key.clone(), Arc::clone(&is_done));
            readers.spawn(async move {
                let mut before = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let now =
                        read(&*store, &key).await.unwrap().unwrap_or_else(|| panic!("gone; seed {seed}"));
                    assert!(now >= before, "{now} after {before}; seed {seed}");
                    before = now;
                }
            });
        }
        writers.join_all().await;
        is_done.store(true, Ordering::Relaxed);
        readers.join_all().await;
        assert_eq!(site.read_by_all().await, [Some(12); 2], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_logout_is_final_whoever_writes_meanwhile() {
    for seed in 0..RUNS {
        let site = Site::new(seed).await;
        let is_logged_out = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for process in 0..4 {
            let (store, key, is_logged_out) =
                (site.process(seed, process), site.key.clone(), Arc::clone(&is_logged_out));
            tasks.spawn(async move {
                for _ in 0..4 {
                    let was_out = is_logged_out.load(Ordering::Relaxed);
                    let is_there = add_one(&*store, &key).await.unwrap();
                    assert!(!(was_out && is_there), "written after the logout; seed {seed}");
                    let was_out = is_logged_out.load(Ordering::Relaxed);
                    let read = read(&*store, &key).await.unwrap();
                    assert!(!(was_out && read.is_some()), "read after the logout; seed {seed}");
                }
            });
        }
        let (store, key, is_logged_out) =
            (site.process(seed, 4 + seed / 2 % 2), site.key.clone(), Arc::clone(&is_logged_out));
        tasks.spawn(async move {
            for _ in 0..seed % 23 {
                tokio::task::yield_now().await;
            }
            assert!(store.delete(&key).await.unwrap(), "seed {seed}");
            is_logged_out.store(true, Ordering::Relaxed);
        });
        tasks.join_all().await;
        assert_eq!(site.read_by_all().await, [None; 2], "seed {seed}");
    }
}

/// Of those who change the key at the same time one comes through, and the session is under its key alone.
#[tokio::test(start_paused = true)]
async fn a_change_of_key_happens_once() {
    for seed in 0..RUNS {
        let site = Site::new(seed).await;
        let mut tasks = JoinSet::new();
        for process in 0..3 {
            let (store, key) = (site.process(seed, process), site.key.clone());
            tasks.spawn(async move {
                let new_key = SessionKey::random().unwrap();
                let rotated =
                    store.rotate(&key, None, &new_key, record(&number(100 + process))).await.unwrap();
                matches!(rotated, Rotated::Rotated(_)).then_some((new_key, 100 + process))
            });
        }
        let (store, key) = (site.process(seed, 3), site.key.clone());
        tasks.spawn(async move {
            add_one(&*store, &key).await.unwrap();
            None
        });
        let done: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        let [(new_key, expected)] = &done[..] else { panic!("{} came through; seed {seed}", done.len()) };
        assert_eq!(site.read_by_all().await, [None; 2], "seed {seed}");
        for process in [process(&site.old, &site.new), process(&site.new, &site.old)] {
            assert_eq!(read(&*process, new_key).await.unwrap(), Some(*expected), "seed {seed}");
        }
    }
}

/// Requests are given up in the middle, as when a browser leaves or a process is killed. What was acknowledged stays; each
/// of those given up counts once or not at all.
#[tokio::test(start_paused = true)]
async fn requests_that_are_given_up_lose_nothing() {
    for seed in 0..RUNS {
        let site = Site::new(seed).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for process in 0..6 {
            let (store, key, acknowledged) =
                (site.process(seed, process), site.key.clone(), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                for _ in 0..2 {
                    assert!(add_one(&*store, &key).await.unwrap(), "seed {seed}");
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turns in 0..seed % 60 {
            tokio::task::yield_now().await;
            if turns == 40 {
                tasks.abort_all();
            }
        }
        while tasks.join_next().await.is_some() {}
        let acknowledged = acknowledged.load(Ordering::Relaxed);
        let seen = site.read_by_all().await;
        let number = seen[0].unwrap_or_else(|| panic!("gone; seed {seed}"));
        assert!(
            seen[1] == Some(number) && (acknowledged..=acknowledged + 6).contains(&number),
            "{seen:?}, seed {seed}"
        );
        let store = site.process(seed, 7);
        assert!(add_one(&*store, &site.key).await.unwrap());
        assert_eq!(site.read_by_all().await, [Some(number + 1); 2], "seed {seed}");
    }
}
