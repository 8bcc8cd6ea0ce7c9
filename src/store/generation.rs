//! Which connections lead to the server that now has the address. When a connection finds a read-only server,
//! another server may have taken over. Then the rest of that generation must not continue to read from the
//! old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the connections of one store.
#[derive(Clone, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    /// The generation of a connection made now.
    pub(super) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends this generation, once: of several connections that detect the same change, only the first does.
    pub(super) fn end(&self, generation: u64) {
        let _ = self.0.compare_exchange(generation, generation + 1, Ordering::SeqCst, Ordering::SeqCst);
    }
}
