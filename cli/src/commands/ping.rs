//! `cloakroom ping`: whether the store answers.

use std::time::{Duration, Instant};

use clap::Args;
use cloakroom::{Clock, SessionKey, SystemClock};
use serde_json::json;

use crate::ending::Ending;
use crate::output::lines::report;
use crate::sessions::cache_in_front::{self, Front};
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom ping --store postgres://site@db.example/site
  cloakroom ping --timeout 2 --quiet || echo 'the store does not answer'
  # In a container:
  HEALTHCHECK CMD [\"cloakroom\", \"ping\", \"--quiet\"]

Opens the store and asks for a session that does not exist. So the answer shows that the server, the database, the table \
and the permission to read it are right. For a cached_db site the cache is asked too. No secret is needed.

Exit codes: 0 the store answers, 1 it does not, or not in time, 2 wrong usage.";

/// Check whether the store answers, and how fast
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How long to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let limit = Duration::from_secs(options.timeout);
    let ask = async {
        let store = site.connect().await?;
        let (absent, now) = (SessionKey::random()?, SystemClock.now());
        let start = Instant::now();
        store.exists(&absent, now).await?;
        // The database is asked directly, without the cache.
        for url in cache_in_front::stores(site.url()?)? {
            match cache_in_front::open_of(&site, &url).await? {
                Front::Cache(cache) => drop(cache.exists(&absent, now).await?),
                Front::Missing => {}
                Front::Down(error) => {
                    return Err(error.context("the database answers, and the cache does not"));
                }
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1_000.0)
    };
    let answered = tokio::time::timeout(limit, ask).await;
    let milliseconds =
        answered.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", options.timeout)))?;
    report(
        options.json,
        &if options.json {
            json!({ "ok": true, "milliseconds": (milliseconds * 10.0).round() / 10.0 }).to_string()
        } else {
            format!("ok, {milliseconds:.1} ms")
        },
    )?;
    Ok(Ending::Well)
}
