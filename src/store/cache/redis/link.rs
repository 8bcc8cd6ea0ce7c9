//! The connection to one server, on which the commands of all requests are written one behind the other. It is made
//! again when it breaks, and given up when it lets a request wait in vain: behind a firewall that has forgotten it, or a
//! proxy that hangs, a connection does not break for a quarter of an hour.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connection::Failure;
use crate::store::per_runtime::PerRuntime;

/// How long a server may need to start again, while requests wait for it.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];

/// After so long the server or a proxy may have closed the connection: `timeout` counts in seconds. That shows only when
/// something was sent, and then nobody knows whether a write was carried out.
const RESTED: Duration = Duration::from_millis(500);

pub(super) struct Link {
    current: PerRuntime<Current>,
    /// Held by the one request that connects for all.
    connector: tokio::sync::Mutex<Connector>,
    attempts: AtomicU64,
    /// Whether another server may have taken over.
    may_move: bool,
    timeout: Duration,
}

struct Current {
    open: Option<Open>,
    last_used: Instant,
}

struct Connector {
    server: Server,
    /// Why the last attempt failed.
    failed: Option<Failure>,
}

/// Which server it is.
pub(super) enum Server {
    Fixed(Box<ConnectionInfo>),
    /// Over TLS, with a file of certificates to trust.
    #[cfg(feature = "redis-tls")]
    Encrypted(Box<ConnectionInfo>, Option<std::path::PathBuf>),
    #[cfg(feature = "redis-sentinel")]
    Primary(Box<super::sentinel::Sentinels>),
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    /// What reads and writes; it ends with the connection.
    driver: Arc<Driver>,
}

struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects when there is work.
    pub(super) fn new(server: Server, timeout: Duration) -> Link {
        let may_move = !matches!(server, Server::Fixed(_));
        let connector = Connector { server, failed: None }.into();
        Link { current: PerRuntime::new(), connector, attempts: AtomicU64::new(0), may_move, timeout }
    }

    /// The reply, within the time limit. A repeatable command is sent once more when the connection was lost; before
    /// another, a connection that has rested is asked whether it still lives.
    pub(super) async fn query(&self, command: &Cmd, repeatable: bool) -> Result<Value, Failure> {
        let end = Instant::now() + self.timeout;
        if self.has_rested() && !repeatable {
            // Unless it answers, it is given up, and the command goes on a new one.
            let _ = self.query_once(&redis::cmd("PING"), end).await;
        }
        match self.query_once(command, end).await {
            Err(failure) if repeatable && failure.is_lost() => self.query_once(command, end).await,
            // It has not done anything.
            Err(failure) if failure.is_replica() => self.query_once(command, end).await,
            reply => reply,
        }
    }

    async fn query_once(&self, command: &Cmd, end: Instant) -> Result<Value, Failure> {
        let mut open = match self.current() {
            Some(open) => open,
            None => timeout_at(end, self.open()).await.map_err(|_| Failure::TimedOut)??,
        };
        // Whoever might find another server still has time for that.
        let end = if self.may_move { end.min(Instant::now() + self.timeout / 2) } else { end };
        let reply = match timeout_at(end, open.connection.send_packed_command(command)).await {
            Ok(reply) => reply.and_then(Value::extract_error).map_err(Failure::Redis),
            Err(_) => Err(Failure::TimedOut),
        };
        if reply.as_ref().is_err_and(|failure| failure.spoils_connection()) {
            self.give_up(&open);
        }
        reply
    }

    async fn open(&self) -> Result<Open, Failure> {
        let before = self.attempts.load(Ordering::Relaxed);
        let mut connector = self.connector.lock().await;
        // Another request may have connected while this one waited, or have tried to.
        if let Some(open) = self.current() {
            return Ok(open);
        }
        if self.attempts.load(Ordering::Relaxed) != before
            && let Some(failure) = &connector.failed
        {
            return Err(failure.clone());
        }
        // Its type is nested deeper than the compiler likes; rare as it is, it may well be boxed.
        let connecting: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(connector.server.connect_patiently());
        // Whoever waits for it has a little time left then, and need not try again.
        let connected = timeout(self.timeout * 9 / 10, connecting).await;
        let connected = connected.map_err(|_| Failure::TimedOut).flatten();
        self.attempts.fetch_add(1, Ordering::Relaxed);
        connector.failed = connected.as_ref().err().cloned();
        self.of_this_runtime(|current| current.open = connected.as_ref().ok().cloned());
        connected
    }

    fn current(&self) -> Option<Open> {
        self.of_this_runtime(|current| {
            current.open.as_ref().filter(|open| !open.driver.0.is_finished()).cloned()
        })
    }

    /// Whether there is a connection that nobody has used for a while.
    fn has_rested(&self) -> bool {
        self.of_this_runtime(|current| {
            let rest = std::mem::replace(&mut current.last_used, Instant::now()).elapsed();
            current.open.is_some() && rest >= RESTED
        })
    }

    fn of_this_runtime<R>(&self, take: impl FnOnce(&mut Current) -> R) -> R {
        self.current.with(|| Current { open: None, last_used: Instant::now() }, take)
    }

    /// Leaves the connection to the requests that are under way on it: the next ones get a new one.
    fn give_up(&self, open: &Open) {
        let is_this = |current: &mut Open| Arc::ptr_eq(&current.driver, &open.driver);
        self.of_this_runtime(|current| current.open.take_if(is_this));
    }
}

impl Server {
    async fn connect_patiently(&mut self) -> Result<Open, Failure> {
        for pause in PAUSES {
            match self.connect().await {
                Err(Failure::Redis(error)) if error.is_io_error() => sleep(pause).await,
                connected => return connected,
            }
        }
        self.connect().await
    }

    async fn connect(&mut self) -> Result<Open, Failure> {
        Ok(match self {
            Server::Fixed(place) => connect_to(place).await?,
            #[cfg(feature = "redis-tls")]
            Server::Encrypted(place, certificates) => {
                let stream = tcp(place.addr()).await?;
                start(place, super::tls::encrypt(stream, place.addr(), certificates.as_deref()).await?)
                    .await?
            }
            #[cfg(feature = "redis-sentinel")]
            Server::Primary(sentinels) => connect_to(&sentinels.primary().await?).await?,
        })
    }
}

async fn connect_to(place: &ConnectionInfo) -> RedisResult<Open> {
    match place.addr() {
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => start(place, tokio::net::UnixStream::connect(path).await?).await,
        address => start(place, tcp(address).await?).await,
    }
}

async fn tcp(address: &ConnectionAddr) -> RedisResult<TcpStream> {
    let ConnectionAddr::Tcp(host, port) = address else {
        return Err((ErrorKind::InvalidClientConfig, "neither TCP nor a Unix socket").into());
    };
    let stream = TcpStream::connect((host.as_str(), *port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn start<S>(place: &ConnectionInfo, stream: S) -> RedisResult<Open>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Time is limited here already.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(place.redis_settings(), stream, config).await?;
    let driver = Driver(tokio::spawn(driver).abort_handle());
    Ok(Open { connection, driver: Arc::new(driver) })
}
