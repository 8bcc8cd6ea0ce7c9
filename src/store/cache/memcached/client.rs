//! A small client for memcached's meta commands (1.6 and later). Their answers contain the number that
//! identifies a version of an entry, which saves a round trip on every save.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;

use super::stream::Stream;
use crate::store::per_runtime::PerRuntime;
use crate::store::tls::TlsOptions;

/// memcached's answers have no longer lines.
const MAX_LINE: u64 = 4_096;
/// After this idle time the server or a proxy may have closed a connection: `idle_timeout` counts in seconds.
const RESTED: Duration = Duration::from_millis(500);
/// Commands sent at once: they and their answers fit into the sockets' buffers, so that neither side waits for the other.
const ASKED_TOGETHER: usize = 100;
/// The overhead of an entry besides its key and value, with some reserve.
const OVERHEAD: usize = 128;

/// One server and its idle connections.
pub(super) struct Server {
    /// `host:port` or the socket's path, as the hash function takes it.
    pub(super) name: String,
    address: Address,
    tls: TlsOptions,
    idle: PerRuntime<Vec<(Connection, Instant)>>,
    permits: Semaphore,
    timeout: Duration,
    largest_reply: usize,
    /// The maximum size of an entry, once the server has been asked.
    largest_entry: OnceLock<usize>,
}

/// Where a server listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(formatter, "{host}:{port}"),
            Address::Socket(path) => write!(formatter, "{}", path.display()),
        }
    }
}

type Connection = BufReader<Stream>;

/// The failures of a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// Encryption failed: the address, and the reason.
    #[error("{0}")]
    Tls(String),
    #[error("no answer in time")]
    TimedOut,
    #[error("the server closed the connection")]
    Closed,
    #[error("the server says: {0}")]
    Server(String),
    #[error("the server does not know meta commands, which memcached 1.6 brought")]
    TooOld,
    #[error("an unexpected answer")]
    Unexpected,
    #[error("an entry of {size} bytes, and the server takes {limit}")]
    TooLarge { size: usize, limit: usize },
}

/// An answer: its two letters, the version, and flags and value if they were requested.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: Status,
    /// 0 when the server did not send it.
    pub(super) version: u64,
    pub(super) flags: u32,
    /// The entry's remaining life; -1 for no expiry.
    pub(super) seconds_left: Option<i64>,
    pub(super) value: Vec<u8>,
}

/// The meaning of an answer's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// `HD` and `VA`
    Done,
    /// `NS`: the entry exists, or with `replace` it does not.
    NotStored,
    /// `EX`: the entry is in another version.
    Changed,
    /// `NF` and `EN`
    Missing,
}

impl Server {
    /// Creates a server from its address, without connecting.
    pub(super) fn new(
        address: Address,
        tls: TlsOptions,
        timeout: Duration,
        connections: usize,
        largest_reply: usize,
    ) -> Server {
        Server {
            name: address.to_string(),
            address,
            tls,
            idle: PerRuntime::new(),
            permits: Semaphore::new(connections.max(1)),
            timeout,
            largest_reply,
            largest_entry: OnceLock::new(),
        }
    }

    /// Sends one command line, with a value for storing commands, and reads the answer.
    ///
    /// A call that is dropped half-way closes its connection, so that no answer is read for another command.
    pub(super) async fn ask(&self, command: &str, value: Option<&[u8]>) -> Result<Reply, Failure> {
        // In a box, so that the store's future around it is not too large to be allocated quickly.
        let asked = self.on_connection(async |connection| {
            if let Some(value) = value {
                self.check_size(command, value)?;
            }
            let mut request = Vec::with_capacity(command.len() + value.map_or(0, <[u8]>::len) + 4);
            request.extend_from_slice(command.as_bytes());
            request.extend_from_slice(b"\r\n");
            if let Some(value) = value {
                request.extend_from_slice(value);
                request.extend_from_slice(b"\r\n");
            }
            connection.write_all(&request).await?;
            connection.flush().await?;
            self.read(connection).await
        });
        Box::pin(asked).await
    }

    /// Returns which of these entries exist: up to [`ASKED_TOGETHER`] of them in a round trip.
    pub(super) async fn existing(&self, keys: &[&str]) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        for keys in keys.chunks(ASKED_TOGETHER) {
            // Quiet: the server answers for those that exist, and then to the last command.
            let mut request: String = keys.iter().map(|key| format!("mg {key} k q\r\n")).collect();
            request.push_str("mn\r\n");
            let asked = self.on_connection(async |connection| {
                connection.write_all(request.as_bytes()).await?;
                connection.flush().await?;
                let mut found = Vec::new();
                loop {
                    let line = read_line(connection).await?;
                    match line.split_once(" k") {
                        Some(("HD", key)) => found.push(key.to_owned()),
                        _ if line == "MN" => return Ok(found),
                        _ if line == "ERROR" => return Err(Failure::TooOld),
                        _ => return Err(Failure::Server(line)),
                    }
                }
            });
            found.extend(asked.await?);
        }
        Ok(found)
    }

    /// Runs commands on a connection, which is kept if they succeed.
    async fn on_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let asked = async {
            // The semaphore is never closed.
            let _permit = self.permits.acquire().await.map_err(|_| Failure::Closed)?;
            let mut connection = match self.take_idle() {
                Some(connection) => connection,
                None => Box::pin(self.connect()).await?,
            };
            let answer = work(&mut connection).await?;
            self.idle.with(Vec::new, |idle| idle.push((connection, Instant::now())));
            Ok(answer)
        };
        let answer = tokio::time::timeout(self.timeout, asked).await.unwrap_or(Err(Failure::TimedOut));
        if matches!(answer, Err(Failure::TimedOut)) {
            // The others are probably broken too, and no other request should wait for them one by one.
            self.idle.with(Vec::new, Vec::clear);
        }
        answer
    }

    /// Reports each entry: its name, and its expiry in Unix seconds, or -1. Uses a separate connection.
    pub(super) async fn dump(&self, mut each: impl FnMut(&str, i64) + Send) -> Result<(), Failure> {
        let mut connection = self.in_time(self.connect()).await?;
        // By the hash table, which holds each entry once; entries move between the queues.
        connection.write_all(b"lru_crawler metadump hash\r\n").await?;
        connection.flush().await?;
        loop {
            // The lines of entries end in a bare line feed.
            let line = self.in_time(read_line_to(&mut connection, b"\n")).await?;
            let line = line.trim_end_matches('\r');
            if line == "END" {
                return Ok(());
            }
            let mut words = line.split(' ');
            let name = words.next().and_then(|word| word.strip_prefix("key="));
            let ends = words.next().and_then(|word| word.strip_prefix("exp=")?.parse().ok());
            let (Some(name), Some(ends)) = (name, ends) else { return Err(Failure::Server(line.to_owned())) };
            if let Some(name) = unquote(name) {
                each(&name, ends);
            }
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Takes an idle connection, unless the server has closed it meanwhile.
    fn take_idle(&self) -> Option<Connection> {
        while let Some((connection, since)) = self.idle.with(Vec::new, Vec::pop) {
            let stream = connection.get_ref();
            let is_quiet = stream.seems_quiet() && (since.elapsed() < RESTED || stream.is_quiet());
            if is_quiet && connection.buffer().is_empty() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let mut connection = BufReader::new(Stream::connect(&self.address, &self.tls).await?);
        if self.largest_entry.get().is_none() {
            let asked = largest_entry(&mut connection).await;
            let largest =
                asked.map_err(|failure| connection.get_ref().explain(failure, &self.address, &self.tls))?;
            // Another connection may have been faster; the answer is the same.
            let _ = self.largest_entry.set(largest);
        }
        Ok(connection)
    }

    /// memcached removes the old entry when the new one is too large, so too large an entry is never sent.
    fn check_size(&self, command: &str, value: &[u8]) -> Result<(), Failure> {
        let limit = self.largest_entry.get().copied().unwrap_or(1 << 20);
        let size = command.len() + value.len() + OVERHEAD;
        if size > limit { Err(Failure::TooLarge { size, limit }) } else { Ok(()) }
    }

    async fn read(&self, connection: &mut Connection) -> Result<Reply, Failure> {
        let line = read_line(connection).await?;
        let mut words = line.split(' ');
        let status = match words.next().unwrap_or_default() {
            "HD" | "VA" => Status::Done,
            "NS" => Status::NotStored,
            "EX" => Status::Changed,
            "NF" | "EN" => Status::Missing,
            "ERROR" => return Err(Failure::TooOld),
            "SERVER_ERROR" | "CLIENT_ERROR" => return Err(Failure::Server(line)),
            _ => return Err(Failure::Unexpected),
        };
        let mut reply = Reply { status, version: 0, flags: 0, seconds_left: None, value: Vec::new() };
        if line.starts_with("VA ") {
            let size = words.next().and_then(|size| size.parse::<usize>().ok()).ok_or(Failure::Unexpected)?;
            if size > self.largest_reply {
                return Err(Failure::TooLarge { size, limit: self.largest_reply });
            }
            reply.value = vec![0; size + 2];
            connection.read_exact(&mut reply.value).await?;
            if !reply.value.ends_with(b"\r\n") {
                return Err(Failure::Unexpected);
            }
            reply.value.truncate(size);
        }
        for word in words {
            match word.split_at_checked(1) {
                Some(("c", version)) => reply.version = version.parse().map_err(|_| Failure::Unexpected)?,
                Some(("f", flags)) => reply.flags = flags.parse().map_err(|_| Failure::Unexpected)?,
                Some(("t", left)) => {
                    reply.seconds_left = Some(left.parse().map_err(|_| Failure::Unexpected)?);
                }
                _ => {}
            }
        }
        Ok(reply)
    }
}

async fn read_line(connection: &mut Connection) -> Result<String, Failure> {
    read_line_to(connection, b"\r\n").await
}

/// Reads a line with this ending; other text is not a line.
async fn read_line_to(connection: &mut Connection, end: &[u8]) -> Result<String, Failure> {
    let mut line = Vec::new();
    connection.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    match line.strip_suffix(end) {
        Some(line) => String::from_utf8(line.to_vec()).map_err(|_| Failure::Unexpected),
        None if line.is_empty() => Err(Failure::Closed),
        None => Err(Failure::Unexpected),
    }
}

/// Decodes percent codes in a name; `None` if it is not UTF-8, and so not a session's.
fn unquote(name: &str) -> Option<String> {
    let mut parts = name.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The server's `item_size_max`: set by `memcached -I`, by default 1 MiB.
async fn largest_entry(connection: &mut Connection) -> Result<usize, Failure> {
    connection.write_all(b"stats settings\r\n").await?;
    connection.flush().await?;
    let mut largest = 1 << 20;
    loop {
        let line = read_line(connection).await?;
        match line.strip_prefix("STAT item_size_max ") {
            Some(size) => largest = size.parse().map_err(|_| Failure::Unexpected)?,
            None if line.starts_with("STAT ") => {}
            None if line == "END" => return Ok(largest),
            // If a proxy does not pass this on, memcached's default is a safe guess.
            None => return Ok(largest),
        }
    }
}
