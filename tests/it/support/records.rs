//! Sessions as stores take them, at a time that stands still.

use cloakroom::SessionData;
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::Record;

/// 14 November 2023, 22:13:20.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub(crate) fn data(json: &str) -> SessionData {
    SessionData::from_json(json).unwrap()
}

/// Ends two weeks from now.
pub(crate) fn record(data: &SessionData) -> Record<'_> {
    Record { data, expire_date: now() + TimeDelta::days(14), now: now() }
}
