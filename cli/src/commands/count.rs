//! `cloakroom count`: counts the sessions.

use clap::Args;
use cloakroom::{Clock, SystemClock};
use serde_json::json;

use crate::ending::Ending;
use crate::output::lines::say;
use crate::sessions::entry::hint_at_nothing;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom count --store sqlite:/srv/site/db.sqlite3
  cloakroom count --json               # {\"live\":120,\"expired\":7,\"unreadable\":0}

A database counts its rows in one statement without reading them; `cloakroom check` reads them. Files and caches are \
read entry by entry, and unreadable entries are counted separately. Caches keep no expired sessions, and \
Redis may count an entry twice while it grows. No secret is needed.

Exit codes: 0 counted, 1 something failed, 2 wrong usage, 3 some could not be read.";

/// Count the live, expired and unreadable sessions
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
    let site = options.site.read()?;
    let count = site.connect().await?.count(SystemClock.now()).await?;
    say(&if options.json {
        json!({ "live": count.live, "expired": count.expired, "unreadable": count.unreadable }).to_string()
    } else if count.unreadable > 0 {
        format!("{} live, {} expired, {} unreadable", count.live, count.expired, count.unreadable)
    } else {
        format!("{} live, {} expired", count.live, count.expired)
    })?;
    if count.live + count.expired + count.unreadable == 0 {
        hint_at_nothing(site.url()?, &options.site);
    }
    Ok(if count.unreadable > 0 { Ending::WithFindings } else { Ending::Well })
}
