//! Many clients on a site while its server is killed and started again, twice: no acknowledged write is lost, nobody gets
//! another's session, and the site's memory stays flat. Over HTTP against a process of its own, whose memory is read.
//!
//! PostgreSQL has what it acknowledged on the disk by itself. Redis has it there with `appendonly yes` and
//! `appendfsync always` only; with its own defaults a restart loses the last seconds, or everything.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::support::axum_site::UserRow;
use crate::support::browser::Browser;
use crate::support::random::Random;
use crate::support::site_process::{Guard, Site, SiteProcess, serve_if_asked};
use crate::support::soak::seconds;

/// How many clients at once.
const CLIENTS: &str = "CLOAKROOM_SOAK_CLIENTS";
/// Keys that a client sets in turn, so that its session stays small.
const KEYS: usize = 8;

/// What one client knows of its session.
struct Client {
    number: usize,
    site: String,
    browser: Browser,
    random: Random,
    /// Writes that were acknowledged, and those of which nobody knows.
    acknowledged: u64,
    unknown: u64,
    counts: Counts,
    /// Errors of all clients.
    noticed: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    written: u64,
    read: u64,
    errors: u64,
    slowest: Duration,
}

type Wrong = String;

impl Client {
    /// Logs in, so to speak: the session says whose it is.
    async fn begin(&mut self) -> Result<(), Wrong> {
        loop {
            let reply = self
                .browser
                .post(format!("{}/put", self.site), format!(r#"{{"client":{}}}"#, self.number))
                .await;
            match reply.status {
                200 => return Ok(()),
                503 => tokio::time::sleep(Duration::from_millis(100)).await,
                status => return Err(format!("{status} at the start: {}", reply.body)),
            }
        }
    }

    async fn write(&mut self) -> Result<(), Wrong> {
        let key = self.random.below(KEYS);
        let start = Instant::now();
        let before = self.browser.cookies.clone();
        let reply = self.browser.get(format!("{}/count/{key}", self.site)).await;
        self.counts.slowest = self.counts.slowest.max(start.elapsed());
        match reply.status {
            200 => {
                self.acknowledged += 1;
                self.counts.written += 1;
            }
            503 => {
                self.unknown += 1;
                self.error();
            }
            status => return Err(format!("a write was answered with {status}: {}", reply.body)),
        }
        if self.browser.cookies != before {
            return Err(format!("client {} has another cookie after {}", self.number, reply.status));
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Wrong> {
        let start = Instant::now();
        let reply = self.browser.get(format!("{}/whoami", self.site)).await;
        self.counts.slowest = self.counts.slowest.max(start.elapsed());
        match reply.status {
            200 => {
                let session = SessionData::from_json(reply.json()["session"].as_str().unwrap()).unwrap();
                self.counts.read += 1;
                self.check(&session)
            }
            503 => {
                self.error();
                Ok(())
            }
            status => Err(format!("a read was answered with {status}: {}", reply.body)),
        }
    }

    fn error(&mut self) {
        self.counts.errors += 1;
        self.noticed.fetch_add(1, Ordering::Relaxed);
    }

    fn check(&self, session: &SessionData) -> Result<(), Wrong> {
        let client: Option<usize> = session.read("client").unwrap();
        if client != Some(self.number) {
            return Err(format!("client {} was given the session of client {client:?}", self.number));
        }
        let counter: u64 = session.read("counter").unwrap().unwrap_or(0);
        let possible = self.acknowledged..=self.acknowledged + self.unknown;
        if !possible.contains(&counter) {
            return Err(format!("client {}: a counter of {counter}, not of {possible:?}", self.number));
        }
        Ok(())
    }
}

/// Resident memory of a process, in kB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn soak(test: &str, name: &str, url: String, mut server: Server) {
    let time = seconds(12);
    // Of five hundred the short form would see little but their first requests.
    let clients = given(CLIENTS, 60) as usize;
    cloakroom_table(&url).await;
    let site = Site {
        url: url.clone(),
        secret: "secret".to_owned(),
        guard: Guard::AllThere,
        user: UserRow::nobody(),
    };
    let process = SiteProcess::start(test, std::slice::from_ref(&site));
    let noticed = Arc::<AtomicUsize>::default();
    let (stop, first) = (Arc::new(AtomicBool::new(false)), Browser::new());
    let seed = u64::from(Utc::now().timestamp_subsec_nanos());
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..clients {
        let mut client = Client {
            number,
            site: process.addresses[0].clone(),
            browser: first.clone(),
            random: Random(seed.wrapping_add(number as u64)),
            acknowledged: 0,
            unknown: 0,
            counts: Counts::default(),
            noticed: Arc::clone(&noticed),
        };
        let stop = Arc::clone(&stop);
        workers.spawn(async move {
            client.begin().await?;
            while !stop.load(Ordering::Relaxed) {
                if client.random.percent(50) {
                    client.write().await?
                } else {
                    client.read().await?
                }
                // A user who is quick. It leaves the machine to all of them.
                let pause = 200 + client.random.below(600) as u64;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Ok::<_, Wrong>(client)
        });
    }
    let memory = Mutex::new(Vec::new());
    let start = Instant::now();
    let mut restarts = [time / 3, time * 2 / 3].into_iter().peekable();
    while start.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(250)).await;
        memory.lock().unwrap().push((start.elapsed(), resident(process.id())));
        if restarts.next_if(|restart| start.elapsed() >= *restart).is_some() {
            server.send("KILL");
            let before = noticed.load(Ordering::Relaxed);
            let killed = Instant::now();
            while noticed.load(Ordering::Relaxed) == before && killed.elapsed() < Duration::from_secs(20) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            server.send("start");
        }
        if let Some(ended) = workers.try_join_next() {
            panic!("{name}: {:?}", ended.unwrap().err());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let store = loop {
        // It may still be recovering.
        match cloakroom::connect(&url, &settings()).await {
            Ok(store) => break store,
            Err(error) => assert!(start.elapsed() < time + Duration::from_secs(60), "{name}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (mut all, mut checked) = (Counts::default(), 0);
    for client in workers.join_all().await {
        let client = client.unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        let session_key = SessionKey::from_trusted(client.browser.session_key().unwrap());
        let loaded = store.load(&session_key, Utc::now()).await.unwrap();
        let loaded =
            loaded.unwrap_or_else(|| panic!("{name}: a session of {} writes is gone", client.acknowledged));
        client
            .check(&loaded.data().unwrap().clone())
            .unwrap_or_else(|wrong| panic!("{name}: at the end: {wrong}"));
        checked += 1;
        all.written += client.counts.written;
        all.read += client.counts.read;
        all.errors += client.counts.errors;
        all.slowest = all.slowest.max(client.counts.slowest);
    }
    let memory = memory.into_inner().unwrap();
    // Before the first restart all clients have come, and everything that is made once is made.
    let most = |from: Duration, to: Duration| {
        let part = memory.iter().filter(|(when, _)| *when >= from && *when < to);
        part.map(|(_, resident)| *resident).max().unwrap_or_default()
    };
    let (early, late) = (most(time / 6, time / 3), most(time * 5 / 6, time));
    let (written, read, errors, slowest) = (all.written, all.read, all.errors, all.slowest);
    println!(
        "soak: {name}: {clients} clients for {} s, the server killed and started twice: {written} writes acknowledged and \
         all there in {checked} of {clients} sessions, {read} of {read} reads the client's own, {errors} errors, the \
         slowest request {slowest:?}; memory {} MB in the first third, {} MB at the end",
        time.as_secs(),
        early / 1024,
        late / 1024,
    );
    assert!(all.errors > 0, "{name}: nobody noticed the restarts");
    assert!(all.written > clients as u64 && all.read > clients as u64, "{name}: too little to show anything");
    // A store's deadline is 5 seconds, and a request asks it twice.
    assert!(all.slowest < Duration::from_secs(15), "{name}: {:?}", all.slowest);
    assert!(late <= early + early / 4 + 8 * 1024, "{name}: memory grew from {early} kB to {late} kB");
}

async fn cloakroom_table(url: &str) {
    if url.starts_with("postgres:") {
        cloakroom::store::create_table(url, Default::default()).await.unwrap();
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_restarted_under_many_clients() {
    const TEST: &str = "faults::restarts::postgres_restarted_under_many_clients";
    if serve_if_asked().await {
        return;
    }
    let server = crate::support::servers::postgres::start().await;
    let url = crate::support::servers::postgres::url(&server, "postgres");
    soak(TEST, "postgres", url, server).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_restarted_under_many_clients() {
    const TEST: &str = "faults::restarts::redis_restarted_under_many_clients";
    if serve_if_asked().await {
        return;
    }
    let server = crate::support::servers::redis::start_durable().await;
    let url = crate::support::servers::redis::url_of(&server);
    soak(TEST, "redis", url, server).await;
}
