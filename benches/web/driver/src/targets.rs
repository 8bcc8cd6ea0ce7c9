//! What is promised, and whether it holds.

use std::fmt::Write;

use crate::contenders::Store;
use crate::error::Result;
use crate::load::Scenario::{self, Count, Login, New, Read, Untouched};
use crate::runs::Other;
use crate::runs::{Run, Runs};
use crate::runs::{application, label, ours_beside, peers};

struct Target {
    text: String,
    measured: Option<f64>,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

/// Rounds of one program differ by this much.
const NOISE: f64 = 0.03;

/// It answers from its process's memory for an hour, and overwrites what others saved.
const STALE: &str = "axum_session-cached";

pub(crate) fn table(store: Store, runs: &Runs, connections: usize) -> Result<String> {
    let mut targets = match store {
        Store::Memory => {
            vec![of_floor(runs, connections, Untouched, "application CPU", application, AtMost(1.05))]
        }
        Store::Postgres => postgres(runs, connections),
        Store::Redis | Store::Valkey => redis(runs, connections),
        Store::Sqlite => Vec::new(),
    };
    if store != Store::Memory {
        targets.extend([Read, Count, New, Login].map(|scenario| {
            of_floor(runs, 1, scenario, "one client's p50", |run| Some(run.p50), AtMost(1.1))
        }));
    }
    for connections in [connections, 1] {
        for scenario in [Read, Count, New, Login] {
            targets.push(of_peers(
                store,
                runs,
                connections,
                scenario,
                "requests/s",
                per_second,
                AtLeast(1.0 - NOISE),
            ));
            targets.push(of_peers(
                store,
                runs,
                connections,
                scenario,
                "application CPU",
                application,
                AtMost(1.0 + NOISE),
            ));
        }
    }
    let mut text = "\n| Target | asked for | measured | |\n|---|---:|---:|---|\n".to_owned();
    for target in targets {
        let Some(measured) = target.measured else { continue };
        let (sign, limit, holds) = match target.limit {
            AtMost(limit) => ("≤", limit, measured <= limit),
            AtLeast(limit) => ("≥", limit, measured >= limit),
        };
        let verdict = if holds { "holds" } else { "**missed**" };
        writeln!(text, "| {} | {sign} {limit} | {measured:.2} | {verdict} |", target.text)?;
    }
    Ok(text)
}

fn per_second(run: &Run) -> Option<f64> {
    Some(run.per_second)
}

type Figure = fn(&Run) -> Option<f64>;

/// Ours divided by the floor's.
fn of_floor(
    runs: &Runs,
    connections: usize,
    scenario: Scenario,
    name: &str,
    what: Figure,
    limit: Limit,
) -> Target {
    let measured = runs.ratio(["cloakroom", "floor"], scenario, connections, what);
    Target { text: format!("{name}, {}, by the floor's", scenario.name()), measured, limit }
}

/// Ours divided by that of the peer that comes off best beside us, each on its own web framework.
fn of_peers(
    store: Store,
    runs: &Runs,
    connections: usize,
    scenario: Scenario,
    name: &str,
    what: Figure,
    limit: Limit,
) -> Target {
    let ratios = peers(store).into_iter().filter(|peer| *peer != STALE).filter_map(|peer| {
        Some((runs.ratio([ours_beside(peer, store), peer], scenario, connections, what)?, peer))
    });
    let best = match limit {
        AtMost(_) => ratios.max_by(|one, other| one.0.total_cmp(&other.0)),
        AtLeast(_) => ratios.min_by(|one, other| one.0.total_cmp(&other.0)),
    };
    let peer = best.map_or_else(String::new, |(_, peer)| label(peer, store));
    let clients = if connections == 1 { "one client".to_owned() } else { format!("{connections} clients") };
    Target {
        text: format!("{name}, {clients}, {}, by the best peer's ({peer})", scenario.name()),
        measured: best.map(|(ratio, _)| ratio),
        limit,
    }
}

fn postgres(runs: &Runs, connections: usize) -> Vec<Target> {
    let mut targets = Vec::new();
    for (scenario, limit) in [(Read, 0.75), (Count, 0.7), (New, 0.7)] {
        targets.push(of_floor(runs, connections, scenario, "application CPU", application, AtMost(limit)));
        targets.push(of_floor(runs, connections, scenario, "server CPU", |run| run.server, AtMost(0.4)));
        targets.push(of_floor(runs, connections, scenario, "requests/s", per_second, AtLeast(1.5)));
    }
    targets.push(Target {
        text: "p99 of the others while a row is locked, by that beside a transaction without locks"
            .to_owned(),
        measured: runs.locked_median("cloakroom", |row| row.p99_by(Other::Open)),
        limit: AtMost(1.1),
    });
    targets
}

fn redis(runs: &Runs, connections: usize) -> Vec<Target> {
    let mut targets = Vec::new();
    for (scenario, limit) in [(Read, 1.1), (Count, 1.3), (New, 1.1), (Login, 1.3)] {
        targets.push(of_floor(runs, connections, scenario, "application CPU", application, AtMost(limit)));
        targets.push(of_floor(runs, connections, scenario, "server CPU", |run| run.server, AtMost(1.3)));
    }
    targets
}
