//! The connection to one server, on which the commands of all requests are pipelined. It is reopened when it
//! breaks, and dropped when a request waits on it in vain: behind a firewall that has forgotten it, or a
//! hanging proxy, a connection does not break for a quarter of an hour.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connection::Failure;
use super::node::{Access, Address};
use super::wire::Wire;
use crate::store::per_runtime::PerRuntime;

/// How long a server may take to restart while requests wait for it.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];

/// After this idle time the server or a proxy may have closed the connection: `timeout` counts in seconds.
/// That shows only after sending, and then it is unknown whether a write was carried out.
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
    open: Option<Arc<Wire>>,
    last_used: Instant,
}

struct Connector {
    server: Server,
    /// The last attempt's failure.
    failed: Option<Failure>,
}

/// How to find the server.
pub(super) enum Server {
    Fixed(Address, Box<Access>),
    #[cfg(feature = "redis-sentinel")]
    Primary(Box<super::sentinel::Sentinels>),
}

impl Link {
    /// Connects on first use.
    pub(super) fn new(server: Server, timeout: Duration) -> Link {
        let may_move = !matches!(server, Server::Fixed(..));
        let connector = Connector { server, failed: None }.into();
        Link { current: PerRuntime::new(), connector, attempts: AtomicU64::new(0), may_move, timeout }
    }

    /// Returns the reply, within the time limit. A repeatable command is sent again when the connection was
    /// lost. Before any other command, an idle connection is checked.
    pub(super) async fn query(&self, command: &Cmd, repeatable: bool) -> Result<Value, Failure> {
        let end = Instant::now() + self.timeout;
        if self.has_rested() && !repeatable {
            // If it does not answer, it is dropped, and the command uses a new one.
            let _ = Box::pin(self.query_once(&redis::cmd("PING"), end)).await;
        }
        match self.query_once(command, end).await {
            // A replica executed nothing.
            Err(failure) if failure.is_replica() || repeatable && failure.is_lost() => {
                Box::pin(self.query_once(command, end)).await
            }
            reply => reply,
        }
    }

    async fn query_once(&self, command: &Cmd, end: Instant) -> Result<Value, Failure> {
        let wire = match self.current() {
            Some(wire) => wire,
            None => Box::pin(timeout_at(end, self.open())).await.map_err(|_| Failure::TimedOut)??,
        };
        // Leaves time to find another server.
        let end = if self.may_move { end.min(Instant::now() + self.timeout / 2) } else { end };
        let reply = match timeout_at(end, wire.send(command)).await {
            Ok(reply) => reply.and_then(Value::extract_error).map_err(Failure::Redis),
            Err(_) => Err(Failure::TimedOut),
        };
        if reply.as_ref().is_err_and(|failure| failure.spoils_connection()) {
            self.give_up(&wire);
        }
        reply
    }

    async fn open(&self) -> Result<Arc<Wire>, Failure> {
        let before = self.attempts.load(Ordering::Relaxed);
        let mut connector = self.connector.lock().await;
        // Another request may have connected, or tried to, while this one waited.
        if let Some(wire) = self.current() {
            return Ok(wire);
        }
        if self.attempts.load(Ordering::Relaxed) != before
            && let Some(failure) = &connector.failed
        {
            return Err(failure.clone());
        }
        // Its type is nested too deeply for the compiler; connecting is rare, so boxing costs little.
        let connecting: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(connector.server.connect_patiently());
        // Requests that wait for it then have a little time left, and need not try again.
        let connected = timeout(self.timeout * 9 / 10, connecting).await;
        let connected = connected.map_err(|_| Failure::TimedOut).flatten().map(Arc::new);
        self.attempts.fetch_add(1, Ordering::Relaxed);
        connector.failed = connected.as_ref().err().cloned();
        self.of_this_runtime(|current| current.open = connected.as_ref().ok().cloned());
        connected
    }

    fn current(&self) -> Option<Arc<Wire>> {
        self.of_this_runtime(|current| current.open.as_ref().filter(|wire| !wire.has_ended()).cloned())
    }

    /// Whether there is a connection that has been idle for a while.
    fn has_rested(&self) -> bool {
        self.of_this_runtime(|current| {
            let rest = std::mem::replace(&mut current.last_used, Instant::now()).elapsed();
            current.open.is_some() && rest >= RESTED
        })
    }

    fn of_this_runtime<R>(&self, take: impl FnOnce(&mut Current) -> R) -> R {
        self.current.with(|| Current { open: None, last_used: Instant::now() }, take)
    }

    /// Leaves the connection to the requests in progress on it: later ones get a new one.
    fn give_up(&self, wire: &Arc<Wire>) {
        let is_this = |current: &mut Arc<Wire>| Arc::ptr_eq(current, wire);
        self.of_this_runtime(|current| current.open.take_if(is_this));
    }
}

impl Server {
    async fn connect_patiently(&self) -> Result<Wire, Failure> {
        for pause in PAUSES {
            match self.connect().await {
                Err(Failure::Redis(error)) if error.is_io_error() => sleep(pause).await,
                connected => return connected,
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<Wire, Failure> {
        match self {
            Server::Fixed(address, access) => access.connect(address).await,
            #[cfg(feature = "redis-sentinel")]
            Server::Primary(sentinels) => sentinels.connect().await,
        }
    }
}
