//! A rolling deployment from one store to another, by real processes, with a visitor who clicks all the time.

use std::ops::ControlFlow;

use cloakroom::chrono::Utc;
use cloakroom::{MovingStore, Settings};

use crate::support::axum_site::UserRow;
use crate::support::browser::Browser;
use crate::support::site_process::{Guard, Site, SiteProcess, serve_if_asked};

const AT_ONCE: usize = 40;

/// So many requests at once, spread over the processes; those of one process have all loaded before the first of them saves.
async fn click(browser: &Browser, processes: &[SiteProcess]) {
    let requests: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let address = &processes[number % processes.len()].addresses[0];
            let url = format!("{address}/count/{number}?together={}", AT_ONCE / processes.len());
            let mut browser = browser.clone();
            tokio::spawn(async move { browser.get(url).await.ok() })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
}

async fn counter(browser: &mut Browser, processes: &[SiteProcess]) -> Option<u64> {
    let mut seen = Vec::new();
    for process in processes {
        let reply = browser.get(format!("{}/whoami", process.addresses[0])).await.json();
        let session: serde_json::Value = serde_json::from_str(reply["session"].as_str().unwrap()).unwrap();
        seen.push(session["counter"].as_u64());
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "all processes see the same: {seen:?}");
    seen[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_deployment_loses_nothing_and_nobody() {
    const TEST: &str = "moving::processes::a_rolling_deployment_loses_nothing_and_nobody";
    if serve_if_asked().await {
        return;
    }
    let old = crate::support::servers::postgres::database().await;
    cloakroom::store::create_table(&old, Default::default()).await.unwrap();
    let new = crate::support::servers::redis::url().await;
    let [first, second] = [format!("moving:{new}|{old}"), format!("moving:{old}|{new}")];
    let start = |url: &String| {
        let site = Site {
            url: url.clone(),
            secret: "secret".to_owned(),
            guard: Guard::AllThere,
            user: UserRow::nobody(),
        };
        SiteProcess::start(TEST, &[site])
    };
    let mut processes = vec![start(&old), start(&old)];
    let mut visitor = Browser::new();
    visitor.post(format!("{}/put", processes[0].addresses[0]), r#"{"start":true}"#).await.ok();
    let mut idle = Browser::new();
    idle.post(format!("{}/put", processes[0].addresses[0]), r#"{"counter":1000}"#).await.ok();
    let mut clicks = 0;
    let settings = Settings::new("secret");
    // Each step replaces one process after the other.
    for url in [&first, &second, &new] {
        for number in 0..processes.len() {
            if url == &new && number == 0 {
                // All write the new store now: the rest is brought over, and nobody needs the old one any more.
                let [old, new] =
                    [&old, &new].map(async |url| cloakroom::connect(url, &settings).await.unwrap());
                let (old, new) = (old.await, new.await);
                let moving = MovingStore::new(old.clone(), new).unwrap();
                let moved = moving.move_rest(Utc::now(), &mut |_| ControlFlow::Continue(())).await.unwrap();
                assert_eq!((moved.moved, moved.left), (1, 0), "the idle visitor's");
                let count = cloakroom::SessionStore::count(&*old, Utc::now()).await.unwrap();
                assert_eq!(count.live, 0, "nothing is in the old store");
            }
            processes[number] = start(url);
            click(&visitor, &processes).await;
            clicks += AT_ONCE as u64;
            assert_eq!(counter(&mut visitor, &processes).await, Some(clicks));
            // Somebody who logs out, is out everywhere.
            let mut leaving = Browser::new();
            leaving.post(format!("{}/put", processes[0].addresses[0]), r#"{"counter":5}"#).await.ok();
            click(&leaving, &processes).await;
            let mut kept = leaving.clone();
            leaving.get(format!("{}/logout", processes[1].addresses[0])).await.ok();
            assert_eq!(counter(&mut kept, &processes).await, None);
        }
    }
    assert_eq!(counter(&mut idle, &processes).await, Some(1000));
}
