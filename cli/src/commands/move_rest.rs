//! `cloakroom move`: moves the sessions that a site which moves to another store has not written meanwhile.

use std::ops::ControlFlow;

use anyhow::Context;
use clap::Args;
use cloakroom::store::StoreUrlParts;
use cloakroom::store::moving::Moved;
use cloakroom::{Clock, MovingStore, SystemClock};
use serde_json::json;

use crate::ending::{Ending, usage};
use crate::interrupted::asked_to_stop;
use crate::output::lines::{complain, say};
use crate::output::progress::Progress;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom move --store 'moving:postgres://site@db.example/site|redis://cache.example/1' --secret-key-file secret.txt
  # If one of the stores contains a bar itself:
  cloakroom move --store 'moving:cached_db:sqlite:db.sqlite3|redis://cache.example/1||postgres://site@db.example/site'

For a site of Rust services that all use `moving:OLD|NEW`. A session moves when it is written; this command moves the \
others, while the site runs. Afterwards the services can use the new store alone. It can be stopped and restarted at any \
time. Move a site with Django by `cloakroom copy --record`.

With --json: one object with moved and left.

Exit codes: 0 no live session remains in the old store, 3 some remain there (unreadable, not genuine, refused by the \
new store, or without a known expiry), 1 a store failed, 2 wrong usage, 130 or 143 stopped.";

/// Move the sessions that are still in the old store of moving:OLD|NEW
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
    let url = site.url()?;
    if !matches!(url.parts()?, StoreUrlParts::Moving { .. }) {
        return Err(usage("`move` takes the old and the new store as one: --store 'moving:OLD|NEW'"));
    }
    let store = MovingStore::open(url.expose(), site.settings()?).await?;
    let mut progress = Progress::new("looked at", None);
    let mut looked_at = 0;
    let mut tell = |count| {
        looked_at = count;
        progress.set(count);
        if asked_to_stop().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let outcome = store.move_rest(SystemClock.now(), &mut tell).await;
    drop(progress);
    let Moved { moved, left, .. } = outcome
        .with_context(|| format!("{looked_at} sessions of the old store were looked at before this"))?;
    let stopped = asked_to_stop();
    say(&if options.json {
        json!({ "moved": moved, "left": left }).to_string()
    } else {
        let start = if stopped.is_some() { "stopped before the end: " } else { "" };
        format!("{start}{moved} moved, {left} left in the old store")
    })?;
    if left > 0 {
        complain("`cloakroom list --store OLD` shows what was left, and `cloakroom check --store OLD` why");
    }
    Ok(match stopped {
        Some(code) => Ending::Interrupted(code),
        None if left > 0 => Ending::WithFindings,
        None => Ending::Well,
    })
}
