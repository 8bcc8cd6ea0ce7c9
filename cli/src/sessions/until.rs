//! When the last of some sessions expires.

use cloakroom::chrono::{DateTime, Utc};

use crate::sessions::entry::time;

/// The latest expiry of some sessions.
#[derive(Clone, Copy, Default)]
pub(crate) struct Until {
    latest: Option<DateTime<Utc>>,
    /// Whether one of them has an unknown expiry.
    is_unknown: bool,
}

impl Until {
    pub(crate) fn add(&mut self, expire_date: Option<DateTime<Utc>>) {
        self.latest = self.latest.max(expire_date);
        self.is_unknown |= expire_date.is_none();
    }

    pub(crate) fn add_all(&mut self, other: Until) {
        self.latest = self.latest.max(other.latest);
        self.is_unknown |= other.is_unknown;
    }

    /// The text to show; `None` without a session, or without a known expiry.
    pub(crate) fn shown(&self) -> Option<String> {
        self.latest.filter(|_| !self.is_unknown).map(time)
    }
}
