//! The service behind a proxy: it keeps what it is sent, byte for byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A service that answers each request with 200, and keeps the requests' heads.
pub(super) struct BackEnd {
    pub(super) port: u16,
    heads: Arc<Mutex<Vec<Arrived>>>,
}

/// The head of a request that arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) target: String,
    /// In their order, with names as they were sent.
    pub(super) headers: Vec<(String, String)>,
}

impl BackEnd {
    pub(super) fn start() -> BackEnd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream.unwrap(), &kept));
            }
        });
        BackEnd { port, heads }
    }

    /// The requests since the last call.
    pub(super) fn arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

/// One request for each connection, so that nothing of its body is taken for the next.
fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Arrived>>) {
    let mut bytes = Vec::new();
    let mut part = [0; 65536];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut part) {
            Ok(length @ 1..) => bytes.extend(&part[..length]),
            _ => return,
        }
    };
    kept.lock().unwrap().push(Arrived::parse(&bytes[..end]));
    // A proxy that is gone already has its answer.
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\narrived");
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    while matches!(stream.read(&mut part), Ok(1..)) {}
}

impl Arrived {
    fn parse(head: &[u8]) -> Arrived {
        // Bytes beyond ASCII stay apart from each other.
        let head: String = head.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = head.split("\r\n");
        let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        });
        Arrived { target, headers: headers.collect() }
    }

    /// The values of all headers that some back end reads as one of this name: whatever stands between the words.
    pub(super) fn read_as(&self, name: &str) -> Vec<&str> {
        let same = |other: &str| alike(other) == alike(name);
        self.headers.iter().filter(|(other, _)| same(other)).map(|(_, value)| value.as_str()).collect()
    }
}

/// A header's name as CGI, WSGI and PHP have it.
pub(super) fn alike(name: &str) -> String {
    let part = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    name.trim().chars().map(part).collect()
}
