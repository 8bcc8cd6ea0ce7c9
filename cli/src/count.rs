//! `cloakroom count`: how many sessions there are.

use clap::Args;
use cloakroom::{Clock, SystemClock};
use serde_json::json;

use crate::Ending;
use crate::lines::say;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom count --store sqlite:/srv/site/db.sqlite3
  cloakroom count --json               # {\"live\":120,\"expired\":7}

A database counts in one statement; files and caches are gone through. Caches keep no expired sessions, and \
Redis may count one twice while it grows. No secret is needed.

Exit codes: 0 counted, 1 something failed, 2 wrong usage.";

/// Count the sessions that live and those that have expired
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let count = options.site.read()?.connect().await?.count(SystemClock.now()).await?;
    say(&if options.json {
        json!({ "live": count.live, "expired": count.expired }).to_string()
    } else {
        format!("{} live, {} expired", count.live, count.expired)
    })?;
    Ok(Ending::Well)
}
