//! One span for each load, save and delete. Nothing is computed for them unless a subscriber wants them.

use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span};

use super::{CallOutcome, Operation, kind_name};
use crate::site::error::{Error, StoreError};
use crate::site::session_key::SessionKey;
use crate::store::contract::SessionStore;

pub(crate) fn load(store: &dyn SessionStore, session_key: &SessionKey) -> Span {
    debug_span!("session.load", store = store.name(), session = %session_key.shown(), outcome = Empty)
}

pub(crate) fn delete(store: &dyn SessionStore, session_key: &SessionKey) -> Span {
    debug_span!("session.delete", store = store.name(), session = %session_key.shown(), outcome = Empty)
}

pub(crate) fn save(store: &dyn SessionStore) -> Span {
    debug_span!(
        "session.save",
        store = store.name(),
        session = Empty,
        session_before = Empty,
        outcome = Empty,
        attempts = Empty
    )
}

/// Runs a call of the store in its span.
pub(crate) async fn call<T: CallOutcome>(
    span: Span,
    operation: Operation,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let result = super::call(operation, call).instrument(span.clone()).await;
    span.record("outcome", result.as_ref().map_or_else(|error| kind_name(error.kind()), T::outcome));
    result
}

/// A save ended: the session's key before, and its key now.
pub(crate) fn saved(
    span: &Span,
    attempts: u32,
    before: Option<&SessionKey>,
    saved: Result<&SessionKey, &Error>,
) {
    if span.is_disabled() {
        return;
    }
    let outcome = match (before, saved) {
        (None, Ok(_)) => "created",
        (Some(before), Ok(now)) if before == now => "updated",
        (Some(_), Ok(_)) => "rotated",
        (_, Err(Error::Interrupted)) => "missing",
        (_, Err(Error::Conflict { .. })) => "changed",
        (_, Err(Error::SaveTimedOut { .. })) => "timed_out",
        (_, Err(Error::KeysTaken { .. })) => "key_taken",
        (_, Err(Error::Store(error))) => kind_name(error.kind()),
        (_, Err(_)) => "failed",
    };
    if let Some(session_key) = saved.ok().or(before) {
        span.record("session", tracing::field::display(session_key.shown()));
    }
    if let Some(before) = before.filter(|_| outcome == "rotated") {
        span.record("session_before", tracing::field::display(before.shown()));
    }
    span.record("outcome", outcome);
    span.record("attempts", attempts);
}
