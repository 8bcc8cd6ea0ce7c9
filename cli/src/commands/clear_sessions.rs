//! `cloakroom clearsessions`: Django's `manage.py clearsessions`.

use std::ops::ControlFlow;

use anyhow::Context;
use clap::Args;
use cloakroom::store::StoreScheme;
use cloakroom::{Clock, SessionStore, SystemClock};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::ending::Ending;
use crate::interrupted::asked_to_stop;
use crate::output::lines::{complain, report_work, say};
use crate::output::progress::Progress;
use crate::sessions::cache_in_front::{self, Front};
use crate::sessions::end::{AT_ONCE, Ended};
use crate::sessions::walk::Walk;
use crate::site::{Site, SiteOptions};

const EXAMPLES: &str = "\
Examples:
  cloakroom clearsessions --store sqlite:/srv/site/db.sqlite3
  # Each night from cron:
  17 3 * * *  CLOAKROOM_STORE=sqlite:/srv/site/db.sqlite3 cloakroom clearsessions
  # A site with USE_TZ = False and TIME_ZONE = 'America/Chicago':
  cloakroom clearsessions --store sqlite:db.sqlite3 --naive-time-zone America/Chicago

Rows are removed in small batches, so that the site stays responsive; the command can be stopped and restarted at \
any time. A database needs no secret: its rows contain the expiry. A session in a file may \
contain its own expiry, which needs the secret; without it files expire after the cookie's age. Caches clear themselves.

For a cached_db site, Django may still answer from the cache if an administrator has set an earlier expiry in the \
database. These copies are removed too, which requires reading all sessions.

Exit codes: 0 all expired sessions are gone, 1 something failed, 2 wrong usage, 3 a session's file could not be read \
and stays.";

/// Remove the expired sessions and print how many, like Django's command of this name
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Remove nothing; print how many have expired
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let store = site.connect().await?;
    if options.dry_run {
        let count = store.count(SystemClock.now()).await?;
        say(&if options.json {
            json!({ "removed": 0, "found": count.expired }).to_string()
        } else {
            format!("{} found; nothing was removed", expired(count.expired))
        })?;
        return Ok(Ending::Well);
    }
    let mut ended = Ended::default();
    end_copies(&site, &*store, &mut ended).await?;
    let mut progress = Progress::new("removed", None);
    let mut before = 0;
    let mut tell = |cleared| {
        before = cleared;
        progress.set(cleared);
        if asked_to_stop().is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let cleared = store.clear_expired_with_progress(SystemClock.now(), &mut tell).await;
    drop(progress);
    let count = ended.gone + cleared.as_ref().copied().unwrap_or(before);
    let end = match (&cleared, asked_to_stop()) {
        (Ok(_), None) => "",
        _ => " before it ended in the middle; more may be left",
    };
    let line = if options.json {
        json!({ "removed": count }).to_string()
    } else {
        format!("{} removed{end}", expired(count))
    };
    let said = report_work(options.json, count > 0 || !end.is_empty(), &line);
    if count > 0 {
        cache_in_front::note(&options.site, site.url()?);
    }
    let is_told = ended.complain();
    cleared?;
    said.with_context(|| format!("{} were removed before this", expired(count)))?;
    let left = if site.url()?.scheme() == Some(StoreScheme::File) {
        store.count(SystemClock.now()).await?.unreadable
    } else {
        0
    };
    if left > 0 {
        complain(&format!(
            "{left} files could not be looked at or read, and were left; `cloakroom check` names some"
        ));
    }
    Ok(match (is_told, left) {
        (true, _) => Ending::WithFailures,
        (false, 0) => Ending::Well,
        (false, _) => Ending::WithFindings,
    })
}

fn expired(count: u64) -> String {
    format!("{count} expired {}", if count == 1 { "session" } else { "sessions" })
}

/// Ends expired sessions that the cache in front of the database still holds as live ones.
async fn end_copies(site: &Site, store: &dyn SessionStore, ended: &mut Ended) -> anyhow::Result<()> {
    let cache = match cache_in_front::open(site).await? {
        Front::Missing => return Ok(()),
        Front::Cache(cache) => cache,
        // Once the rows are gone, nobody could find the copies in the cache.
        Front::Down(error) => {
            return Err(error.context("nothing was removed, as the cache does not answer; run it again"));
        }
    };
    let now = SystemClock.now();
    let mut walk = Walk::begin(store, now, "looked at").await?;
    while let Some(page) = walk.next().await? {
        let expired = page.iter().filter(|listed| listed.is_expired(now));
        let mut held = stream::iter(expired.map(|listed| listed.session_key.clone()))
            .map(async |key| cache_in_front::holds(&*cache, &key).await.map(|holds| holds.then_some(key)))
            .buffer_unordered(AT_ONCE);
        let mut keys = Vec::new();
        while let Some(key) = held.next().await {
            keys.extend(key?);
        }
        ended.end(store, &keys).await;
    }
    Ok(())
}
