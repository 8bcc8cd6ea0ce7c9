//! The answers as an operator sees them: the metrics and the access log.

mod log;

use std::time::Instant;

use http::StatusCode;
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use super::asked::Asked;
use super::decision::{Decided, Decision, Reason};
use super::kind::Kind;

use self::log::AccessLog;

/// The counters of each kind and outcome, and the access log.
pub(crate) struct Journal {
    of_kinds: [OfKind; Kind::ALL.len()],
    log: AccessLog,
}

struct OfKind {
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

const OUTCOMES: [&str; 7] =
    ["allowed", "login", "no_rule", "requirement", "ambiguous", "malformed", "unavailable"];

/// The place in [`OUTCOMES`].
const fn outcome(decision: Decision) -> usize {
    match decision {
        Decision::Allowed => 0,
        Decision::LoginRequired => 1,
        Decision::Forbidden(Reason::NoRule) => 2,
        Decision::Forbidden(Reason::Requirement) => 3,
        Decision::Forbidden(Reason::Ambiguous) => 4,
        Decision::Forbidden(Reason::Malformed) => 5,
        Decision::Unavailable => 6,
    }
}

impl Journal {
    /// Begins the journal. Metrics go to the recorder that is installed by then.
    pub(crate) fn new() -> Journal {
        describe_counter!("cloakroom_gate_decisions_total", "Requests that proxies asked about.");
        describe_counter!(
            "cloakroom_gate_log_lines_lost_total",
            "Lines of the access log that nobody read in time."
        );
        describe_histogram!(
            "cloakroom_gate_answer_duration_seconds",
            Unit::Seconds,
            "The time of an answer."
        );
        let of_kind = |kind: Kind| {
            OfKind {
            outcomes: OUTCOMES.map(|outcome| {
                counter!("cloakroom_gate_decisions_total", "kind" => kind.name(), "outcome" => outcome)
            }),
            seconds: histogram!("cloakroom_gate_answer_duration_seconds", "kind" => kind.name()),
        }
        };
        Journal {
            of_kinds: Kind::ALL.map(of_kind),
            log: AccessLog::new(counter!("cloakroom_gate_log_lines_lost_total")),
        }
    }

    /// Begins the entry of one question.
    pub(crate) fn begin(&self) -> Entry<'_> {
        Entry { journal: self, start: Instant::now() }
    }

    /// Waits until the lines of the access log are written.
    pub(crate) async fn written(&self) {
        self.log.written().await;
    }
}

/// The entry of one question.
pub(crate) struct Entry<'a> {
    journal: &'a Journal,
    start: Instant,
}

impl Entry<'_> {
    /// Counts the answer, and writes its line if there is to be one.
    pub(crate) fn end(
        self,
        is_logged: bool,
        kind: Kind,
        asked: Option<&Asked<'_>>,
        decided: &Decided,
        status: StatusCode,
    ) {
        let seconds = self.start.elapsed().as_secs_f64();
        let outcome = outcome(decided.decision);
        let of_kind = &self.journal.of_kinds[kind as usize];
        of_kind.outcomes[outcome].increment(1);
        of_kind.seconds.record(seconds);
        if is_logged {
            self.journal.log.write(log::line(kind, asked, decided, OUTCOMES[outcome], status, seconds));
        }
    }
}
