//! One value for each Tokio runtime. Connections and their tasks belong to the runtime on which they were
//! made and end with it. But a store may outlive a runtime, such as a static that several `#[tokio::test]`s
//! share, and may be used on several runtimes at once.

use std::sync::Mutex;

use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;

/// Created on each runtime on first use.
pub(super) struct PerRuntime<T> {
    /// Nearly always a single entry.
    entries: Mutex<Vec<Entry<T>>>,
}

struct Entry<T> {
    runtime: Id,
    value: T,
    guard: Guard,
}

/// A task that never finishes by itself: when it has ended, its runtime has ended.
struct Guard(AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> PerRuntime<T> {
    pub(super) fn new() -> PerRuntime<T> {
        PerRuntime { entries: Mutex::default() }
    }

    /// Passes the current runtime's value to `take`, created by `make` if missing. Neither may block.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, as `tokio::spawn` does.
    pub(super) fn with<R>(&self, make: impl FnOnce() -> T, take: impl FnOnce(&mut T) -> R) -> R {
        let runtime = Handle::current();
        let id = runtime.id();
        let mut entries = crate::site::lock::lock(&self.entries);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.runtime == id) {
            return take(&mut entry.value);
        }
        // Ended runtimes are searched for only when a new one is added.
        entries.retain(|entry| !entry.guard.0.is_finished());
        let guard = Guard(runtime.spawn(std::future::pending::<()>()).abort_handle());
        let mut value = make();
        let taken = take(&mut value);
        entries.push(Entry { runtime: id, value, guard });
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::{Builder, Runtime};

    use super::PerRuntime;

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn each_runtime_has_its_own_which_ends_with_it() {
        let values = PerRuntime::new();
        let (first, second) = (runtime(), runtime());
        let ask = |runtime: &Runtime, number: u32| {
            runtime.block_on(async { values.with(|| Arc::new(number), |value| Arc::clone(value)) })
        };
        let of_first = ask(&first, 1);
        assert_eq!((*of_first, *ask(&second, 2), *ask(&first, 3)), (1, 2, 1));
        drop(first);
        assert_eq!(*ask(&second, 4), 2);
        assert_eq!(Arc::strong_count(&of_first), 2, "nobody has looked yet");
        assert_eq!(*ask(&runtime(), 5), 5);
        assert_eq!(Arc::strong_count(&of_first), 1, "it went with its runtime");
    }
}
