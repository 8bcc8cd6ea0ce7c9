//! Tracks closures that compute a value while the session is unlocked.

use std::thread::ThreadId;

use cloakroom_formats::private::Text;

use super::changes::Change;
use super::{Inner, State};

/// A running closure.
pub(super) struct Modifying {
    thread: ThreadId,
    key: Text,
    /// Whether the closure changed the value itself.
    is_own: bool,
}

impl Modifying {
    /// Notes a change made by this thread.
    pub(super) fn notice(&mut self, change: &Change) {
        self.is_own |= self.thread == std::thread::current().id() && change.concerns(&self.key);
    }
}

/// Registers a closure while it runs.
pub(super) struct Noted<'a> {
    inner: &'a Inner,
    thread: ThreadId,
    key: Text,
}

impl Inner {
    /// Registers that a closure of this thread is about to compute the value under this key.
    pub(super) fn modifying(&self, key: Text) -> Noted<'_> {
        let thread = std::thread::current().id();
        self.state().modifying.push(Modifying { thread, key: key.clone(), is_own: false });
        Noted { inner: self, thread, key }
    }
}

impl Noted<'_> {
    pub(super) fn key(&self) -> &str {
        self.key.as_str()
    }

    /// Whether the closure itself changed the value.
    pub(super) fn is_own(&self, state: &State) -> bool {
        // A nested closure comes after the one that called it.
        let last = state.modifying.iter().rfind(|modifying| modifying.thread == self.thread);
        last.is_some_and(|modifying| modifying.is_own)
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if let Some(last) = state.modifying.iter().rposition(|modifying| modifying.thread == self.thread) {
            state.modifying.remove(last);
        }
    }
}
