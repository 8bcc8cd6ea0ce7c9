//! `cloakroom list`: lists the sessions.

use std::ops::ControlFlow;

use clap::Args;
use cloakroom::{Clock, SystemClock};

use crate::ending::Ending;
use crate::interrupted::asked_to_stop;
use crate::output::lines::{Output, complain};
use crate::sessions::entry::{Entry, State, complain_of_unread, hint_at_nothing, may_be_anybodys};
use crate::sessions::ids::PublicId;
use crate::sessions::walk::Walk;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom list --from-django manage.py
  cloakroom list --user 7              # where is this user logged in?
  cloakroom list --id 3f9a0c61b2d4     # which session does the log mean?
  cloakroom list --all --json > sessions.jsonl
  # The keys of a user's sessions, to end them:
  cloakroom list --user 7 --keys --json | jq -r .session_key | cloakroom delete -

A line contains the session's public id (the first 12 digits of its key's SHA-256, as in logs and traces), \
its state (live, expired, not genuine, unreadable), its expiry, and the logged-in user. With --json each line is an object \
with id, state, format (modern, legacy, cache), user, expire_date, and on request session_key.

Anyone who knows a session key can act as that session's user: protect the output of --keys.

With --user, unreadable sessions may be this user's too: their number is printed, and the exit code is 3.

Exit codes: 0 all were listed, 1 something failed or no session has the id, 2 wrong usage, 3 some sessions could not be read (--user).";

/// List the sessions in a store: public id, state, expiry, user
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Only sessions in which this user is logged in
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only the session with this public id, as in logs and traces, or its first digits; expired or not
    #[arg(long, value_name = "ID")]
    id: Option<PublicId>,
    /// Include expired sessions
    #[arg(long)]
    all: bool,
    /// List at most this many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Show the session keys, which give access to the sessions
    #[arg(long)]
    keys: bool,
    /// Write JSON, one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let site = if options.user.is_some() { site.for_owners() } else { site };
    let (store, url) = (site.connect_to_read().await?, site.url()?.clone());
    let now = SystemClock.now();
    let mut output = Output::new();
    let mut left = options.limit.unwrap_or(u64::MAX);
    let (mut unread, mut seen, mut shown) = (0, 0_u64, 0_u64);
    let mut walk = Walk::begin(&*store, now, "looked at").await?;
    walk.each(|listed| {
        seen += 1;
        unread += u64::from(options.user.is_some() && may_be_anybodys(listed, now));
        let entry = Entry::new(listed, now, options.keys);
        let is_wanted = (options.all || options.id.is_some() || entry.state != State::Expired)
            && options.id.as_ref().is_none_or(|id| id.is_of(&listed.session_key))
            && (options.user.is_none() || options.user == entry.user);
        if !is_wanted {
            return Ok(ControlFlow::Continue(()));
        }
        if left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        left -= 1;
        shown += 1;
        let line = if options.json { serde_json::to_string(&entry)? } else { entry.line() };
        output.line(&line)
    })
    .await?;
    drop(walk);
    output.end()?;
    if asked_to_stop().is_some() {
        complain("stopped before the end: there may be more sessions");
    } else if seen == 0 {
        hint_at_nothing(&url, &options.site);
    }
    if let Some(id) = options.id.filter(|_| shown == 0 && asked_to_stop().is_none()) {
        complain(&format!("no session has the id {id}"));
        return Ok(Ending::WithFailures);
    }
    Ok(if complain_of_unread(unread) { Ending::WithFindings } else { Ending::Well })
}
