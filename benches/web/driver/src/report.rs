//! Medians, ratios, and the files with them: `STORE.json` with each run, `STORE.md` with the tables.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::contenders::{self, CONTENDERS, Store};
use crate::load::{SCENARIOS, Scenario};
use crate::locked_row::{LockedRow, OTHERS};
use crate::measure::{Run, Runs};
use crate::{Options, Result, plot, targets};

/// What contenders are called in tables and plots.
pub(crate) fn label(contender: &str, store: Store) -> String {
    match (contender, store) {
        ("floor", _) => format!("floor: {}", store.floor()),
        ("cloakroom", _) => "Cloakroom".to_owned(),
        ("tower-sessions-no-ping", _) => "tower-sessions without pings".to_owned(),
        ("axum_session-cached", _) => "axum_session, cached".to_owned(),
        ("actix-session", Store::Memory) => "actix-session, in the cookie".to_owned(),
        ("django", _) => "Django 5.2, gunicorn".to_owned(),
        (name, _) => name.to_owned(),
    }
}

impl Runs {
    /// The runs of one contender, by round.
    fn of(&self, contender: &str, scenario: Scenario, connections: usize) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| {
            run.contender == contender && run.scenario == scenario && run.connections == connections
        })
    }

    /// The median over the rounds.
    pub(crate) fn median(
        &self,
        contender: &str,
        scenario: Scenario,
        connections: usize,
        what: impl Fn(&Run) -> Option<f64>,
    ) -> Option<f64> {
        median(self.of(contender, scenario, connections).filter_map(what).collect())
    }

    /// The median over the rounds of one contender's figure divided by another's in the same round.
    pub(crate) fn ratio(
        &self,
        [one, other]: [&str; 2],
        scenario: Scenario,
        connections: usize,
        what: impl Fn(&Run) -> Option<f64>,
    ) -> Option<f64> {
        let ratios = self.of(one, scenario, connections).filter_map(|run| {
            let floor = self.of(other, scenario, connections).find(|floor| floor.round == run.round)?;
            Some(what(run)? / what(floor)?)
        });
        median(ratios.collect())
    }

    /// The median over the rounds of what was measured beside a locked row.
    pub(crate) fn locked_median(&self, contender: &str, what: impl Fn(&LockedRow) -> f64) -> Option<f64> {
        median(self.locked.iter().filter(|row| row.contender == contender).map(what).collect())
    }
}

pub(crate) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        length if length % 2 == 1 => Some(numbers[middle]),
        _ => Some((numbers[middle - 1] + numbers[middle]) / 2.0),
    }
}

pub(crate) fn application(run: &Run) -> Option<f64> {
    Some(run.application)
}

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
    if matches!(store, Store::Postgres | Store::Redis) {
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
    let of_each = |[nothing, open, lock]: [f64; 3]| {
        json!({ "no_transaction": nothing, "open_transaction": open, "lock": lock })
    };
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

/// Who is in the plot and the comparison with peers.
pub(crate) fn peers(store: Store) -> Vec<&'static str> {
    let all = contenders::of(store, &[]);
    all.into_iter()
        .map(|contender| contender.name)
        .filter(|name| !["floor", "cloakroom"].contains(name))
        .collect()
}
