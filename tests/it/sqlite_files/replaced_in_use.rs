//! The file is replaced again and again while requests save: what was acknowledged while a file was at the path is in
//! that file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const FILES: usize = 25;

/// Even while a file is in place, and odd while the next one comes.
type Step = Arc<AtomicUsize>;

/// How many sessions were acknowledged.
type Count = Arc<AtomicUsize>;

/// A session that was acknowledged, and the file that was in place all the while, if one was.
type Saved = (String, Option<usize>);

async fn save_all_the_while(store: Arc<SqliteStore>, step: Step, count: Count) -> (Vec<Saved>, usize) {
    let (mut saved, mut failed) = (Vec::new(), 0);
    let (data, now) = (SessionData::new(), DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
    loop {
        let (key, before) = (SessionKey::random().unwrap(), step.load(Ordering::SeqCst));
        if before >= 2 * FILES {
            return (saved, failed);
        }
        match store.create(&key, record).await {
            Ok(created) => {
                assert!(matches!(created, Created::Created(_)));
                let after = step.load(Ordering::SeqCst);
                let file = (before == after && before % 2 == 0).then_some(before / 2);
                saved.push((key.as_str().to_owned(), file));
                count.fetch_add(1, Ordering::SeqCst);
                // Acknowledged means that every later load sees it, while the file is the same.
                let loaded = store.load(&key, now).await;
                let later = step.load(Ordering::SeqCst);
                if file.is_some() && later == after {
                    assert!(loaded.unwrap().is_some(), "acknowledged, and not there");
                }
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("the file was replaced by another during the call"), "{message}");
                failed += 1;
            }
        }
    }
}

async fn replaced_in_use(journal_mode: &str) {
    let place = tempfile::tempdir().unwrap();
    let [path, template, next] = ["db.sqlite3", "template", "next"].map(|name| place.path().join(name));
    let sql = format!("PRAGMA journal_mode = {journal_mode}; {CREATE_TABLE}");
    Connection::open(&template).unwrap().execute_batch(&sql).unwrap();
    let kept = |number: usize| place.path().join(format!("kept{number}"));
    let put = |number: usize| {
        std::fs::copy(&template, &next).unwrap();
        std::fs::hard_link(&next, kept(number)).unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    put(0);
    let mut options = SqliteStore::at(&path);
    options.timeout = Duration::from_secs(20);
    let (store, step) = (Arc::new(options.open(&Settings::new("secret")).await.unwrap()), Step::default());
    let count = Count::default();
    let worker = || save_all_the_while(Arc::clone(&store), Arc::clone(&step), Arc::clone(&count));
    let workers: Vec<_> = (0..8).map(|_| tokio::spawn(worker())).collect();
    for number in 1..=FILES {
        // Two for each worker, so that one of them at least began after the file had come.
        let (before, start) = (count.load(Ordering::SeqCst), std::time::Instant::now());
        while count.load(Ordering::SeqCst) < before + 17 {
            assert!(start.elapsed() < Duration::from_secs(30), "nothing is saved any more");
            tokio::task::yield_now().await;
        }
        step.fetch_add(1, Ordering::SeqCst);
        if number < FILES {
            put(number);
        }
        step.fetch_add(1, Ordering::SeqCst);
    }
    let (mut saved, mut failed) = (Vec::new(), 0);
    for worker in workers {
        let of_one = worker.await.unwrap();
        saved.extend(of_one.0);
        failed += of_one.1;
    }
    drop(store);
    let in_files: Vec<Vec<String>> = (0..FILES).map(|number| keys_in(&kept(number))).collect();
    let (mut certain, mut used) = (0, std::collections::BTreeSet::new());
    for (key, file) in &saved {
        match file {
            Some(number) => {
                assert!(
                    in_files[*number].contains(key),
                    "acknowledged while file {number} was there, and not in it"
                );
                certain += 1;
                used.insert(number);
            }
            None => assert!(in_files.iter().any(|keys| keys.contains(key)), "acknowledged, and nowhere"),
        }
    }
    println!(
        "{journal_mode}: {} saved while {FILES} files came one after the other, {certain} of them in one file's time and \
         all there; {failed} told of the change",
        saved.len()
    );
    assert_eq!(used.len(), FILES, "each of them was written to: {used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_use_with_a_log() {
    replaced_in_use("WAL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_use_with_a_rollback_journal() {
    replaced_in_use("DELETE").await;
}
