//! One connection to a server, on which the commands of all requests are pipelined. Commands that come while a
//! write is under way, or while others wait for replies, go out together with the next write, and one read brings
//! the replies to all that wait.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::reply::ReplyBuffer;
use crate::site::lock::lock;

/// The written buffer's size above which it is not kept for later commands.
const KEPT_CAPACITY: usize = 64 << 10;

/// An open connection. Its task ends when it is dropped.
pub(super) struct Wire {
    queue: Arc<Mutex<Queue>>,
    task: AbortHandle,
}

/// The commands in progress.
#[derive(Default)]
struct Queue {
    /// Commands that wait to be written.
    commands: Vec<u8>,
    /// Where the replies go, in the order of the commands.
    waiting: VecDeque<oneshot::Sender<RedisResult<Value>>>,
    /// Wakes the task, if it waits for commands.
    task: Option<Waker>,
    /// Why the connection ended.
    ended: Option<RedisError>,
}

impl Wire {
    /// Starts the task that writes and reads.
    pub(super) fn start<S>(stream: S) -> Wire
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let queue = Arc::<Mutex<Queue>>::default();
        let task = Task {
            stream,
            queue: Arc::clone(&queue),
            commands: Vec::new(),
            written: 0,
            has_given_way: false,
            is_flushed: true,
            cannot_write: None,
            replies: ReplyBuffer::default(),
        };
        Wire { queue, task: tokio::spawn(task).abort_handle() }
    }

    /// Sends a command and waits for its reply. A caller that stops waiting does not disturb the others.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        self.enqueue(command)?.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Sends commands one behind the other, and waits for the replies.
    #[cfg(feature = "redis-cluster")]
    pub(super) async fn send_all(&self, commands: impl Iterator<Item = &Cmd>) -> RedisResult<Vec<Value>> {
        let waiting = commands.map(|command| self.enqueue(command)).collect::<RedisResult<Vec<_>>>()?;
        let mut replies = Vec::with_capacity(waiting.len());
        for reply in waiting {
            replies.push(reply.await.unwrap_or_else(|_| Err(closed()))?);
        }
        Ok(replies)
    }

    fn enqueue(&self, command: &Cmd) -> RedisResult<oneshot::Receiver<RedisResult<Value>>> {
        let (sender, receiver) = oneshot::channel();
        let task = {
            let mut queue = lock(&self.queue);
            if let Some(error) = &queue.ended {
                return Err(error.clone());
            }
            command.write_packed_command(&mut queue.commands);
            queue.waiting.push_back(sender);
            queue.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
        Ok(receiver)
    }

    /// Whether the connection takes no more commands.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.queue).ended.is_some()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn closed() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}

/// Writes the commands and hands out the replies.
struct Task<S> {
    stream: S,
    queue: Arc<Mutex<Queue>>,
    /// The commands that are being written.
    commands: Vec<u8>,
    written: usize,
    /// Whether the tasks that were ready have run since the first of the waiting commands came.
    has_given_way: bool,
    is_flushed: bool,
    cannot_write: Option<io::Error>,
    replies: ReplyBuffer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Task<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        if task.cannot_write.is_none()
            && let Poll::Ready(error) = task.write(context)
        {
            // A server that refuses a command says why before it closes: it is still read.
            let told = RedisError::from(io::Error::from(error.kind()));
            lock(&task.queue).ended = Some(told);
            task.cannot_write = Some(error);
        }
        let error = ready!(task.read(context));
        end(&task.queue, task.cannot_write.take().map_or(error, RedisError::from));
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    /// Writes until there is nothing left, or the connection takes no more. Returns only an error.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if self.written == self.commands.len() && !self.take_commands(context) {
                break;
            }
            let written = Pin::new(&mut self.stream).poll_write(context, &self.commands[self.written..]);
            match ready!(written) {
                Ok(0) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) => return Poll::Ready(error),
            }
            self.is_flushed = false;
        }
        if !self.is_flushed {
            match ready!(Pin::new(&mut self.stream).poll_flush(context)) {
                Ok(()) => self.is_flushed = true,
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    /// Takes the commands that wait, if there are any; otherwise the next one wakes this task. While other requests are
    /// in progress, whatever is ready to run goes first: it often has a command too, and a write costs more than a turn.
    fn take_commands(&mut self, context: &Context<'_>) -> bool {
        self.written = 0;
        self.commands.clear();
        if self.commands.capacity() > KEPT_CAPACITY {
            self.commands = Vec::new();
        }
        let mut queue = lock(&self.queue);
        if queue.commands.is_empty() {
            if queue.task.as_ref().is_none_or(|task| !task.will_wake(context.waker())) {
                queue.task = Some(context.waker().clone());
            }
            return false;
        }
        if !mem::replace(&mut self.has_given_way, true) && queue.waiting.len() > 1 {
            context.waker().wake_by_ref();
            return false;
        }
        self.has_given_way = false;
        mem::swap(&mut queue.commands, &mut self.commands);
        true
    }

    /// Hands out replies until no more have come. Returns only an error.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<RedisError> {
        loop {
            loop {
                match self.replies.take() {
                    Ok(Some(reply)) => {
                        let Some(waiting) = lock(&self.queue).waiting.pop_front() else {
                            return Poll::Ready(unexpected());
                        };
                        // An error means that nobody waits for it any more.
                        let _ = waiting.send(Ok(reply));
                    }
                    Ok(None) => break,
                    Err(error) => return Poll::Ready(error),
                }
            }
            match ready!(self.replies.poll_read(Pin::new(&mut self.stream), context)) {
                Ok(0) => return Poll::Ready(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => {}
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }
}

/// The runtime may drop the task at any moment: nobody may wait for it then.
impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        end(&self.queue, closed());
    }
}

/// Tells all who wait that the connection has ended.
fn end(queue: &Mutex<Queue>, error: RedisError) {
    let waiting = {
        let mut queue = lock(queue);
        queue.ended.get_or_insert_with(|| error.clone());
        mem::take(&mut queue.waiting)
    };
    for waiting in waiting {
        let _ = waiting.send(Err(error.clone()));
    }
}

fn unexpected() -> RedisError {
    (redis::ErrorKind::Parse, "a reply to no command").into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::{Value, Wire};

    async fn read(server: &mut DuplexStream, count: usize) -> String {
        let mut bytes = vec![0; count];
        server.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn replies_reach_their_commands_in_order() {
        let (client, mut server) = duplex(7);
        let wire = Wire::start(client);
        let (get, ping) = (redis::cmd("GET").arg("a").clone(), redis::cmd("PING"));
        let talk = async {
            assert_eq!(read(&mut server, 34).await, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n");
            server.write_all(b"$5\r\nfirst\r\n+PONG\r\n").await.unwrap();
        };
        let (first, second, ()) = tokio::join!(wire.send(&get), wire.send(&ping), talk);
        assert_eq!(first.unwrap(), Value::BulkString(b"first".to_vec()));
        assert_eq!(second.unwrap(), Value::SimpleString("PONG".to_owned()));
    }

    #[tokio::test]
    async fn who_stops_waiting_disturbs_nobody() {
        let (client, mut server) = duplex(1000);
        let wire = Wire::start(client);
        let ping = redis::cmd("PING");
        let gone = tokio::time::timeout(Duration::from_millis(10), wire.send(&ping));
        assert!(gone.await.is_err());
        server.write_all(b":1\r\n:2\r\n").await.unwrap();
        assert_eq!(wire.send(&ping).await.unwrap(), Value::Int(2));
    }

    #[tokio::test]
    async fn all_who_wait_are_told_of_the_end() {
        let (client, server) = duplex(1000);
        let wire = Wire::start(client);
        let ping = redis::cmd("PING");
        let close = async {
            tokio::task::yield_now().await;
            drop(server);
        };
        let (first, second, ()) = tokio::join!(wire.send(&ping), wire.send(&ping), close);
        assert!(first.unwrap_err().is_connection_dropped() && second.unwrap_err().is_connection_dropped());
        assert!(wire.has_ended() && wire.send(&ping).await.is_err());
    }

    #[test]
    fn the_end_of_the_runtime_is_told() {
        let (client, _server) = duplex(1000);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let wire = runtime.block_on(async { Wire::start(client) });
        drop(runtime);
        assert!(wire.has_ended());
    }

    #[tokio::test]
    async fn the_reason_for_a_refusal_is_read_although_writing_failed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let wire = Wire::start(client);
        let long = redis::cmd("SET").arg("key").arg(vec![b'x'; 8 << 20]).clone();
        let refuse = async {
            server.write_all(b"-ERR Protocol error: invalid bulk length\r\n").await.unwrap();
            drop(server);
        };
        let (refused, ()) = tokio::join!(wire.send(&long), refuse);
        let said = refused.unwrap().extract_error().unwrap_err().to_string();
        assert!(said.contains("invalid bulk length"), "{said}");
    }
}
