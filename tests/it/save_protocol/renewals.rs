//! The cleaner removes what has expired while somebody renews it.

use cloakroom::SessionData;
use cloakroom::chrono::TimeDelta;

use super::*;

const SESSIONS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_renewed_while_the_cleaner_runs_survives() {
    for (name, store, _keep) in stores::all().await {
        let data = SessionData::from_json(r#"{"renewed":true}"#).unwrap();
        let now = Utc::now();
        let (expired, renewed) = (now - TimeDelta::hours(1), now + TimeDelta::hours(1));
        let mut keys = Vec::new();
        for _ in 0..SESSIONS {
            let session_key = SessionKey::random().unwrap();
            // Made while it lived: a cache keeps nothing that has expired.
            let record = Record { data: &data, expire_date: expired, now: expired - TimeDelta::hours(1) };
            store.create(&session_key, record).await.unwrap();
            keys.push(session_key);
        }
        // The cleaner begins when a few are renewed, and goes on while the others are.
        let begun = Arc::new(tokio::sync::Notify::new());
        let cleaning = tokio::spawn({
            let (store, begun) = (Arc::clone(&store), Arc::clone(&begun));
            async move {
                begun.notified().await;
                let mut cleared = 0;
                for _ in 0..5 {
                    cleared += store.clear_expired(now).await.unwrap();
                }
                cleared
            }
        });
        let mut survivors = Vec::new();
        // From the end, while the cleaner goes in an order of its own.
        for (number, session_key) in keys.iter().rev().enumerate() {
            if number == SESSIONS / 10 {
                begun.notify_one();
            }
            let record = Record { data: &data, expire_date: renewed, now };
            if let Updated::Updated(_) = store.update(session_key, None, record).await.unwrap() {
                survivors.push(session_key);
            }
        }
        let cleared = cleaning.await.unwrap();
        store.clear_expired(now).await.unwrap();
        assert!(survivors.len() >= SESSIONS / 10, "{name}: {}", survivors.len());
        for session_key in &survivors {
            assert!(store.load(session_key, now).await.unwrap().is_some(), "{name}: renewed, and cleared");
        }
        println!(
            "t29: {name}: {0} of {0} renewed sessions survived, {cleared} cleared meanwhile",
            survivors.len()
        );
    }
}
