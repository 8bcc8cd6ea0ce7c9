//! A gate that is killed, hangs, starts again, or cannot read its store: proxies let in nothing that they should
//! not.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::assertion::Verifier;
use super::back_end::BackEnd;
use super::client::{connect, send};
use super::corpus::check;
use super::proxy::{self, HOST, KINDS, Kind};
use super::site::{CLIENTS, Client, Site};
use crate::support::servers::Server;

const PATHS: [&str; 4] = ["/public/x", "/app/x", "/staff/x", "/nothing"];

struct Tried {
    kind: Kind,
    back_end: BackEnd,
    proxy: Server,
}

impl Tried {
    async fn all(site: &Site) -> Vec<Tried> {
        let mut all = Vec::new();
        for kind in KINDS {
            let back_end = BackEnd::start();
            let proxy = proxy::start(kind, site.around(&back_end)).await;
            all.push(Tried { kind, back_end, proxy });
        }
        all
    }

    fn ask(&self, site: &Site, client: Client, path: &str) -> (u16, bool) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", site.cookie(client));
        let start = Instant::now();
        let answer = send(self.proxy.port, request.as_bytes());
        assert!(
            start.elapsed() < self.patience(),
            "{:?} {client:?} {path}: {:?}",
            self.kind,
            start.elapsed()
        );
        let arrived = self.back_end.arrived();
        for got in &arrived {
            // The gate's keys may be new: what it asserts is tried elsewhere.
            assert!(client.may_read(path), "{:?} {client:?} {path} {got:?}", self.kind);
        }
        (answer.status, !arrived.is_empty())
    }

    /// How long it may take to refuse: its own limit for the gate is 3 seconds. Traefik's is 30, and HAProxy 2.6 asks
    /// four times; neither can be set.
    fn patience(&self) -> Duration {
        Duration::from_secs(match self.kind {
            Kind::Traefik => 35,
            Kind::HaProxy => 15,
            _ => 6,
        })
    }

    /// The proxy's answer when it has none of the gate.
    fn unavailable(&self) -> u16 {
        // ForwardAuth has no other.
        if self.kind == Kind::Traefik { 500 } else { 503 }
    }

    /// Nothing arrives but what needs no session.
    fn refuses(&self, site: &Site, paths: &[&str], status: u16) {
        for client in CLIENTS {
            for path in paths {
                let (answered, arrived) = self.ask(site, client, path);
                assert!(!arrived && answered == status, "{:?} {client:?} {path}: {answered}", self.kind);
            }
        }
    }

    /// The rules hold as ever.
    fn works(&self, site: &Site) {
        for client in CLIENTS {
            for path in PATHS {
                // A proxy may keep connections to a gate that is gone, or wait before it tries again.
                let start = Instant::now();
                while self.ask(site, client, path).1 != client.may_read(path) {
                    assert!(start.elapsed() < Duration::from_secs(20), "{:?} {client:?} {path}", self.kind);
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gate_lets_nobody_in_and_one_that_is_started_again_works() {
    let mut site = Site::new().await;
    let all = Tried::all(&site).await;
    all.iter().for_each(|tried| tried.works(&site));
    site.gate.send("KILL");
    wait_until(|| std::net::TcpStream::connect(("127.0.0.1", site.gate.port)).is_err());
    all.iter().for_each(|tried| tried.refuses(&site, &PATHS, tried.unavailable()));
    site.gate.send("start");
    site.wait().await;
    all.iter().for_each(|tried| tried.works(&site));
    // The assertions are signed by the new gate's keys.
    let verifier = Verifier::of(site.gate.port);
    for tried in &all {
        let request = format!("GET /app/x HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", site.cookie(Client::Ada));
        send(tried.proxy.port, request.as_bytes());
        assert_eq!(
            check(&tried.back_end.arrived()[0], &[Client::Ada], &verifier),
            Ok(()),
            "{:?}",
            tried.kind
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_hangs_lets_nobody_in() {
    let mut site = Site::new().await;
    let all = Tried::all(&site).await;
    site.gate.send("STOP");
    wait_until(|| !answers(site.gate.port));
    std::thread::scope(|scope| {
        for tried in &all {
            scope.spawn(|| {
                let (answered, arrived) = tried.ask(&site, Client::Grace, "/public/x");
                assert!(!arrived && answered >= 500, "{:?}: {answered}", tried.kind);
            });
        }
    });
    site.gate.send("CONT");
    all.iter().for_each(|tried| tried.works(&site));
}

/// A locked database: SQLite's readers wait, and the gate's time limit is over before.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_lets_nobody_in() {
    let site = Site::new().await;
    let all = Tried::all(&site).await;
    let database = site.gate.folder.join("db.sqlite3");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for tried in &all {
        for client in [Client::Ada, Client::Grace] {
            let (answered, arrived) = tried.ask(&site, client, "/app/x");
            assert!(!arrived && answered == 503, "{:?} {client:?}: {answered}", tried.kind);
        }
        // Who has no session needs no store.
        assert_eq!(tried.ask(&site, Client::Nobody, "/public/x"), (200, true), "{:?}", tried.kind);
        assert_eq!(tried.ask(&site, Client::Nobody, "/app/x"), (401, false), "{:?}", tried.kind);
    }
    connection.execute_batch("ROLLBACK").unwrap();
    all.iter().for_each(|tried| tried.works(&site));
}

/// Whether the gate answers anything within half a second.
fn answers(gate: u16) -> bool {
    let mut stream = connect(gate);
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: gate\r\n\r\n").unwrap();
    stream.read(&mut [0; 16]).is_ok()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}
