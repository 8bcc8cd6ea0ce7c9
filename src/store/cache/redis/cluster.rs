//! The connection to a cluster. The driver's task ends with the Tokio runtime on which it was created, so
//! each runtime has its own.
//!
//! The driver finds the nodes, and has a static function connect to each, which is given an address and a
//! login and nothing else. Its own TLS would read the files once, and panics where an application has two of
//! rustls' cryptography providers and no default. So the nodes' connections are made here as all others are,
//! and the login is the number of a cluster's settings, under which that function finds them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike;
use redis::cluster::ClusterClient;
use redis::cluster_async::{ClusterConnection, Connect};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisError, RedisFuture, RedisResult, Value,
};

use super::connection::Failure;
use super::node::{Access, Address};
use super::wire::Wire;
use crate::site::lock::lock;
use crate::store::per_runtime::PerRuntime;

pub(super) struct Cluster {
    client: ClusterClient,
    connections: PerRuntime<Option<ClusterConnection<Node>>>,
    timeout: Duration,
    settings: Arc<Settings>,
}

impl Cluster {
    /// Connects on first use.
    pub(super) fn new(addresses: &[Address], access: Access, timeout: Duration) -> RedisResult<Cluster> {
        let settings = Settings::register(access, timeout);
        let client = client(addresses, settings.number, timeout)?;
        Ok(Cluster { client, connections: PerRuntime::new(), timeout, settings })
    }

    /// Returns the current runtime's connection. If several requests create one concurrently, the last one is
    /// kept.
    pub(super) async fn connection(&self) -> Result<ClusterConnection<Node>, Failure> {
        if let Some(connection) = self.connections.with(|| None, |connection| connection.clone()) {
            return Ok(connection);
        }
        let connecting = tokio::time::timeout(self.timeout, self.client.get_async_generic_connection());
        let connection: ClusterConnection<Node> = match connecting.await {
            Ok(connected) => connected.map_err(|error| self.cause(Failure::Redis(error)))?,
            Err(_) => return Err(self.cause(Failure::TimedOut)),
        };
        self.connections.with(|| None, |kept| *kept = Some(connection.clone()));
        Ok(connection)
    }

    /// Why a call failed: where a node cannot be connected to, the driver says only that there is none.
    pub(super) fn cause(&self, failure: Failure) -> Failure {
        let is_connecting = match &failure {
            Failure::Redis(error) => {
                error.is_io_error()
                    || error.is_connection_dropped()
                    || error.kind() == ErrorKind::ClusterConnectionNotFound
            }
            Failure::TimedOut => true,
            _ => false,
        };
        if !is_connecting {
            return failure;
        }
        // An older failure may be that of a node which has left the cluster since.
        let mut failed = lock(&self.settings.failed);
        failed.retain(|_, (_, when)| when.elapsed() < self.timeout * 2);
        failed.values().next().map_or(failure, |(cause, _)| cause.clone())
    }
}

/// How the connections to a cluster's nodes are made.
struct Settings {
    number: u64,
    access: Access,
    /// The limit of connecting to a node, which leaves time to ask another.
    timeout: Duration,
    /// Why nodes cannot be connected to, where that is known.
    failed: Mutex<HashMap<String, (Failure, Instant)>>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);
static ALL: LazyLock<Mutex<HashMap<u64, Weak<Settings>>>> = LazyLock::new(Mutex::default);

impl Settings {
    fn register(access: Access, timeout: Duration) -> Arc<Settings> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let settings = Arc::new(Settings { number, access, timeout: timeout / 4, failed: Mutex::default() });
        lock(&ALL).insert(number, Arc::downgrade(&settings));
        settings
    }

    /// Finds the settings of the cluster that this is a node of.
    fn of(info: &ConnectionInfo) -> Option<Arc<Settings>> {
        let number = info.redis_settings().username()?.parse().ok()?;
        lock(&ALL).get(&number).and_then(Weak::upgrade)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        lock(&ALL).remove(&self.number);
    }
}

/// The connection to a node.
#[derive(Clone)]
pub(super) struct Node {
    wire: Arc<Wire>,
    /// The limit of one reply, which leaves time to ask another node.
    timeout: Duration,
}

impl Node {
    async fn within<T>(&self, replies: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let replies = tokio::time::timeout(self.timeout, replies).await;
        replies.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }
}

impl Connect for Node {
    fn connect_with_config<'a, T>(info: T, _config: AsyncConnectionConfig) -> RedisFuture<'a, Node>
    where
        T: IntoConnectionInfo + Send + 'a,
    {
        Box::pin(async move {
            let info = info.into_connection_info()?;
            let (Some(settings), ConnectionAddr::Tcp(host, port)) = (Settings::of(&info), info.addr()) else {
                return Err((ErrorKind::Client, "the store of this cluster is closed").into());
            };
            let address = Address::Tcp(host.clone(), *port);
            let connecting = settings.access.connect(&address);
            let connected = tokio::time::timeout(settings.timeout, connecting).await;
            let connected = connected.unwrap_or(Err(Failure::TimedOut));
            let mut failed = lock(&settings.failed);
            failed.remove(&address.to_string());
            match connected {
                Ok(wire) => Ok(Node { wire: Arc::new(wire), timeout: settings.timeout * 2 }),
                Err(failure) => {
                    if failure.is_final() || matches!(failure, Failure::Explained(..)) {
                        failed.insert(address.to_string(), (failure.clone(), Instant::now()));
                    }
                    Err(failure.into())
                }
            }
        })
    }
}

/// For the driver's own eyes: what a store says comes from [`Cluster::cause`].
impl From<Failure> for RedisError {
    fn from(failure: Failure) -> RedisError {
        match failure {
            Failure::Redis(error) => error,
            Failure::TimedOut => std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
            Failure::Tls(reason) => std::io::Error::other(reason).into(),
            _ => (ErrorKind::Io, "no connection").into(),
        }
    }
}

impl ConnectionLike for Node {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.within(self.wire.send(command)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let replies = self.within(self.wire.send_all(pipeline.cmd_iter())).await?;
            Ok(replies.into_iter().skip(offset).take(count).collect())
        })
    }

    /// The driver's own commands are for the first database, the only one of a cluster.
    fn get_db(&self) -> i64 {
        0
    }
}

/// Creates the driver's client for the settings of this number.
fn client(addresses: &[Address], number: u64, timeout: Duration) -> RedisResult<ClusterClient> {
    let nodes = addresses.iter().filter_map(|address| match address {
        Address::Tcp(host, port) => Some((host.clone(), *port)),
        Address::Socket(_) => None,
    });
    ClusterClient::builder(nodes)
        .username(number.to_string())
        // Leaves time to ask another node after one that does not answer.
        .connection_timeout(timeout / 4)
        .response_timeout(timeout / 2)
        .retries(8)
        .min_retry_wait(20)
        .max_retry_wait(300)
        .build()
}
