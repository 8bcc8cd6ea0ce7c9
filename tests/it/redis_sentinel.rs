//! A primary that is lost, and what its sentinels put in its place.

use std::time::{Duration, Instant};

use chrono::Utc;
use cloakroom::store::Updated;
use cloakroom::{RedisStore, SessionStore, Settings, StoreErrorKind};

use crate::support::many_sessions::{create_many, load_all};
use crate::support::servers::redis::wait_for_replica_of;
use crate::support::servers::redis::{PASSWORD, client, start_watched, url_of, wait_until_info};

const LOGIN: [&str; 3] = ["--no-auth-warning", "-a", PASSWORD];

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fail_over_the_new_primary_is_asked() {
    let mut watched = start_watched().await;
    let mut options = RedisStore::options(&watched.url).unwrap();
    options.timeout = Duration::from_secs(4);
    assert!(!format!("{options:?}").contains(PASSWORD));
    let store: std::sync::Arc<dyn SessionStore> =
        std::sync::Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    let keys = create_many(&store).await;
    assert_eq!(load_all(&store, &keys).await, (100, 0));
    // What the replica has not received, a fail-over loses.
    wait_for_replica_of(watched.primary.port, &LOGIN).await;

    watched.primary.send("KILL");
    let (start, mut errors) = (Instant::now(), 0);
    let found = loop {
        match load_all(&store, &keys).await {
            (found, 0) => break found,
            _ => errors += 1,
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the store does not find the new primary");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(found, 100, "all sessions were copied, so all are there");
    wait_until_info(&watched.replica, "role:master").await;
    let loaded = store.load(&keys[0], Utc::now()).await.unwrap().unwrap();
    let record = cloakroom::store::Record {
        data: &loaded.data().unwrap().clone(),
        expire_date: Utc::now() + chrono::TimeDelta::hours(1),
        now: Utc::now(),
    };
    let updated = store.update(&keys[0], Some(&loaded.version), record).await.unwrap();
    assert!(matches!(updated, Updated::Updated(_)), "the new primary takes writes");
    println!("100 of 100 sessions after a fail-over; {errors} rounds of errors in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_became_a_replica_is_left() {
    let watched = start_watched().await;
    let store = cloakroom::connect(&watched.url, &Settings::new("secret")).await.unwrap();
    let keys = create_many(&store).await;
    wait_for_replica_of(watched.primary.port, &LOGIN).await;
    // An orderly fail-over: the old primary lives on as a replica, with its connections.
    watched.fail_over().await;
    wait_until_info(&watched.replica, "role:master").await;
    wait_until_info(&watched.primary, "role:slave").await;
    let start = Instant::now();
    while let Err(error) = store.delete(&keys[0]).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(start.elapsed() < Duration::from_secs(60), "{error}");
    }
    assert!(store.load(&keys[0], Utc::now()).await.unwrap().is_none());
    assert_eq!(load_all(&store, &keys).await, (99, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_is_not_asked_again() {
    let watched = start_watched().await;
    let store = cloakroom::connect(&watched.url, &Settings::new("secret")).await.unwrap();
    let keys = create_many(&store).await;
    // By hand, so that no connection is closed and no sentinel has named another primary yet.
    let mut connection = client(&url_of(&watched.primary)).await;
    let mut command = redis::cmd("REPLICAOF");
    command.arg("127.0.0.1").arg(watched.replica.port);
    command.query_async::<()>(&mut connection).await.unwrap();
    let error = store.delete(&keys[0]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!error.to_string().contains("is a replica"), "it asked the sentinels instead: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_url_is_told() {
    for url in ["redis+sentinel://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/"] {
        let error = cloakroom::connect(url, &Settings::new("secret")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
        assert!(error.to_string().contains("redis+sentinel://host1,host2/service"), "{error}");
    }
    let url = "redis+sentinel://127.0.0.1:1/sessions";
    let error = cloakroom::connect(url, &Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
}
