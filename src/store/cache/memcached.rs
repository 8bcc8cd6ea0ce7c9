//! Sessions in memcached: Django's `cache` back end on `PyMemcacheCache` or `PyLibMCCache`.
//!
//! Requires memcached 1.6 or later. A restart of the server ends its sessions, and when memory is short the
//! server evicts entries that were not used for long: for sessions that must last, use a database.
//!
//! With several servers a key is stored where pymemcache, Django's `PyMemcacheCache`, looks for it. pylibmc
//! distributes keys in another way: with several servers it does not find these sessions. A server that is
//! down is an error for its sessions, at the start too. They are not looked up on another server, where they
//! would be "not found".
//!
//! # Unix sockets and TLS
//! A server is `host`, `host:port`, or the path of a Unix socket, with or without Django's `unix:` before it.
//! In a URL: `memcached:///run/memcached.sock`. `memcacheds://` (feature `memcached-tls`) encrypts the
//! connections: pymemcache's `tls_context`. Its parameters are those of [Redis](super::redis#tls), with the
//! same defaults: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`.
//!
//! There is no login. memcached's SASL belongs to its binary protocol, which has neither the meta commands
//! that this store needs nor a future in memcached, and which Django's `PyMemcacheCache` does not speak.
//!
//! # Changing the key
//! memcached changes one entry at a time. So [`rotate`](crate::SessionStore::rotate) writes the session under
//! the new key, then deletes the old one if it is still in the expected version; if it is not, it deletes the
//! new one again. If this process dies in between, the session from before the change stays under the old
//! key. Nobody knows the new key, and the server expires it.

mod client;
mod hash;
mod list;
mod stream;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use self::client::{Address, Failure, Reply, Server, Status};
use super::format::{CacheEngine, CacheFormat, CacheSerializer, EntryError, ends_in, time_to_live};
use super::rotation::{OneEntryStore, rotate_in_two_steps};
use super::ssl_parameters;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::Settings;
use crate::store::contract::{Created, Progress, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::listing::{Count, Listed, Listing, Pages};
use crate::store::loaded::{Content, Loaded, Version};
use crate::store::outcome::WriteOutcome;
use crate::store::tls::{TlsMode, TlsOptions};
use crate::store::url::{Parameters, percent_decoded, without_login};

/// memcached's own limit.
const LONGEST_KEY: usize = 250;
/// The flag of pymemcache and pylibmc for a pickle.
const PICKLE: u32 = 1;
/// Both clients' flag for a value compressed with zlib.
const COMPRESSED: u32 = 8;
/// memcached reads larger numbers as absolute Unix times.
const LONGEST_RELATIVE: i64 = 30 * 24 * 60 * 60;

/// Keeps sessions in memcached, in the entries that Django's cache back ends read and write.
///
/// ```no_run
/// use cloakroom::{MemcachedStore, Settings};
///
/// # async fn example() -> Result<(), cloakroom::StoreError> {
/// let settings = Settings::new("the site's SECRET_KEY");
/// let store = MemcachedStore::open("memcached://127.0.0.1:11211?key_prefix=site1", &settings).await?;
/// # Ok(()) }
/// ```
pub struct MemcachedStore {
    servers: Vec<Server>,
    format: CacheFormat,
    limit: usize,
}

/// The options of a [`MemcachedStore`].
///
/// ```
/// use std::time::Duration;
/// use cloakroom::MemcachedStore;
///
/// let mut options = MemcachedStore::at(["127.0.0.1:11211", "127.0.0.1:11212"]);
/// assert_eq!((options.timeout, options.connections), (Duration::from_secs(5), 16));
/// options.connections = 4;
/// options.format.key_prefix = "site1".to_owned();
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct MemcachedOptions {
    /// The servers as `host`, `host:port` or the path of a Unix socket, in the order and spelling of the
    /// site's `LOCATION`.
    pub servers: Vec<String>,
    /// How connections are encrypted. memcached has no mode between plain text and TLS, so that
    /// [`TlsMode::Allow`] and [`TlsMode::Prefer`] are errors. Default: [`TlsMode::VerifyFull`] with
    /// `memcacheds://`, otherwise [`TlsMode::Disable`].
    pub tls: TlsOptions,
    /// The site's `CACHES` settings. Only pickles are supported here.
    pub format: CacheFormat,
    /// The time limit of a call, including connecting. Default: 5 seconds.
    pub timeout: Duration,
    /// The maximum number of concurrent calls to one server, each on its own connection. Default: 16.
    pub connections: usize,
}

impl MemcachedOptions {
    /// Opens the store and checks that each server answers. If one of several is down, that is not an error
    /// but a warning: calls for its sessions fail until it is back, and the others are served.
    ///
    /// ```
    /// use cloakroom::store::cache::CacheSerializer;
    /// use cloakroom::{MemcachedStore, Settings, StoreErrorKind};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// // Found out before anything is connected.
    /// let mut options = MemcachedStore::at(["127.0.0.1:11211"]);
    /// options.format.serializer = CacheSerializer::Json;
    /// let error = options.open(&Settings::new("secret")).await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When an address is invalid, no server answers, or one is not memcached 1.6 or later.
    pub async fn open(self, settings: &Settings) -> Result<MemcachedStore, StoreError> {
        let servers = self.servers(settings)?;
        let asked = join_all(servers.iter().map(|server| server.ask("mg cloakroom", None))).await;
        let mut down = Vec::new();
        for (server, asked) in servers.iter().zip(asked) {
            match asked.map_err(|failure| explain(server, failure)) {
                Ok(_) => {}
                Err(error) if error.kind() == StoreErrorKind::Unavailable => down.push(error),
                Err(error) => return Err(error),
            }
        }
        if down.len() == servers.len() {
            return Err(down.swap_remove(0));
        }
        for error in down {
            tracing::warn!(
                store = "memcached",
                %error,
                "a server is down at the start; calls for the sessions that it keeps fail until it is back"
            );
        }
        Ok(MemcachedStore { servers, format: self.format, limit: settings.max_decompressed_bytes })
    }

    fn servers(&self, settings: &Settings) -> Result<Vec<Server>, StoreError> {
        if self.format.serializer != CacheSerializer::Pickle {
            return Err(misconfigured("Django's memcached back ends write pickles alone"));
        }
        if matches!(self.tls.mode, TlsMode::Allow | TlsMode::Prefer) {
            return Err(misconfigured(format!(
                "the option `tls` has the mode `{}`, which memcached does not know; use disable, require, verify-ca \
                 or verify-full",
                self.tls.mode.as_str()
            )));
        }
        let server = |address: &String| {
            let address = parse_address(address)?;
            if self.tls.mode != TlsMode::Disable && matches!(address, Address::Socket(_)) {
                return None;
            }
            let tls = self.tls.clone();
            Some(Server::new(address, tls, self.timeout, self.connections, settings.max_decompressed_bytes))
        };
        let servers: Option<Vec<Server>> = self.servers.iter().map(server).collect();
        servers.filter(|servers| !servers.is_empty()).ok_or_else(|| {
            misconfigured(
                "a server's address is invalid; use memcached://host:port,host2:port or, without TLS, \
                 memcached:///path/to/memcached.sock",
            )
        })
    }
}

/// Parses `host:port`, `host`, `[::1]:port`, `unix:/path` or `/path`, as pymemcache does.
fn parse_address(address: &str) -> Option<Address> {
    let path = address.strip_prefix("unix:").unwrap_or(address);
    if path.starts_with('/') {
        // `unix:///path` is how other programs write it.
        let path = if path.starts_with("///") { &path[2..] } else { path };
        return (path.len() > 1 && !path.contains('@')).then(|| Address::Socket(path.into()));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !address.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, 11_211),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_host = !host.is_empty() && !host.contains(['@', '/', ' ']);
    is_host.then(|| Address::Tcp(host.to_owned(), port))
}

impl MemcachedStore {
    /// Returns the options for these servers, which can be changed before [`MemcachedOptions::open`].
    ///
    /// ```
    /// use cloakroom::MemcachedStore;
    ///
    /// let options = MemcachedStore::at(["127.0.0.1:11211"]);
    /// assert_eq!(options.servers, ["127.0.0.1:11211"]);
    /// assert_eq!(options.format.version, 1);
    /// ```
    pub fn at<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> MemcachedOptions {
        MemcachedOptions {
            servers: servers.into_iter().map(Into::into).collect(),
            tls: TlsOptions::new(TlsMode::Disable),
            format: CacheFormat::default(),
            timeout: Duration::from_secs(5),
            connections: 16,
        }
    }

    /// Opens the servers of a URL `memcached://host:port,host2:port?key_prefix=…&version=…&engine=cached_db`,
    /// `memcached:///path/to/memcached.sock` or `memcacheds://host:port`, with the default options.
    ///
    /// ```no_run
    /// use cloakroom::{MemcachedStore, SessionStore, Settings};
    ///
    /// # async fn example() -> Result<(), cloakroom::StoreError> {
    /// let settings = Settings::new("the site's SECRET_KEY");
    /// let store = MemcachedStore::open("memcached://127.0.0.1:11211?key_prefix=site1", &settings).await?;
    /// assert_eq!(store.name(), "memcached");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`MemcachedOptions::open`].
    pub async fn open(url: &str, settings: &Settings) -> Result<MemcachedStore, StoreError> {
        MemcachedStore::options(url)?.open(settings).await
    }

    /// Returns the options in a URL, as [`connect`](crate::connect) reads it.
    ///
    /// ```
    /// use cloakroom::MemcachedStore;
    ///
    /// let options = MemcachedStore::options("memcached://one:11211,two:11211?key_prefix=site1")?;
    /// assert_eq!((options.servers.len(), options.format.key_prefix.as_str()), (2, "site1"));
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// When the query has an unknown parameter.
    pub fn options(url: &str) -> Result<MemcachedOptions, StoreError> {
        let (is_encrypted, servers) = match url.strip_prefix("memcacheds://") {
            Some(servers) => (true, servers),
            None => (false, url.strip_prefix("memcached://").unwrap_or(url)),
        };
        let (servers, mut parameters) = Parameters::of("memcached", servers)?;
        let servers = servers.trim_end_matches('/').split(',').map(percent_decoded);
        let servers: Option<Vec<String>> = servers.collect();
        let mut options =
            MemcachedStore::at(servers.ok_or_else(|| misconfigured("a server's address is not UTF-8"))?);
        options.format = CacheFormat::take_from(&mut parameters)?;
        let encryption = (is_encrypted, "a scheme with TLS, `memcacheds://`");
        let given = ssl_parameters::take(&mut parameters, "memcached", "", encryption)?;
        let mode = if is_encrypted { TlsMode::VerifyFull } else { TlsMode::Disable };
        options.tls = given.unwrap_or(TlsOptions::new(mode));
        ssl_parameters::refuse(&mut parameters, "memcached")?;
        let known = CacheFormat::PARAMETERS.into_iter().chain(ssl_parameters::NAMES);
        parameters.finish(&known.collect::<Vec<_>>())?;
        Ok(options)
    }

    /// Parses the URL, without connecting.
    #[cfg(feature = "fuzzing")]
    pub(in crate::store) fn check(url: &str, settings: &Settings) -> Result<(), StoreError> {
        MemcachedStore::options(url)?.servers(settings).map(|_| ())
    }

    /// Returns the entry's name for a session, and the server that keeps it.
    fn entry(&self, session_key: &SessionKey) -> Result<(&Server, String), StoreError> {
        let key = self.format.entry_key(session_key);
        // A space or a line break in a key would inject a command.
        if key.len() > LONGEST_KEY || key.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            let message =
                "a session key, or the KEY_PREFIX, has a space or a control character, or is too long";
            return Err(StoreError::new("memcached", StoreErrorKind::Refused, message));
        }
        let index = hash::server_of(self.servers.iter().map(|server| server.name.as_str()), &key);
        match self.servers.get(index) {
            Some(server) => Ok((server, key)),
            None => Err(misconfigured("there is no server")),
        }
    }

    fn encode(&self, record: Record<'_>) -> Result<Vec<u8>, StoreError> {
        self.format
            .encode(record.data, self.limit)
            .map_err(|error| StoreError::not_carried("memcached", error))
    }

    /// Writes an entry, with memcached's `condition`: `ME` to create, `MR` to replace, `C7` for version 7.
    async fn set(
        &self,
        session_key: &SessionKey,
        condition: &str,
        record: Record<'_>,
    ) -> Result<Reply, StoreError> {
        let ((server, key), value) = (self.entry(session_key)?, self.encode(record)?);
        let Some(ends) = end(record)? else {
            // The session has already expired: nothing is stored, and the outcome is the same as if it had
            // been.
            return self.set_nothing(server, &key, condition).await;
        };
        let command = format!("ms {key} {} c F{PICKLE} T{ends} {condition}", value.len());
        server.ask(&command, Some(&value)).await.map_err(|failure| explain(server, failure))
    }

    async fn set_nothing(&self, server: &Server, key: &str, condition: &str) -> Result<Reply, StoreError> {
        let ask = |command: String| async move {
            server.ask(&command, None).await.map_err(|failure| explain(server, failure))
        };
        match condition {
            "ME" => {
                let reply = ask(format!("mg {key}")).await?;
                let free = reply.status == Status::Missing;
                Ok(Reply { status: if free { Status::Done } else { Status::NotStored }, ..reply })
            }
            "MR" => ask(format!("md {key}")).await,
            version => ask(format!("md {key} {version}")).await,
        }
    }

    async fn remove(&self, session_key: &SessionKey, condition: &str) -> Result<Status, StoreError> {
        let (server, key) = self.entry(session_key)?;
        let reply = server.ask(&format!("md {key} {condition}"), None).await;
        Ok(reply.map_err(|failure| explain(server, failure))?.status)
    }

    /// Reads an entry. Retries once on a new connection, because the server may have closed the old one.
    async fn get(&self, server: &Server, command: &str) -> Result<Reply, StoreError> {
        let reply = match server.ask(command, None).await {
            Err(Failure::Closed | Failure::Io(_)) => server.ask(command, None).await,
            reply => reply,
        };
        reply.map_err(|failure| explain(server, failure))
    }
}

/// The entry's expiry in memcached's form; `None` when it has already expired.
fn end(record: Record<'_>) -> Result<Option<i64>, StoreError> {
    let left = time_to_live(record);
    if left <= chrono::TimeDelta::zero() {
        return Ok(None);
    }
    // Whole seconds; 0 would mean no expiry.
    let seconds = left.num_seconds().max(1);
    if seconds <= LONGEST_RELATIVE {
        return Ok(Some(seconds));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let ends = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(seconds);
    if ends > i64::from(i32::MAX) {
        let message = "memcached counts time in 32 bits: an entry that lives for longer than 30 days cannot end after \
                       19 January 2038; give the session a nearer expiry. What was stored stays";
        return Err(StoreError::new("memcached", StoreErrorKind::Refused, message));
    }
    Ok(Some(ends))
}

/// The condition that an entry is still in the loaded version. Number 0 is an unknown version, which no entry
/// has.
fn is_version(expected: &Version) -> String {
    format!("C{}", expected.as_number().filter(|number| *number > 0).unwrap_or(u64::MAX))
}

#[async_trait]
impl OneEntryStore for MemcachedStore {
    async fn delete_expected(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
    ) -> Result<WriteOutcome, StoreError> {
        let condition = expected.map(is_version).unwrap_or_default();
        Ok(match self.remove(session_key, &condition).await? {
            Status::Done => WriteOutcome::Done,
            Status::Changed => WriteOutcome::Changed,
            Status::Missing | Status::NotStored => WriteOutcome::Missing,
        })
    }
}

#[async_trait]
impl SessionStore for MemcachedStore {
    fn name(&self) -> &'static str {
        "memcached"
    }

    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        let (server, key) = self.entry(session_key)?;
        let reply = self.get(server, &format!("mg {key} v f c t")).await?;
        if reply.status != Status::Done {
            return Ok(None);
        }
        // The server reports the remaining time in its own seconds: precise enough for copies, whose age
        // matters.
        let expire_date = reply.seconds_left.filter(|_| self.format.engine == CacheEngine::CachedDb);
        let expire_date = expire_date.map(|left| ends_in(now, TimeDelta::try_seconds(left)));
        let data =
            decode(&self.format, &reply, self.limit).map_err(|error| error.into_store_error("memcached"))?;
        Ok(data.map(|data| Loaded {
            content: Content::Genuine(data),
            version: Version::from_number(reply.version),
            expire_date,
        }))
    }

    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        let reply = self.set(session_key, "ME", record).await?;
        match reply.status {
            Status::Done => Ok(Created::Created(Version::from_number(reply.version))),
            _ => Ok(Created::KeyTaken),
        }
    }

    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let condition = expected.map_or_else(|| "MR".to_owned(), is_version);
        let reply = self.set(session_key, &condition, record).await?;
        Ok(match reply.status {
            Status::Done => Updated::Updated(Version::from_number(reply.version)),
            Status::Changed => Updated::Changed,
            Status::Missing | Status::NotStored => Updated::Missing,
        })
    }

    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        rotate_in_two_steps(self, session_key, expected, new_session_key, record).await
    }

    /// The server compares nothing when it changes an expiry, so the version is looked at in the same answer.
    /// If another request has just saved the session with an expiry of its own, the entry may stay as long as
    /// this one says. Nothing is restored, and no data is written.
    async fn touch(
        &self,
        session_key: &SessionKey,
        version: &Version,
        record: Record<'_>,
    ) -> Result<Touched, StoreError> {
        let Some(ends) = end(record)? else { return Ok(Touched::Stale) };
        let (server, key) = self.entry(session_key)?;
        let reply = self.get(server, &format!("mg {key} c T{ends}")).await?;
        let is_same = reply.status == Status::Done && *version == Version::from_number(reply.version);
        Ok(if is_same { Touched::Extended } else { Touched::Stale })
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        Ok(self.remove(session_key, "").await? == Status::Done)
    }

    async fn exists(&self, session_key: &SessionKey, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        let (server, key) = self.entry(session_key)?;
        Ok(self.get(server, &format!("mg {key}")).await?.status == Status::Done)
    }

    async fn live_among(
        &self,
        session_keys: &[SessionKey],
        _now: DateTime<Utc>,
    ) -> Result<HashSet<SessionKey>, StoreError> {
        let mut of_servers: Vec<(&Server, HashMap<String, &SessionKey>)> = Vec::new();
        for session_key in session_keys {
            let (server, key) = self.entry(session_key)?;
            match of_servers.iter_mut().find(|(other, _)| std::ptr::eq(*other, server)) {
                Some((_, keys)) => drop(keys.insert(key, session_key)),
                None => of_servers.push((server, HashMap::from([(key, session_key)]))),
            }
        }
        let mut live = HashSet::new();
        for (server, keys) in of_servers {
            let names: Vec<&str> = keys.keys().map(String::as_str).collect();
            let found = match server.existing(&names).await {
                Err(Failure::Closed | Failure::Io(_)) => server.existing(&names).await,
                found => found,
            };
            let found = found.map_err(|failure| explain(server, failure))?;
            live.extend(found.iter().filter_map(|key| keys.get(key)).map(|key| SessionKey::clone(key)));
        }
        Ok(live)
    }

    /// Does nothing: the server expires entries by itself.
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

    async fn count(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        self.count_entries(now).await
    }
}

/// Decodes the session in an entry, according to its flags.
fn decode(
    format: &CacheFormat,
    reply: &Reply,
    limit: usize,
) -> Result<Option<cloakroom_formats::SessionData>, EntryError> {
    if reply.flags & PICKLE == 0 {
        return Err(EntryError::NoPickle(reply.flags));
    }
    if reply.flags & COMPRESSED == 0 {
        return format.decode(&reply.value, limit);
    }
    format.decode(&super::format::inflate(&reply.value, limit)?, limit)
}

fn misconfigured(message: impl Into<String>) -> StoreError {
    StoreError::new("memcached", StoreErrorKind::Misconfigured, message)
}

/// The error for the caller: what is wrong, where, and what to do next.
fn explain(server: &Server, failure: Failure) -> StoreError {
    let name = &server.name;
    let (kind, message) = match &failure {
        Failure::TooLarge { size, limit } => (
            StoreErrorKind::Refused,
            format!(
                "a session takes {size} bytes and {name} takes {limit}; keep less in it, or raise the server's \
                 limit (`memcached -I`). What was stored stays"
            ),
        ),
        Failure::TooOld => (
            StoreErrorKind::Misconfigured,
            format!("{name} does not know meta commands; memcached 1.6 or later is needed"),
        ),
        Failure::Tls(reason) => (StoreErrorKind::Misconfigured, reason.clone()),
        Failure::TimedOut => (StoreErrorKind::Unavailable, format!("{name} did not answer in time")),
        _ => (StoreErrorKind::Unavailable, format!("{name}: {failure}")),
    };
    StoreError::new("memcached", kind, message).with_source(failure)
}

impl fmt::Debug for MemcachedOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // memcached has no login here; if the URL contains one anyway, it is hidden as everywhere.
        let servers: Vec<&str> = self.servers.iter().map(|server| without_login(server)).collect();
        formatter
            .debug_struct("MemcachedOptions")
            .field("servers", &servers)
            .field("tls", &self.tls)
            .field("format", &self.format)
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .finish()
    }
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<&str> = self.servers.iter().map(|server| server.name.as_str()).collect();
        formatter
            .debug_struct("MemcachedStore")
            .field("servers", &servers)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
