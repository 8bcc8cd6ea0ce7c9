//! A process that dies at any write of a move.

use std::sync::Arc;

use cloakroom::chrono::Utc;
use cloakroom::store::{Rotated, Updated};
use cloakroom::{SessionKey, SessionStore};

use super::conformance::new_sqlite;
use super::halting::Process;
use super::{add_one, create, number, process, read, record};
use crate::support::stores::new_redis;

/// More than a move and its clean-up have.
const WRITES: i64 = 8;

async fn listed(store: &dyn SessionStore) -> Vec<SessionKey> {
    let (mut all, mut listing) = (Vec::new(), store.list().unwrap());
    while let Some(page) = listing.next_page(100, Utc::now()).await.unwrap() {
        all.extend(page.into_iter().map(|listed| listed.session_key));
    }
    all
}

/// Whoever comes next, in whichever order it has the stores, finds one session, goes on with it, and can end it for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_leaves_one_session() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (new_sqlite(folder.path()).await, new_redis("").await);
    let mut completed = 0;
    for before in 0..WRITES {
        for reversed in [false, true] {
            let key = create(&*old).await;
            let dying = Process::stopping(before);
            let dying = process(&dying.with(&old), &dying.with(&new));
            let is_saved = match dying.load(&key, Utc::now()).await {
                Ok(Some(loaded)) => {
                    let saved = dying.update(&key, Some(&loaded.version), record(&number(1))).await;
                    matches!(saved, Ok(Updated::Updated(_)))
                }
                _ => false,
            };
            completed += u64::from(is_saved);

            let next = if reversed { process(&new, &old) } else { process(&old, &new) };
            let after = read(&*next, &key).await.unwrap().expect("the session is there");
            assert!(after == 1 || (after == 0 && !is_saved), "{before}: {after}");
            assert_eq!(listed(&*next).await, std::slice::from_ref(&key), "{before}: it is listed once");
            assert_eq!(next.count(Utc::now()).await.unwrap().live, 1);
            assert!(add_one(&*next, &key).await.unwrap());
            for process in [process(&old, &new), process(&new, &old)] {
                assert_eq!(read(&*process, &key).await.unwrap(), Some(after + 1), "{before}");
            }
            let rotated = SessionKey::random().unwrap();
            let outcome = next.rotate(&key, None, &rotated, record(&number(7))).await.unwrap();
            assert!(matches!(outcome, Rotated::Rotated(_)), "{before}: {outcome:?}");
            assert!(next.delete(&rotated).await.unwrap());
            for process in [process(&old, &new), process(&new, &old)] {
                assert!(listed(&*process).await.is_empty(), "{before}: what is left over is no session");
                assert!(
                    !add_one(&*process, &key).await.unwrap() && !add_one(&*process, &rotated).await.unwrap()
                );
            }
        }
    }
    assert!((1..2 * WRITES as u64).contains(&completed), "{completed}");
}

/// A logout ends what a dead process has left, whichever store has the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_after_a_crash_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (new_sqlite(folder.path()).await, new_redis("").await);
    for before in 0..WRITES {
        for reversed in [false, true] {
            let key = create(&*old).await;
            let dying = Process::stopping(before);
            let dying = process(&dying.with(&old), &dying.with(&new));
            let _ = add_one(&*dying, &key).await;
            let next = if reversed { process(&new, &old) } else { process(&old, &new) };
            assert!(next.delete(&key).await.unwrap());
            for process in [process(&old, &new), process(&new, &old)] {
                assert_eq!(read(&*process, &key).await.unwrap(), None, "{before}");
                assert!(!add_one(&*process, &key).await.unwrap());
            }
        }
    }
}

/// A process that is stopped for a while goes on after a logout: what it had begun counts for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_provisional_entry_alone_is_no_session() {
    let (old, new): (Arc<dyn SessionStore>, Arc<dyn SessionStore>) =
        (Arc::new(cloakroom::MemoryStore::new()), Arc::new(cloakroom::MemoryStore::new()));
    let key = create(&*old).await;
    // Claim and reservation are made, the decision is not.
    let dying = Process::stopping(2);
    assert!(add_one(&*process(&dying.with(&old), &dying.with(&new)), &key).await.is_err());
    assert!(new.exists(&key, Utc::now()).await.unwrap());
    old.delete(&key).await.unwrap();
    for process in [process(&old, &new), process(&new, &old)] {
        assert_eq!(read(&*process, &key).await.unwrap(), None);
        assert!(listed(&*process).await.is_empty());
    }
}
