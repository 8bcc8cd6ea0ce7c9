//! A service that makes its own table when it starts.

use cloakroom::chrono::Utc;
use cloakroom::{Settings, connect_or_create};

use crate::support::servers;

/// Twice at the same time, as two processes of a new service start, and once more when all is there.
async fn makes_what_is_missing(url: &str) {
    let settings = Settings::new("secret");
    let (first, second) = tokio::join!(connect_or_create(url, &settings), connect_or_create(url, &settings));
    for store in [first, second, connect_or_create(url, &settings).await] {
        let count = store.unwrap_or_else(|error| panic!("{url}: {error}")).count(Utc::now()).await.unwrap();
        assert_eq!((count.live, count.expired), (0, 0), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_files_and_folders_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    for url in [
        format!("sqlite:{path}/one.sqlite3"),
        format!("cached_db:sqlite:{path}/two.sqlite3|memory:"),
        format!("file:{path}/a/b"),
        "memory:".to_owned(),
        servers::postgres::database().await,
        servers::mariadb::database().await,
        servers::redis::url().await,
    ] {
        makes_what_is_missing(&url).await;
    }
    let made = std::fs::metadata(folder.path().join("a/b")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&made.permissions()) & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    std::fs::write(&path, "").unwrap();
    let url = format!("file:{}/sessions", path.display());
    let error = connect_or_create(&url, &Settings::new("secret")).await.unwrap_err().to_string();
    assert!(error.contains("taken/sessions"), "{error}");
}
