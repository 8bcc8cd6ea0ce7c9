//! Many clients at once, who check each answer.

use std::time::{Duration, Instant};

use crate::client::{Client, with_cookies};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    Untouched,
    Read,
    Count,
    New,
    Login,
}

pub(crate) const SCENARIOS: [Scenario; 5] =
    [Scenario::Untouched, Scenario::Read, Scenario::Count, Scenario::New, Scenario::Login];

impl Scenario {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Scenario::Untouched => "/untouched",
            Scenario::Read => "/read",
            Scenario::Count => "/count",
            Scenario::New => "/new",
            Scenario::Login => "/login",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Untouched => "S0 untouched",
            Scenario::Read => "S1 read",
            Scenario::Count => "S2 counter",
            Scenario::New => "S3 new session",
            Scenario::Login => "S4 login",
        }
    }
}

/// What a browser holds, and what its session should hold.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: String,
    pub(crate) count: u64,
}

/// What came of it.
pub(crate) struct Answers {
    pub(crate) seconds: f64,
    /// Of each request, in microseconds, in order of size.
    pub(crate) latencies: Vec<u32>,
    pub(crate) browsers: Vec<Browser>,
    /// Some of the sessions that `/new` and `/login` made, with the cookies of before.
    pub(crate) samples: Vec<(String, String)>,
}

/// Sends requests for this long on this many connections at once. Each connection has its own share of the browsers;
/// with `once`, each browser is used once at most.
pub(crate) async fn run(
    port: u16,
    scenario: Scenario,
    browsers: Vec<Browser>,
    connections: usize,
    duration: Duration,
) -> Result<Answers> {
    let mut shares: Vec<Vec<Browser>> = vec![Vec::new(); connections];
    for (number, browser) in browsers.into_iter().enumerate() {
        shares[number % connections].push(browser);
    }
    let mut clients = Vec::new();
    for share in shares {
        let mut client = Client::new(port);
        client.connect().await?;
        clients.push((client, share));
    }
    let start = Instant::now();
    let end = start + duration;
    let tasks: Vec<_> =
        clients.into_iter().map(|(client, share)| tokio::spawn(one(client, scenario, share, end))).collect();
    let mut answers =
        Answers { seconds: 0.0, latencies: Vec::new(), browsers: Vec::new(), samples: Vec::new() };
    for task in tasks {
        let (latencies, browsers, sample) =
            task.await?.map_err(|error| format!("{}: {error}", scenario.name()))?;
        answers.latencies.extend(latencies);
        answers.browsers.extend(browsers);
        answers.samples.extend(sample);
    }
    answers.seconds = start.elapsed().as_secs_f64();
    answers.latencies.sort_unstable();
    if answers.latencies.is_empty() {
        return Err(format!("{}: not one request was answered", scenario.name()).into());
    }
    Ok(answers)
}

type One = std::result::Result<(Vec<u32>, Vec<Browser>, Option<(String, String)>), String>;

async fn one(mut client: Client, scenario: Scenario, mut browsers: Vec<Browser>, end: Instant) -> One {
    let mut latencies = Vec::with_capacity(1 << 14);
    let mut sample = None;
    let mut next = 0;
    while Instant::now() < end {
        if next == browsers.len() {
            // Who has logged in does not do so again.
            if scenario == Scenario::Login {
                break;
            }
            next = 0;
        }
        // A new session is for a browser without a cookie.
        let mut nobody = Browser::default();
        let browser = if scenario == Scenario::New { &mut nobody } else { &mut browsers[next] };
        let start = Instant::now();
        let answer =
            client.get(scenario.path(), &browser.cookies).await.map_err(|error| error.to_string())?;
        latencies.push(start.elapsed().as_micros() as u32);
        browser.count += u64::from(scenario == Scenario::Count);
        check(scenario, &answer.body, browser.count)?;
        if matches!(scenario, Scenario::New | Scenario::Login) {
            if answer.cookies.is_empty() {
                return Err("no cookie was set".to_owned());
            }
            let after = with_cookies(&browser.cookies, &answer.cookies);
            sample = Some((browser.cookies.clone(), after));
        } else if !answer.cookies.is_empty() {
            browser.cookies = with_cookies(&browser.cookies, &answer.cookies);
        }
        next += 1;
    }
    if scenario == Scenario::Login {
        browsers.drain(..next);
    }
    Ok((latencies, browsers, sample))
}

fn check(scenario: Scenario, body: &str, count: u64) -> std::result::Result<(), String> {
    let expected = match scenario {
        Scenario::Read => "Ada Lovelace".to_owned(),
        Scenario::Count => count.to_string(),
        _ => "ok".to_owned(),
    };
    if body == expected { Ok(()) } else { Err(format!("the answer is {body:?} in place of {expected:?}")) }
}

/// New sessions as all scenarios find them: this many, or as many as there are at the end of the time.
pub(crate) async fn seed(
    port: u16,
    connections: usize,
    count: usize,
    duration: Duration,
) -> Result<Vec<Browser>> {
    let end = Instant::now() + duration;
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let share = count / connections + usize::from(number < count % connections);
            tokio::spawn(async move {
                let (mut client, mut browsers) = (Client::new(port), Vec::new());
                while browsers.len() < share && Instant::now() < end {
                    let answer = client.get("/seed", "").await.map_err(|error| error.to_string())?;
                    browsers.push(Browser { cookies: with_cookies("", &answer.cookies), count: 0 });
                }
                Ok::<_, String>(browsers)
            })
        })
        .collect();
    let mut browsers = Vec::new();
    for task in tasks {
        browsers.extend(task.await??);
    }
    Ok(browsers)
}

/// Whether the sessions that were made are there: new ones with what was put into them, moved ones with their user and
/// no longer under their old key.
pub(crate) async fn verify(
    port: u16,
    scenario: Scenario,
    samples: &[(String, String)],
    on_server: bool,
) -> Result<()> {
    let mut client = Client::new(port);
    for (before, after) in samples {
        if scenario == Scenario::New {
            let name = client.get("/read", after).await?.body;
            check(Scenario::Read, &name, 0)?;
        } else {
            let user = client.get("/user", after).await?.body;
            if user != "12345" || before == after {
                return Err(format!("after a login, the user is {user:?}").into());
            }
            if on_server && client.get("/user", before).await.is_ok_and(|answer| answer.body == "12345") {
                return Err("after a login, the old key is logged in too".into());
            }
        }
    }
    Ok(())
}
