//! A self-healing connection to one Redis server or to a cluster.

use std::sync::OnceLock;
use std::time::Duration;

use cloakroom_formats::private::hex;
#[cfg(feature = "redis-cluster")]
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind, Value};
use sha1::{Digest, Sha1};

use super::link::{Link, Server};
use super::{RedisOptions, Script};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::url::{StoreScheme, StoreUrl};

/// One connection shared by all requests.
pub(super) struct Connection {
    kind: Kind,
    place: Place,
}

/// The server, as errors name it.
struct Place {
    address: String,
    timeout: Duration,
    is_cluster: bool,
}

impl Place {
    fn of(url: &StoreUrl, timeout: Duration) -> Place {
        let is_cluster = url.scheme() == Some(StoreScheme::RedisCluster);
        Place { address: url.hosts(), timeout, is_cluster }
    }
}

enum Kind {
    Server(Link),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<super::cluster::Cluster>),
}

/// A Lua script for Redis.
pub(super) struct Code {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Code {
    pub(super) const fn new(text: &'static str) -> Code {
        Code { text, hash: OnceLock::new() }
    }

    /// The name by which a server knows a script that it has run before.
    fn hash(&self) -> &str {
        self.hash.get_or_init(|| hex(&Sha1::digest(self.text)))
    }
}

/// The failures of a call.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Redis(RedisError),
    /// Encryption failed, for this reason.
    Tls(String),
    TimedOut,
    Unexpected,
    /// The server is a sentinel, which keeps no data.
    Sentinel,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Failure::Redis(error)
    }
}

impl Connection {
    /// Connects, and requests the entries with these names, which are on two nodes of a cluster. A cluster
    /// node mistaken for a single server would answer a `PING`, and then list, count and end only its own
    /// share of the sessions.
    pub(super) async fn open(
        url: &StoreUrl,
        options: &RedisOptions,
        names: [String; 2],
    ) -> Result<Connection, StoreError> {
        let timeout = options.timeout;
        let place = Place::of(url, timeout);
        let kind = async {
            let server = match url.scheme() {
                Some(StoreScheme::RedisCluster) => return open_cluster(url.address(), timeout).await,
                Some(StoreScheme::RedisSentinel) => primary(url.address())?,
                Some(StoreScheme::RedisTls) => encrypted(url.address(), options)?,
                _ => Server::Fixed(url.expose().into_connection_info()?.into()),
            };
            Ok(Kind::Server(Link::new(server, timeout)))
        };
        let opened = tokio::time::timeout(timeout, kind).await.unwrap_or(Err(Failure::TimedOut));
        let kind = opened.map_err(|failure| failure.explain_at(&place))?;
        let connection = Connection { kind, place };
        let mut command = redis::cmd(if connection.is_cluster() { "PING" } else { "EXISTS" });
        if !connection.is_cluster() {
            command.arg(&names);
        }
        match connection.query(&command).await {
            Ok(_) => Ok(connection),
            Err(failure) if failure.may_be_a_sentinels() && is_sentinel(url.expose(), timeout).await => {
                Err(Failure::Sentinel.explain(&connection))
            }
            Err(failure) => Err(failure.explain(&connection)),
        }
    }

    /// Checks the URL, without connecting.
    #[cfg(feature = "fuzzing")]
    pub(super) fn check(url: &StoreUrl, timeout: Duration) -> Result<(), StoreError> {
        let parsed = match url.scheme() {
            #[cfg(feature = "redis-cluster")]
            Some(StoreScheme::RedisCluster) => {
                super::cluster::client(url.address(), timeout).map(drop).map_err(Failure::from)
            }
            Some(StoreScheme::RedisSentinel) => primary(url.address()).map(drop),
            Some(StoreScheme::RedisTls) => place_of(url.address()).map(drop),
            _ => redis::Client::open(url.expose()).map(drop).map_err(Failure::from),
        };
        parsed.map_err(|failure| failure.explain_at(&Place::of(url, timeout)))
    }

    pub(super) fn address(&self) -> &str {
        &self.place.address
    }

    pub(super) fn is_cluster(&self) -> bool {
        match &self.kind {
            #[cfg(feature = "redis-cluster")]
            Kind::Cluster(_) => true,
            _ => false,
        }
    }

    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, Failure> {
        self.send(command, false).await
    }

    /// [`query`](Connection::query) for repeatable commands: retried once when the connection was lost.
    pub(super) async fn query_again(&self, command: &Cmd) -> Result<Value, Failure> {
        self.send(command, true).await
    }

    async fn send(&self, command: &Cmd, repeatable: bool) -> Result<Value, Failure> {
        match &self.kind {
            Kind::Server(link) => link.query(command, repeatable).await,
            #[cfg(feature = "redis-cluster")]
            Kind::Cluster(cluster) => {
                let mut connection = cluster.connection().await?;
                let mut query = async || self.within(command.query_async(&mut connection)).await;
                match query().await {
                    Err(failure) if repeatable && failure.is_lost() => query().await,
                    reply => reply,
                }
            }
        }
    }

    /// The servers for [`query_at`](Connection::query_at), which together have all entries.
    pub(super) async fn primaries(&self) -> Result<Vec<Option<String>>, Failure> {
        match &self.kind {
            #[cfg(feature = "redis-cluster")]
            Kind::Cluster(cluster) => {
                let mut connection = cluster.connection().await?;
                let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let reply = connection.route_command(redis::cmd("PING"), all);
                let Value::Map(replies) = self.within(reply).await? else { return Err(Failure::Unexpected) };
                let address = |(address, _)| match address {
                    Value::BulkString(address) => String::from_utf8(address).ok(),
                    Value::SimpleString(address) => Some(address),
                    _ => None,
                };
                Ok(replies.into_iter().map(address).collect())
            }
            _ => Ok(vec![None]),
        }
    }

    /// [`query`](Connection::query) at one of the [`primaries`](Connection::primaries).
    pub(super) async fn query_at(&self, server: Option<&str>, command: Cmd) -> Result<Value, Failure> {
        match (&self.kind, server.and_then(|server| server.rsplit_once(':'))) {
            #[cfg(feature = "redis-cluster")]
            (Kind::Cluster(cluster), Some((host, port))) => {
                let mut connection = cluster.connection().await?;
                let port = port.parse().map_err(|_| Failure::Unexpected)?;
                let address = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
                self.within(connection.route_command(command, RoutingInfo::SingleNode(address))).await
            }
            _ => self.query_again(&command).await,
        }
    }

    /// Waits for the reply, within the time limit.
    #[cfg(feature = "redis-cluster")]
    async fn within(&self, reply: impl Future<Output = redis::RedisResult<Value>>) -> Result<Value, Failure> {
        match tokio::time::timeout(self.place.timeout, reply).await {
            Ok(reply) => Ok(reply?),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Runs a script by its hash, or by its text if the server has not seen it since its start.
    pub(super) async fn script(&self, script: &Script<'_>) -> Result<Value, Failure> {
        let milliseconds = script.entry.milliseconds.to_string();
        let expected: &[u8] = if script.expected.is_some() { b"1" } else { b"0" };
        let arguments = [
            expected,
            script.expected.unwrap_or_default(),
            script.entry.value.as_slice(),
            milliseconds.as_bytes(),
        ];
        self.run_script(script.code, script.keys, &arguments).await
    }

    /// Runs a script with other arguments.
    pub(super) async fn run_script(
        &self,
        code: &Code,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Value, Failure> {
        let command = |name: &str, code: &str| {
            let parts =
                keys.iter().map(|key| key.len()).chain(arguments.iter().map(|argument| argument.len()));
            let count = 3 + keys.len() + arguments.len();
            let mut command = Cmd::with_capacity(count, 8 + code.len() + parts.sum::<usize>());
            command.arg(name).arg(code).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        match self.query(&command("EVALSHA", code.hash())).await {
            Err(Failure::Redis(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.query(&command("EVAL", code.text)).await
            }
            reply => reply,
        }
    }
}

/// Whether a sentinel is at this address. It may refuse the password and the database of the server it
/// watches.
async fn is_sentinel(url: &str, timeout: Duration) -> bool {
    let Ok(place) = url.into_connection_info() else { return false };
    let place = place.set_redis_settings(redis::RedisConnectionInfo::default());
    let mut command = redis::cmd("INFO");
    command.arg("server");
    let info = Link::new(Server::Fixed(place.into()), timeout).query(&command, false).await;
    // Valkey names the field `server_mode`.
    info.ok().and_then(|info| redis::from_redis_value::<String>(info).ok()).is_some_and(|info| {
        info.lines().any(|line| matches!(line.trim_end(), "redis_mode:sentinel" | "server_mode:sentinel"))
    })
}

fn is_unknown_command(detail: &str) -> bool {
    detail.contains("unknown command")
}

/// Whether this is the answer to `CLUSTER` of a server without a cluster, or of a sentinel.
fn is_no_cluster(detail: &str) -> bool {
    detail.contains("cluster support disabled") || is_unknown_command(detail)
}

#[cfg(feature = "redis-cluster")]
async fn open_cluster(hosts: &str, timeout: Duration) -> Result<Kind, Failure> {
    Ok(Kind::Cluster(super::cluster::Cluster::new(hosts, timeout)?.into()))
}

#[cfg(not(feature = "redis-cluster"))]
async fn open_cluster(_hosts: &str, _timeout: Duration) -> Result<Kind, Failure> {
    let message = "Redis Cluster needs the feature `redis-cluster`";
    Err(Failure::Redis((ErrorKind::InvalidClientConfig, message).into()))
}

/// Parses the server's address from `rediss://` and the rest of the URL.
#[cfg(any(feature = "redis-tls", feature = "fuzzing"))]
fn place_of(rest: &str) -> Result<Box<redis::ConnectionInfo>, Failure> {
    Ok(format!("redis://{rest}").into_connection_info()?.into())
}

#[cfg(feature = "redis-tls")]
fn encrypted(rest: &str, options: &RedisOptions) -> Result<Server, Failure> {
    Ok(Server::Encrypted(place_of(rest)?, options.root_certificates.clone()))
}

#[cfg(not(feature = "redis-tls"))]
fn encrypted(_rest: &str, _options: &RedisOptions) -> Result<Server, Failure> {
    Err(Failure::Tls("this build lacks it; add the feature `redis-tls`, or use redis://".to_owned()))
}

#[cfg(feature = "redis-sentinel")]
fn primary(sentinels: &str) -> Result<Server, Failure> {
    Ok(Server::Primary(super::sentinel::Sentinels::new(sentinels)?.into()))
}

#[cfg(not(feature = "redis-sentinel"))]
fn primary(_sentinels: &str) -> Result<Server, Failure> {
    let message = "Redis Sentinel needs the feature `redis-sentinel`";
    Err(Failure::Redis((ErrorKind::InvalidClientConfig, message).into()))
}

impl Failure {
    /// Whether the connection was lost before there was a reply.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Failure::Redis(error) if error.is_connection_dropped())
    }

    /// Whether the server has become a read-only replica.
    pub(super) fn is_replica(&self) -> bool {
        matches!(self, Failure::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
    }

    /// Whether the next request needs another connection. Two refusals by the server count: of the password,
    /// which a new connection sends again, and of a write, because another server may have taken over, even
    /// under the same DNS name.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Failure::Tls(_) | Failure::TimedOut | Failure::Unexpected | Failure::Sentinel => true,
            Failure::Redis(error) => match error.kind() {
                ErrorKind::Server(ServerErrorKind::ReadOnly) => true,
                ErrorKind::Server(_) | ErrorKind::Extension => {
                    matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
                }
                _ => true,
            },
        }
    }

    /// Whether this may be a sentinel's answer: it knows neither databases nor entries, and often no
    /// password.
    fn may_be_a_sentinels(&self) -> bool {
        let Failure::Redis(error) = self else { return false };
        error.kind() == ErrorKind::AuthenticationFailed || error.detail().is_some_and(is_unknown_command)
    }

    /// Whether only a node of a cluster gives this answer.
    fn is_a_cluster_nodes(&self) -> bool {
        use ServerErrorKind::{Ask, ClusterDown, CrossSlot, Moved};
        let Failure::Redis(error) = self else { return false };
        matches!(error.kind(), ErrorKind::Server(Moved | Ask | CrossSlot | ClusterDown))
            || error.detail().is_some_and(|detail| detail.contains("not allowed in cluster mode"))
    }

    /// The error for the caller: what is wrong, where, and what to do next.
    pub(super) fn explain(self, connection: &Connection) -> StoreError {
        self.explain_at(&connection.place)
    }

    fn explain_at(self, place: &Place) -> StoreError {
        use StoreErrorKind::{Misconfigured, Refused, Unavailable, Unreadable};
        let Place { address, timeout, is_cluster } = place;
        let (kind, message) = match &self {
            Failure::TimedOut => {
                (Unavailable, format!("{address} did not answer within {} seconds", timeout.as_secs_f32()))
            }
            Failure::Unexpected => {
                (Unavailable, format!("{address} gave an unexpected answer"))
            }
            Failure::Tls(reason) => (Misconfigured, format!("{address}: no TLS: {reason}")),
            Failure::Sentinel => (
                Misconfigured,
                format!(
                    "{address} is a sentinel, which keeps no sessions; use \
                     redis+sentinel://[user:password@]{address}/SERVICE[/DATABASE] (feature `redis-sentinel`)"
                ),
            ),
            failure if !is_cluster && failure.is_a_cluster_nodes() => (
                Misconfigured,
                format!(
                    "{address} is a node of a Redis Cluster and has only a part of the sessions; use \
                     redis+cluster://[user:password@]{address} (feature `redis-cluster`)"
                ),
            ),
            Failure::Redis(error) if *is_cluster && error.detail().is_some_and(is_no_cluster) => (
                Misconfigured,
                format!("{address} is a single Redis server and not a cluster; use redis://{address}"),
            ),
            Failure::Redis(error) => match (error.kind(), error.code()) {
                (ErrorKind::InvalidClientConfig, _) => (
                    Misconfigured,
                    "the URL is invalid; use redis://[user:password@]host[:port][/database], rediss:// for TLS, or \
                     redis+cluster://host1,host2 with the feature `redis-cluster`, or \
                     redis+sentinel://host1,host2/service[/database] with the feature `redis-sentinel`"
                        .to_owned(),
                ),
                (ErrorKind::AuthenticationFailed, _)
                | (ErrorKind::Server(ServerErrorKind::NoPerm), _)
                | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => (
                    Misconfigured,
                    format!(
                        "{address} refuses this user; check the URL's user and password, and the user's ACL"
                    ),
                ),
                (_, Some("WRONGTYPE")) => (
                    Unreadable,
                    format!("{address} has something else than a string there; it was left as it is"),
                ),
                (_, Some("OOM")) => (
                    Unavailable,
                    format!(
                        "{address} has no memory left; raise maxmemory, or set a maxmemory-policy that evicts"
                    ),
                ),
                _ if error.detail().is_some_and(|detail| detail.contains("invalid bulk length")) => (
                    Refused,
                    format!(
                        "the session is longer than the proto-max-bulk-len of {address}; nothing was written. Keep less \
                         in it, or raise that limit"
                    ),
                ),
                (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => (
                    Unavailable,
                    format!("{address} is a replica and takes no writes; connect to the primary"),
                ),
                _ => (Unavailable, format!("{address}: {}", error.category())),
            },
        };
        let store_error = StoreError::new("redis", kind, message);
        match self {
            Failure::Redis(source) => store_error.with_source(source),
            _ => store_error,
        }
    }
}
