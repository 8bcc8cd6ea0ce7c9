//! A proxy between a store and its server that delays, cuts, resets or swallows what passes, as told while it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::random::Random;

/// What happens to the pieces that pass, as the network would hand them over.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    None,
    /// Each answer of the server waits so long.
    Delay(Duration),
    /// Answers pass in pieces of so many bytes, a millisecond apart.
    Throttle(usize),
    /// Nothing passes in either direction until another fault is set; then all of it does.
    BlackHole,
    /// Half of each answer passes, then the connection is closed.
    HalfReplies,
    /// New connections are reset at once.
    Refuse,
    /// At random, with this seed: delays of up to 20 ms, halves with a pause between, and of a hundred pieces so many
    /// that end in their middle with the connection closed or reset; but none of a connection's first `spared`.
    Random {
        seed: u64,
        cuts: usize,
        spared: usize,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides read the end of the stream.
    Closed,
    /// Both sides get `ECONNRESET`.
    Reset,
}

#[derive(Clone, Debug)]
struct State {
    fault: Fault,
    /// Where new connections lead.
    server: SocketAddr,
    /// Connections with lower numbers swallow everything, for ever: what a firewall does that has forgotten them.
    swallow_below: usize,
    /// Connections with lower numbers end, in this way.
    end_below: usize,
    end: End,
}

/// Runs until it is dropped; so do its connections.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Proxy {
    /// In front of the server on this port.
    pub(crate) async fn before(port_of_server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = SocketAddr::from(([127, 0, 0, 1], port_of_server));
        let state = State { fault: Fault::None, server, swallow_below: 0, end_below: 0, end: End::Closed };
        let (state, states) = watch::channel(state);
        let counts = Arc::<Counts>::default();
        let task = tokio::spawn(accept(listener, states, Arc::clone(&counts)));
        Proxy { port, state, counts, task }
    }

    /// A URL with the server's port replaced by the proxy's.
    pub(crate) fn url(&self, url: &str, port_of_server: u16) -> String {
        let (here, there) = (format!("127.0.0.1:{}", self.port), format!("127.0.0.1:{port_of_server}"));
        assert!(url.contains(&there), "the URL names another server");
        url.replace(&there, &here)
    }

    /// From now on, for connections that are open too.
    pub(crate) fn set(&self, fault: Fault) {
        self.state.send_modify(|state| state.fault = fault);
    }

    /// New connections lead to the server on this port from now on; those there are stay where they are.
    pub(crate) fn lead_to(&self, port_of_server: u16) {
        self.state.send_modify(|state| state.server.set_port(port_of_server));
    }

    /// Ends all connections there are. New ones are served.
    pub(crate) fn end_all(&self, end: End) {
        let below = self.accepted();
        self.state.send_modify(|state| (state.end_below, state.end) = (below, end));
    }

    /// The connections there are swallow everything from now on, for ever. New ones are served.
    pub(crate) fn swallow_all(&self) {
        let below = self.accepted();
        self.state.send_modify(|state| state.swallow_below = below);
    }

    /// How many connections were ever made.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// How many connections clients hold open.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, states: watch::Receiver<State>, counts: Arc<Counts>) {
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = counts.accepted.fetch_add(1, Ordering::SeqCst);
        while connections.try_join_next().is_some() {}
        let server = states.borrow().server;
        let connection = Connection { number, states: states.clone() };
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            counts.open.fetch_add(1, Ordering::SeqCst);
            connection.serve(client, server).await;
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

#[derive(Clone)]
struct Connection {
    number: usize,
    states: watch::Receiver<State>,
}

/// Which way a piece goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

impl Connection {
    async fn serve(mut self, mut client: TcpStream, server: SocketAddr) {
        if matches!(self.states.borrow().fault, Fault::Refuse) {
            let _ = client.set_zero_linger();
            return;
        }
        let mut server = tokio::select! {
            // A server that is stopped may not take the connection, and its client give it up.
            () = closed(&client) => return,
            connected = TcpStream::connect(server) => match connected {
                Ok(server) => server,
                Err(_) => {
                    let _ = client.set_zero_linger();
                    return;
                }
            },
        };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let end = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let (requests, answers) = (self.clone(), self.clone());
            tokio::select! {
                end = requests.carry(from_client, to_server, Way::Requests) => end,
                end = answers.carry(from_server, to_client, Way::Answers) => end,
                end = self.ended() => end,
            }
        };
        if end == End::Reset {
            for stream in [&client, &server] {
                let _ = stream.set_zero_linger();
            }
        }
    }

    /// Waits until this connection is told to end.
    async fn ended(&mut self) -> End {
        let number = self.number;
        match self.states.wait_for(|state| number < state.end_below).await {
            Ok(state) => state.end,
            Err(_) => End::Closed,
        }
    }

    fn holds_back(&mut self) -> bool {
        let state = self.states.borrow_and_update();
        matches!(state.fault, Fault::BlackHole) || self.number < state.swallow_below
    }

    /// Carries what comes from one side to the other, until either ends.
    async fn carry(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way) -> End {
        let mut random = Random(0);
        let (mut seeded, mut pieces) = (None, 0);
        let mut piece = vec![0; 16 << 10];
        loop {
            let Ok(count @ 1..) = from.read(&mut piece).await else { return End::Closed };
            let mut held = piece[..count].to_vec();
            while self.holds_back() {
                tokio::select! {
                    changed = self.states.changed() => if changed.is_err() { return End::Closed },
                    more = from.read(&mut piece) => match more {
                        Ok(count @ 1..) => held.extend_from_slice(&piece[..count]),
                        // So that what clients have given up does not count as open.
                        _ => return End::Closed,
                    },
                }
            }
            let fault = self.states.borrow().fault.clone();
            if let Fault::Random { seed, .. } = fault
                && seeded != Some(seed)
            {
                seeded = Some(seed);
                random = Random(seed.wrapping_add(self.number as u64 * 2 + u64::from(way == Way::Answers)));
            }
            let mut fault = fault;
            if let Fault::Random { cuts, spared, .. } = &mut fault
                && pieces < *spared
            {
                *cuts = 0;
            }
            pieces += 1;
            if let Err(end) = hand_over(&mut to, &held, &fault, way, &mut random).await {
                return end;
            }
        }
    }
}

/// Waits until the other side has closed this connection without having said anything.
async fn closed(stream: &TcpStream) {
    while let Ok(1..) = stream.peek(&mut [0]).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Hands a piece over as the fault wants it; an error ends the connection.
async fn hand_over(
    to: &mut WriteHalf<'_>,
    piece: &[u8],
    fault: &Fault,
    way: Way,
    random: &mut Random,
) -> Result<(), End> {
    let (first, second) = piece.split_at(piece.len() / 2);
    match (fault, way) {
        (Fault::Delay(delay), Way::Answers) => tokio::time::sleep(*delay).await,
        (Fault::Throttle(size), Way::Answers) => {
            for part in piece.chunks((*size).max(1)) {
                to.write_all(part).await.map_err(|_| End::Closed)?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Ok(());
        }
        (Fault::HalfReplies, Way::Answers) => {
            let _ = to.write_all(first).await;
            return Err(End::Closed);
        }
        (Fault::Random { cuts, .. }, _) => {
            if random.percent(*cuts) {
                let _ = to.write_all(first).await;
                return Err(if random.percent(50) { End::Closed } else { End::Reset });
            }
            match random.below(10) {
                0 | 1 => tokio::time::sleep(Duration::from_millis(random.below(20) as u64)).await,
                2 | 3 => {
                    to.write_all(first).await.map_err(|_| End::Closed)?;
                    tokio::time::sleep(Duration::from_millis(random.below(5) as u64)).await;
                    return to.write_all(second).await.map_err(|_| End::Closed);
                }
                _ => {}
            }
        }
        _ => {}
    }
    to.write_all(piece).await.map_err(|_| End::Closed)
}

/// The proxy does what it is told: else the tests that use it would show nothing.
mod tests {
    use std::time::Instant;

    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap()
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
        stream.write_all(b"question").await?;
        let mut answer = Vec::new();
        while answer.len() < 8 {
            match stream.read_buf(&mut answer).await? {
                0 => break,
                _ => continue,
            }
        }
        Ok(String::from_utf8(answer).unwrap())
    }

    #[tokio::test]
    async fn the_proxy_does_what_it_is_told() {
        let proxy = Proxy::before(echo().await).await;
        let mut stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream).await.unwrap(), "question");

        let start = Instant::now();
        proxy.set(Fault::Delay(Duration::from_millis(50)));
        assert_eq!(ask(&mut stream).await.unwrap(), "question");
        assert!(start.elapsed() >= Duration::from_millis(50));

        let start = Instant::now();
        proxy.set(Fault::Throttle(1));
        assert_eq!(ask(&mut stream).await.unwrap(), "question");
        assert!(start.elapsed() >= Duration::from_millis(8));

        proxy.set(Fault::BlackHole);
        let waiting = tokio::time::timeout(Duration::from_millis(50), ask(&mut stream)).await;
        assert!(waiting.is_err(), "{waiting:?}");
        proxy.set(Fault::None);
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"question", "what was held back comes");

        proxy.set(Fault::HalfReplies);
        assert_eq!(ask(&mut stream).await.unwrap(), "ques");
        proxy.set(Fault::None);

        let mut stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream).await.unwrap(), "question");
        proxy.end_all(End::Reset);
        let mut answer = [0; 8];
        let error = stream.read(&mut answer).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

        let (mut old, mut closed) = (connect(&proxy).await, connect(&proxy).await);
        assert_eq!(ask(&mut old).await.unwrap(), "question");
        assert_eq!(ask(&mut closed).await.unwrap(), "question");
        proxy.swallow_all();
        assert!(tokio::time::timeout(Duration::from_millis(50), ask(&mut old)).await.is_err());
        let mut new = connect(&proxy).await;
        assert_eq!(ask(&mut new).await.unwrap(), "question");
        assert_eq!((proxy.accepted(), proxy.open()), (5, 3));
        drop(old);
        while proxy.open() > 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        proxy.set(Fault::Refuse);
        let refused = async { ask(&mut TcpStream::connect(("127.0.0.1", proxy.port)).await?).await };
        assert!(refused.await.is_err());

        proxy.set(Fault::Random { seed: 1, cuts: 20, spared: 0 });
        let (mut whole, mut cut) = (0, 0);
        for _ in 0..50 {
            let mut stream = connect(&proxy).await;
            match ask(&mut stream).await {
                Ok(answer) if answer == "question" => whole += 1,
                Ok(answer) => {
                    assert!("question".starts_with(&answer), "{answer}");
                    cut += 1;
                }
                Err(_) => cut += 1,
            }
        }
        assert!(whole > 10 && cut > 5, "{whole} {cut}");
    }
}
