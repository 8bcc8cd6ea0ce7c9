//! Closures that compute a value while the session is not locked.

use std::thread::ThreadId;

use cloakroom_formats::private::Text;

use super::changes::Change;
use super::{Inner, State};

/// A closure that is running.
pub(super) struct Modifying {
    thread: ThreadId,
    key: Text,
    /// Whether it changed the value itself.
    is_own: bool,
}

impl Modifying {
    /// A change is made by this thread.
    pub(super) fn notice(&mut self, change: &Change) {
        self.is_own |= self.thread == std::thread::current().id() && change.concerns(&self.key);
    }
}

/// Notes a closure for as long as it runs.
pub(super) struct Noted<'a> {
    inner: &'a Inner,
    thread: ThreadId,
    key: Text,
}

impl Inner {
    /// A closure of this thread is about to compute the value under this key.
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
        // A closure that is called by another comes behind it.
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
