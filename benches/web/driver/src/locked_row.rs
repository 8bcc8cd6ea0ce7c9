//! One session's row is locked by another transaction for 5 seconds: what do the other users notice?

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::load::{self, Browser, Scenario};
use crate::measure::{Site, percentile};
use crate::servers::connect;
use crate::{Options, Result};

/// For how long the row is locked, and how long is measured before.
const TIME: Duration = Duration::from_secs(5);

/// Milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct LockedRow {
    pub(crate) contender: &'static str,
    pub(crate) round: u32,
    pub(crate) p50_before: f64,
    pub(crate) p99_before: f64,
    pub(crate) p50_during: f64,
    pub(crate) p99_during: f64,
    /// How long the user whose row was locked waited, and for what.
    pub(crate) victim: f64,
    pub(crate) victim_answer: String,
}

pub(crate) async fn measure(
    options: &Options,
    site: &Site,
    mut browsers: Vec<Browser>,
    round: u32,
) -> Result<(LockedRow, Vec<Browser>)> {
    let mut victim = browsers.pop().ok_or("no session")?;
    let port = site.process.port;
    let count = |browsers| load::run(port, Scenario::Count, browsers, options.connections - 1, TIME);
    let before = count(browsers).await?;

    let mut locker = connect(&site.place).await?;
    let transaction = locker.transaction().await?;
    let key = victim.cookies.split('=').nth(1).unwrap_or_default();
    let lock = "SELECT 1 FROM django_session WHERE session_key = $1 FOR UPDATE";
    if transaction.query(lock, &[&key]).await?.len() != 1 {
        return Err("the row to lock is not there".into());
    }
    let cookies = victim.cookies.clone();
    let waits = tokio::spawn(async move {
        let start = Instant::now();
        let answer = Client::new(port).get("/count", &cookies).await;
        (start.elapsed(), answer.map(|answer| answer.body).map_err(|error| error.to_string()))
    });
    let during = count(before.browsers).await?;
    transaction.rollback().await?;
    let (waited, answer) = waits.await?;
    let mut browsers = during.browsers;
    // What was answered with an error may count or not; the session is left out then.
    if let Ok(count) = &answer {
        victim.count = count.parse()?;
        browsers.push(victim);
    }
    let row = LockedRow {
        contender: site.contender.name,
        round,
        p50_before: percentile(&before.latencies, 0.5),
        p99_before: percentile(&before.latencies, 0.99),
        p50_during: percentile(&during.latencies, 0.5),
        p99_during: percentile(&during.latencies, 0.99),
        victim: waited.as_secs_f64() * 1_000.0,
        victim_answer: answer.unwrap_or_else(|error| error),
    };
    Ok((row, browsers))
}
