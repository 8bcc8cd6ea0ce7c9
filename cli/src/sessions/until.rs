//! When the last of some sessions expires.

use cloakroom::chrono::{DateTime, Utc};

use crate::sessions::entry::time;

/// The latest end of some sessions.
#[derive(Clone, Copy, Default)]
pub(crate) struct Until {
    latest: Option<DateTime<Utc>>,
    /// Of one of them nobody knows the end.
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

    /// None where there is no session, or none with a known end.
    pub(crate) fn shown(&self) -> Option<String> {
        self.latest.filter(|_| !self.is_unknown).map(time)
    }
}
