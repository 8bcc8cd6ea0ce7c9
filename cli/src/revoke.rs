//! `cloakroom revoke`: ends all sessions of a user.

use clap::Args;
use cloakroom::{Clock, SessionStore, SystemClock};
use serde_json::json;

use crate::Ending;
use crate::entry::{State, user};
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
}

/// A user who logs in faster than this ends is not to be beaten here.
const PASSES: usize = 5;

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let store = options.site.read()?.connect_to_read().await?;
    let (mut revoked, mut last) = (0, Pass::default());
    for _ in 0..PASSES {
        last = pass(&*store, &options).await?;
        revoked += last.found;
        if last.found == 0 || options.dry_run {
            break;
        }
    }
    let is_done = options.dry_run || last.found == 0;
    say(&if options.json {
        json!({ "revoked": if options.dry_run { 0 } else { revoked }, "found": revoked, "unread": last.unread })
            .to_string()
    } else {
        let sessions = if revoked == 1 { "session" } else { "sessions" };
        format!(
            "{revoked} {sessions} of user {} {}",
            options.user,
            if options.dry_run { "found" } else { "revoked" }
        )
    });
    if last.unread > 0 {
        complain(&format!(
            "{} sessions could not be read, and may be this user's; `cloakroom check` tells why",
            last.unread
        ));
    }
    if !is_done {
        complain("the user keeps logging in; deactivate the user first, then revoke again");
    }
    Ok(if is_done && last.unread == 0 { Ending::Well } else { Ending::WithFailures })
}

async fn pass(store: &dyn SessionStore, options: &Options) -> anyhow::Result<Pass> {
    let now = SystemClock.now();
    let mut pass = Pass::default();
    let mut walk = Walk::begin(store, now, "looked at").await?;
    while let Some(page) = walk.next().await? {
        for listed in page {
            match State::of(&listed, now) {
                State::NotGenuine | State::Unreadable => pass.unread += 1,
                State::Live | State::Expired => {}
            }
            let its_user = listed.session.as_ref().ok().and_then(user);
            if its_user.as_ref() == Some(&options.user)
                && (options.dry_run || store.delete(&listed.session_key).await?)
            {
                pass.found += 1;
            }
        }
    }
    Ok(pass)
}
