//! Remembers which sessions this process has recorded recently, so that not each request writes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};

use crate::site::session_key::SessionKey;

/// The number of remembered sessions; beyond it, entries may be written once more than necessary.
const REMEMBERED: usize = 100_000;

/// Of the index, and of renewals, which name no user. Remembers hashes only: neither keys nor users.
#[derive(Default)]
pub(crate) struct Seen {
    hasher: RandomState,
    noted: Mutex<HashMap<u64, DateTime<Utc>>>,
}

impl Seen {
    /// Whether this user in this session was recorded within the interval.
    pub(crate) fn is_recent(
        &self,
        user_id: &str,
        session_key: &SessionKey,
        now: DateTime<Utc>,
        interval: TimeDelta,
    ) -> bool {
        let noted = crate::site::lock::lock(&self.noted).get(&self.hash(user_id, session_key)).copied();
        noted.is_some_and(|noted| (now - noted).abs() < interval)
    }

    /// Remembers that it was recorded now.
    pub(crate) fn note(
        &self,
        user_id: &str,
        session_key: &SessionKey,
        now: DateTime<Utc>,
        interval: TimeDelta,
    ) {
        let hash = self.hash(user_id, session_key);
        let mut noted = crate::site::lock::lock(&self.noted);
        if noted.len() >= REMEMBERED {
            noted.retain(|_, noted| (now - *noted).abs() < interval);
            if noted.len() >= REMEMBERED {
                noted.clear();
            }
        }
        noted.insert(hash, now);
    }

    fn hash(&self, user_id: &str, session_key: &SessionKey) -> u64 {
        self.hasher.hash_one((user_id, session_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let (seen, now, interval) = (Seen::default(), Utc::now(), TimeDelta::minutes(5));
        for number in 0..REMEMBERED + 10 {
            seen.note(&number.to_string(), &SessionKey::from_trusted("key00000"), now, interval);
        }
        assert!(crate::site::lock::lock(&seen.noted).len() <= REMEMBERED);
    }
}
