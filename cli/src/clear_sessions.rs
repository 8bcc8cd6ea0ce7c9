//! `cloakroom clearsessions`: Django's `manage.py clearsessions`.

use std::ops::ControlFlow;

use anyhow::Context;
use clap::Args;
use cloakroom::{Clock, SystemClock};
use serde_json::json;

use crate::Ending;
use crate::lines::say;
use crate::progress::Progress;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom clearsessions --store sqlite:/srv/site/db.sqlite3
  # Each night from cron:
  17 3 * * *  CLOAKROOM_STORE=sqlite:/srv/site/db.sqlite3 cloakroom clearsessions
  # A site with USE_TZ = False and TIME_ZONE = 'America/Chicago':
  cloakroom clearsessions --store sqlite:db.sqlite3 --naive-time-zone America/Chicago

Rows go in small batches, so that a site in use goes on beside it; it can be stopped and started again at \
any time. No secret is needed for a database: a row says when it ends. A file's session may \
say it itself, so that files want the secret; without it they end after the cookie's age. Caches clear themselves.

Exit codes: 0 all that had expired are gone (a session's file that may not be looked at stays, and a warning on \
standard error says so), 1 something failed, 2 wrong usage.";

/// Remove the sessions that have expired, as Django's command of this name, and say how many
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
    let store = options.site.read()?.connect().await?;
    let mut progress = Progress::new("removed", None);
    let mut before = 0;
    let mut tell = |cleared| {
        before = cleared;
        progress.set(cleared);
        ControlFlow::Continue(())
    };
    let cleared = store.clear_expired_with_progress(SystemClock.now(), &mut tell).await;
    drop(progress);
    let count = cleared.with_context(|| format!("{before} expired sessions were removed before this"))?;
    say(&if options.json {
        json!({ "removed": count }).to_string()
    } else {
        format!("{count} expired {} removed", if count == 1 { "session" } else { "sessions" })
    })?;
    Ok(Ending::Well)
}
