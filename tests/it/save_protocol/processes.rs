//! The same across processes: four real ones, asked over HTTP.

use crate::browser::Browser;
use crate::django::axum_site::UserRow;
use crate::site_process::{Guard, Site, SiteProcess, serve_if_asked};

const PROCESSES: usize = 4;
const REQUESTS: usize = 50;
const RUNS: usize = 20;

/// The stores that processes share, by their URLs. A memory store is one process's by nature.
async fn shared_stores(folder: &std::path::Path) -> Vec<(&'static str, String)> {
    let sqlite = |name: &str| format!("sqlite:{}", folder.join(name).display());
    let files = folder.join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut stores = vec![("sqlite", sqlite("db.sqlite3")), ("file", format!("file:{}", files.display()))];
    #[cfg(feature = "postgres")]
    stores.push(("postgres", crate::servers::postgres::database().await));
    #[cfg(feature = "mysql")]
    stores.push(("mariadb", crate::servers::mariadb::database().await));
    #[cfg(feature = "redis")]
    stores.push(("redis", crate::servers::redis::url().await));
    #[cfg(feature = "redis-cluster")]
    stores.push(("redis cluster", crate::servers::redis::cluster_url().await));
    #[cfg(feature = "memcached")]
    stores.push(("memcached", crate::servers::memcached::url().await));
    #[cfg(feature = "redis")]
    {
        let redis = crate::servers::redis::url().await;
        stores.push(("cached_db", format!("cached_db:{}|{redis}", sqlite("cached.sqlite3"))));
    }
    for (_, url) in &stores {
        let database = url.strip_prefix("cached_db:").unwrap_or(url).split('|').next().unwrap();
        if ["sqlite", "postgres", "mysql"].iter().any(|scheme| database.starts_with(scheme)) {
            cloakroom::store::create_table(database, Default::default()).await.unwrap();
        }
    }
    stores
}

/// 50 requests at once on one session, spread over the sites; each process' own have all loaded before the
/// first of them saves. Gives how many keys are there afterwards, and the counter.
async fn fifty_requests(sites: &[&str]) -> (usize, u64) {
    let mut browser = Browser::new();
    browser.post(format!("{}/put", sites[0]), r#"{"start":true}"#).await.ok();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let site = number % sites.len();
            let together = REQUESTS / sites.len() + usize::from(site < REQUESTS % sites.len());
            let url = format!("{}/count/{number}?together={together}", sites[site]);
            let mut browser = browser.clone();
            tokio::spawn(async move { browser.get(url).await.ok() })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    let mut seen = Vec::new();
    for site in sites {
        let reply = browser.get(format!("{site}/whoami")).await.json();
        let session: serde_json::Value = serde_json::from_str(reply["session"].as_str().unwrap()).unwrap();
        let keys = (0..REQUESTS).filter(|number| session[format!("key {number}")] == *number).count();
        seen.push((keys, session["counter"].as_u64().unwrap()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "all processes see the same");
    seen[0]
}

/// What is there after each run on each store, and what the store is called.
async fn fifty_across_processes(
    test: &str,
    guard: Guard,
    runs: usize,
) -> Vec<(&'static str, Vec<(usize, u64)>)> {
    let folder = tempfile::tempdir().unwrap();
    let stores = shared_stores(folder.path()).await;
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
            results.push(fifty_requests(&sites).await);
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
    for (name, results) in fifty_across_processes(TEST, Guard::AllThere, RUNS).await {
        let kept = results.iter().filter(|result| **result == (REQUESTS, REQUESTS as u64)).count();
        println!("{name}: 50 of 50 keys and a counter of 50 kept by 4 processes, {kept} runs of {RUNS}");
        assert_eq!(kept, RUNS, "{name}: {results:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_last_write_wins_four_processes_show_the_loss() {
    const TEST: &str = "save_protocol::processes::with_last_write_wins_four_processes_show_the_loss";
    if serve_if_asked().await {
        return;
    }
    for (name, results) in fifty_across_processes(TEST, Guard::LastWriteWins, 1).await {
        // Each process saves what it saw before its first save.
        assert!(
            results.iter().all(|(keys, counter)| *keys <= PROCESSES && *counter <= PROCESSES as u64),
            "{name}: {results:?}"
        );
    }
}
