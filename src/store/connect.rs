//! Stores by their URLs.

use std::sync::Arc;

#[cfg(feature = "file")]
use super::FileStore;
#[cfg(feature = "memcached")]
use super::MemcachedStore;
#[cfg(feature = "mysql")]
use super::MysqlStore;
#[cfg(feature = "postgres")]
use super::PostgresStore;
#[cfg(feature = "redis")]
use super::RedisStore;
use super::cached_db::open_cache;
use super::moving;
#[cfg(feature = "file")]
use super::path_url;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteOptions;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use super::table;
use super::{CachedDbStore, MemoryStore, MovingStore, SessionStore, SignedCookieStore};
use crate::error::{StoreError, StoreErrorKind};
use crate::settings::Settings;
use crate::user_sessions::UserSessionIndex;

/// Opens the store that a URL names.
///
/// | URL | store |
/// |---|---|
/// | `memory:` | [`MemoryStore`] |
/// | `cookie:` | [`SignedCookieStore`] |
/// | `sqlite:path/to/db.sqlite3` | [`SqliteStore`](super::SqliteStore), feature `sqlite` |
/// | `file:path/to/folder`, or `file:` for the folder of temporary files | [`FileStore`], feature `file` |
/// | `cached_db:` and two of these with a bar between: `cached_db:sqlite:path/to/db.sqlite3\|memory:` | [`CachedDbStore`] |
/// | `moving:` and two of these, the old one first: `moving:sqlite:path/to/db.sqlite3\|memory:` | [`MovingStore`] |
/// | `postgres://user:password@host:5432/database`, also `postgresql:` | `PostgresStore`, feature `postgres` |
/// | `mysql://user:password@host:3306/database`, also `mariadb:` | `MysqlStore`, feature `mysql` |
/// | `redis://[user:password@]host:port/database`, `rediss://…`, `redis+cluster://host1,host2`, `redis+sentinel://host1,host2/service` | `RedisStore`, features `redis`, `redis-tls`, `redis-cluster`, `redis-sentinel` |
/// | `memcached://host:port,host2:port` | `MemcachedStore`, feature `memcached` |
///
/// Paths: `sqlite:db.sqlite3` and `file:sessions` count from the working folder, `sqlite:/srv/db.sqlite3` and
/// `file:/srv/sessions` are absolute. Behind slashes they are read as where such URLs come from: `sqlite:///db.sqlite3`
/// is relative and `sqlite:////srv/db.sqlite3` absolute, as for Django (dj-database-url, django-environ) and SQLAlchemy;
/// `file:///srv/sessions` is absolute, as in every `file:` URL. sqlx and others read `sqlite:///srv/db.sqlite3` as
/// absolute: when nothing is at the relative path and something at that one, the error says how to write it. In a path
/// `%3F` is `?`, and so on. Behind `?` there may be, for SQLite, `mode=ro`, `mode=rw` or `mode=rwc`
/// ([`Mode`](super::sqlite::Mode)), and `timeout=SECONDS` for the lock of another program; anything else is an error.
/// [`path_url`](super::path_url()) makes the URL of a path.
///
/// The URLs of caches may end in what the site's `CACHES` say:
/// `?key_prefix=…&version=…&engine=cached_db&serializer=json&compressor=zlib`, and for a `KEY_FUNCTION` that puts
/// something else than `KEY_PREFIX:VERSION:` before the key, `entry_prefix=…`. In a `cached_db:` URL the engine
/// is `cached_db` unless it says otherwise, and a cache that is down is opened later
/// ([`open_cache`](crate::store::cached_db::open_cache)).
///
/// `moving:OLD|NEW` is divided by `||` where one of the two is a `cached_db:` with a bar of its own:
/// `moving:cached_db:DATABASE|CACHE||NEW`. Where it is unclear which bar divides, it is an error. The index of user sessions
/// is the new store's.
///
/// ```
/// use cloakroom::Settings;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let settings = Settings::new("the site's SECRET_KEY");
/// let store = cloakroom::connect("memory:", &settings).await?;
/// assert_eq!(store.name(), "memory");
/// assert!(cloakroom::connect("carrier-pigeon:", &settings).await.is_err());
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the URL names no store that is compiled in, the store cannot be opened, or the settings that concern what is
/// stored do not go together: see [`Settings::validate`]. When most of the stored sessions are not signed with the
/// settings' secret: see [`SecretCheck`](crate::SecretCheck).
pub async fn connect(url: &str, settings: &Settings) -> Result<Arc<dyn SessionStore>, StoreError> {
    let store = open(url, settings).await?.store;
    super::check_secret(&*store, settings).await?;
    Ok(store)
}

/// A store, and the index of user sessions that it can keep, if it can.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) index: Option<Arc<dyn UserSessionIndex>>,
}

impl Opened {
    fn with_index<S: SessionStore + UserSessionIndex>(store: S) -> Opened {
        let store = Arc::new(store);
        Opened { index: Some(Arc::clone(&store) as _), store }
    }

    fn without_index(store: impl SessionStore) -> Opened {
        Opened { store: Arc::new(store), index: None }
    }
}

/// [`connect`], with the index of user sessions.
pub(crate) async fn open(url: &str, settings: &Settings) -> Result<Opened, StoreError> {
    settings.validate_stored().map_err(|error| {
        StoreError::new("", StoreErrorKind::Misconfigured, error.to_string()).with_source(error)
    })?;
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "memory" if rest.is_empty() => Ok(Opened::with_index(MemoryStore::new())),
        "cookie" if rest.is_empty() => Ok(Opened::without_index(SignedCookieStore::new(settings))),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Opened::with_index(SqliteOptions::from_url(url)?.open(settings).await?)),
        #[cfg(feature = "file")]
        "file" => {
            let path = path_url::folder(url)?.unwrap_or_else(FileStore::default_path);
            Ok(Opened::without_index(FileStore::open(path, settings).await?))
        }
        "cached_db" => {
            // No address of a cache has a bar in it, where a path may.
            let Some((database, cache)) = rest.rsplit_once('|') else {
                let message = "`cached_db:` takes a database and a cache: `cached_db:DATABASE|CACHE`";
                return Err(StoreError::new("", StoreErrorKind::Misconfigured, message));
            };
            let database = Box::pin(open(database, settings)).await?;
            let cache = Box::pin(open_cache(cache, settings)).await?;
            let store = CachedDbStore::new(database.store, cache)?;
            Ok(Opened { store: Arc::new(store), index: database.index })
        }
        "moving" => {
            let (old, new) = two_stores(rest)?;
            let old = Box::pin(open(old, settings)).await?;
            let new = Box::pin(open(new, settings)).await?;
            Ok(Opened { store: Arc::new(MovingStore::new(old.store, new.store)?), index: new.index })
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Opened::with_index(PostgresStore::open(url, settings).await?)),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Opened::with_index(MysqlStore::open(url, settings).await?)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+cluster" | "redis+sentinel" => {
            Ok(Opened::with_index(RedisStore::open(url, settings).await?))
        }
        #[cfg(feature = "memcached")]
        "memcached" => Ok(Opened::without_index(MemcachedStore::open(url, settings).await?)),
        _ => {
            let message = super::unknown_url::message(url);
            Err(StoreError::new("", StoreErrorKind::Misconfigured, message))
        }
    }
}

/// The URLs of the old and the new store, out of what follows `moving:`.
pub(super) fn two_stores(rest: &str) -> Result<(&str, &str), StoreError> {
    moving::two_urls(rest).ok_or_else(|| {
        let message = "`moving:` takes the old and the new store, and it is unclear where the second begins; write \
                       `moving:OLD|NEW`, or `moving:OLD||NEW` where one of them is a `cached_db:`, and `%7C` for a `|` in a \
                       path or a password";
        StoreError::new("", StoreErrorKind::Misconfigured, message)
    })
}

/// Takes a URL apart as [`connect`] does, and connects to nothing. For the fuzz targets alone.
///
/// # Errors
/// As [`connect`], but for what only connecting finds out.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn check_url(url: &str, settings: &Settings) -> Result<(), StoreError> {
    let _ = settings;
    match url.split(':').next().unwrap_or_default() {
        "cached_db" => {
            let (_, rest) = url.split_once(':').unwrap_or_default();
            let (database, cache) = rest.rsplit_once('|').unwrap_or_default();
            check_url(database, settings).and(check_url(&cached_db_cache(cache), settings))
        }
        "moving" => {
            let (_, rest) = url.split_once(':').unwrap_or_default();
            let (old, new) = two_stores(rest)?;
            check_url(old, settings).and(check_url(new, settings))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => SqliteOptions::from_url(url).map(drop),
        #[cfg(feature = "file")]
        "file" => path_url::folder(url).map(drop),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => PostgresStore::options(url).map(|_| ()),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => MysqlStore::options(url).map(|_| ()),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+cluster" | "redis+sentinel" => RedisStore::options(url).check(),
        #[cfg(feature = "memcached")]
        "memcached" => MemcachedStore::check(url, settings),
        _ => Ok(()),
    }
}

/// The URL of the cache in a `cached_db:` URL. Unless it says otherwise, its entries are those of Django's
/// `cached_db`: with others, Django would not see a logout.
pub(super) fn cached_db_cache(url: &str) -> std::borrow::Cow<'_, str> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let is_shared = ["redis", "memcached"].iter().any(|scheme| address.starts_with(scheme));
    if !is_shared || query.split('&').any(|part| part.starts_with("engine=")) {
        return url.into();
    }
    let separator = if query.is_empty() { "" } else { "&" };
    format!("{address}?{query}{separator}engine=cached_db").into()
}

/// Makes the session table of the store that a URL names, exactly as Django's migration makes it; of a file,
/// the file too. A table that is there stays as it is.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::store::table::{CreateTable, MigrationRecord};
///
/// let url = format!("sqlite:{}", path.display());
/// assert_eq!(cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await?, CreateTable::Created);
/// assert_eq!(cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await?, CreateTable::AlreadyThere);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the URL names no store with a table, or the table cannot be made.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub async fn create_table(
    url: &str,
    record: table::MigrationRecord,
) -> Result<table::CreateTable, StoreError> {
    match url.split(':').next().unwrap_or_default() {
        #[cfg(feature = "sqlite")]
        "sqlite" => SqliteOptions::from_url(url)?.create_table(record).await,
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => PostgresStore::options(url)?.create_table(record).await,
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => MysqlStore::options(url)?.create_table(record).await,
        _ => {
            let message = "this URL names no store with a table; those are `sqlite:PATH`, `postgres://…` and \
                           `mysql://…`, each with the feature of its name";
            Err(StoreError::new("", StoreErrorKind::Misconfigured, message))
        }
    }
}

/// Makes the table for the index of user sessions in the store that a URL names: `cloakroom_user_session`. Of a
/// `cached_db:`, in its database; of a `moving:`, in the new store; Redis needs none. A table that is there stays as it is. Django knows nothing of it.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::store::table::{CreateTable, MigrationRecord};
///
/// let url = format!("sqlite:{}", path.display());
/// cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await?;
/// assert_eq!(cloakroom::store::create_user_session_table(&url).await?, CreateTable::Created);
/// assert_eq!(cloakroom::store::create_user_session_table(&url).await?, CreateTable::AlreadyThere);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the URL names no store that keeps an index, or the table cannot be made.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub async fn create_user_session_table(url: &str) -> Result<table::CreateTable, StoreError> {
    match url.split(':').next().unwrap_or_default() {
        "cached_db" => {
            let database = url.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|'));
            Box::pin(create_user_session_table(database.map_or("", |(database, _)| database))).await
        }
        "moving" => {
            let (_, rest) = url.split_once(':').unwrap_or_default();
            let (_, new) = two_stores(rest)?;
            Box::pin(create_user_session_table(new)).await
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => SqliteOptions::from_url(url)?.create_user_session_table().await,
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => PostgresStore::options(url)?.create_user_session_table().await,
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => MysqlStore::options(url)?.create_user_session_table().await,
        "memory" | "redis" | "redis+cluster" | "redis+sentinel" => Ok(table::CreateTable::AlreadyThere),
        _ => {
            let message = "this URL names no store that keeps an index of user sessions; those are `sqlite:PATH`, \
                           `postgres://…`, `mysql://…` and `redis://…`, each with the feature of its name";
            Err(StoreError::new("", StoreErrorKind::Unsupported, message))
        }
    }
}
