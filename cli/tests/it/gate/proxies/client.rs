//! A client that sends bytes as it likes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// 0 if the proxy closed the connection without an answer.
    pub(super) status: u16,
    pub(super) head: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends these bytes on a connection of their own, and reads the head of the answer.
pub(super) fn send(port: u16, request: &[u8]) -> Answer {
    let mut stream = connect(port);
    // A proxy that refuses a long head may close before it has read all.
    let _ = stream.write_all(request);
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(length @ 1..) => head.extend(&part[..length]),
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no answer to {:?}: {error}", String::from_utf8_lossy(request)),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Answer { status, head }
}

pub(super) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream
}
