//! A live Django and this library in two processes, all of them writing the same sessions for a minute on
//! each back end (`scripts/soak`: ten), and after each step both must see what was written last.
//!
//! A worker takes one session after the other through random phases and keeps a model of what must be in it:
//!
//! - *Turns.* Either site, one after the other, puts values, changes the key, reads. Afterwards both sites must
//!   show exactly the model: this finds divergence and what one side cannot decode of the other's.
//! - *Crowd.* Many requests to both processes of this library at once, each with a key of its own and one more on
//!   a counter, while Django reads. All must be there: this finds lost updates.
//! - *Mixed crowd.* The same, while Django writes a value. A plain Django overwrites what came between its reading
//!   and its writing, so of the crowd's keys some may go; but Django's value must stay, as nobody of this
//!   library's writes over it, and the counter must agree with the keys that are there.
//! - *Logout* on either site, under a crowd of this library's. The key must be dead, on both sites and at the
//!   end of the test once more. (Django does not write then: its caches and files bring back what it had in its
//!   hands, by themselves.)
//!
//! With the engines of `django_cloakroom` in place of Django's (`scripts/soak engines`), Django is in every crowd, also
//! during a logout, and none of its writes or of this library's may be lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::Utc;
use cloakroom::{SessionData, SessionKey};
use tokio::task::JoinHandle;

use super::*;
use crate::support::axum_site::UserRow;
use crate::support::back_end::BackEnd;
use crate::support::random::Random;
use crate::support::site_process::{Guard, Site, SiteProcess, serve_if_asked};

/// How long in seconds, and the seed of a run to repeat.
const SECONDS: &str = "CLOAKROOM_SOAK_SECONDS";
const SEED: &str = "CLOAKROOM_SOAK_SEED";
/// The package whose engines Django has: `django_cloakroom`, built in `python/package`. Otherwise its own.
const ENGINES: &str = "CLOAKROOM_SOAK_ENGINES";

/// Processes of this library.
const PROCESSES: usize = 2;
/// Requests at once on one session.
const CROWD: usize = 8;

/// Values as Python spells them.
const VALUES: [&str; 8] = [
    "1",
    "null",
    "123456789012345678901234567890",
    "1e+16",
    "-0.0",
    r#""Zo\u00eb \ud83e\udde5 \"coat\"""#,
    r#"{"b":[true,null,[{"c":-1}]],"a":{}}"#,
    "[]",
];

#[derive(Default)]
struct Counts {
    requests: usize,
    sessions: usize,
    logouts: usize,
    /// How often what a site shows was compared with the model.
    compared: usize,
    dead_keys: usize,
}

/// Each key of a session with its value's JSON.
type Entries = BTreeMap<String, String>;
/// What went wrong.
type Wrong = String;

/// One session in one browser, and what must be in it.
struct Worker {
    django: String,
    /// This library's, one for each process.
    axum: Vec<String>,
    django_merges: bool,
    random: Random,
    browser: Browser,
    model: Entries,
    logged_in: bool,
    /// The number of the next request in a crowd.
    next: usize,
    dead: Vec<SessionKey>,
    counts: Counts,
}

impl Worker {
    fn axum(&mut self, path: &str) -> String {
        let process = self.random.below(self.axum.len());
        format!("{}{path}", self.axum[process])
    }

    fn either(&mut self, path: &str) -> String {
        if self.random.below(2) == 0 { format!("{}{path}", self.django) } else { self.axum(path) }
    }

    async fn ask(&mut self, url: String, body: Option<&str>) -> Result<(), Wrong> {
        self.counts.requests += 1;
        let before = self.browser.session_key().map(SessionKey::from_trusted);
        let reply = match body {
            Some(body) => self.browser.post(&url, body).await,
            None => self.browser.get(&url).await,
        };
        // A key that is left behind is dead, whether by login, logout or a change of the key.
        self.dead.extend(before.filter(|before| Some(before.as_str()) != self.browser.session_key()));
        if reply.status == 200 { Ok(()) } else { Err(format!("{url}: {} {}", reply.status, reply.body)) }
    }

    /// What each site shows.
    async fn shown(&mut self) -> Result<Vec<(String, Entries)>, Wrong> {
        let mut all = Vec::new();
        for site in std::iter::once(&self.django).chain(&self.axum) {
            self.counts.requests += 1;
            let url = format!("{site}/whoami");
            let reply = self.browser.clone().get(&url).await;
            if reply.status != 200 {
                return Err(format!("{url}: {} {}", reply.status, reply.body));
            }
            let reply = reply.json();
            let session = SessionData::from_json(reply["session"].as_str().unwrap()).unwrap();
            let entries = session
                .iter()
                .filter(|(key, _)| !key.starts_with("_auth_user_"))
                .map(|(key, value)| (key, value.json().to_owned()));
            all.push((url, entries.collect()));
            let expected = self.logged_in.then_some(USERNAME);
            if reply["user"].as_str() != expected {
                return Err(format!("{site} takes the user for {}, not {expected:?}", reply["user"]));
            }
        }
        Ok(all)
    }

    async fn compare(&mut self, when: &str) -> Result<(), Wrong> {
        for (url, shown) in self.shown().await? {
            self.counts.compared += 1;
            if shown != self.model {
                return Err(format!("{when}: {url} shows\n  {shown:?}\nand not\n  {:?}", self.model));
            }
        }
        Ok(())
    }

    async fn put(&mut self, url: String, key: String, value: &str) -> Result<(), Wrong> {
        self.ask(url, Some(&format!("{{\"{key}\":{value}}}"))).await?;
        self.model.insert(key, value.to_owned());
        Ok(())
    }

    async fn turns(&mut self) -> Result<(), Wrong> {
        for _ in 0..2 + self.random.below(4) {
            if self.random.below(4) == 0 {
                let url = self.either("/cycle_key");
                self.ask(url, None).await?;
            } else {
                let (key, value) = (self.random.below(6), VALUES[self.random.below(VALUES.len())]);
                let url = self.either("/put");
                self.put(url, format!("value {key}"), value).await?;
            }
            self.compare("in turns").await?;
        }
        Ok(())
    }

    /// Requests to this library's processes at once, and to Django if it merges. Gives the statuses once all are
    /// answered.
    fn crowd(&mut self) -> JoinHandle<Vec<u16>> {
        self.counts.requests += CROWD;
        let mut requests = tokio::task::JoinSet::new();
        for number in self.next..self.next + CROWD {
            let path = format!("/count/{number}");
            let url = if self.django_merges { self.either(&path) } else { self.axum(&path) };
            let mut browser = self.browser.clone();
            requests.spawn(async move { browser.get(url).await.status });
        }
        self.next += CROWD;
        tokio::spawn(requests.join_all())
    }

    /// A crowd's keys, those of the last one.
    fn crowds_keys(&self) -> impl Iterator<Item = (String, String)> + use<> {
        (self.next - CROWD..self.next).map(|number| (format!("key {number}"), number.to_string()))
    }

    fn count_keys(entries: &Entries) -> Option<String> {
        let count = entries.keys().filter(|key| key.starts_with("key ")).count();
        (count > 0).then(|| count.to_string())
    }

    async fn crowd_while_django_reads(&mut self) -> Result<(), Wrong> {
        let crowd = self.crowd();
        self.counts.requests += 1;
        self.browser.clone().get(format!("{}/whoami", self.django)).await.ok();
        all_ok(&crowd.await.unwrap())?;
        self.model.extend(self.crowds_keys());
        self.model.extend(Worker::count_keys(&self.model).map(|count| ("counter".to_owned(), count)));
        self.compare("after a crowd").await
    }

    async fn crowd_while_django_writes(&mut self) -> Result<(), Wrong> {
        let crowd = self.crowd();
        let value = self.next.to_string();
        self.put(format!("{}/put", self.django), "of Django".to_owned(), &value).await?;
        all_ok(&crowd.await.unwrap())?;
        let shown = self.shown().await?.swap_remove(0).1;
        let (mut at_least, mut at_most) = (self.model.clone(), self.model.clone());
        at_most.extend(self.crowds_keys());
        if self.django_merges {
            at_least.extend(self.crowds_keys());
        }
        for entries in [&mut at_least, &mut at_most] {
            entries.remove("counter");
        }
        let has = |all: &Entries, some: &Entries| some.iter().all(|(key, value)| all.get(key) == Some(value));
        let mut without_counter = shown.clone();
        if without_counter.remove("counter") != Worker::count_keys(&shown) {
            return Err(format!("the counter does not count the keys: {shown:?}"));
        }
        if !has(&without_counter, &at_least) || !has(&at_most, &without_counter) {
            let bounds = format!("at least {at_least:?}\nand at most {at_most:?}");
            return Err(format!("beside Django's writing:\n  {shown:?}\n, not {bounds}"));
        }
        self.model = shown;
        self.compare("after a mixed crowd").await
    }

    async fn logout(&mut self) -> Result<(), Wrong> {
        let (with_old_cookie, crowd) = (self.browser.clone(), self.crowd());
        let url = self.either("/logout");
        self.ask(url, None).await?;
        if let Some(status) = crowd.await.unwrap().into_iter().find(|status| ![200, 400].contains(status)) {
            return Err(format!("a request under way at a logout: {status}"));
        }
        self.counts.logouts += 1;
        (self.browser, self.model, self.logged_in) = (with_old_cookie, Entries::new(), false);
        self.compare("with the cookie of before the logout").await
    }

    async fn session(&mut self) -> Result<(), Wrong> {
        (self.browser, self.model, self.logged_in) = (Browser::new(), Entries::new(), false);
        self.counts.sessions += 1;
        let url = self.either("/put");
        self.put(url, "start".to_owned(), "true").await?;
        if self.random.below(2) == 0 {
            // Django takes a while to check a password.
            let by_django = self.random.below(10) == 0;
            let url = if by_django { format!("{}/login", self.django) } else { self.axum("/login") };
            self.ask(url, Some(&credentials().to_string())).await?;
            self.logged_in = true;
        }
        self.compare("at the start").await?;
        for _ in 0..1 + self.random.below(4) {
            match self.random.below(3) {
                0 => self.turns().await?,
                1 => self.crowd_while_django_reads().await?,
                _ => self.crowd_while_django_writes().await?,
            }
        }
        self.logout().await
    }
}

fn all_ok(statuses: &[u16]) -> Result<(), Wrong> {
    match statuses.iter().find(|status| **status != 200) {
        Some(status) => Err(format!("one of a crowd: {status}")),
        None => Ok(()),
    }
}

/// Both sites on one back end, each worker with sessions of its own, for as long as it takes.
async fn soak(
    test: &'static str,
    back_end: BackEnd,
    folder: tempfile::TempDir,
    plan: Plan,
) -> Result<Counts, Wrong> {
    let mut project = back_end.project(Django::V5_2, folder.path());
    if let Some(engines) = &plan.engines {
        let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/python/package");
        project.variables.push(("SITE_ENGINES", engines.clone()));
        project.variables.push(("SITE_PACKAGES", packages.to_owned()));
    }
    let django = project.serve();
    let user: UserRow =
        serde_json::from_value(Browser::new().get(format!("{}/account", django.address)).await.json())
            .unwrap();
    let site = Site { url: back_end.url.clone(), secret: SECRET.to_owned(), guard: plan.guard, user };
    let processes: Vec<_> =
        (0..PROCESSES).map(|_| SiteProcess::start(test, std::slice::from_ref(&site))).collect();
    let until = Instant::now() + plan.time;
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..plan.workers {
        let mut worker = Worker {
            django: django.address.clone(),
            axum: processes.iter().map(|process| process.addresses[0].clone()).collect(),
            django_merges: plan.engines.is_some(),
            random: Random(plan.seed.wrapping_add(number as u64)),
            browser: Browser::new(),
            model: Entries::new(),
            logged_in: false,
            next: 0,
            dead: Vec::new(),
            counts: Counts::default(),
        };
        workers.spawn(async move {
            while Instant::now() < until {
                worker.session().await?;
            }
            Ok::<_, Wrong>((worker.counts, worker.dead))
        });
    }
    let store = cloakroom::connect(&back_end.url, &Settings::new(SECRET)).await.unwrap();
    let mut all = Counts::default();
    for worker in workers.join_all().await {
        let (counts, dead) = worker.map_err(|wrong| format!("{}: {wrong}", back_end.name))?;
        all.requests += counts.requests;
        all.sessions += counts.sessions;
        all.logouts += counts.logouts;
        all.compared += counts.compared;
        all.dead_keys += dead.len();
        for session_key in dead {
            if store.load(&session_key, Utc::now()).await.unwrap().is_some() {
                return Err(format!("{}: a session that ended is back", back_end.name));
            }
        }
    }
    Ok(all)
}

#[derive(Clone)]
struct Plan {
    time: Duration,
    /// Sessions at a time on each back end.
    workers: usize,
    seed: u64,
    guard: Guard,
    /// In place of Django's.
    engines: Option<String>,
}

impl Plan {
    fn new(guard: Guard) -> Plan {
        let number = |name: &str| {
            std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
        };
        let random = u64::from(Utc::now().timestamp_subsec_nanos());
        let seconds = number(SECONDS).unwrap_or(60);
        let plan = Plan {
            time: Duration::from_secs(seconds),
            // A minute's run leaves the processors to the tests beside it.
            workers: if seconds > 60 { 3 } else { 1 },
            seed: number(SEED).unwrap_or(random),
            guard,
            engines: std::env::var(ENGINES).ok(),
        };
        println!("t49: {SEED}={} {SECONDS}={}", plan.seed, plan.time.as_secs());
        plan
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_write_and_nothing_diverges() {
    const TEST: &str = "django::soak::both_sides_write_and_nothing_diverges";
    if serve_if_asked().await {
        return;
    }
    let plan = Plan::new(Guard::AllThere);
    let mut soaks = Vec::new();
    macro_rules! start {
        ($back_end:ident) => {
            let folder = tempfile::tempdir().unwrap();
            let back_end = BackEnd::$back_end(folder.path()).await;
            soaks.push((back_end.name, tokio::spawn(soak(TEST, back_end, folder, plan.clone()))));
        };
    }
    start!(sqlite);
    start!(files);
    #[cfg(feature = "postgres")]
    start!(postgres);
    #[cfg(feature = "mysql")]
    start!(mariadb);
    #[cfg(feature = "redis")]
    start!(redis);
    #[cfg(feature = "memcached")]
    start!(memcached);
    let mut wrong = Vec::new();
    for (name, soak) in soaks {
        match soak.await.unwrap() {
            Ok(counts) => println!(
                "t49: {name}, {} s beside a live Django{}: {} requests, {} sessions, {} of {} compared as \
                 expected, {} logouts, {} dead keys, none back",
                plan.time.as_secs(),
                plan.engines.as_ref().map(|engines| format!(" with {engines}")).unwrap_or_default(),
                counts.requests,
                counts.sessions,
                counts.compared,
                counts.compared,
                counts.logouts,
                counts.dead_keys,
            ),
            Err(what) => wrong.push(what),
        }
    }
    assert!(wrong.is_empty(), "seed {}:\n{}", plan.seed, wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_soak_notices_a_missing_guard() {
    const TEST: &str = "django::soak::the_soak_notices_a_missing_guard";
    if serve_if_asked().await {
        return;
    }
    for (guard, told) in [
        (Guard::LastWriteWins, ["after a crowd", "beside Django's writing"].as_slice()),
        (Guard::Resurrects, ["with the cookie of before the logout", "\"ada\", not None"].as_slice()),
    ] {
        // It is a race that has to be met; a machine that is busy with other tests may take several times.
        let mut said = Vec::new();
        let noticed = loop {
            let plan = Plan { time: Duration::from_secs(30), ..Plan::new(guard) };
            let folder = tempfile::tempdir().unwrap();
            let back_end = BackEnd::sqlite(folder.path()).await;
            let wrong = soak(TEST, back_end, folder, plan).await.err();
            if wrong.as_ref().is_some_and(|wrong| told.iter().any(|told| wrong.contains(told))) {
                break true;
            }
            said.push(wrong.unwrap_or_else(|| "nothing".to_owned()));
            if said.len() == 4 {
                break false;
            }
        };
        assert!(noticed, "{guard:?} goes unnoticed: {}", said.join("\n"));
    }
}
