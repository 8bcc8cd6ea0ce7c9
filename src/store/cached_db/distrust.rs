//! Sessions whose copies are not trusted for a while, because the cache failed when they should have changed.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::site::session_key::SessionKey;

/// Many slots, so that a failure for one session sends hardly any other to the database; but a fixed number,
/// so that a cache that is down for hours takes no memory.
const SLOTS: usize = 4_096;

pub(super) struct Distrust {
    /// The end of the distrust, in milliseconds since `start`.
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
        // One in 4,096 runs would fail here otherwise, when this process hashes both keys to the same slot.
        if !std::ptr::eq(distrust.slot(&mine), distrust.slot(&other)) {
            assert!(!distrust.contains(&other));
        }
        let over = Distrust::new(Duration::ZERO);
        over.add(&mine);
        std::thread::sleep(Duration::from_millis(3));
        assert!(!over.contains(&mine));
    }
}
