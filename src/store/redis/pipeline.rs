//! The connection to one server. While replies are under way, the requests that arrive queue up, and are then written
//! together: one system call and one exchange for all of them. A request that is alone goes at once.
//!
//! It is made again when it breaks, and given up when it lets a request wait in vain: behind a firewall that has
//! forgotten it, or a proxy that hangs, a connection does not break for a quarter of an hour.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::connection::Failure;

/// How many requests are written together.
const MOST: usize = 128;

/// How long a server may need to start again, while requests wait for it.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];

/// Where the requests go in.
pub(super) struct Pipeline(mpsc::UnboundedSender<Request>);

struct Request {
    command: Cmd,
    waiting: Waiting,
}

/// Who waits for a reply.
struct Waiting {
    reply: oneshot::Sender<Result<Value, Failure>>,
    /// Whether the command may run twice.
    repeatable: bool,
}

/// Which server it is.
pub(super) enum Server {
    Fixed(Box<ConnectionInfo>),
    #[cfg(feature = "redis-sentinel")]
    Primary(Box<super::sentinel::Sentinels>),
}

impl Pipeline {
    /// Connects when there is work. No request should wait longer than the time limit.
    pub(super) fn new(server: Server, limit: Duration) -> Pipeline {
        let (requests, queue) = mpsc::unbounded_channel();
        tokio::spawn(serve(Link { server, limit, open: None }, queue));
        Pipeline(requests)
    }

    pub(super) async fn query(&self, command: Cmd, repeatable: bool) -> Result<Value, Failure> {
        let (reply, answer) = oneshot::channel();
        // When the task is gone the reply is dropped.
        let _ = self.0.send(Request { command, waiting: Waiting { reply, repeatable } });
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// Serves requests until the store is dropped.
async fn serve(mut link: Link, mut queue: mpsc::UnboundedReceiver<Request>) {
    let mut requests = Vec::new();
    while link.meanwhile(queue.recv_many(&mut requests, MOST)).await > 0 {
        // Who was cancelled asks for nothing.
        let wanted = requests.drain(..).filter(|request| !request.waiting.reply.is_closed());
        let repeat = link.exchange(Batch::of(wanted), true).await;
        link.exchange(repeat, false).await;
    }
}

/// What is sent together.
struct Batch {
    commands: redis::Pipeline,
    waiting: Vec<Waiting>,
}

impl Batch {
    fn of(requests: impl Iterator<Item = Request>) -> Batch {
        let mut batch = Batch { commands: redis::Pipeline::new(), waiting: Vec::new() };
        for Request { command, waiting } in requests {
            batch.commands.add_command(command);
            batch.waiting.push(waiting);
        }
        batch
    }

    /// Hands out the replies; keeps those whose command `repeats` may run once more.
    fn answer(
        self,
        replies: impl Iterator<Item = Result<Value, Failure>>,
        mut repeats: impl FnMut(&Waiting, &Failure) -> bool,
    ) -> Batch {
        let requests = self.commands.cmd_iter().zip(self.waiting).zip(replies);
        Batch::of(requests.filter_map(|((command, waiting), reply)| match reply {
            Err(failure) if repeats(&waiting, &failure) => {
                Some(Request { command: command.clone(), waiting })
            }
            reply => {
                // Nobody waits any more when the request was cancelled.
                let _ = waiting.reply.send(reply);
                None
            }
        }))
    }
}

struct Link {
    server: Server,
    limit: Duration,
    open: Option<Open>,
}

/// A connection, and what reads and writes on it while it is polled.
struct Open {
    connection: MultiplexedConnection,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Link {
    /// Waits for requests, and notices meanwhile that the server closes the connection.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Some(open) = &mut self.open {
            if let Some(done) = open.drive(work.as_mut()).await {
                return done;
            }
            self.open = None;
        }
        work.await
    }

    /// Sends all and answers each, but for what may be sent once more, if that is still allowed.
    async fn exchange(&mut self, batch: Batch, again: bool) -> Batch {
        let count = batch.waiting.len();
        if count == 0 {
            return batch;
        }
        match self.replies(&batch.commands, count).await {
            Ok(replies) => {
                let replies = replies.into_iter().map(|reply| reply.extract_error().map_err(Failure::Redis));
                let mut stays = true;
                let repeat = batch.answer(replies, |_, failure| {
                    // What became a replica has not done anything.
                    let moved = self.server.may_have_moved() && failure.is_replica();
                    stays &= !moved && !failure.refuses_user();
                    again && moved
                });
                if !stays {
                    self.open = None;
                }
                repeat
            }
            Err(failure) => {
                self.open = None;
                let replies = std::iter::repeat_n(Err(failure), count);
                batch.answer(replies, |waiting, failure| again && waiting.repeatable && failure.is_lost())
            }
        }
    }

    async fn replies(&mut self, commands: &redis::Pipeline, count: usize) -> Result<Vec<Value>, Failure> {
        let limit = self.limit;
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(connect(&mut self.server, limit).await?),
        };
        let mut connection = open.connection.clone();
        let exchange = pin!(connection.send_packed_commands(commands, 0, count));
        match timeout(limit, open.drive(exchange)).await {
            Ok(Some(Ok(replies))) if replies.len() == count => Ok(replies),
            Ok(Some(Ok(_))) => Err(Failure::Unexpected),
            Ok(Some(Err(error))) => Err(error.into()),
            Ok(None) => Err(lost()),
            Err(_) => Err(Failure::TimedOut),
        }
    }
}

impl Open {
    /// Does the work while the connection works; none when the connection ended before.
    async fn drive<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let ended = self.driver.as_mut().poll(context).is_ready();
            // It may just have read what the work waits for.
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if ended => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl Server {
    fn may_have_moved(&self) -> bool {
        !matches!(self, Server::Fixed(_))
    }

    async fn connect(&mut self) -> RedisResult<Open> {
        match self {
            Server::Fixed(place) => connect_to(place).await,
            #[cfg(feature = "redis-sentinel")]
            Server::Primary(sentinels) => connect_to(&sentinels.primary().await?).await,
        }
    }
}

async fn connect(server: &mut Server, limit: Duration) -> Result<Open, Failure> {
    let connected = async {
        for pause in PAUSES {
            match server.connect().await {
                Err(error) if error.is_io_error() => sleep(pause).await,
                connected => return connected,
            }
        }
        server.connect().await
    };
    Ok(timeout(limit, connected).await.map_err(|_| Failure::TimedOut)??)
}

async fn connect_to(place: &ConnectionInfo) -> RedisResult<Open> {
    match place.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            start(place, stream).await
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => start(place, tokio::net::UnixStream::connect(path).await?).await,
        _ => Err((ErrorKind::InvalidClientConfig, "neither TCP nor a Unix socket").into()),
    }
}

async fn start<S>(place: &ConnectionInfo, stream: S) -> RedisResult<Open>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The time limit is one for all that is sent together.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(place.redis_settings(), stream, config).await?;
    Ok(Open { connection, driver: Box::pin(driver) })
}

fn lost() -> Failure {
    Failure::Redis(RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe)))
}
