//! The primary that Redis Sentinel names, asked for again whenever it may be another.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    Value,
};

/// A connection to whichever server is the primary.
pub(super) struct Primary {
    /// Held while the sentinels are asked, so that of many requests one asks.
    sentinels: tokio::sync::Mutex<SentinelClient>,
    current: Mutex<Option<Numbered>>,
    config: AsyncConnectionConfig,
}

#[derive(Clone)]
struct Numbered {
    connection: MultiplexedConnection,
    /// Tells a connection from the ones before it.
    number: u64,
}

impl Primary {
    /// What follows `redis+sentinel://`: `[user:password@]host:port,host2:port/service[/database]`.
    pub(super) fn new(url: &str, timeout: Duration) -> RedisResult<Primary> {
        let invalid = || RedisError::from((ErrorKind::InvalidClientConfig, "not a URL of sentinels"));
        let (login, rest) = url.rsplit_once('@').unwrap_or(("", url));
        let (hosts, service) = rest.split_once('/').ok_or_else(invalid)?;
        let (service, database) = service.split_once('/').unwrap_or((service, ""));
        if service.is_empty() {
            return Err(invalid());
        }
        // The login and the database are those of the server, whose address the sentinels will tell.
        let at = if login.is_empty() { "" } else { "@" };
        let server = format!("redis://{login}{at}sentinel/{database}").into_connection_info()?;
        let server =
            SentinelNodeConnectionInfo::default().set_redis_connection_info(server.redis_settings().clone());
        let sentinels = hosts.split(',').map(|host| match host.rsplit_once(':') {
            Some(_) => format!("redis://{host}"),
            None => format!("redis://{host}:26379"),
        });
        let kind = SentinelServerType::Master;
        let sentinels = SentinelClient::build(sentinels.collect(), service.to_owned(), Some(server), kind)?;
        // Within the time of one call there is time to find out that a server is gone, and to ask for another.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout / 4))
            .set_response_timeout(Some(timeout / 2));
        Ok(Primary { sentinels: sentinels.into(), current: Mutex::default(), config })
    }

    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        match self.query_once(command).await {
            // It became a replica, and has not done anything.
            Err(error) if is_replica(&error) => self.query_once(command).await,
            reply => reply,
        }
    }

    async fn query_once(&self, command: &Cmd) -> RedisResult<Value> {
        let Numbered { mut connection, number } = self.connection().await?;
        let reply = command.query_async(&mut connection).await;
        if reply.as_ref().is_err_and(|error| error.is_io_error() || error.is_timeout() || is_replica(error)) {
            let mut current = self.current();
            if current.as_ref().is_some_and(|current| current.number == number) {
                *current = None;
            }
        }
        reply
    }

    async fn connection(&self) -> RedisResult<Numbered> {
        if let Some(numbered) = self.current().clone() {
            return Ok(numbered);
        }
        let mut sentinels = self.sentinels.lock().await;
        // Another request may have asked while this one waited.
        if let Some(numbered) = self.current().clone() {
            return Ok(numbered);
        }
        // Its type is nested deeper than the compiler likes; rare as it is, it may well be boxed.
        let asking: Pin<Box<dyn Future<Output = _> + Send + '_>> =
            Box::pin(sentinels.get_async_connection_with_config(&self.config));
        let connection = asking.await?;
        let numbered = Numbered { connection, number: NUMBER.fetch_add(1, Ordering::Relaxed) };
        *self.current() = Some(numbered.clone());
        Ok(numbered)
    }

    fn current(&self) -> MutexGuard<'_, Option<Numbered>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn is_replica(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
