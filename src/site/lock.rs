//! A lock that survives panics.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, even after another thread panicked while holding the lock. Data under these locks changes in single
/// steps, so it is always consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
