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
    if options.json {
        say(&serde_json::to_string(&report)?)?;
    } else {
        report.lines().iter().try_for_each(|line| say(line))?;
    }
    Ok(if report.not_genuine + report.unreadable == 0 { Ending::Well } else { Ending::WithFindings })
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let Report { live, modern, legacy, cache, expired, not_genuine, unreadable, examples } = self;
        let mut lines = vec![
            format!("{live:>9} can be read ({modern} modern, {legacy} legacy, {cache} in caches' formats)"),
            format!("{expired:>9} expired"),
            format!("{not_genuine:>9} not genuine"),
            format!("{unreadable:>9} unreadable"),
        ];
        lines.extend(examples.iter().map(|Example { id, error }| format!("  {id}: {error}")));
        if *not_genuine > 0 {
            let advice = if *live == 0 {
                "None can be read: SECRET_KEY is another one, or the session class has another name."
            } else {
                "Some were signed with another secret: add it as --secret-key-fallback-file until they have ended."
            };
            lines.push(advice.to_owned());
        }
        lines
    }
}
