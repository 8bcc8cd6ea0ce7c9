//! `cloakroom check`: do this secret and these settings read what is in the store?

use std::ops::ControlFlow;

use clap::Args;
use cloakroom::{Clock, SystemClock};
use serde::Serialize;

use crate::Ending;
use crate::entry::{Format, State};
use crate::lines::say;
use crate::site::SiteOptions;
use crate::walk::Walk;

const EXAMPLES: &str = "\
Examples:
  cloakroom check --from-django manage.py
  cloakroom check --store postgres://site@db.example/site --secret-key-file secret.txt
  # May the old secret go? Not while this finds sessions that only it reads:
  cloakroom check --secret-key-file new.txt

Counts the sessions by what they are. Nothing is changed. With --json: one object with live, modern, legacy, \
cache, expired, not_genuine, unreadable, and examples of what cannot be read.

Exit codes: 0 all that live can be read, 3 some cannot, 1 the store failed, 2 wrong usage.";

/// Tell whether this secret and these settings read what is in the store
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

/// What was found.
#[derive(Default, Serialize)]
struct Report {
    /// Those that can be read: modern, legacy and cache together.
    live: u64,
    modern: u64,
    legacy: u64,
    cache: u64,
    expired: u64,
    not_genuine: u64,
    unreadable: u64,
    examples: Vec<Example>,
}

#[derive(Serialize)]
struct Example {
    id: String,
    error: String,
}

const EXAMPLE_COUNT: usize = 5;

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let store = options.site.read()?.connect_to_read().await?;
    let now = SystemClock.now();
    let mut report = Report::default();
    let mut walk = Walk::begin(&*store, now, "checked").await?;
    walk.each(|listed| {
        match (State::of(listed, now), &listed.session) {
            (State::Expired, _) => report.expired += 1,
            (State::NotGenuine, _) => report.not_genuine += 1,
            (_, Ok(loaded)) => {
                report.live += 1;
                *match Format::of(loaded) {
                    Format::Modern => &mut report.modern,
                    Format::Legacy => &mut report.legacy,
                    Format::Cache => &mut report.cache,
                } += 1;
            }
            (_, Err(error)) => {
                report.unreadable += 1;
                if report.examples.len() < EXAMPLE_COUNT {
                    report
                        .examples
                        .push(Example { id: listed.session_key.public_id(), error: error.to_string() });
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    drop(walk);
    say(&if options.json { serde_json::to_string(&report)? } else { report.text() });
    Ok(if report.not_genuine + report.unreadable == 0 { Ending::Well } else { Ending::WithFindings })
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{:>9} can be read ({} modern, {} legacy, {} in caches' formats)\n\
             {:>9} expired\n\
             {:>9} not genuine\n\
             {:>9} unreadable",
            self.live, self.modern, self.legacy, self.cache, self.expired, self.not_genuine, self.unreadable
        );
        for Example { id, error } in &self.examples {
            text.push_str(&format!("\n  {id}: {error}"));
        }
        if self.not_genuine > 0 {
            text.push_str(if self.live == 0 {
                "\nNone can be read: SECRET_KEY is another one, or the session class has another name."
            } else {
                "\nSome were signed with another secret: add it as --secret-key-fallback-file until they have ended."
            });
        }
        text
    }
}
