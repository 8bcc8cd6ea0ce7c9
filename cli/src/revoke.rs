//! `cloakroom revoke`: ends all sessions of a user.

use clap::Args;
use cloakroom::store::Listed;
use cloakroom::{Clock, SessionKey, SessionStore, SystemClock};
use serde_json::json;

use crate::Ending;
use crate::end::Ended;
use crate::entry::{complain_of_unread, may_be_anybodys};
use crate::lines::{complain, say};
use crate::site::SiteOptions;
use crate::walk::Walk;

const EXAMPLES: &str = "\
Examples:
  cloakroom revoke --user 7 --from-django manage.py
  cloakroom revoke --user 7 --dry-run      # how many are there?

All sessions are read, and those in which this user is logged in are deleted; again, until there are none left, \
because a session that moves to a new key meanwhile can be missed once. A request under way does not bring one \
back. Whoever can log in again will: first deactivate the user or set another password.

Exit codes: 0 none is left, 1 something failed or some sessions could not be read, 2 wrong usage.";

/// Delete all sessions in which a user is logged in
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The user's primary key, as Django keeps it in _auth_user_id
    #[arg(long, value_name = "ID")]
    user: String,
    /// Delete nothing, and tell how many there are
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

/// What one walk came to.
#[derive(Default)]
struct Pass {
    found: u64,
    unread: u64,
    ended: Ended,
}

/// A user who logs in faster than this ends is not to be beaten here.
const PASSES: usize = 5;

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let store = options.site.read()?.for_owners().connect_to_read().await?;
    let (mut found, mut is_told, mut last) = (0, false, Pass::default());
    for _ in 0..PASSES {
        last = pass(&*store, &options).await?;
        found += if options.dry_run { last.found } else { last.ended.gone };
        is_told |= last.ended.complain();
        if last.found == 0 || last.ended.failed > 0 || options.dry_run {
            break;
        }
    }
    let is_done = options.dry_run || last.found == 0;
    let said = say(&if options.json {
        json!({ "revoked": if options.dry_run { 0 } else { found }, "found": found, "unread": last.unread })
            .to_string()
    } else {
        let sessions = if found == 1 { "session" } else { "sessions" };
        format!(
            "{found} {sessions} of user {} {}",
            options.user,
            if options.dry_run { "found" } else { "revoked" }
        )
    });
    let is_told = complain_of_unread(last.unread) || is_told;
    if !is_done && last.ended.failed == 0 {
        complain("the user keeps logging in; deactivate the user first, then revoke again");
    }
    said?;
    Ok(if is_done && !is_told { Ending::Well } else { Ending::WithFailures })
}

async fn pass(store: &dyn SessionStore, options: &Options) -> anyhow::Result<Pass> {
    let now = SystemClock.now();
    let mut pass = Pass::default();
    let mut walk = Walk::begin(store, now, "looked at").await?;
    while let Some(page) = walk.next().await? {
        pass.unread += page.iter().filter(|listed| may_be_anybodys(listed, now)).count() as u64;
        let is_users =
            |listed: &Listed| listed.user_id().is_ok_and(|user| user.as_ref() == Some(&options.user));
        let session_keys: Vec<SessionKey> =
            page.into_iter().filter(is_users).map(|listed| listed.session_key).collect();
        pass.found += session_keys.len() as u64;
        if !options.dry_run {
            pass.ended.end(store, &session_keys).await;
        }
    }
    Ok(pass)
}
