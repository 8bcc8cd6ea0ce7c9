//! Sessions in Redis: Django's `cache` back end on its Redis caches, `django.core.cache.backends.redis` and
//! django-redis.
//!
//! Every writing call is one command or one script, so it happens completely or not at all, for Django too.
//! The server expires sessions by itself. Entries that it evicts when its memory is full are lost: give
//! sessions their own server or `maxmemory-policy`.
//!
//! `redis://` and `rediss://` are for a server that has all sessions. One node of a cluster has a share of
//! them and would list, count and end only that share, so it is refused at the start. A sentinel is refused
//! too.
//!
//! # Redis Cluster
//! `redis+cluster://` (feature `redis-cluster`) works the same, except for
//! [`rotate`](crate::SessionStore::rotate): the old and the new key are on different servers, and no command
//! reaches both. There the session is written under the new key, then the old key is deleted if it is still
//! in the expected version; if it is not, the new key is deleted again. If this process dies in between, the
//! session from before the change stays under the old key. Nobody knows the new key, and the server expires
//! it.
//!
//! # Redis Sentinel
//! `redis+sentinel://[user:password@]host1,host2/service[/database]` (feature `redis-sentinel`) asks the
//! sentinels at these hosts, by default on port 26379, for the service's primary. It asks again when the
//! primary is lost or has become a replica. User, password and database are those of the server. The
//! sentinels' own are `sentinel_username` and `sentinel_password` (django-redis' `SENTINEL_KWARGS`). A
//! failover loses writes that had not reached the replica: an older version of a session may come back, even
//! a session that was logged out at that moment. `min-replicas-to-write` on the server limits the loss. While
//! no primary is known, calls fail with [`StoreErrorKind::Unavailable`](crate::StoreErrorKind::Unavailable).
//!
//! # TLS
//! `rediss://`, `rediss+cluster://` and `rediss+sentinel://` (feature `redis-tls`) encrypt the connections.
//! The parameters are redis-py's, with its defaults: the server's certificate must be for the host to which
//! the connection goes, and signed by an authority that the system trusts.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `ssl_ca_certs` | the system's | a PEM file of the authorities to trust |
//! | `ssl_certfile`, `ssl_keyfile` | none | PEM files of a client certificate and its key |
//! | `ssl_cert_reqs` | `required` | `none` accepts every certificate; Heroku's are self-signed |
//! | `ssl_check_hostname` | `true` | `false` accepts a certificate for another host |
//!
//! In a cluster the host is the one that the nodes announce, and behind sentinels the one that the sentinels
//! report: often an address. `rediss+sentinel://` encrypts the connections to the sentinels in the same way;
//! `sentinel_ssl=false`, `sentinel_ssl_ca_certs` and the others with this prefix say otherwise.
//!
//! # Other parameters
//! `db` and, where the URL has no login, `username` and `password` are redis-py's. `socket_timeout` is
//! [`RedisOptions::timeout`] and `socket_connect_timeout` is [`RedisOptions::connect_timeout`].
//! `health_check_interval`, `max_connections`, `retry_on_timeout`, `protocol`, `decode_responses` and
//! redis-py's other settings of a client are accepted and change nothing: this store has one connection, which
//! it reopens by itself. Parameters that cannot be obeyed (`ssl_ca_path`, `ssl_ca_data`, `ssl_password`,
//! `ssl_ciphers`, OCSP) are refused by name.
//!
//! # Valkey
//! Valkey is served as Redis. `valkey://`, `valkeys://`, `valkey+cluster://` and the others mean the same as
//! with `redis`.
//!
//! # Access control
//! A user of an ACL needs these commands, and the keys that begin with the site's `KEY_PREFIX`: `+ping +select
//! +exists +get +pexpire +pttl +set +del +scan +eval +evalsha`; for the index of user sessions `+hget +hset +hdel
//! +hexists +hgetall`; in a cluster `+cluster|slots`; behind sentinels `+role`, and of the sentinels
//! `+sentinel|get-master-addr-by-name`. A user without scripts is refused when the store opens.

#[cfg(feature = "redis-cluster")]
mod cluster;
mod connection;
mod link;
mod list;
mod node;
mod reply;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
mod url;
mod user_sessions;
mod wire;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use redis::Value as Reply;

use self::connection::{Code, Connection, Failure, delete_if_equal};
use self::node::Access;
use self::url::Target;
use super::format::{CacheEngine, CacheFormat, ends_in, time_to_live};
use super::rotation::{OneEntryStore, rotate_in_two_steps};
use crate::site::boxed::boxed;
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::listing::{Count, Listed, Listing, Pages};
use crate::store::loaded::{Content, Loaded, Version};
use crate::store::outcome::WriteOutcome;
use crate::store::password::PasswordSource;
use crate::store::tls::TlsOptions;
use crate::store::url::StoreUrl;

/// Keeps sessions in Redis, in the entries that Django's cache back ends read and write.
///
/// ```no_run
/// use cloakroom::{RedisStore, Settings};
///
/// # async fn example() -> Result<(), cloakroom::StoreError> {
/// let settings = Settings::new("the site's SECRET_KEY");
/// let mut options = RedisStore::options("redis://127.0.0.1:6379/1")?;
/// options.format.key_prefix = "site1".to_owned();
/// let store = options.open(&settings).await?;
/// // The same in one line:
/// let store = RedisStore::open("redis://127.0.0.1:6379/1?key_prefix=site1", &settings).await?;
/// # Ok(()) }
/// ```
pub struct RedisStore {
    format: CacheFormat,
    connection: Connection,
    limit: usize,
}

/// The options of a [`RedisStore`].
///
/// ```
/// use std::time::Duration;
/// use cloakroom::RedisStore;
///
/// let mut options = RedisStore::options("redis://127.0.0.1:6379/1")?;
/// assert_eq!(options.timeout, Duration::from_secs(5));
/// options.timeout = Duration::from_secs(1);
/// options.format.key_prefix = "site1".to_owned();
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// For `Debug` alone.
    url: StoreUrl,
    target: Target,
    username: Option<String>,
    password: Option<String>,
    database: i64,
    /// Gives the password for each new connection, in place of the URL's: for one that expires. Default: none.
    pub password_source: Option<PasswordSource>,
    /// How connections are encrypted. Redis has no mode between plain text and TLS, so that
    /// [`TlsMode::Allow`](crate::store::TlsMode::Allow) and [`TlsMode::Prefer`](crate::store::TlsMode::Prefer)
    /// are errors. Default: [`TlsMode::VerifyFull`](crate::store::TlsMode::VerifyFull) with `rediss://`, as
    /// redis-py, otherwise [`TlsMode::Disable`](crate::store::TlsMode::Disable).
    pub tls: TlsOptions,
    /// How the sentinels are asked, with `redis+sentinel://`.
    pub sentinel: SentinelOptions,
    /// The site's `CACHES` settings, with the values of the URL's query.
    pub format: CacheFormat,
    /// The time limit of a call, including reconnecting: redis-py's `socket_timeout`. Default: 5 seconds.
    pub timeout: Duration,
    /// The time limit of one attempt to connect, within that of the call: redis-py's
    /// `socket_connect_timeout`. Default: none.
    pub connect_timeout: Option<Duration>,
}

/// How sentinels are asked: django-redis' `SENTINEL_KWARGS`, redis-py's `sentinel_kwargs`.
///
/// ```
/// use cloakroom::RedisStore;
/// use cloakroom::store::TlsMode;
///
/// let url = "redis+sentinel://:secret@one,two/sessions?sentinel_username=ann&sentinel_password=hunter2";
/// let options = RedisStore::options(url)?;
/// assert_eq!(options.sentinel.username.as_deref(), Some("ann"));
/// assert_eq!(options.sentinel.tls.mode, TlsMode::Disable);
/// assert!(!format!("{options:?}").contains("hunter2"));
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct SentinelOptions {
    /// The user. Default: none.
    pub username: Option<String>,
    /// The password. Default: none; that of the server is not sent to the sentinels.
    pub password: Option<String>,
    /// How the connections to the sentinels are encrypted. Default: as those to the server.
    pub tls: TlsOptions,
}

impl RedisOptions {
    /// Parses the URL, without connecting.
    #[cfg(feature = "fuzzing")]
    pub(in crate::store) fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How connections are made to servers that keep sessions.
    fn access(&self) -> Access {
        Access {
            username: self.username.clone(),
            password: self.password.clone(),
            password_source: self.password_source.clone(),
            database: self.database,
            tls: self.tls.clone(),
            connect_timeout: self.connect_timeout,
            prefix: "",
        }
    }

    #[cfg(feature = "redis-sentinel")]
    fn access_to_sentinels(&self) -> Access {
        Access {
            username: self.sentinel.username.clone(),
            password: self.sentinel.password.clone(),
            password_source: None,
            database: 0,
            tls: self.sentinel.tls.clone(),
            connect_timeout: self.connect_timeout,
            prefix: "sentinel_",
        }
    }

    /// Opens the store and checks that the server answers, that it keeps all sessions, and that the user may
    /// run scripts. One node of a cluster and a sentinel are refused, and the error names the scheme to use
    /// instead.
    ///
    /// ```
    /// use cloakroom::{RedisStore, Settings, StoreErrorKind};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// // Nothing listens there.
    /// let options = RedisStore::options("redis://127.0.0.1:1/1")?;
    /// let error = options.open(&Settings::new("secret")).await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the URL is invalid, the server does not answer or refuses the user, or the server is of another
    /// kind than the URL's scheme says.
    pub async fn open(self, settings: &Settings) -> Result<RedisStore, StoreError> {
        let format = self.format.clone();
        // Keys of the same length that differ in one letter are in two slots of a cluster.
        let names = ["a", "b"].map(|last| ["cloakroom", last].concat());
        let names = names.map(|name| format.entry_key(&SessionKey::from_trusted(name)));
        url::check_modes(&self)?;
        let connection = Connection::open(&self, names).await?;
        Ok(RedisStore { format, connection, limit: settings.max_decompressed_bytes })
    }
}

impl RedisStore {
    /// Returns the options in a URL, which can be changed before [`RedisOptions::open`]:
    /// `redis://[user:password@]host[:port][/database]`, `rediss://` for the same over TLS,
    /// `unix:///path/to/redis.sock?db=1`, `redis+cluster://` with hosts separated by commas, or
    /// `redis+sentinel://` with the hosts of the sentinels and the service. The URL may end in redis-py's
    /// parameters, which the [module](self) lists, and in
    /// `?key_prefix=…&version=…&engine=cached_db&serializer=json&compressor=zlib`.
    ///
    /// ```
    /// use cloakroom::{RedisStore, StoreErrorKind};
    ///
    /// let options = RedisStore::options("redis://127.0.0.1:6379/1?key_prefix=site1")?;
    /// assert_eq!((options.format.key_prefix.as_str(), options.format.version), ("site1", 1));
    /// let error = RedisStore::options("redis://127.0.0.1:6379/1?serializer=xml").unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the URL is not one of Redis, or has an invalid host, database or parameter. The error names it.
    pub fn options(url: &str) -> Result<RedisOptions, StoreError> {
        url::parse(url)
    }

    /// Opens a server with the default options. The URL may end in
    /// `?key_prefix=…&version=…&engine=cached_db&serializer=json&compressor=zlib`.
    ///
    /// ```no_run
    /// use cloakroom::{RedisStore, SessionStore, Settings};
    ///
    /// # async fn example() -> Result<(), cloakroom::StoreError> {
    /// let settings = Settings::new("the site's SECRET_KEY");
    /// let store = RedisStore::open("redis://127.0.0.1:6379/1?serializer=json&compressor=zlib", &settings).await?;
    /// assert_eq!(store.name(), "redis");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`options`](RedisStore::options) and [`RedisOptions::open`].
    pub async fn open(url: &str, settings: &Settings) -> Result<RedisStore, StoreError> {
        RedisStore::options(url)?.open(settings).await
    }

    fn entry(&self, record: Record<'_>) -> Result<Entry, StoreError> {
        let value = self.format.encode(record.data, self.limit);
        let value = value.map_err(|error| StoreError::not_carried("redis", error))?;
        Ok(Entry { value, milliseconds: time_to_live(record).num_milliseconds() })
    }

    fn explain(&self, failure: Failure) -> StoreError {
        failure.explain(&self.connection)
    }

    async fn script(&self, script: &Script<'_>) -> Result<WriteOutcome, StoreError> {
        match self.connection.script(script).await.map_err(|failure| self.explain(failure))? {
            Reply::Int(0) => Ok(WriteOutcome::Missing),
            Reply::Int(1) => Ok(WriteOutcome::Changed),
            Reply::Int(2) => Ok(WriteOutcome::Done),
            Reply::Int(3) => Ok(WriteOutcome::KeyTaken),
            _ => Err(self.explain(Failure::Unexpected)),
        }
    }

    /// Replaces an entry that is as expected.
    async fn replace(
        &self,
        key: &str,
        expected: Option<&Version>,
        entry: &Entry,
    ) -> Result<WriteOutcome, StoreError> {
        let keys = [key];
        let script = Script::new(&UPDATE, &keys, expected, entry);
        if entry.milliseconds <= 0 || !self.connection.has_conditional_set() {
            return self.script(&script).await;
        }
        boxed(|| self.set_conditionally(key, &script)).await
    }

    /// As [`UPDATE`], in a plain command.
    async fn set_conditionally(&self, key: &str, script: &Script<'_>) -> Result<WriteOutcome, StoreError> {
        let value = &script.entry.value;
        let length = key.len() + script.expected.map_or(0, <[u8]>::len) + value.len();
        let mut command = redis::Cmd::with_capacity(7, length + 32);
        command.arg("SET").arg(key).arg(value);
        match script.expected {
            Some(expected) => command.arg("IFEQ").arg(expected),
            None => command.arg("XX"),
        };
        command.arg("PX").arg(script.entry.milliseconds);
        match self.connection.query(&command).await {
            Ok(Reply::Okay) => Ok(WriteOutcome::Done),
            // What is there now may have come since; what matters is that it is not what was expected.
            Ok(Reply::Nil) if Box::pin(self.has_entry(key)).await? => Ok(WriteOutcome::Changed),
            Ok(Reply::Nil) => Ok(WriteOutcome::Missing),
            Err(failure) if failure.is_unknown_option() => {
                self.connection.lacks_conditional_commands();
                self.script(script).await
            }
            Ok(_) => Err(self.explain(Failure::Unexpected)),
            Err(failure) => Err(self.explain(failure)),
        }
    }

    async fn has_entry(&self, key: &str) -> Result<bool, StoreError> {
        let mut command = redis::cmd("EXISTS");
        command.arg(key);
        match self.connection.query_again(&command).await.map_err(|failure| self.explain(failure))? {
            Reply::Int(found) => Ok(found > 0),
            _ => Err(self.explain(Failure::Unexpected)),
        }
    }

    /// Creates an entry; returns false when one exists.
    async fn set_new(&self, key: &str, entry: &Entry) -> Result<bool, StoreError> {
        let mut command = redis::Cmd::with_capacity(6, key.len() + entry.value.len() + 32);
        if entry.milliseconds > 0 {
            command.arg("SET").arg(key).arg(&entry.value).arg("NX").arg("PX").arg(entry.milliseconds);
        } else {
            // The session has already expired: nothing is stored, but the key must still be unused.
            command = redis::cmd("EXISTS");
            command.arg(key);
        }
        match self.connection.query(&command).await.map_err(|failure| self.explain(failure))? {
            Reply::Okay | Reply::Int(0) => Ok(true),
            Reply::Nil | Reply::Int(_) => Ok(false),
            _ => Err(self.explain(Failure::Unexpected)),
        }
    }
}

/// A session's entry in Redis.
#[derive(Default)]
struct Entry {
    value: Vec<u8>,
    milliseconds: i64,
}

/// A script and its arguments.
struct Script<'a> {
    code: &'static Code,
    keys: &'a [&'a str],
    expected: Option<&'a [u8]>,
    entry: &'a Entry,
}

impl<'a> Script<'a> {
    fn new(
        code: &'static Code,
        keys: &'a [&'a str],
        expected: Option<&'a Version>,
        entry: &'a Entry,
    ) -> Script<'a> {
        Script { code, keys, expected: expected.map(|version| version.as_bytes().unwrap_or_default()), entry }
    }
}

/// The common beginning of the scripts. ARGV: whether a value is expected, which, the new value, its
/// milliseconds.
macro_rules! script {
    ($($line:literal)*) => {
        concat!(
            "local current = redis.call('GET', KEYS[1])\n",
            "if not current then return 0 end\n",
            "if ARGV[1] == '1' and current ~= ARGV[2] then return 1 end\n",
            $($line, "\n",)*
            "return 2"
        )
    };
}

/// Without the scripts' common beginning: returns the value and its milliseconds, or nothing.
static LOAD_WITH_AGE: Code = Code::new(
    "local current = redis.call('GET', KEYS[1])\n\
    if not current then return false end\n\
    return {current, redis.call('PTTL', KEYS[1])}",
);

/// Splits the reply of [`LOAD_WITH_AGE`].
fn with_age(reply: Reply) -> (Reply, Option<i64>) {
    match reply {
        Reply::Array(parts) => match <[Reply; 2]>::try_from(parts) {
            Ok([entry, Reply::Int(milliseconds)]) => (entry, Some(milliseconds)),
            // Passed on as it is: no entry.
            Ok([_, other]) => (other, None),
            Err(parts) => (Reply::Array(parts), None),
        },
        other => (other, None),
    }
}

static TOUCH: Code = Code::new(script!("redis.call('PEXPIRE', KEYS[1], ARGV[4])"));
static DELETE: Code = Code::new(script!("redis.call('DEL', KEYS[1])"));
static UPDATE: Code = Code::new(script!(
    "if tonumber(ARGV[4]) > 0 then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])"
    "else redis.call('DEL', KEYS[1]) end"
));
static ROTATE: Code = Code::new(script!(
    "if tonumber(ARGV[4]) <= 0 then"
    "if redis.call('EXISTS', KEYS[2]) == 1 then return 3 end"
    "elseif not redis.call('SET', KEYS[2], ARGV[3], 'NX', 'PX', ARGV[4]) then return 3 end"
    "redis.call('DEL', KEYS[1])"
));

#[async_trait]
impl OneEntryStore for RedisStore {
    async fn delete_expected(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
    ) -> Result<WriteOutcome, StoreError> {
        let (key, nothing) = (self.format.entry_key(session_key), Entry::default());
        let keys = [key.as_str()];
        let script = Script::new(&DELETE, &keys, expected, &nothing);
        let Some(expected) = script.expected.filter(|_| self.connection.has_conditional_delete()) else {
            return self.script(&script).await;
        };
        match self.connection.query(&delete_if_equal(&key, expected)).await {
            Ok(Reply::Int(1)) => Ok(WriteOutcome::Done),
            Ok(Reply::Int(_)) if Box::pin(self.has_entry(&key)).await? => Ok(WriteOutcome::Changed),
            Ok(Reply::Int(_)) => Ok(WriteOutcome::Missing),
            Err(failure) if failure.is_unknown_command() => {
                self.connection.lacks_conditional_commands();
                self.script(&script).await
            }
            Ok(_) => Err(self.explain(Failure::Unexpected)),
            Err(failure) => Err(self.explain(failure)),
        }
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let key = self.format.entry_key(session_key);
        let (entry, milliseconds) = match self.format.engine {
            // The remaining life of a copy tells who made it; it is fetched in the same round trip.
            CacheEngine::CachedDb => {
                let nothing = Entry { value: Vec::new(), milliseconds: 0 };
                let reply =
                    self.connection.script(&Script::new(&LOAD_WITH_AGE, &[&key], None, &nothing)).await;
                reply.map(with_age)
            }
            CacheEngine::Cache => {
                let mut command = redis::cmd("GET");
                command.arg(key);
                self.connection.query_again(&command).await.map(|entry| (entry, None))
            }
        }
        .map_err(|failure| self.explain(failure))?;
        let entry = match entry {
            Reply::BulkString(entry) => entry,
            Reply::Nil => return Ok(None),
            _ => return Err(self.explain(Failure::Unexpected)),
        };
        let data = self.format.decode(&entry, self.limit).map_err(|error| error.into_store_error("redis"))?;
        Ok(data.map(|data| Loaded {
            content: Content::Genuine(data),
            version: Version::from_bytes(entry),
            // The server knows the expiry, so the session need not be decoded for it.
            expire_date: milliseconds.map(|left| ends_in(now, TimeDelta::try_milliseconds(left))),
        }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let entry = self.entry(record)?;
        let created = self.set_new(&self.format.entry_key(session_key), &entry).await?;
        Ok(if created { Created::Created(Version::from_bytes(entry.value)) } else { Created::KeyTaken })
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let (key, entry) = (self.format.entry_key(session_key), self.entry(record)?);
        let outcome = self.replace(&key, expected, &entry).await?;
        Ok(outcome.updated(Version::from_bytes(entry.value)))
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        if self.connection.is_cluster() {
            return rotate_in_two_steps(self, session_key, expected, new_session_key, record).await;
        }
        let entry = self.entry(record)?;
        let (old, new) = (self.format.entry_key(session_key), self.format.entry_key(new_session_key));
        let outcome = self.script(&Script::new(&ROTATE, &[&old, &new], expected, &entry)).await?;
        Ok(outcome.rotated(Version::from_bytes(entry.value)))
    }

    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let key = self.format.entry_key(session_key);
        let milliseconds = time_to_live(record).num_milliseconds();
        let entry = Entry { value: Vec::new(), milliseconds };
        let outcome = self.script(&Script::new(&TOUCH, &[&key], Some(version), &entry)).await?;
        Ok(if outcome == WriteOutcome::Done { Touched::Extended } else { Touched::Stale })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        let mut command = redis::cmd("DEL");
        command.arg(self.format.entry_key(session_key));
        match self.connection.query(&command).await.map_err(|failure| self.explain(failure))? {
            Reply::Int(deleted) => Ok(deleted > 0),
            _ => Err(self.explain(Failure::Unexpected)),
        }
    }

    async fn exists(&self, session_key: &SessionKey, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.has_entry(&self.format.entry_key(session_key)).await
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        _now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        // Sent together on the one connection, or on that of each node.
        let asked = session_keys.iter().map(async |session_key| {
            let exists = self.has_entry(&self.format.entry_key(session_key)).await?;
            Ok(exists.then(|| session_key.clone()))
        });
        join_all(asked).await.into_iter().filter_map(Result::transpose).collect()
    }

    /// Nothing to do: the server expires entries by itself.
    async fn clear_expired_with_progress(
        &self,
        _now: DateTime<Utc>,
        _progress: &mut Progress<'_>,
    ) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>, StoreError> {
        Ok(Box::new(Pages::<_, Listed>::of(self)))
    }

    async fn count(&self, _now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.count_entries().await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisStore")
            .field("address", &self.connection.address())
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisOptions")
            .field("url", &self.url)
            .field("tls", &self.tls)
            .field("sentinel", &self.sentinel)
            .field("password_source", &self.password_source)
            .field("format", &self.format)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Hides the password.
impl fmt::Debug for SentinelOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SentinelOptions")
            .field("username", &self.username)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
