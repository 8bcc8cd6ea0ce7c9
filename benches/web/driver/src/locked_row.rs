//! One session's row is locked by another transaction for 5 seconds: what do the other users notice?
//!
//! PostgreSQL keeps every version of a row that a transaction under way may still have to see. So while any
//! transaction is open, each update of a session makes the way to its newest version longer, whoever waits for a lock or
//! not. What the lock does is therefore told by comparing it with a transaction that locks nothing.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::client::Client;
use crate::cpu::Snapshot;
use crate::error::Result;
use crate::load::{self, Browser, Scenario};
use crate::options::Options;
use crate::runs::{LockedRow, OTHERS, Other};
use crate::servers::{self, Server, connect};
use crate::site::{Site, percentile};

/// How long each is measured, and for how long the row is locked.
const TIME: Duration = Duration::from_secs(5);

pub(crate) async fn measure(
    options: &Options,
    site: &Site,
    server: &Server,
    mut browsers: Vec<Browser>,
    round: u32,
) -> Result<(LockedRow, Vec<Browser>)> {
    let mut victim = browsers.pop().ok_or("no session")?;
    let port = site.process.port;
    let mut row = LockedRow {
        contender: site.contender.name,
        round,
        p50: [0.0; 3],
        p99: [0.0; 3],
        server: [0.0; 3],
        victim: 0.0,
        victim_answer: String::new(),
    };
    for turn in 0..OTHERS.len() {
        // Who comes first changes. What one leaves behind is removed before the next.
        let other = OTHERS[(turn + round as usize) % OTHERS.len()];
        servers::tidy(&site.place).await?;
        let mut client = connect(&site.place).await?;
        let transaction = match other {
            Other::Nothing => None,
            Other::Open | Other::Lock => Some(client.transaction().await?),
        };
        if let Some(transaction) = &transaction {
            transaction.query("SELECT pg_current_xact_id()::text", &[]).await?;
        }
        let mut waits = None;
        if let (Some(transaction), Other::Lock) = (&transaction, other) {
            let key = victim.cookies.split('=').nth(1).unwrap_or_default();
            let lock = "SELECT 1 FROM django_session WHERE session_key = $1 FOR UPDATE";
            if transaction.query(lock, &[&key]).await?.len() != 1 {
                return Err("the row to lock is not there".into());
            }
            waits = Some(wait(port, victim.cookies.clone()));
        }
        let id = server.id().ok_or("the server is no process")?;
        let before = Snapshot::of(id)?;
        let answers = load::run(port, Scenario::Count, browsers, options.connections - 1, TIME).await?;
        let seconds = Snapshot::of(id)?.since(&before);
        if let Some(transaction) = transaction {
            transaction.rollback().await?;
        }
        if let Some(waits) = waits {
            let (waited, answer) = waits.await?;
            row.victim = waited.as_secs_f64() * 1_000.0;
            row.victim_answer = answer.unwrap_or_else(|error| error);
        }
        browsers = answers.browsers;
        row.p50[other as usize] = percentile(&answers.latencies, 0.5);
        row.p99[other as usize] = percentile(&answers.latencies, 0.99);
        row.server[other as usize] = seconds * 10_000.0 / answers.latencies.len() as f64;
    }
    // What was answered with an error may count or not; the session is left out then.
    if let Ok(count) = row.victim_answer.parse() {
        victim.count = count;
        browsers.push(victim);
    }
    Ok((row, browsers))
}

type Waited = (Duration, std::result::Result<String, String>);

/// The request of the user whose row is locked.
fn wait(port: u16, cookies: String) -> JoinHandle<Waited> {
    tokio::spawn(async move {
        let start = Instant::now();
        let answer = Client::new(port).get("/count", &cookies).await;
        (start.elapsed(), answer.map(|answer| answer.body).map_err(|error| error.to_string()))
    })
}
