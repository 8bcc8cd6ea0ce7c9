//! Telemetry for operators: spans and events of `tracing`, and with the feature `metrics` counters and
//! latencies through the facade of the crate [`metrics`](https://docs.rs/metrics), for any exporter that the
//! application installs. Without the feature the metrics cost nothing. Telemetry never contains a session
//! key, a cookie or a secret.
//!
//! | metric | type | labels | what it counts |
//! |---|---|---|---|
//! | `cloakroom_loads_total` | counter | `outcome`: `found`, `absent`, `not_genuine` | sessions asked for |
//! | `cloakroom_saves_total` | counter | `outcome`: `created`, `updated`, `rotated`, `missing`, `changed`, `key_taken` | writes tried; the last three wrote nothing. One may carry the changes of several requests |
//! | `cloakroom_renewals_total` | counter | `outcome`: `extended`, `stale` | sessions to extend by [`Settings::renew_after`](crate::Settings::renew_after); `stale` are those that ended or were saved meanwhile |
//! | `cloakroom_conflicts_total` | counter | `result`: `merged`, `refused` | saves that met another request's change, by how they ended |
//! | `cloakroom_retries_total` | counter | | writes tried again on top of another request's change |
//! | `cloakroom_interrupted_total` | counter | | saves of a session that was deleted meanwhile |
//! | `cloakroom_deletes_total` | counter | `outcome`: `deleted`, `absent` | sessions removed, by logout for the most part |
//! | `cloakroom_cleared_total` | counter | | expired sessions removed by [`spawn_cleaner`](crate::spawn_cleaner) |
//! | `cloakroom_store_errors_total` | counter | `operation`; `store`; `kind`: `unavailable`, `misconfigured`, `unreadable`, `refused` | calls that failed |
//! | `cloakroom_store_duration_seconds` | histogram | `operation`: `load`, `save`, `touch`, `delete`, `exists`, `clear_expired` | how long calls of the store took |
//!
//! Many `changed` mean that many processes write the same sessions concurrently. Any `refused` without the
//! policy `Reject` means that [`Settings::save_timeout`](crate::Settings::save_timeout) ran out. Many
//! `not_genuine` mean a wrong `SECRET_KEY`. The example `metrics.rs` serves them to Prometheus.
//!
//! Each load, save and delete has a span at the level `DEBUG`:
//!
//! | span | fields |
//! |---|---|
//! | `session.load` | `store`, `session`, `outcome` |
//! | `session.save` | `store`, `session`, `session_before` where the key changed, `outcome`, `attempts` |
//! | `session.delete` | `store`, `session`, `outcome` |
//!
//! `session` is the session's [public id](crate::SessionKey::public_id). `cloakroom list` and `cloakroom
//! show` print it too, and `cloakroom list --id` finds it. `outcome` is a word from the table above, the kind
//! of the error, or `timed_out`; a cancelled call has none. `attempts` counts the writes. A request that does
//! not use its session has no span. If no subscriber wants the spans, nothing is computed for them.
//!
//! [docs/logs.md](https://docs.rs/crate/cloakroom/latest/source/docs/logs.md) lists all events, and how to
//! enable them. A login, a logout and a revocation are `INFO` under the target `cloakroom::auth`. An error
//! that replaces a response is an `ERROR` with its causes. A store that fails behind another store is a
//! `WARN`. These events are `WARN` too, at most once a minute, with the number of suppressed ones: a session
//! that is not genuine; a request with several session cookies, if
//! [`Settings::reject_duplicate_cookies`](crate::Settings) refuses them; a session saved under a key that no
//! response tells the client; a change that was made too late and never saved. Merged, refused and
//! interrupted saves are `DEBUG`.

mod logins;
pub(crate) mod spans;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};

use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Rotated, Touched, Updated};
use crate::store::loaded::Loaded;

pub(crate) use self::logins::{hash_differs, logged_in, logged_out, login_refused, over_limit, revoked};

/// A call of the store.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only metrics tell them apart"))]
pub(crate) enum Operation {
    Load,
    Save,
    Touch,
    Delete,
    Exists,
    ClearExpired,
}

/// Counts and times a call of the store.
#[cfg(not(feature = "metrics"))]
pub(crate) fn call<T: CallOutcome>(
    _operation: Operation,
    call: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    call
}

/// Counts and times a call of the store.
#[cfg(feature = "metrics")]
pub(crate) async fn call<T: CallOutcome>(
    operation: Operation,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let start = std::time::Instant::now();
    let result = call.await;
    recorder::called(operation, start.elapsed(), &result);
    result
}

/// A save that met another request's change succeeded, after this many retries.
pub(crate) fn merged(retries: u32) {
    tracing::debug!(retries, "session saved on top of another request's changes");
    #[cfg(feature = "metrics")]
    recorder::conflict("merged");
}

/// A save that met another request's change was given up.
pub(crate) fn refused(attempts: u32) {
    tracing::debug!(attempts, "session not saved: other requests changed it meanwhile");
    #[cfg(feature = "metrics")]
    recorder::conflict("refused");
}

/// A save is retried.
pub(crate) fn retried() {
    #[cfg(feature = "metrics")]
    recorder::retried();
}

/// A save found its session deleted.
pub(crate) fn interrupted() {
    tracing::debug!("session not saved: it was deleted meanwhile");
    #[cfg(feature = "metrics")]
    recorder::interrupted();
}

/// The cleaner removed this many more sessions.
pub(crate) fn cleared(_sessions: u64) {
    #[cfg(feature = "metrics")]
    recorder::cleared(_sessions);
}

/// The kind of an error, as a label.
fn kind_name(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Unavailable => "unavailable",
        StoreErrorKind::Misconfigured => "misconfigured",
        StoreErrorKind::Unreadable => "unreadable",
        StoreErrorKind::Refused => "refused",
        StoreErrorKind::Unsupported => "unsupported",
    }
}

/// The outcome of a call, as a label.
pub(crate) trait CallOutcome {
    fn outcome(&self) -> &'static str;
}

macro_rules! outcomes {
    ($($type:ty { $($pattern:pat $(if $guard:expr)? => $name:literal),+ })+) => {$(
        impl CallOutcome for $type {
            fn outcome(&self) -> &'static str {
                match self {
                    $($pattern $(if $guard)? => $name,)+
                }
            }
        }
    )+};
}

outcomes! {
    Option<Loaded> {
        Some(loaded) if loaded.is_genuine() => "found",
        Some(_) => "not_genuine",
        None => "absent"
    }
    Created { Created::Created(_) => "created", Created::KeyTaken => "key_taken" }
    Updated { Updated::Updated(_) => "updated", Updated::Missing => "missing", Updated::Changed => "changed" }
    Rotated {
        Rotated::Rotated(_) => "rotated",
        Rotated::Missing => "missing",
        Rotated::Changed => "changed",
        Rotated::KeyTaken => "key_taken"
    }
    Touched { Touched::Extended => "extended", Touched::Stale => "stale" }
    bool { true => "deleted", false => "absent" }
    HashSet<SessionKey> { _ => "checked" }
    u64 { _ => "cleared" }
}

/// One site's warnings about single requests. They are logged without holding a lock, because log subscribers
/// are application code.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    not_genuine: Seldom,
    several_cookies: Seldom,
    untold: Seldom,
    never_saved: Seldom,
    key_without_response: Seldom,
    not_renewed: Seldom,
}

impl Warnings {
    /// Warns of a session that is not genuine. Rate-limited: a wrong secret would cause a warning for every
    /// request.
    pub(crate) fn not_genuine(&self, now: DateTime<Utc>) {
        let Some(suppressed) = self.not_genuine.due(now) else { return };
        tracing::warn!(
            suppressed,
            "session data corrupted: it is not signed with this secret and reads as empty; it and its cookie stay. If \
             this happens to many sessions, compare SECRET_KEY, SECRET_KEY_FALLBACKS and the session class with those \
             of the other servers of the site"
        );
    }

    /// Warns of a request that counts as one without a session, because it has several cookies of its name.
    pub(crate) fn several_cookies(&self, now: DateTime<Utc>) {
        let Some(suppressed) = self.several_cookies.due(now) else { return };
        tracing::warn!(
            suppressed,
            "a request has several session cookies and counts as one without a session; if `cookie_domain`, \
             `cookie_path` or `cookie_partitioned` was changed, name the cookie's former scope in `former_cookies`; \
             else a neighbouring host or path plants cookies of this name"
        );
    }

    /// Warns of a session that was saved under a key which the response does not tell the client.
    pub(crate) fn untold(&self, now: DateTime<Utc>, status: u16) {
        let Some(suppressed) = self.untold.due(now) else { return };
        tracing::warn!(
            suppressed,
            status,
            "a session was saved under a key that the response does not tell the client, so that nobody can open it; \
             leave saving to the session layer, which saves nothing with a 5xx, or `flush` such a session"
        );
    }

    /// Warns of a session that was dropped with changes made after the response's headers were sent.
    pub(crate) fn never_saved(&self, now: DateTime<Utc>) {
        let Some(suppressed) = self.never_saved.due(now) else { return };
        tracing::warn!(
            suppressed,
            "a change to a session was never saved: it was made after the response's headers went out, in a stream or \
             in a task that outlives the request; call `session.save().await` after it"
        );
    }

    /// Warns of a session that could not be extended after its response was made.
    pub(crate) fn not_renewed(&self, now: DateTime<Utc>, error: &Error) {
        let Some(suppressed) = self.not_renewed.due(now) else { return };
        let error = error as &dyn std::error::Error;
        tracing::warn!(
            suppressed,
            error,
            "a session was not extended; its response went out as it was, and a later request tries again"
        );
    }

    /// Warns of a session that was saved under a new key after the response's headers were sent.
    pub(crate) fn key_without_response(&self, now: DateTime<Utc>) {
        let Some(suppressed) = self.key_without_response.due(now) else { return };
        tracing::warn!(
            suppressed,
            "a session was saved under a key that no response carries, so that no browser comes back with it: it \
             began, or moved, after the response's headers went out; put something into the session, or call \
             `cycle_key`, before the handler returns"
        );
    }
}

/// Limits a warning's rate: the first at once, then at most one a minute.
#[derive(Debug, Default)]
struct Seldom(Mutex<Option<Warned>>);

#[derive(Debug)]
struct Warned {
    at: DateTime<Utc>,
    suppressed: u64,
}

impl Seldom {
    /// Returns how many warnings were suppressed since the last one, if one is due now.
    fn due(&self, now: DateTime<Utc>) -> Option<u64> {
        let mut warned = crate::site::lock::lock(&self.0);
        let suppressed = match warned.as_mut() {
            // `abs`, in case the clock was set back.
            Some(last) if (now - last.at).abs() < TimeDelta::minutes(1) => {
                last.suppressed += 1;
                return None;
            }
            Some(last) => last.suppressed,
            None => 0,
        };
        *warned = Some(Warned { at: now, suppressed: 0 });
        Some(suppressed)
    }
}

#[cfg(feature = "metrics")]
pub use recorder::describe;

#[cfg(feature = "metrics")]
mod recorder {
    use std::time::Duration;

    use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

    use super::{CallOutcome, Operation, kind_name};
    use crate::site::error::StoreError;

    impl Operation {
        fn name(self) -> &'static str {
            match self {
                Operation::Load => "load",
                Operation::Save => "save",
                Operation::Touch => "touch",
                Operation::Delete => "delete",
                Operation::Exists => "exists",
                Operation::ClearExpired => "clear_expired",
            }
        }
    }

    pub(super) fn called<T: CallOutcome>(
        operation: Operation,
        took: Duration,
        result: &Result<T, StoreError>,
    ) {
        histogram!("cloakroom_store_duration_seconds", "operation" => operation.name())
            .record(took.as_secs_f64());
        match (operation, result) {
            (_, Err(error)) => failed(operation, error),
            (Operation::Load, Ok(loaded)) => {
                counter!("cloakroom_loads_total", "outcome" => loaded.outcome()).increment(1);
            }
            (Operation::Save, Ok(saved)) => {
                counter!("cloakroom_saves_total", "outcome" => saved.outcome()).increment(1);
            }
            (Operation::Touch, Ok(touched)) => {
                counter!("cloakroom_renewals_total", "outcome" => touched.outcome()).increment(1);
            }
            (Operation::Delete, Ok(deleted)) => {
                counter!("cloakroom_deletes_total", "outcome" => deleted.outcome()).increment(1);
            }
            (Operation::Exists | Operation::ClearExpired, Ok(_)) => {}
        }
    }

    fn failed(operation: Operation, error: &StoreError) {
        let kind = kind_name(error.kind());
        let labels = [("operation", operation.name()), ("store", error.store()), ("kind", kind)];
        counter!("cloakroom_store_errors_total", &labels).increment(1);
    }

    pub(super) fn conflict(result: &'static str) {
        counter!("cloakroom_conflicts_total", "result" => result).increment(1);
    }

    pub(super) fn retried() {
        counter!("cloakroom_retries_total").increment(1);
    }

    pub(super) fn interrupted() {
        counter!("cloakroom_interrupted_total").increment(1);
    }

    pub(super) fn cleared(sessions: u64) {
        counter!("cloakroom_cleared_total").increment(sessions);
    }

    /// Describes each metric to the installed recorder; call it once, after installing the recorder.
    ///
    /// ```
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// let handle = recorder.handle();
    /// metrics::with_local_recorder(&recorder, || {
    ///     cloakroom::telemetry::describe();
    ///     metrics::counter!("cloakroom_retries_total").increment(1);
    /// });
    /// assert!(handle.render().contains("# HELP cloakroom_retries_total Writes tried again"));
    /// ```
    pub fn describe() {
        describe_counter!("cloakroom_loads_total", "Sessions asked for.");
        describe_counter!("cloakroom_saves_total", "Writes tried, by outcome.");
        describe_counter!("cloakroom_renewals_total", "Sessions extended without writing their data.");
        describe_counter!("cloakroom_conflicts_total", "Saves that met another request's change.");
        describe_counter!(
            "cloakroom_retries_total",
            "Writes tried again on top of another request's change."
        );
        describe_counter!("cloakroom_interrupted_total", "Saves of a session that was deleted meanwhile.");
        describe_counter!("cloakroom_deletes_total", "Sessions removed.");
        describe_counter!("cloakroom_cleared_total", "Expired sessions removed by the cleaner.");
        describe_counter!("cloakroom_store_errors_total", "Calls of the store that failed.");
        let what = "How long calls of the store took.";
        describe_histogram!("cloakroom_store_duration_seconds", Unit::Seconds, what);
    }
}
