//! Processes of both orders on real stores, at once.

use std::sync::Arc;

use cloakroom::SessionStore;
use cloakroom::chrono::Utc;
use tokio::task::JoinSet;

use super::conformance::new_sqlite;
use super::{add_one, create, process, read};
use crate::support::stores::{new_postgres, new_redis};

const WRITERS: u64 = 8;
const EACH: u64 = 25;

async fn count_and_log_out(name: &str, old: Arc<dyn SessionStore>, new: Arc<dyn SessionStore>) {
    let of = |number: u64| if number.is_multiple_of(2) { process(&old, &new) } else { process(&new, &old) };
    let key = create(&*old).await;
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let (store, key) = (of(number), key.clone());
        tasks.spawn(async move {
            for _ in 0..EACH {
                assert!(add_one(&*store, &key).await.unwrap(), "the session is gone");
            }
        });
    }
    tasks.join_all().await;
    for number in 0..2 {
        assert_eq!(read(&*of(number), &key).await.unwrap(), Some(WRITERS * EACH), "{name}");
    }
    for round in 0..20 {
        let key = create(if round % 2 == 0 { &*old } else { &*new }).await;
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let (store, key) = (of(number), key.clone());
            tasks.spawn(async move { while add_one(&*store, &key).await.unwrap() {} });
        }
        tokio::time::sleep(std::time::Duration::from_millis(10 + round)).await;
        assert!(of(round / 2).delete(&key).await.unwrap());
        for number in 0..2 {
            assert_eq!(read(&*of(number), &key).await.unwrap(), None, "{name}: logged out");
        }
        tasks.join_all().await;
        for store in [&old, &new] {
            assert!(!store.exists(&key, Utc::now()).await.unwrap(), "{name}: nothing is left");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_orders_on_sqlite_and_redis() {
    let folder = tempfile::tempdir().unwrap();
    count_and_log_out("sqlite and redis", new_sqlite(folder.path()).await, new_redis("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_orders_on_postgres_and_redis() {
    count_and_log_out("postgres and redis", new_postgres().await, new_redis("").await).await;
}
