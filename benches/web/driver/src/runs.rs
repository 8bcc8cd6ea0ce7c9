//! What was measured, its medians, and the names in tables and plots.

use crate::contenders::{self, Store};
use crate::load::Scenario;

/// What one contender did in one scenario of one round.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) contender: &'static str,
    pub(crate) scenario: Scenario,
    pub(crate) connections: usize,
    pub(crate) round: u32,
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Processor seconds for 10,000 requests, of the application and of the server, where there is one.
    pub(crate) application: f64,
    pub(crate) server: Option<f64>,
}

pub(crate) struct Runs {
    pub(crate) runs: Vec<Run>,
    pub(crate) locked: Vec<LockedRow>,
}

/// What another transaction does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// There is none.
    Nothing,
    /// It is open, has a number as one that writes, and locks nothing.
    Open,
    /// It is open as well, and has locked one session's row.
    Lock,
}

impl Other {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Other::Nothing => "none",
            Other::Open => "open, locks nothing",
            Other::Lock => "has locked the row",
        }
    }
}

pub(crate) const OTHERS: [Other; 3] = [Other::Nothing, Other::Open, Other::Lock];

/// What one contender did in one round.
#[derive(Clone, Debug)]
pub(crate) struct LockedRow {
    pub(crate) contender: &'static str,
    pub(crate) round: u32,
    /// Of the other users, in milliseconds, in the order of [`OTHERS`].
    pub(crate) p50: [f64; 3],
    pub(crate) p99: [f64; 3],
    /// Processor seconds of the server for 10,000 requests.
    pub(crate) server: [f64; 3],
    /// How long the user whose row was locked waited, in milliseconds, and for what.
    pub(crate) victim: f64,
    pub(crate) victim_answer: String,
}

impl LockedRow {
    /// The p99 beside the lock, divided by that beside something else.
    pub(crate) fn p99_by(&self, other: Other) -> f64 {
        self.p99[Other::Lock as usize] / self.p99[other as usize]
    }
}

/// What contenders are called in tables and plots.
pub(crate) fn label(contender: &str, store: Store) -> String {
    match (contender, store) {
        ("floor", _) => format!("floor: {}", store.floor()),
        ("cloakroom", _) => "Cloakroom".to_owned(),
        ("cloakroom-actix", _) => "Cloakroom on actix-web".to_owned(),
        ("cloakroom-cookie", _) => "Cloakroom on actix-web, in the cookie".to_owned(),
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

/// Who is in the comparison with peers.
pub(crate) fn peers(store: Store) -> Vec<&'static str> {
    let all = contenders::of(store, &[]);
    all.into_iter()
        .map(|contender| contender.name)
        .filter(|name| *name != "floor" && !name.starts_with("cloakroom"))
        .collect()
}

/// This library on the peer's own web framework, with the sessions in the same place.
pub(crate) fn ours_beside(peer: &str, store: Store) -> &'static str {
    match (peer, store) {
        ("actix-session", Store::Memory) => "cloakroom-cookie",
        ("actix-session", _) => "cloakroom-actix",
        _ => "cloakroom",
    }
}
