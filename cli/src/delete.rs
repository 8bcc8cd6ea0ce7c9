//! `cloakroom delete`: ends sessions by their keys.

use clap::Args;
use serde_json::json;

use crate::Ending;
use crate::end::Ended;
use crate::keys::{self, KeyOptions};
use crate::lines::say;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom delete - < key.txt
  cloakroom list --user 7 --keys --json | jq -r .session_key | cloakroom delete -

A session that is deleted stays dead, also for a request that is under way. No secret is needed.

Exit codes: 0 each was deleted, 1 one was not there or something failed, 2 wrong usage.";

/// Delete sessions for good: whoever has their cookies is logged out
#[derive(Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", keys::CAREFUL))]
pub(crate) struct Options {
    #[command(flatten)]
    keys: KeyOptions,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let store = options.site.read()?.connect().await?;
    let keys = options.keys.read()?;
    let mut ended = Ended::default();
    ended.end(&*store, &keys).await;
    let Ended { gone: deleted, missing, .. } = ended;
    let said = say(&if options.json {
        json!({ "deleted": deleted, "missing": missing }).to_string()
    } else if missing == 0 {
        format!("{deleted} deleted")
    } else {
        format!("{deleted} deleted, {missing} not there")
    });
    let is_told = ended.complain();
    said?;
    Ok(if is_told || missing > 0 { Ending::WithFailures } else { Ending::Well })
}
