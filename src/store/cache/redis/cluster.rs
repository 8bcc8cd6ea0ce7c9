//! The connection to a cluster. The driver's task ends with the Tokio runtime on which it was created, so
//! each runtime has its own.

use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;

use super::connection::Failure;
use crate::store::per_runtime::PerRuntime;

pub(super) struct Cluster {
    client: ClusterClient,
    connections: PerRuntime<Option<ClusterConnection>>,
    timeout: Duration,
}

impl Cluster {
    /// Connects on first use.
    pub(super) fn new(hosts: &str, timeout: Duration) -> redis::RedisResult<Cluster> {
        Ok(Cluster { client: client(hosts, timeout)?, connections: PerRuntime::new(), timeout })
    }

    /// Returns the current runtime's connection. If several requests create one concurrently, the last one is
    /// kept.
    pub(super) async fn connection(&self) -> Result<ClusterConnection, Failure> {
        if let Some(connection) = self.connections.with(|| None, |connection| connection.clone()) {
            return Ok(connection);
        }
        let connecting = tokio::time::timeout(self.timeout, self.client.get_async_connection());
        let connection = connecting.await.map_err(|_| Failure::TimedOut)??;
        self.connections.with(|| None, |kept| *kept = Some(connection.clone()));
        Ok(connection)
    }
}

/// Creates the client from the text after `redis+cluster://`: `[user:password@]host:port,host2:port`.
pub(super) fn client(hosts: &str, timeout: Duration) -> redis::RedisResult<ClusterClient> {
    let (login, hosts) = hosts.rsplit_once('@').map_or(("", hosts), |(login, hosts)| (login, hosts));
    let login = if login.is_empty() { String::new() } else { format!("{login}@") };
    let hosts = hosts.trim_end_matches('/').split(',').map(|host| format!("redis://{login}{host}"));
    ClusterClient::builder(hosts)
        // Leaves time to ask another node after one that does not answer.
        .connection_timeout(timeout / 4)
        .response_timeout(timeout / 2)
        .retries(8)
        .min_retry_wait(20)
        .max_retry_wait(300)
        .build()
}
