//! Which connections lead to the server that the address leads to now. When one of them finds a server that only reads,
//! another may have taken over, and the rest of that generation must not go on reading what the old one has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the connections of one store.
#[derive(Clone, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    /// That of a connection made now.
    pub(super) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends this generation, once: of many connections that find the same, the first one does.
    pub(super) fn end(&self, generation: u64) {
        let _ = self.0.compare_exchange(generation, generation + 1, Ordering::SeqCst, Ordering::SeqCst);
    }
}
