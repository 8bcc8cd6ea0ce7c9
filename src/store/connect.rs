//! Opens stores by their URLs.

use std::sync::Arc;

use super::cached_db::{CachedDbStore, LateCache, OpeningCache};
use super::contract::SessionStore;
use super::memory::MemoryStore;
use super::moving::MovingStore;
use super::secret_check::check_secret;
use super::signed_cookies::SignedCookieStore;
use super::url::{StoreScheme, StoreUrl, StoreUrlParts};
use super::user_session_index::UserSessionIndex;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::settings::Settings;

/// Opens the store that a URL names.
///
/// | URL | store |
/// |---|---|
/// | `memory:` | [`MemoryStore`] |
/// | `cookie:` | [`SignedCookieStore`] |
/// | `sqlite:path/to/db.sqlite3` | [`SqliteStore`](super::SqliteStore), feature `sqlite` |
/// | `file:path/to/folder`, or `file:` for the folder of temporary files | [`FileStore`](super::FileStore), feature `file` |
/// | `filecache:path/to/folder`, Django's `FileBasedCache` | [`FileStore`](super::FileStore), feature `file` |
/// | `cached_db:` and two of these with a bar between them: `cached_db:sqlite:path/to/db.sqlite3\|memory:` | [`CachedDbStore`] |
/// | `moving:` and two of these, the old one first: `moving:sqlite:path/to/db.sqlite3\|memory:` | [`MovingStore`] |
/// | `postgres://user:password@host:5432/database`, also `postgresql:` | `PostgresStore`, feature `postgres` |
/// | `mysql://user:password@host:3306/database`, also `mariadb:` | `MysqlStore`, feature `mysql` |
/// | `redis://[user:password@]host:port/database`, `rediss://…`, `unix:///path/to/redis.sock?db=1`, `redis+cluster://host1,host2`, `redis+sentinel://host1,host2/service`; also with `valkey` | `RedisStore`, features `redis`, `redis-tls`, `redis-cluster`, `redis-sentinel` |
/// | `memcached://host:port,host2:port`, `memcached:///path/to/memcached.sock`, `memcacheds://…` | `MemcachedStore`, features `memcached`, `memcached-tls` |
///
/// Paths: `sqlite:db.sqlite3` and `file:sessions` are relative to the working folder;
/// `sqlite:/srv/db.sqlite3` and `file:/srv/sessions` are absolute. With several slashes each scheme follows
/// its usual convention: `sqlite:///db.sqlite3` is relative and `sqlite:////srv/db.sqlite3` absolute, as for
/// Django (dj-database-url, django-environ) and SQLAlchemy; `file:///srv/sessions` is absolute, as in every
/// `file:` URL. sqlx and others read `sqlite:///srv/db.sqlite3` as absolute. If only that reading finds a
/// file, the error says how to write it. Percent codes are decoded: in a path `%3F` is `?`. For SQLite a
/// query may contain `mode=ro`, `mode=rw` or `mode=rwc` ([`Mode`](super::sqlite::Mode)), `timeout=SECONDS` for
/// the lock of another program, and `table` and `user_session_table`; anything else is an error.
/// [`StoreUrl::of_path`] makes the URL of a path.
///
/// The URLs of caches may end in the settings of the site's `CACHES`:
/// `?key_prefix=…&version=…&engine=cached_db&serializer=json&compressor=zlib`, and for a `KEY_FUNCTION` with
/// another prefix than `KEY_PREFIX:VERSION:`, `entry_prefix=…`. `cache_table=…` in a database's URL names the table of
/// Django's `DatabaseCache`, and the same settings follow, except the last two. In a `cached_db:` URL the engine is
/// `cached_db` unless it says otherwise, and a cache that is down is opened later ([`open_cache`]).
///
/// In `moving:OLD|NEW` use `||` where one of the two is a `cached_db:` with a bar of its own:
/// `moving:cached_db:DATABASE|CACHE||NEW`. A URL that could be divided in two ways is an error. The index of
/// user sessions is the new store's.
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
/// When the URL names no store that is compiled in, when the store cannot be opened, or when settings that
/// concern storage are invalid: see [`Settings::validate`]. When most of the stored sessions are not signed
/// with the settings' secret: see [`SecretCheck`](crate::SecretCheck).
pub async fn connect(url: &str, settings: &Settings) -> Result<Arc<dyn SessionStore>, StoreError> {
    Ok(open_checked(url, settings).await?.store)
}

/// [`connect`], with the index of user sessions.
pub(crate) async fn open_checked(url: &str, settings: &Settings) -> Result<Opened, StoreError> {
    let opened = open(url, settings).await?;
    // A cache's entries are not signed.
    if !StoreUrl::from(url).is_cache() {
        check_secret(&*opened.store, settings).await?;
    }
    Ok(opened)
}

/// A store, and its index of user sessions, if it can keep one.
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

/// [`connect`], with the index of user sessions, and without checking the secret.
async fn open(url: &str, settings: &Settings) -> Result<Opened, StoreError> {
    settings.validate_stored().map_err(|error| {
        StoreError::new("", StoreErrorKind::Misconfigured, error.to_string()).with_source(error)
    })?;
    match StoreUrl::from(url).parts()? {
        StoreUrlParts::One(scheme) => open_one(scheme, url, settings).await,
        StoreUrlParts::CachedDb { database, cache } => {
            let database = Box::pin(open(database.expose(), settings)).await?;
            let cache = Box::pin(open_cache(cache.expose(), settings)).await?;
            let store = CachedDbStore::new(database.store, cache)?;
            Ok(Opened { store: Arc::new(store), index: database.index })
        }
        StoreUrlParts::Moving { old, new } => {
            let old = Box::pin(open(old.expose(), settings)).await?;
            let new = Box::pin(open(new.expose(), settings)).await?;
            Ok(Opened { store: Arc::new(MovingStore::new(old.store, new.store)?), index: new.index })
        }
    }
}

async fn open_one(scheme: StoreScheme, url: &str, settings: &Settings) -> Result<Opened, StoreError> {
    // Without any store's feature nothing reads it.
    let _ = url;
    match scheme {
        StoreScheme::Memory => Ok(Opened::with_index(MemoryStore::new())),
        StoreScheme::Cookie => Ok(Opened::without_index(SignedCookieStore::new(settings))),
        #[cfg(feature = "sqlite")]
        StoreScheme::Sqlite => {
            let options = super::SqliteStore::options(url)?;
            Ok(Opened::with_index(options.open(settings).await?))
        }
        #[cfg(feature = "file")]
        StoreScheme::File | StoreScheme::FileCache => {
            Ok(Opened::without_index(super::FileStore::options(url)?.open(settings).await?))
        }
        #[cfg(feature = "postgres")]
        StoreScheme::Postgres => Ok(Opened::with_index(super::PostgresStore::open(url, settings).await?)),
        #[cfg(feature = "mysql")]
        StoreScheme::Mysql => Ok(Opened::with_index(super::MysqlStore::open(url, settings).await?)),
        #[cfg(feature = "redis")]
        scheme if scheme.is_redis() => Ok(Opened::with_index(super::RedisStore::open(url, settings).await?)),
        #[cfg(feature = "memcached")]
        StoreScheme::Memcached | StoreScheme::MemcachedTls => {
            Ok(Opened::without_index(super::MemcachedStore::open(url, settings).await?))
        }
        #[allow(unreachable_patterns)] // Where each store is compiled in.
        other => Err(StoreError::new("", StoreErrorKind::Misconfigured, other.not_compiled_in())),
    }
}

/// Opens the cache for a [`CachedDbStore`](crate::CachedDbStore) by its URL. It differs from [`connect`] in
/// two points. For Redis and memcached it uses the entries of the engine `cached_db`, unless the URL says
/// otherwise. And a cache that is down is not an error: a warning names it, sessions come from the database,
/// and the first request that finds the cache back opens it.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::store::open_cache;
/// use cloakroom::{CachedDbStore, MemoryStore, Settings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// // Usually `redis://…`.
/// let cache = open_cache("memory:", &Settings::new("secret")).await?;
/// let store = CachedDbStore::new(Arc::new(MemoryStore::new()), cache)?;
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`connect`], except [`StoreErrorKind::Unavailable`].
pub async fn open_cache(url: &str, settings: &Settings) -> Result<Arc<dyn SessionStore>, StoreError> {
    let url = StoreUrl::from(url).of_cached_db();
    match connect(url.expose(), settings).await {
        Err(error) if error.kind() == StoreErrorKind::Unavailable => {
            tracing::warn!(
                store = "cached_db",
                %error,
                "the cache is down at the start; sessions come from the database until it is back"
            );
            let settings = settings.clone();
            Ok(Arc::new(LateCache::new(Box::new(move || open_late(url.clone(), settings.clone())))))
        }
        opened => opened,
    }
}

/// Opens a cache that was down. The box is needed because opening a `cached_db:` opens its cache: otherwise
/// the type would contain itself.
fn open_late(url: StoreUrl, settings: Settings) -> OpeningCache {
    Box::pin(async move { connect(url.expose(), &settings).await })
}

impl MovingStore {
    /// Opens both stores by a URL `moving:OLD|NEW`, as [`connect`] does, for
    /// [`move_rest`](MovingStore::move_rest).
    ///
    /// ```
    /// use cloakroom::{MovingStore, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// assert!(MovingStore::open("moving:memory:|memory:", &settings).await.is_ok());
    /// let error = MovingStore::open("moving:memory:", &settings).await.unwrap_err();
    /// assert!(error.to_string().contains("`moving:OLD|NEW`"));
    /// # });
    /// ```
    ///
    /// # Errors
    /// As `connect`.
    pub async fn open(url: &str, settings: &Settings) -> Result<MovingStore, StoreError> {
        match StoreUrl::from(url).parts()? {
            StoreUrlParts::Moving { old, new } => MovingStore::new(
                connect(old.expose(), settings).await?,
                connect(new.expose(), settings).await?,
            ),
            _ => {
                let message = "this URL names one store; to move, write `moving:OLD|NEW`";
                Err(StoreError::new("moving", StoreErrorKind::Misconfigured, message))
            }
        }
    }
}

/// Parses a URL as [`connect`] does, and connects to nothing. For the fuzz targets alone.
///
/// # Errors
/// As [`connect`], except errors that only connecting finds.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn check_url(url: &str, settings: &Settings) -> Result<(), StoreError> {
    let _ = settings;
    let scheme = match StoreUrl::from(url).parts()? {
        StoreUrlParts::One(scheme) => scheme,
        StoreUrlParts::CachedDb { database: one, cache: other }
        | StoreUrlParts::Moving { old: one, new: other } => {
            return check_url(one.expose(), settings).and(check_url(other.expose(), settings));
        }
    };
    match scheme {
        #[cfg(feature = "sqlite")]
        StoreScheme::Sqlite => super::SqliteStore::options(url).map(drop),
        #[cfg(feature = "file")]
        StoreScheme::File | StoreScheme::FileCache => super::FileStore::options(url).map(drop),
        #[cfg(feature = "postgres")]
        StoreScheme::Postgres => super::PostgresStore::options(url).map(drop),
        #[cfg(feature = "mysql")]
        StoreScheme::Mysql => super::MysqlStore::options(url).map(drop),
        #[cfg(feature = "redis")]
        scheme if scheme.is_redis() => super::RedisStore::options(url)?.check(),
        #[cfg(feature = "memcached")]
        StoreScheme::Memcached | StoreScheme::MemcachedTls => super::MemcachedStore::check(url, settings),
        _ => Ok(()),
    }
}
