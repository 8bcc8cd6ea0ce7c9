//! Pauses a cache that keeps requests waiting before it fails, so that not each request waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::site::error::{StoreError, StoreErrorKind};

/// A cache that fails at once costs nobody anything.
const SLOW: Duration = Duration::from_millis(100);
/// After this time one request tries again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Pause {
    /// When the next request may try, in milliseconds since `start`; 0 while the cache works.
    next_try: AtomicU64,
    start: Instant,
}

impl Pause {
    pub(super) fn new() -> Pause {
        Pause { next_try: AtomicU64::new(0), start: Instant::now() }
    }

    /// Whether to ask the cache: always while it works, otherwise one request in each pause.
    pub(super) fn may_ask(&self) -> bool {
        let (next_try, now) = (self.next_try.load(Ordering::SeqCst), self.now());
        if next_try == 0 {
            return true;
        }
        let later = now + milliseconds(PAUSE);
        now >= next_try
            && self.next_try.compare_exchange(next_try, later, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Asks the cache, and records the result.
    pub(super) async fn watch<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let reply = call.await;
        match &reply {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                if start.elapsed() >= SLOW {
                    self.next_try.store(self.now() + milliseconds(PAUSE), Ordering::SeqCst);
                }
            }
            _ => self.next_try.store(0, Ordering::SeqCst),
        }
        reply
    }

    fn now(&self) -> u64 {
        // Never 0, which means that the cache works.
        milliseconds(self.start.elapsed()).max(1)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
