//! What is promised, and whether it holds.

use std::fmt::Write;

use crate::contenders::Store;
use crate::error::Result;
use crate::load::Scenario::{self, Count, New, Read, Untouched};
use crate::runs::Other;
use crate::runs::{Run, Runs};
use crate::runs::{application, label, peers};

struct Target {
    text: String,
    measured: Option<f64>,
    limit: f64,
    at_most: bool,
}

pub(crate) fn table(store: Store, runs: &Runs, connections: usize) -> Result<String> {
    let targets = match store {
        Store::Memory => vec![ours(runs, connections, Untouched, "application CPU", application, 1.05, true)],
        Store::Postgres => postgres(runs, connections),
        Store::Redis => redis(runs, connections),
        Store::Sqlite => vec![Target {
            text: format!("requests/s, {}, by tower-sessions'", Count.name()),
            measured: runs.ratio(["cloakroom", "tower-sessions"], Count, connections, per_second),
            limit: 5.0,
            at_most: false,
        }],
    };
    let mut text = "\n| Target | asked for | measured | |\n|---|---:|---:|---|\n".to_owned();
    for target in targets {
        let Some(measured) = target.measured else { continue };
        let (sign, holds) = match target.at_most {
            true => ("≤", measured <= target.limit),
            false => ("≥", measured >= target.limit),
        };
        let verdict = if holds { "holds" } else { "**missed**" };
        writeln!(text, "| {} | {sign} {} | {measured:.2} | {verdict} |", target.text, target.limit)?;
    }
    Ok(text)
}

fn per_second(run: &Run) -> Option<f64> {
    Some(run.per_second)
}

/// Ours divided by the floor's.
fn ours(
    runs: &Runs,
    connections: usize,
    scenario: Scenario,
    name: &str,
    what: fn(&Run) -> Option<f64>,
    limit: f64,
    at_most: bool,
) -> Target {
    let measured = runs.ratio(["cloakroom", "floor"], scenario, connections, what);
    Target { text: format!("{name}, {}, by the floor's", scenario.name()), measured, limit, at_most }
}

fn postgres(runs: &Runs, connections: usize) -> Vec<Target> {
    let mut targets = Vec::new();
    for (scenario, limit) in [(Read, 0.75), (Count, 0.7), (New, 0.7)] {
        targets.push(ours(runs, connections, scenario, "application CPU", application, limit, true));
        targets.push(ours(runs, connections, scenario, "server CPU", |run| run.server, 0.4, true));
        targets.push(ours(runs, connections, scenario, "requests/s", per_second, 1.5, false));
    }
    for peer in peers(Store::Postgres) {
        for scenario in [Read, Count, New] {
            targets.push(Target {
                text: format!(
                    "application CPU of {}, {}, by ours",
                    label(peer, Store::Postgres),
                    scenario.name()
                ),
                measured: runs.ratio([peer, "cloakroom"], scenario, connections, application),
                limit: 2.5,
                at_most: false,
            });
        }
    }
    targets.extend(alone(runs));
    targets.push(Target {
        text: "p99 of the others while a row is locked, by that beside a transaction without locks"
            .to_owned(),
        measured: runs.locked_median("cloakroom", |row| row.p99_by(Other::Open)),
        limit: 1.1,
        at_most: true,
    });
    targets
}

fn redis(runs: &Runs, connections: usize) -> Vec<Target> {
    let of = |scenario| ours(runs, connections, scenario, "application CPU", application, 1.0, true);
    [Read, Count, New].map(of).into_iter().chain(alone(runs)).collect()
}

fn alone(runs: &Runs) -> Vec<Target> {
    let of = |scenario| ours(runs, 1, scenario, "one client's p50", |run| Some(run.p50), 1.1, true);
    [Read, Count, New].map(of).into()
}
