//! Sessions whose copies are not believed for a while, as the cache failed when they should have changed.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::site::session_key::SessionKey;

/// So few sessions share a slot that a failure for one sends hardly anybody else to the database; and so few
/// slots that a cache which is down for hours takes no memory.
const SLOTS: usize = 4_096;

pub(super) struct Distrust {
    /// Until when, in milliseconds since `start`.
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
    duration: Duration,
}

impl Distrust {
    pub(super) fn new(duration: Duration) -> Distrust {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Distrust { slots, hasher: RandomState::new(), start: Instant::now(), duration }
    }

    pub(super) fn add(&self, session_key: &SessionKey) {
        let until = milliseconds(self.start.elapsed().saturating_add(self.duration)).saturating_add(1);
        self.slot(session_key).fetch_max(until, Ordering::SeqCst);
    }

    pub(super) fn contains(&self, session_key: &SessionKey) -> bool {
        milliseconds(self.start.elapsed()) < self.slot(session_key).load(Ordering::SeqCst)
    }

    fn slot(&self, session_key: &SessionKey) -> &AtomicU64 {
        &self.slots[(self.hasher.hash_one(session_key) % SLOTS as u64) as usize]
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distrust_ends() {
        let (mine, other) = (SessionKey::from_trusted("mine"), SessionKey::from_trusted("other"));
        let distrust = Distrust::new(Duration::from_secs(60));
        distrust.add(&mine);
        assert!(distrust.contains(&mine));
        // One in 4,096 runs could fail here, but for the keys that this process hashes to the same slot.
        if !std::ptr::eq(distrust.slot(&mine), distrust.slot(&other)) {
            assert!(!distrust.contains(&other));
        }
        let over = Distrust::new(Duration::ZERO);
        over.add(&mine);
        std::thread::sleep(Duration::from_millis(3));
        assert!(!over.contains(&mine));
    }
}
