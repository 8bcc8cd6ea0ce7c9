//! Opening a store whose table or folder may not be there yet.

use std::sync::Arc;

use super::{SessionStore, connect};
use crate::error::StoreError;
use crate::settings::Settings;

/// Opens the store that a URL names, and makes what it needs first: the session table of a database
/// ([`create_table`](super::create_table)), a SQLite file, or the folder of a file store. What is there stays as it is.
///
/// It suits a service of its own. Beside a Django site `manage.py migrate` makes the table; use [`connect`], which never
/// changes a schema.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::Settings;
///
/// let settings = Settings::new("a long, random secret");
/// let url = format!("sqlite:{}", path.display());
/// assert!(cloakroom::connect(&url, &settings).await.is_err(), "there is no such file");
/// let store = cloakroom::connect_or_create(&url, &settings).await?;
/// assert_eq!(store.count(cloakroom::chrono::Utc::now()).await?.live, 0);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the table, the file or the folder cannot be made; and as [`connect`].
pub async fn connect_or_create(url: &str, settings: &Settings) -> Result<Arc<dyn SessionStore>, StoreError> {
    // The table behind a cache is its database's.
    let behind_cache = url.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|'));
    let url_of_table = behind_cache.map_or(url, |(database, _)| database);
    match url_of_table.split(':').next().unwrap_or_default() {
        #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
        "sqlite" | "postgres" | "postgresql" | "mysql" | "mariadb" => {
            super::create_table(url_of_table, super::table::MigrationRecord::IfDjango).await?;
        }
        #[cfg(feature = "file")]
        "file" => make_folder(url_of_table)?,
        _ => {}
    }
    connect(url, settings).await
}

/// Makes the folder of a file store, for this user alone.
#[cfg(feature = "file")]
fn make_folder(url: &str) -> Result<(), StoreError> {
    let Some(path) = super::path_url::folder(url)? else { return Ok(()) };
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(&path).map_err(|error| {
        let message = format!("cannot make the folder {}", path.display());
        StoreError::new("", crate::error::StoreErrorKind::Misconfigured, message).with_source(error)
    })
}
