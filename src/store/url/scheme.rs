//! The schemes of store URLs, and the message for a URL that names no store.

/// The scheme of a store's URL.
///
/// ```
/// use cloakroom::store::StoreScheme;
///
/// assert!(StoreScheme::Postgres.is_database());
/// assert!(StoreScheme::Memcached.is_cache());
/// assert_eq!(StoreScheme::RedisCluster.as_str(), "redis+cluster");
/// assert_eq!(StoreScheme::RedisCluster.feature(), Some("redis-cluster"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreScheme {
    /// `memory:`
    Memory,
    /// `cookie:`, Django's `signed_cookies`.
    Cookie,
    /// `sqlite:PATH`
    Sqlite,
    /// `file:FOLDER`
    File,
    /// `filecache:FOLDER`, Django's `FileBasedCache`.
    FileCache,
    /// `postgres://…`, also `postgresql://…`.
    Postgres,
    /// `mysql://…`, also `mariadb://…`.
    Mysql,
    /// `redis://…`, also `valkey://…`.
    Redis,
    /// `rediss://…`, Redis over TLS; also `valkeys://…`.
    RedisTls,
    /// `unix:///PATH`, Redis on a Unix socket; also `redis+unix://…`, `redis+socket://…` and `valkey+unix://…`.
    RedisSocket,
    /// `redis+cluster://…`, also `valkey+cluster://…`.
    RedisCluster,
    /// `rediss+cluster://…`, also `valkeys+cluster://…`.
    RedisClusterTls,
    /// `redis+sentinel://…`, also `valkey+sentinel://…`.
    RedisSentinel,
    /// `rediss+sentinel://…`, also `valkeys+sentinel://…`.
    RedisSentinelTls,
    /// `memcached://…`
    Memcached,
    /// `memcacheds://…`, memcached over TLS.
    MemcachedTls,
}

/// Each scheme with its names, the usual one first, and the feature that it needs.
const SCHEMES: [(StoreScheme, &[&str], Option<&str>); 16] = [
    (StoreScheme::Memory, &["memory"], None),
    (StoreScheme::Cookie, &["cookie"], None),
    (StoreScheme::Sqlite, &["sqlite"], Some("sqlite")),
    (StoreScheme::File, &["file"], Some("file")),
    (StoreScheme::FileCache, &["filecache"], Some("file")),
    (StoreScheme::Postgres, &["postgres", "postgresql"], Some("postgres")),
    (StoreScheme::Mysql, &["mysql", "mariadb"], Some("mysql")),
    (StoreScheme::Redis, &["redis", "valkey"], Some("redis")),
    (StoreScheme::RedisTls, &["rediss", "valkeys"], Some("redis-tls")),
    (StoreScheme::RedisSocket, &["unix", "redis+unix", "redis+socket", "valkey+unix"], Some("redis")),
    (StoreScheme::RedisCluster, &["redis+cluster", "valkey+cluster"], Some("redis-cluster")),
    (StoreScheme::RedisClusterTls, &["rediss+cluster", "valkeys+cluster"], Some("redis-cluster")),
    (StoreScheme::RedisSentinel, &["redis+sentinel", "valkey+sentinel"], Some("redis-sentinel")),
    (StoreScheme::RedisSentinelTls, &["rediss+sentinel", "valkeys+sentinel"], Some("redis-sentinel")),
    (StoreScheme::Memcached, &["memcached"], Some("memcached")),
    (StoreScheme::MemcachedTls, &["memcacheds"], Some("memcached-tls")),
];

impl StoreScheme {
    /// Finds the scheme of this name.
    pub(super) fn of(name: &str) -> Option<StoreScheme> {
        SCHEMES.iter().find(|(_, names, _)| names.contains(&name)).map(|(scheme, ..)| *scheme)
    }

    fn row(self) -> (&'static str, Option<&'static str>) {
        let row = SCHEMES.iter().find(|(scheme, ..)| *scheme == self);
        row.and_then(|(_, names, feature)| Some((*names.first()?, *feature))).unwrap_or_default()
    }

    /// The scheme's usual name, without a colon.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The feature of this crate that the store needs, if any.
    pub fn feature(self) -> Option<&'static str> {
        self.row().1
    }

    /// Whether the sessions are rows of a table.
    pub fn is_database(self) -> bool {
        matches!(self, StoreScheme::Sqlite | StoreScheme::Postgres | StoreScheme::Mysql)
    }

    /// Whether the sessions are entries of a Django cache.
    pub fn is_cache(self) -> bool {
        use StoreScheme::{FileCache, Memcached, MemcachedTls};
        self.is_redis() || matches!(self, Memcached | MemcachedTls | FileCache)
    }

    pub(in crate::store) fn is_redis(self) -> bool {
        use StoreScheme::{
            Redis, RedisCluster, RedisClusterTls, RedisSentinel, RedisSentinelTls, RedisSocket, RedisTls,
        };
        matches!(self, Redis | RedisTls | RedisSocket)
            || matches!(self, RedisCluster | RedisClusterTls | RedisSentinel | RedisSentinelTls)
    }

    /// Whether the scheme itself says that connections are encrypted.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn is_encrypted(self) -> bool {
        use StoreScheme::{MemcachedTls, RedisClusterTls, RedisSentinelTls, RedisTls};
        matches!(self, RedisTls | RedisClusterTls | RedisSentinelTls | MemcachedTls)
    }

    /// Whether nothing follows the scheme.
    pub(super) fn stands_alone(self) -> bool {
        matches!(self, StoreScheme::Memory | StoreScheme::Cookie)
    }

    /// The message for a store that is not compiled in.
    pub(in crate::store) fn not_compiled_in(self) -> String {
        let (name, feature) = self.row();
        let feature = feature.unwrap_or_default();
        format!(
            "stores of the scheme `{name}:` are not compiled in; add the feature `{feature}` to cloakroom in Cargo.toml"
        )
    }
}

/// Whether a store's URL begins here.
pub(super) fn begins_store(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(name, _)| matches!(name, "cached_db" | "moving") || StoreScheme::of(name).is_some())
}

/// The message for a URL that names no store. It shows the URL only if that is a plain path, as it may
/// contain a password.
pub(super) fn names_no_store(url: &str) -> String {
    // A connection string, such as libpq's, contains equals signs and spaces.
    let may_be_secret =
        |letter: char| ":@|=?&#'\"".contains(letter) || letter.is_whitespace() || letter.is_control();
    if !url.is_empty() && !url.contains(may_be_secret) {
        return format!(
            "`{url}` is not a URL; for a SQLite file write `sqlite:{url}`, for a folder of session files `file:{url}`"
        );
    }
    "this URL names no store; use `memory:`, `cookie:`, `sqlite:PATH` (feature `sqlite`), `file:FOLDER` (feature `file`), \
     `filecache:FOLDER` (feature `file`), `postgres://…` (feature `postgres`), `mysql://…` (feature `mysql`), `redis://…` (feature `redis`), `rediss://…` \
     (feature `redis-tls`), `unix:///PATH` (feature `redis`), `redis+cluster://…` (feature `redis-cluster`), \
     `redis+sentinel://…` (feature `redis-sentinel`), `memcached://…` (feature `memcached`), `memcacheds://…` (feature `memcached-tls`), or two of them as `cached_db:DATABASE|CACHE` or \
     `moving:OLD|NEW`"
        .to_owned()
}
