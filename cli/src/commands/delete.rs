//! `cloakroom delete`: ends sessions by their keys or ids.

use anyhow::Context;
use clap::Args;
use cloakroom::{Clock, SessionKey, SystemClock};
use serde_json::json;

use crate::commands::revoke::end_by_id;
use crate::ending::Ending;
use crate::interrupted::asked_to_stop;
use crate::output::lines::{report, say};
use crate::sessions::cache_in_front;
use crate::sessions::end::Ended;
use crate::sessions::ids::{self, PublicId};
use crate::sessions::keys::{self, KeyOptions};
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom delete --id 3f9a0c61b2d4
  cloakroom delete - < key.txt
  cloakroom list --user 7 --keys --json | jq -r .session_key | cloakroom delete -

A deleted session stays deleted, even if a request in progress saves it. No secret is needed, neither for keys nor to \
find an id.

Exit codes: 0 each was deleted, 1 one did not exist or something failed, 2 wrong usage.";

/// Delete sessions: users with their cookies are logged out
#[derive(Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", keys::CAREFUL))]
pub(crate) struct Options {
    #[command(flatten)]
    keys: KeyOptions,
    /// A session's public id, or its first digits, in place of keys. May be repeated
    #[arg(long, value_name = "ID", conflicts_with = "keys", long_help = format!("A session's public id, in place of keys. May be repeated\n\n{}", ids::HELP))]
    id: Vec<PublicId>,
    /// Delete nothing; print how many there are
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
    if !options.id.is_empty() {
        let found = ids::find(&*store, &options.id).await?;
        let outcome = end_by_id(&*store, &found, options.dry_run, ("deleted", options.json)).await;
        if !found.keys.is_empty() && !options.dry_run {
            cache_in_front::end_again(&*store, &cache_in_front::open(&site).await?, &found.keys).await?;
            cache_in_front::note(&options.site, site.url()?);
        }
        return outcome;
    }
    let keys = options.keys.read()?;
    if options.dry_run {
        return tell(&*store, &keys, options.json).await;
    }
    let mut ended = Ended::default();
    ended.end(&*store, &keys).await;
    let Ended { gone: deleted, missing, .. } = ended;
    let left = keys.len() as u64 - deleted - missing - ended.failed;
    let said = report(
        options.json,
        &if options.json {
            json!({ "deleted": deleted, "missing": missing }).to_string()
        } else {
            let missing = if missing == 0 { String::new() } else { format!(", {missing} not there") };
            let left = if asked_to_stop().is_none() {
                String::new()
            } else {
                format!(", stopped before {left} more")
            };
            format!("{deleted} deleted{missing}{left}")
        },
    );
    let is_told = ended.complain();
    if deleted > 0 {
        cache_in_front::note(&options.site, site.url()?);
    }
    said.with_context(|| format!("{deleted} sessions were deleted before this"))?;
    cache_in_front::end_again(&*store, &cache_in_front::open(&site).await?, &keys).await?;
    Ok(if is_told || missing > 0 { Ending::WithFailures } else { Ending::Well })
}

async fn tell(
    store: &dyn cloakroom::SessionStore,
    keys: &[SessionKey],
    json: bool,
) -> anyhow::Result<Ending> {
    let (now, mut found) = (SystemClock.now(), 0);
    for key in keys {
        found += u64::from(store.exists(key, now).await?);
    }
    let missing = keys.len() as u64 - found;
    say(&if json {
        json!({ "deleted": 0, "found": found, "missing": missing }).to_string()
    } else {
        format!("{found} found, {missing} not there; nothing was deleted")
    })?;
    Ok(if missing > 0 { Ending::WithFailures } else { Ending::Well })
}
