//! Medians, ratios, and the files with them: `STORE.json` with each run, `STORE.md` with the tables.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::contenders::{CONTENDERS, Store};
use crate::error::Result;
use crate::load::SCENARIOS;
use crate::options::Options;
use crate::runs::{LockedRow, OTHERS, Run, Runs, application, label};
use crate::{plot, targets};

pub(crate) fn write(options: &Options, store: Store, runs: &Runs) -> Result<()> {
    std::fs::create_dir_all(&options.results)?;
    let file = |ending: &str| options.results.join(format!("{}.{ending}", store.name()));
    std::fs::write(file("json"), serde_json::to_string_pretty(&all(options, runs))?)?;
    let mut text = format!("Medians of {} rounds of {} s.\n\n", options.rounds, options.seconds);
    text.push_str(&table(store, runs, options.connections));
    if runs.runs.iter().any(|run| run.connections == 1) {
        text.push_str("\nOne client at a time:\n\n");
        text.push_str(&table(store, runs, 1));
    }
    text.push_str(&locked(runs)?);
    text.push_str(&targets::table(store, runs, options.connections)?);
    print!("\n{}\n\n{text}", store.name());
    std::fs::write(file("md"), text)?;
    if matches!(store, Store::Postgres | Store::Redis | Store::Valkey) {
        std::fs::write(file("svg"), plot::svg(store, runs, options.connections))?;
    }
    Ok(())
}

fn all(options: &Options, runs: &Runs) -> Value {
    let run = |run: &Run| {
        json!({
            "contender": run.contender, "scenario": run.scenario.name(), "connections": run.connections,
            "round": run.round, "requests": run.requests, "requests_per_second": run.per_second,
            "p50_ms": run.p50, "p99_ms": run.p99,
            "application_cpu_seconds_per_10000": run.application, "server_cpu_seconds_per_10000": run.server,
        })
    };
    let of_each = |[nothing, open, lock]: [f64; 3]| json!({ "no_transaction": nothing, "open_transaction": open, "lock": lock });
    let locked = runs.locked.iter().map(|row| {
        json!({
            "contender": row.contender, "round": row.round, "p50_ms": of_each(row.p50), "p99_ms": of_each(row.p99),
            "server_cpu_seconds_per_10000": of_each(row.server),
            "locked_user_ms": row.victim, "locked_user_answer": row.victim_answer,
        })
    });
    json!({
        "rounds": options.rounds, "seconds": options.seconds,
        "runs": runs.runs.iter().map(run).collect::<Vec<_>>(), "locked_row": locked.collect::<Vec<_>>(),
    })
}

fn table(store: Store, runs: &Runs, connections: usize) -> String {
    let mut text = "| Scenario | Contender | requests/s | p50, ms | p99, ms | app CPU | × floor | server CPU | × floor |\n\
                    |---|---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for scenario in SCENARIOS {
        for contender in CONTENDERS.map(|contender| contender.name) {
            let Some(cpu) = runs.median(contender, scenario, connections, application) else { continue };
            let number = |what: fn(&Run) -> Option<f64>| runs.median(contender, scenario, connections, what);
            let ratio = |what: fn(&Run) -> Option<f64>| {
                shown(runs.ratio([contender, "floor"], scenario, connections, what), 2)
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {cpu:.3} | {} | {} | {} |",
                scenario.name(),
                label(contender, store),
                shown(number(|run| Some(run.per_second)), 0),
                shown(number(|run| Some(run.p50)), 2),
                shown(number(|run| Some(run.p99)), 2),
                ratio(application),
                shown(number(|run| run.server), 3),
                ratio(|run| run.server),
            );
        }
    }
    text
}

fn shown(number: Option<f64>, digits: usize) -> String {
    number.map_or("–".to_owned(), |number| format!("{number:.digits$}"))
}

fn locked(runs: &Runs) -> Result<String> {
    if runs.locked.is_empty() {
        return Ok(String::new());
    }
    let mut text = "\nOne session's row is locked by another transaction for 5 seconds; the counters of the others:\n\n\
                    | Contender | other transaction | p50, ms | p99, ms | server CPU | p99 with the lock, by this |\n\
                    |---|---|---:|---:|---:|---:|\n"
        .to_owned();
    for contender in ["floor", "cloakroom"] {
        for other in OTHERS {
            let number = |what: fn(&LockedRow) -> &[f64; 3], digits| {
                shown(runs.locked_median(contender, |row| what(row)[other as usize]), digits)
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                label(contender, Store::Postgres),
                other.name(),
                number(|row| &row.p50, 2),
                number(|row| &row.p99, 2),
                number(|row| &row.server, 3),
                shown(runs.locked_median(contender, |row| row.p99_by(other)), 2),
            )?;
        }
    }
    Ok(text)
}
