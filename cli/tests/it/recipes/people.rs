//! People who click through a site all the time, and notice when they are logged out, when something that they did is
//! lost, and when somebody comes back who had logged out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::site::Site;

/// Which pages a person opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Those of both sides in turn.
    Both,
    Django,
    Rust,
    /// None: a tab that was left open.
    Sleeps,
}

/// The damage that people noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noticed {
    pub(crate) logged_out: Vec<&'static str>,
    pub(crate) lost: Vec<String>,
    pub(crate) came_back: Vec<&'static str>,
}

/// A browser of one person.
struct Person {
    name: &'static str,
    habit: Habit,
    addresses: [String; 2],
    agent: ureq::Agent,
    cookie: Option<String>,
    /// Clicks that each side, Django and Rust, acknowledged.
    done: [u64; 2],
    /// Clicks of which nobody knows whether they were done.
    unknown: [u64; 2],
    noticed: Noticed,
}

/// How long a person tries to get an answer.
const PATIENCE: Duration = Duration::from_secs(90);
const SIDES: [&str; 2] = ["django", "rust"];

impl Person {
    /// The answer, or none when the server did not answer, or answered that it cannot.
    fn ask(&mut self, side: usize, path: &str) -> Option<Value> {
        let mut request = self.agent.post(format!("{}/{path}", self.addresses[side]));
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", format!("sessionid={cookie}"));
        }
        let mut response = request.send_empty().ok()?;
        for header in response.headers().get_all("set-cookie") {
            let header = header.to_str().unwrap();
            let Some(value) = header.strip_prefix("sessionid=") else { continue };
            let value = value.split(';').next().unwrap().trim_matches('"');
            self.cookie = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        if response.status() != 200 {
            return None;
        }
        // A server may be stopped between the head of its answer and the body.
        let body = response.body_mut().read_to_string().ok()?;
        Some(serde_json::from_str(&body).unwrap())
    }

    /// As [`ask`](Self::ask), and again until there is an answer.
    fn ask_patiently(&mut self, side: usize, path: &str) -> Value {
        let start = Instant::now();
        loop {
            if let Some(answer) = self.ask(side, path) {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "{}: {path} of {} does not answer", self.name, SIDES[side]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn click(&mut self, side: usize) {
        let Some(answer) = self.ask(side, "click") else {
            self.unknown[side] += 1;
            return std::thread::sleep(Duration::from_millis(10));
        };
        self.compare(&answer, (side, 1));
    }

    /// Compares what a page shows with what was done before, and by this click.
    fn compare(&mut self, answer: &Value, (side, clicks): (usize, u64)) {
        if answer["user"] != self.name {
            if !self.noticed.logged_out.contains(&self.name) {
                self.noticed.logged_out.push(self.name);
            }
            return;
        }
        self.done[side] += clicks;
        for (side, shown) in SIDES.iter().map(|side| answer[side].as_u64().unwrap()).enumerate() {
            let expected = self.done[side]..=self.done[side] + self.unknown[side];
            if !expected.contains(&shown) {
                let lost = format!("{}: {} shows {shown} clicks, not {expected:?}", self.name, SIDES[side]);
                self.noticed.lost.push(lost);
            }
            // From here on it is known.
            (self.done[side], self.unknown[side]) = (shown, 0);
        }
    }

    fn turn(&mut self, turn: u64) {
        match self.habit {
            Habit::Both => self.click((turn % 2) as usize),
            Habit::Django => self.click(0),
            Habit::Rust => self.click(1),
            Habit::Sleeps => {}
        }
        // As fast as a script, and not so fast that nothing else gets a turn on two processors.
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// A person at work in a thread.
struct Worker {
    person: Arc<Mutex<Person>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

pub(crate) struct People {
    workers: Vec<Worker>,
    addresses: [String; 2],
    turns: Arc<AtomicU64>,
}

impl People {
    /// Logs these people in to Django, lets each click once on either side, and sends them to work.
    pub(crate) fn arrive(site: &Site, habits: &[(&'static str, Habit)]) -> People {
        People::arrive_at(site.addresses(), habits)
    }

    /// As [`arrive`](Self::arrive), at these addresses of Django and Rust.
    pub(crate) fn arrive_at(addresses: [String; 2], habits: &[(&'static str, Habit)]) -> People {
        let turns = Arc::new(AtomicU64::new(0));
        let workers = habits.iter().map(|&(name, habit)| {
            let agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .timeout_global(Some(Duration::from_secs(20)));
            let mut person = Person {
                name,
                habit,
                addresses: addresses.clone(),
                agent: agent.build().into(),
                cookie: None,
                done: [0; 2],
                unknown: [0; 2],
                noticed: Noticed::default(),
            };
            person.ask_patiently(0, &format!("login/{name}"));
            for side in [0, 1] {
                let answer = person.ask_patiently(side, "click");
                person.compare(&answer, (side, 1));
            }
            let (person, stop) = (Arc::new(Mutex::new(person)), Arc::new(AtomicBool::new(false)));
            let thread = {
                let (person, stop, turns) = (Arc::clone(&person), Arc::clone(&stop), Arc::clone(&turns));
                std::thread::spawn(move || {
                    let mut turn = 0;
                    while !stop.load(Ordering::Relaxed) {
                        person.lock().unwrap().turn(turn);
                        turn += 1;
                        turns.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                })
            };
            Worker { person, stop, thread }
        });
        let workers: Vec<Worker> = workers.collect();
        People { workers, addresses, turns }
    }

    /// Lets people click for a while.
    pub(crate) async fn go_on(&self) {
        let before = self.turns.load(Ordering::Relaxed);
        let start = Instant::now();
        while self.turns.load(Ordering::Relaxed) < before + 20 * self.workers.len() as u64 {
            assert!(start.elapsed() < PATIENCE, "people click no more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets one of them open a page of a side; whom the page takes them for.
    pub(crate) async fn look(&self, name: &'static str, side: usize) -> Option<String> {
        let worker = self.workers.iter().find(|worker| worker.person.lock().unwrap().name == name).unwrap();
        let person = Arc::clone(&worker.person);
        let answer = tokio::task::spawn_blocking(move || person.lock().unwrap().ask_patiently(side, "look"));
        answer.await.unwrap()["user"].as_str().map(str::to_owned)
    }

    /// Lets one of them log out on a side; whoever has copied the cookie clicks on, and must be nobody.
    pub(crate) async fn log_out(&mut self, name: &'static str, side: usize) {
        let worker = self.workers.iter().find(|worker| worker.person.lock().unwrap().name == name).unwrap();
        worker.stop.store(true, Ordering::Relaxed);
        let person = Arc::clone(&worker.person);
        let (stop, addresses) = (Arc::new(AtomicBool::new(false)), self.addresses.clone());
        let thief = tokio::task::spawn_blocking(move || {
            let mut person = person.lock().unwrap();
            person.habit = Habit::Sleeps;
            let copied = person.cookie.clone();
            person.ask_patiently(side, "logout");
            person.cookie = copied.clone();
            let agent = person.agent.clone();
            Person {
                name: person.name,
                habit: Habit::Both,
                addresses,
                agent,
                cookie: copied,
                done: [0; 2],
                unknown: [0; 2],
                noticed: Noticed::default(),
            }
        })
        .await
        .unwrap();
        let thief = Arc::new(Mutex::new(thief));
        let thread = {
            let (thief, stop) = (Arc::clone(&thief), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut side = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut thief = thief.lock().unwrap();
                    let copied = thief.cookie.clone();
                    if thief.ask(side, "look").is_some_and(|answer| !answer["user"].is_null())
                        && thief.noticed.came_back.is_empty()
                    {
                        let name = thief.name;
                        thief.noticed.came_back.push(name);
                    }
                    thief.cookie = copied;
                    side = 1 - side;
                    drop(thief);
                    std::thread::sleep(Duration::from_millis(15));
                }
            })
        };
        self.workers.retain(|worker| worker.person.lock().unwrap().name != name);
        self.workers.push(Worker { person: thief, stop, thread });
    }

    /// Everybody opens one page more on each side, those who slept too, and goes home; what they noticed.
    pub(crate) async fn go_home(self) -> Noticed {
        tokio::task::spawn_blocking(move || {
            let mut noticed = Noticed::default();
            for Worker { person, stop, thread } in self.workers {
                stop.store(true, Ordering::Relaxed);
                thread.join().unwrap();
                let mut person = person.lock().unwrap();
                let is_thief = person.done == [0; 2];
                // Rust first: Django renews a login that an old secret made.
                for side in [1, 0] {
                    let answer = person.ask_patiently(side, "look");
                    if !is_thief {
                        person.compare(&answer, (side, 0));
                    } else if !answer["user"].is_null() && person.noticed.came_back.is_empty() {
                        let name = person.name;
                        person.noticed.came_back.push(name);
                    }
                }
                noticed.logged_out.extend(&person.noticed.logged_out);
                noticed.lost.append(&mut person.noticed.lost);
                noticed.came_back.extend(&person.noticed.came_back);
            }
            noticed
        })
        .await
        .unwrap()
    }
}
