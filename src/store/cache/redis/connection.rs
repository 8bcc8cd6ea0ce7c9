//! A self-healing connection to one Redis server or to a cluster.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_formats::private::hex;
#[cfg(feature = "redis-cluster")]
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use sha1::{Digest, Sha1};

use super::link::{Link, Server};
use super::node::{Access, Address};
use super::url::Target;
use super::{RedisOptions, Script};
use crate::site::boxed::boxed;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::tls::TlsMode;

/// The smallest `proto-max-bulk-len` that Redis takes, in bytes.
const SMALLEST_BULK_LIMIT: usize = 1 << 20;

/// One connection shared by all requests.
pub(super) struct Connection {
    kind: Kind,
    place: Place,
    /// Whether the server has `SET … IFEQ`, as Valkey since 8.1 and Redis since 8.4.
    has_conditional_set: AtomicBool,
    /// Whether the server has `DELIFEQ`, as Valkey since 9.0.
    has_conditional_delete: AtomicBool,
}

/// The server, as errors name it.
struct Place {
    address: String,
    timeout: Duration,
    is_cluster: bool,
    is_encrypted: bool,
}

impl Place {
    /// The scheme for a URL of the same server, or of another kind of it: `redis://` or `rediss+cluster://`.
    fn scheme(&self, kind: &str) -> String {
        format!("redis{}{kind}://", if self.is_encrypted { "s" } else { "" })
    }
}

enum Kind {
    Server(Link),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<super::cluster::Cluster>),
}

/// The command that deletes an entry with this value.
pub(super) fn delete_if_equal(name: &str, value: &[u8]) -> Cmd {
    let mut command = redis::cmd("DELIFEQ");
    command.arg(name).arg(value);
    command
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

    /// The command that runs it: `EVALSHA` by its hash, `EVAL` by its text.
    fn command(&self, name: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        let code = if name == "EVALSHA" { self.hash() } else { self.text };
        let parts = keys.iter().map(|key| key.len()).chain(arguments.iter().map(|argument| argument.len()));
        let count = 3 + keys.len() + arguments.len();
        let mut command = Cmd::with_capacity(count, 8 + code.len() + parts.sum::<usize>());
        command.arg(name).arg(code).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}

/// The failures of a call.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Redis(RedisError),
    /// Encryption failed: the address, and the reason.
    Tls(String),
    /// Already told in full.
    Explained(StoreErrorKind, String),
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
    /// share of the sessions. A script is run too: without scripts the first save would fail, and on a site
    /// that mostly reads that may be much later.
    pub(super) async fn open(options: &RedisOptions, names: [String; 2]) -> Result<Connection, StoreError> {
        let timeout = options.timeout;
        let access = options.access();
        let place = Place {
            address: options.target.shown(),
            timeout,
            is_cluster: matches!(options.target, Target::Cluster(_)),
            is_encrypted: access.tls.mode != TlsMode::Disable,
        };
        let kind = match &options.target {
            Target::Server(address) => {
                Ok(Kind::Server(Link::new(Server::Fixed(address.clone(), access.clone().into()), timeout)))
            }
            Target::Cluster(addresses) => open_cluster(addresses, access.clone(), timeout),
            Target::Sentinels(addresses, service) => {
                primary(addresses, service, options).map(|server| Kind::Server(Link::new(server, timeout)))
            }
        };
        let kind = kind.map_err(|failure| failure.explain_at(&place))?;
        let connection = Connection {
            kind,
            place,
            has_conditional_set: AtomicBool::new(false),
            has_conditional_delete: AtomicBool::new(false),
        };
        let mut command = redis::cmd(if connection.is_cluster() { "PING" } else { "EXISTS" });
        if !connection.is_cluster() {
            command.arg(&names);
        }
        let [name, _] = &names;
        let opened = async {
            connection.query(&command).await?;
            // By its text first: the server may know it by its hash from another user.
            connection.query(&super::LOAD_WITH_AGE.command("EVAL", &[name], &[])).await?;
            connection.run_script(&super::LOAD_WITH_AGE, &[name], &[]).await?;
            connection.look_for_conditional_commands(name).await;
            Ok(())
        };
        match (opened.await, &options.target) {
            (Ok(()), _) => Ok(connection),
            (Err(failure), Target::Server(address))
                if failure.may_be_a_sentinels() && is_sentinel(address, &access, timeout).await =>
            {
                Err(Failure::Sentinel.explain(&connection))
            }
            // A server that speaks no TLS waits for the end of a command in its own protocol.
            (Err(Failure::TimedOut), _) if connection.place.is_encrypted => {
                let Place { address, timeout, .. } = &connection.place;
                let message = format!(
                    "{address} did not answer within {} seconds; does it speak TLS at this port?",
                    timeout.as_secs_f32()
                );
                Err(Failure::Explained(StoreErrorKind::Unavailable, message).explain(&connection))
            }
            (Err(failure), _) => Err(failure.explain(&connection)),
        }
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

    /// Tries them on an entry that is not there, where they must do nothing.
    async fn look_for_conditional_commands(&self, name: &str) {
        let mut command = redis::cmd("SET");
        command.arg(name).arg("").arg("IFEQ").arg("").arg("PX").arg(1);
        let has = matches!(self.query(&command).await, Ok(Value::Nil));
        self.has_conditional_set.store(has, Ordering::Relaxed);
        let has = has && matches!(self.query(&delete_if_equal(name, b"")).await, Ok(Value::Int(0)));
        self.has_conditional_delete.store(has, Ordering::Relaxed);
    }

    pub(super) fn has_conditional_set(&self) -> bool {
        self.has_conditional_set.load(Ordering::Relaxed)
    }

    pub(super) fn has_conditional_delete(&self) -> bool {
        self.has_conditional_delete.load(Ordering::Relaxed)
    }

    /// Notes that an older server has taken over.
    pub(super) fn lacks_conditional_commands(&self) {
        self.has_conditional_set.store(false, Ordering::Relaxed);
        self.has_conditional_delete.store(false, Ordering::Relaxed);
    }

    pub(super) fn query(&self, command: &Cmd) -> impl Future<Output = Result<Value, Failure>> {
        self.send(command, false)
    }

    /// [`query`](Connection::query) for repeatable commands: retried once when the connection was lost.
    pub(super) fn query_again(&self, command: &Cmd) -> impl Future<Output = Result<Value, Failure>> {
        self.send(command, true)
    }

    async fn send(&self, command: &Cmd, repeatable: bool) -> Result<Value, Failure> {
        match self.reply(command, repeatable).await {
            Err(failure) if failure.is_lost() && Box::pin(self.refuses_length_of(command)).await => {
                Err(Failure::Explained(StoreErrorKind::Refused, too_long(&self.place.address)))
            }
            reply => reply,
        }
    }

    /// Whether the server closed the connection because of a command's length. It says why first, but a driver that is
    /// still writing may find the connection closed before it reads that.
    async fn refuses_length_of(&self, command: &Cmd) -> bool {
        let length = |argument: Arg<&[u8]>| match argument {
            Arg::Simple(argument) => argument.len(),
            _ => 0,
        };
        let Some(length) =
            command.args_iter().map(length).max().filter(|length| *length > SMALLEST_BULK_LIMIT)
        else {
            return false;
        };
        // The server may be gone altogether: then the first error is told without waiting on each primary for long.
        match tokio::time::timeout(self.place.timeout, self.smallest_length_limit()).await {
            Ok(limit) => limit.is_some_and(|limit| length > limit),
            Err(_) => false,
        }
    }

    /// The smallest `proto-max-bulk-len` of the primaries, in bytes; `None` for a user who may not ask.
    async fn smallest_length_limit(&self) -> Option<usize> {
        let mut question = redis::cmd("CONFIG");
        question.arg("GET").arg("proto-max-bulk-len");
        let mut limits = Vec::new();
        for server in self.primaries().await.ok()? {
            let reply = self.query_at(server.as_deref(), question.clone()).await.ok()?;
            limits.extend(redis::from_redis_value::<HashMap<String, usize>>(reply).ok()?.into_values());
        }
        limits.into_iter().min()
    }

    async fn reply(&self, command: &Cmd, repeatable: bool) -> Result<Value, Failure> {
        match &self.kind {
            Kind::Server(link) => link.query(command, repeatable).await,
            #[cfg(feature = "redis-cluster")]
            Kind::Cluster(cluster) => Box::pin(self.reply_of_cluster(cluster, command, repeatable)).await,
        }
    }

    #[cfg(feature = "redis-cluster")]
    async fn reply_of_cluster(
        &self,
        cluster: &super::cluster::Cluster,
        command: &Cmd,
        repeatable: bool,
    ) -> Result<Value, Failure> {
        let mut connection = cluster.connection().await?;
        let mut query = async || self.within(command.query_async(&mut connection)).await;
        let reply = match query().await {
            Err(failure) if repeatable && failure.is_lost() => query().await,
            reply => reply,
        };
        reply.map_err(|failure| cluster.cause(failure))
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
            _ => self.reply(&command, true).await,
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
        boxed(|| self.run_script(script.code, script.keys, &arguments)).await
    }

    /// Runs a script with other arguments.
    pub(super) async fn run_script(
        &self,
        code: &Code,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Value, Failure> {
        match self.query(&code.command("EVALSHA", keys, arguments)).await {
            Err(Failure::Redis(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                Box::pin(self.query(&code.command("EVAL", keys, arguments))).await
            }
            reply => reply,
        }
    }
}

/// Whether a sentinel is at this address. It may refuse the password and the database of the server it
/// watches.
async fn is_sentinel(address: &Address, access: &Access, timeout: Duration) -> bool {
    let server = Server::Fixed(address.clone(), access.anonymous().into());
    let mut command = redis::cmd("INFO");
    command.arg("server");
    let info = Link::new(server, timeout).query(&command, false).await;
    // Valkey names the field `server_mode`.
    info.ok().and_then(|info| redis::from_redis_value::<String>(info).ok()).is_some_and(|info| {
        info.lines().any(|line| matches!(line.trim_end(), "redis_mode:sentinel" | "server_mode:sentinel"))
    })
}

/// The commands that a store sends, for the ACL of its user. The hash commands are the index of user sessions'.
const COMMANDS: &str = "+ping +select +exists +get +pexpire +pttl +set +del +scan +eval +evalsha +hget +hset +hdel \
                        +hexists +hgetall, in a cluster +cluster|slots, and behind sentinels +role";

fn is_unknown_command(detail: &str) -> bool {
    detail.contains("unknown command")
}

/// Whether this is the answer to `CLUSTER` of a server without a cluster, or of a sentinel.
fn is_no_cluster(detail: &str) -> bool {
    detail.contains("cluster support disabled") || is_unknown_command(detail)
}

#[cfg(feature = "redis-cluster")]
fn open_cluster(addresses: &[Address], access: Access, timeout: Duration) -> Result<Kind, Failure> {
    Ok(Kind::Cluster(super::cluster::Cluster::new(addresses, access, timeout)?.into()))
}

#[cfg(not(feature = "redis-cluster"))]
fn open_cluster(_addresses: &[Address], _access: Access, _timeout: Duration) -> Result<Kind, Failure> {
    Err(Failure::lacks("Redis Cluster", "redis-cluster"))
}

#[cfg(feature = "redis-sentinel")]
fn primary(addresses: &[Address], service: &str, options: &RedisOptions) -> Result<Server, Failure> {
    Ok(Server::Primary(Box::new(super::sentinel::Sentinels {
        addresses: addresses.to_vec(),
        service: service.to_owned(),
        access: options.access_to_sentinels(),
        primary: options.access(),
        // Leaves time for the primary.
        timeout: options.timeout / 2,
    })))
}

#[cfg(not(feature = "redis-sentinel"))]
fn primary(_addresses: &[Address], _service: &str, _options: &RedisOptions) -> Result<Server, Failure> {
    Err(Failure::lacks("Redis Sentinel", "redis-sentinel"))
}

impl Failure {
    #[cfg(not(all(feature = "redis-cluster", feature = "redis-sentinel")))]
    fn lacks(what: &str, feature: &str) -> Failure {
        let message =
            format!("{what} is not compiled in; add the feature `{feature}` to cloakroom in Cargo.toml");
        Failure::Explained(StoreErrorKind::Misconfigured, message)
    }

    /// Whether somebody must correct it: it does not pass by itself.
    #[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
    pub(super) fn is_final(&self) -> bool {
        match self {
            Failure::Tls(_) | Failure::Explained(StoreErrorKind::Misconfigured, _) => true,
            _ => self.is_refused_login(),
        }
    }

    /// Whether the server refuses the user, the password, or the command to this user.
    pub(super) fn is_refused_login(&self) -> bool {
        let Failure::Redis(error) = self else { return false };
        matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm))
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
            || error.detail().is_some_and(is_refused_command)
    }

    /// Whether the server does not know a command's option.
    pub(super) fn is_unknown_option(&self) -> bool {
        matches!(self, Failure::Redis(error) if error.detail().is_some_and(|detail| detail.contains("syntax error")))
    }

    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self, Failure::Redis(error) if error.detail().is_some_and(is_unknown_command))
    }

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
            Failure::Tls(_)
            | Failure::Explained(..)
            | Failure::TimedOut
            | Failure::Unexpected
            | Failure::Sentinel => true,
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
        let Place { address, timeout, is_cluster, .. } = place;
        let (kind, message) = match &self {
            Failure::TimedOut => {
                (Unavailable, format!("{address} did not answer within {} seconds", timeout.as_secs_f32()))
            }
            Failure::Unexpected => (Unavailable, format!("{address} gave an unexpected answer")),
            Failure::Tls(reason) => (Misconfigured, reason.clone()),
            Failure::Explained(kind, message) => (*kind, message.clone()),
            Failure::Sentinel => (
                Misconfigured,
                format!(
                    "{address} is a sentinel, which keeps no sessions; use \
                     {}[user:password@]{address}/SERVICE[/DATABASE] (feature `redis-sentinel`)",
                    place.scheme("+sentinel")
                ),
            ),
            failure if !is_cluster && failure.is_a_cluster_nodes() => (
                Misconfigured,
                format!(
                    "{address} is a node of a Redis Cluster and has only a part of the sessions; use \
                     {}[user:password@]{address} (feature `redis-cluster`)",
                    place.scheme("+cluster")
                ),
            ),
            Failure::Redis(error) if *is_cluster && error.detail().is_some_and(is_no_cluster) => (
                Misconfigured,
                format!(
                    "{address} is a single Redis server and not a cluster; use {}{address}",
                    place.scheme("")
                ),
            ),
            failure @ Failure::Redis(error) => match (error.kind(), error.code()) {
                _ if failure.is_refused_login() => (Misconfigured, refused(address, error)),
                _ if error.detail().is_some_and(|detail| detail.contains("DB index is out of range")) => (
                    Misconfigured,
                    format!("{address} has no database of this number; check the URL's path, or its `db`"),
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
                _ if error.detail().is_some_and(|detail| detail.contains("invalid bulk length")) => {
                    (Refused, too_long(address))
                }
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

fn too_long(address: &str) -> String {
    format!(
        "the session is longer than the proto-max-bulk-len of {address}; nothing was written. Keep less in it, or raise \
         that limit"
    )
}

/// Whether a script may not do something for its user. Redis 7 gives it no code of its own.
fn is_refused_to_script(detail: &str) -> bool {
    detail.contains("The user executing the script can't")
}

/// Whether this is such an answer. While connecting the driver passes no more than its text on.
fn is_refused_command(detail: &str) -> bool {
    detail.contains("no permissions to") || is_refused_to_script(detail)
}

/// The message for a user that may not log in, or not do what a store does. Redis names the command.
fn refused(address: &str, error: &RedisError) -> String {
    let detail = error.detail().unwrap_or_default();
    let is_command = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.code() == Some("NOPERM")
        || is_refused_command(detail);
    if !is_command {
        return format!("{address} refuses this user; check the URL's user and password, and the user's ACL");
    }
    let what = match detail.split('\'').nth(1) {
        _ if detail.contains("access") && detail.contains("key") => {
            "the sessions' keys; its ACL must allow the keys that begin with the site's KEY_PREFIX, and"
                .to_owned()
        }
        _ if is_refused_to_script(detail) => "a command of a script; its ACL must allow".to_owned(),
        Some(command) => format!("the command `{command}`; its ACL must allow"),
        None => "a command; its ACL must allow".to_owned(),
    };
    format!("{address} refuses this user {what} {COMMANDS}")
}
