//! A small HTTP client: one connection that is kept, GET only, and its cookies by hand.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Result;

pub(crate) struct Client {
    port: u16,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) body: String,
    /// `name=value` of each cookie that was set.
    pub(crate) cookies: Vec<String>,
}

impl Client {
    pub(crate) fn new(port: u16) -> Client {
        Client { port, stream: None, received: Vec::with_capacity(4096) }
    }

    pub(crate) async fn connect(&mut self) -> Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// # Errors
    /// When the answer is not 200, or cannot be read.
    pub(crate) async fn get(&mut self, path: &str, cookies: &str) -> Result<Answer> {
        if self.stream.is_none() {
            self.connect().await?;
        }
        // It goes back when the answer is whole.
        let mut stream = self.stream.take().ok_or("no connection")?;
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        if !cookies.is_empty() {
            request.push_str("Cookie: ");
            request.push_str(cookies);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        let (head_end, head) = loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break (end + 4, Head::parse(&self.received[..end])?);
            }
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(format!("{path}: the connection ended").into());
            }
        };
        let end = head_end + head.length;
        while self.received.len() < end {
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(format!("{path}: the connection ended").into());
            }
        }
        let body = String::from_utf8_lossy(&self.received[head_end..end]).into_owned();
        if !head.close {
            self.stream = Some(stream);
        }
        if head.status != 200 {
            return Err(format!("{path} was answered with {}: {body}", head.status).into());
        }
        Ok(Answer { body, cookies: head.cookies })
    }
}

struct Head {
    status: u16,
    length: usize,
    close: bool,
    cookies: Vec<String>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Head> {
        let text = std::str::from_utf8(bytes)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().parse()?;
        let mut head = Head { status, length: 0, close: false, cookies: Vec::new() };
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.parse()?;
            } else if name.eq_ignore_ascii_case("connection") {
                head.close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err("an answer without a length".into());
            } else if name.eq_ignore_ascii_case("set-cookie") {
                head.cookies.extend(value.split(';').next().map(str::to_owned));
            }
        }
        Ok(head)
    }
}

/// What a browser would send next time.
pub(crate) fn with_cookies(jar: &str, new: &[String]) -> String {
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let kept =
        jar.split("; ").filter(|old| !old.is_empty() && new.iter().all(|pair| name(pair) != name(old)));
    kept.chain(new.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
}
