//! Many at once: no torn read, nobody brought back, and what is renewed survives the cleaner.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloakroom::FileStore;
use cloakroom::store::Updated;

use super::*;

fn numbered(number: usize) -> SessionData {
    let text = format!("{number:06}").repeat(1_500);
    data(&format!(r#"{{"number":{number},"text":"{text}"}}"#))
}

fn assert_whole(data: &SessionData) {
    let number: usize = data.read("number").unwrap().unwrap();
    assert_eq!(data.to_json(), numbered(number).to_json());
}

/// A store as another process has it. Without waiting for the disk there is more of a race.
async fn another(folder: &Path) -> Arc<dyn SessionStore> {
    let mut options = FileStore::at(folder);
    options.durable = false;
    Arc::new(options.open(&settings()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_a_torn_session() {
    let place = tempfile::tempdir().unwrap();
    let until = Instant::now() + crate::support::soak::seconds(5);
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let creator = another(place.path()).await;
    creator.create(&session_key(), record(&numbered(0))).await.unwrap();
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let (store, counts) = (another(place.path()).await, Arc::clone(&counts));
        tasks.push(tokio::spawn(async move {
            let mut number = writer;
            while Instant::now() < until {
                number += 4;
                let new = numbered(number);
                // Every other one compares.
                let expected = match store.load(&session_key(), now()).await.unwrap() {
                    Some(loaded) if writer % 2 == 0 => Some(loaded.version),
                    _ => None,
                };
                let outcome = store.update(&session_key(), expected.as_ref(), record(&new)).await.unwrap();
                counts[0].fetch_add(usize::from(matches!(outcome, Updated::Updated(_))), Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..4 {
        let (store, counts) = (another(place.path()).await, Arc::clone(&counts));
        tasks.push(tokio::spawn(async move {
            while Instant::now() < until {
                if let Some(loaded) = store.load(&session_key(), now()).await.unwrap() {
                    assert!(loaded.is_genuine());
                    assert_whole(&loaded.data().unwrap().clone());
                    counts[1].fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let (remover, removals) = (another(place.path()).await, Arc::clone(&counts));
    tasks.push(tokio::spawn(async move {
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(remover.delete(&session_key()).await.unwrap());
            assert!(remover.load(&session_key(), now()).await.unwrap().is_none(), "it came back");
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(remover.load(&session_key(), now()).await.unwrap().is_none(), "it came back");
            remover.create(&session_key(), record(&numbered(1))).await.unwrap();
            removals[2].fetch_add(1, Ordering::Relaxed);
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(leftovers(place.path()), 0);
    let [writes, reads, removals] = [0, 1, 2].map(|at| counts[at].load(Ordering::Relaxed));
    assert!(writes > 100 && reads > 100 && removals > 10, "{writes} {reads} {removals}");
    println!("t28: {writes} writes, {reads} of {reads} reads whole, {removals} removals, none undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_renewed_while_the_cleaner_runs_survives() {
    let place = tempfile::tempdir().unwrap();
    let (renewer, cleaner) = (another(place.path()).await, another(place.path()).await);
    let keys: Vec<_> =
        (0..300).map(|number| SessionKey::from_trusted(format!("session{number:05}"))).collect();
    let empty = SessionData::new();
    let expired = Record { data: &empty, expire_date: now() - TimeDelta::hours(1), now: now() };
    for session_key in &keys {
        renewer.create(session_key, expired).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let cleaning = tokio::spawn({
        let (cleaner, done) = (Arc::clone(&cleaner), Arc::clone(&done));
        async move {
            let mut cleared = 0;
            while !done.load(Ordering::Relaxed) {
                cleared += cleaner.clear_expired(now()).await.unwrap();
            }
            cleared
        }
    });
    let mut renewed = 0;
    // From the end, while the cleaner goes in an order of its own.
    for session_key in keys.iter().rev() {
        let alive = data(r#"{"alive":1}"#);
        if let Updated::Updated(_) = renewer.update(session_key, None, record(&alive)).await.unwrap() {
            renewed += 1;
            assert!(load(&renewer, session_key).await.is_some(), "it was renewed, and cleared");
        }
    }
    done.store(true, Ordering::Relaxed);
    let cleared = cleaning.await.unwrap();
    assert_eq!(cleared + renewed, keys.len() as u64);
    let mut alive = 0;
    for session_key in &keys {
        alive += u64::from(load(&renewer, session_key).await.is_some());
    }
    assert_eq!(alive, renewed);
    println!("t29: {alive} of {renewed} renewed sessions survived, {cleared} cleared");
}

/// Django's own way: another file, renamed over the session's, without a lock. Nothing is torn or lost but
/// by Django's saves, and nothing stays behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn beside_saves_like_djangos_a_comparison_holds() {
    let place = tempfile::tempdir().unwrap();
    let store = another(place.path()).await;
    store.create(&session_key(), record(&numbered(0))).await.unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    let codec = cloakroom::SessionCodec::new(&settings());
    let folder = place.path().to_owned();
    let django = tokio::task::spawn_blocking(move || {
        let mut number = 0;
        while Instant::now() < until {
            number += 1;
            let temporary = path(&folder, &session_key()).with_extension("out");
            std::fs::write(&temporary, codec.encode(&numbered(number), now()).unwrap()).unwrap();
            std::fs::rename(&temporary, path(&folder, &session_key())).unwrap();
        }
        number
    });
    let (mut saved, mut changed) = (0, 0);
    while Instant::now() < until {
        let loaded = store.load(&session_key(), now()).await.unwrap().unwrap();
        assert_whole(&loaded.data().unwrap().clone());
        let number: usize = loaded.data().unwrap().read("number").unwrap().unwrap();
        match store.update(&session_key(), Some(&loaded.version), record(&numbered(number))).await.unwrap() {
            Updated::Updated(_) => saved += 1,
            Updated::Changed => changed += 1,
            Updated::Missing => panic!("nobody removed it"),
        }
    }
    let last = django.await.unwrap();
    let loaded = store.load(&session_key(), now()).await.unwrap().unwrap();
    // Only what was there is ever written back, so Django's last save must be what is there.
    assert_eq!(loaded.data().unwrap().read::<usize>("number").unwrap(), Some(last));
    assert_eq!(leftovers(place.path()), 0);
    println!("beside {last} saves like Django's: {saved} saved, {changed} told of the change");
}
