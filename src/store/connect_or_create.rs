//! Opens a store whose table or folder may not exist yet.

use std::sync::Arc;

use crate::site::error::StoreError;
use crate::site::settings::Settings;
use crate::store::connect::connect;
use crate::store::contract::SessionStore;
use crate::store::url::{StoreUrl, StoreUrlParts};

/// Opens the store that a URL names, and first creates its session table
/// ([`create_table`](super::create_table)), SQLite file or folder if missing; for two stores, both. Existing
/// tables, files and folders stay as they are.
///
/// Use it for a service without Django. Beside a Django site `manage.py migrate` creates the table; use
/// [`connect`], which never changes a schema.
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
/// When the table, the file or the folder cannot be created; and as [`connect`].
pub async fn connect_or_create(url: &str, settings: &Settings) -> Result<Arc<dyn SessionStore>, StoreError> {
    create(&StoreUrl::from(url)).await?;
    connect(url, settings).await
}

/// Creates the table, the file or the folder that a URL names, if it is missing.
pub(crate) async fn create(url: &StoreUrl) -> Result<(), StoreError> {
    match url.parts()? {
        #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
        StoreUrlParts::One(scheme) if scheme.is_database() => {
            super::tables::create_table(url.expose(), super::sql::table::MigrationRecord::IfDjango).await?;
        }
        #[cfg(feature = "file")]
        StoreUrlParts::One(super::url::StoreScheme::File | super::url::StoreScheme::FileCache) => {
            make_folder(url)?;
        }
        StoreUrlParts::One(_) => {}
        StoreUrlParts::CachedDb { database: one, cache: other }
        | StoreUrlParts::Moving { old: one, new: other } => {
            Box::pin(create(&one)).await?;
            Box::pin(create(&other)).await?;
        }
    }
    Ok(())
}

/// Creates the folder of a file store, for this user alone.
#[cfg(feature = "file")]
fn make_folder(url: &StoreUrl) -> Result<(), StoreError> {
    let path = super::FileStore::options(url.expose())?.path;
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(&path).map_err(|error| {
        let message = format!("cannot make the folder {}", path.display());
        StoreError::new("", crate::site::error::StoreErrorKind::Misconfigured, message).with_source(error)
    })
}
