//! Creates the tables of databases, by the URL of the store.

use super::sql::database::Database;
use super::sql::table::{MigrationRecord, TableCreation};
use super::url::{StoreScheme, StoreUrl, StoreUrlParts};
use crate::site::error::{StoreError, StoreErrorKind};

/// Creates the session table of the store that a URL names, exactly as Django's migration does; for SQLite,
/// the file too. With `cache_table` it is the table of Django's `DatabaseCache`, exactly as `createcachetable` creates
/// it; for `cached_db:` in front of the session table too. An existing table stays as it is.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::store::table::{TableCreation, MigrationRecord};
///
/// let url = format!("sqlite:{}", path.display());
/// assert_eq!(cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await?, TableCreation::Created);
/// assert_eq!(cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await?, TableCreation::AlreadyThere);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the URL names no store with a table, or the table cannot be created.
pub async fn create_table(url: &str, record: MigrationRecord) -> Result<TableCreation, StoreError> {
    let url = StoreUrl::from(url);
    let made = database(&url.without_cache())?.create_table(record).await?;
    match url.parts()? {
        StoreUrlParts::CachedDb { cache, .. }
            if cache.is_cache() && cache.scheme().is_some_and(StoreScheme::is_database) =>
        {
            match database(&cache)?.create_table(record).await? {
                TableCreation::AlreadyThere => Ok(made),
                created => Ok(created),
            }
        }
        _ => Ok(made),
    }
}

/// Creates the table for the index of user sessions, `cloakroom_user_session`, in the store that a URL names.
/// For `cached_db:` in its database, for `moving:` in the new store; Redis needs none. An existing table
/// stays as it is. Django does not know this table.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::store::table::{TableCreation, MigrationRecord};
///
/// let url = format!("sqlite:{}", path.display());
/// cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await?;
/// assert_eq!(cloakroom::store::create_user_session_table(&url).await?, TableCreation::Created);
/// assert_eq!(cloakroom::store::create_user_session_table(&url).await?, TableCreation::AlreadyThere);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the URL names no store that keeps an index, or the table cannot be created.
pub async fn create_user_session_table(url: &str) -> Result<TableCreation, StoreError> {
    let url = match StoreUrl::from(url).parts()? {
        StoreUrlParts::Moving { new, .. } => new,
        _ => StoreUrl::from(url),
    };
    let url = url.without_cache();
    match url.scheme() {
        Some(scheme) if scheme.is_database() => database(&url)?.create_user_session_table().await,
        Some(scheme) if scheme.is_redis() || scheme == StoreScheme::Memory => Ok(TableCreation::AlreadyThere),
        _ => {
            let message = "this URL names no store that keeps an index of user sessions; those are `sqlite:PATH`, \
                           `postgres://…`, `mysql://…` and `redis://…`, each with the feature of its name";
            Err(StoreError::new("", StoreErrorKind::Unsupported, message))
        }
    }
}

/// Returns the database that a URL names, without connecting to it.
pub(super) fn database(url: &StoreUrl) -> Result<Box<dyn Database>, StoreError> {
    match url.parts()? {
        #[cfg(feature = "sqlite")]
        StoreUrlParts::One(StoreScheme::Sqlite) => Ok(Box::new(super::SqliteStore::options(url.expose())?)),
        #[cfg(feature = "postgres")]
        StoreUrlParts::One(StoreScheme::Postgres) => {
            Ok(Box::new(super::PostgresStore::options(url.expose())?))
        }
        #[cfg(feature = "mysql")]
        StoreUrlParts::One(StoreScheme::Mysql) => Ok(Box::new(super::MysqlStore::options(url.expose())?)),
        _ => {
            let message = "this URL names no database; those are `sqlite:PATH`, `postgres://…` and `mysql://…`, each with \
                           the feature of its name";
            Err(StoreError::new("", StoreErrorKind::Misconfigured, message))
        }
    }
}
