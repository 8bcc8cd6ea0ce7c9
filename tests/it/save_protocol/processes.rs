//! The same across processes: four real ones, asked over HTTP.

use crate::support::axum_site::UserRow;
use crate::support::browser::Browser;
use crate::support::site_process::{Guard, Site, SiteProcess, serve_if_asked};

const PROCESSES: usize = 4;
const REQUESTS: usize = 50;
const MANY: usize = 400;
const RUNS: usize = 20;

/// So many requests at once on one session, spread over the sites; each process' own have all loaded before the
/// first of them saves. Gives how many keys are there afterwards, and the counter.
async fn requests_at_once(sites: &[&str], requests: usize) -> (usize, u64) {
    let mut browser = Browser::new();
    browser.post(format!("{}/put", sites[0]), r#"{"start":true}"#).await.ok();
    let together: Vec<_> = (0..requests)
        .map(|number| {
            let site = number % sites.len();
            let together = requests / sites.len() + usize::from(site < requests % sites.len());
            let url = format!("{}/count/{number}?together={together}", sites[site]);
            let mut browser = browser.clone();
            tokio::spawn(async move { browser.get(url).await.ok() })
        })
        .collect();
    for request in together {
        request.await.unwrap();
    }
    let mut seen = Vec::new();
    for site in sites {
        let reply = browser.get(format!("{site}/whoami")).await.json();
        let session: serde_json::Value = serde_json::from_str(reply["session"].as_str().unwrap()).unwrap();
        let keys = (0..requests).filter(|number| session[format!("key {number}")] == *number).count();
        seen.push((keys, session["counter"].as_u64().unwrap()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "all processes see the same");
    seen[0]
}

/// What is there after each run on each store, and what the store is called.
async fn across_processes(
    test: &str,
    guard: Guard,
    requests: usize,
    runs: usize,
) -> Vec<(&'static str, Vec<(usize, u64)>)> {
    let folder = tempfile::tempdir().unwrap();
    let stores = crate::support::stores::shared_by_processes(folder.path()).await;
    let nobody = UserRow::nobody();
    let sites: Vec<Site> = stores
        .iter()
        .map(|(_, url)| Site { url: url.clone(), secret: "secret".to_owned(), guard, user: nobody.clone() })
        .collect();
    let processes: Vec<SiteProcess> = (0..PROCESSES).map(|_| SiteProcess::start(test, &sites)).collect();
    let mut all = Vec::new();
    for (number, (name, _)) in stores.iter().enumerate() {
        let sites: Vec<&str> = processes.iter().map(|process| process.addresses[number].as_str()).collect();
        let mut results = Vec::new();
        for _ in 0..runs {
            results.push(requests_at_once(&sites, requests).await);
        }
        all.push((*name, results));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_requests_to_four_processes_all_are_kept() {
    const TEST: &str = "save_protocol::processes::of_fifty_requests_to_four_processes_all_are_kept";
    if serve_if_asked().await {
        return;
    }
    for (name, results) in across_processes(TEST, Guard::AllThere, REQUESTS, RUNS).await {
        let kept = results.iter().filter(|result| **result == (REQUESTS, REQUESTS as u64)).count();
        println!("{name}: 50 of 50 keys and a counter of 50 kept by 4 processes, {kept} runs of {RUNS}");
        assert_eq!(kept, RUNS, "{name}: {results:?}");
    }
}

/// Before those of one process took turns, 100 attempts were not enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_hundreds_of_requests_to_four_processes_all_are_kept() {
    const TEST: &str = "save_protocol::processes::of_hundreds_of_requests_to_four_processes_all_are_kept";
    if serve_if_asked().await {
        return;
    }
    for (name, results) in across_processes(TEST, Guard::AllThere, MANY, 1).await {
        assert_eq!(results, [(MANY, MANY as u64)], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_last_write_wins_four_processes_show_the_loss() {
    const TEST: &str = "save_protocol::processes::with_last_write_wins_four_processes_show_the_loss";
    if serve_if_asked().await {
        return;
    }
    for (name, results) in across_processes(TEST, Guard::LastWriteWins, REQUESTS, 1).await {
        // Each process saves what it saw before its first save.
        assert!(
            results.iter().all(|(keys, counter)| *keys <= PROCESSES && *counter <= PROCESSES as u64),
            "{name}: {results:?}"
        );
    }
}
