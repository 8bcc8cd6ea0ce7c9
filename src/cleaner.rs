//! Clears expired sessions periodically, inside the program.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::SessionStore;
use crate::site::clock::Clock;
use crate::telemetry::{self, Operation};

/// The maximum random deviation of a wait, as a fraction of the interval.
const JITTER: f64 = 0.1;

/// The minimum interval: each round asks the database.
const SHORTEST: Duration = Duration::from_secs(1);

/// Clears expired sessions in the background: about every `interval`, at least a second, until the
/// [`Cleaner`] is stopped or dropped. For a site without a `clearsessions` in cron.
///
/// The first round starts after a random part of the interval, and each wait is up to a tenth longer or
/// shorter, so that processes started together do not clear together. Several cleaners are harmless. A
/// failure is logged as a warning, and the next round retries.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use cloakroom::store::MemoryStore;
/// use cloakroom::spawn_cleaner;
/// use cloakroom::SystemClock;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = Arc::new(MemoryStore::new());
/// let cleaner = spawn_cleaner(store, Arc::new(SystemClock), Duration::from_secs(60 * 60));
/// assert!(!cleaner.is_finished());
/// // When the server shuts down:
/// cleaner.stop().await;
/// # });
/// ```
///
/// # Panics
/// Outside of a Tokio runtime, as `tokio::spawn` does.
pub fn spawn_cleaner(store: Arc<dyn SessionStore>, clock: Arc<dyn Clock>, interval: Duration) -> Cleaner {
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(clean(store, clock, interval.max(SHORTEST), stopping));
    Cleaner { stop, task }
}

/// The task started by [`spawn_cleaner`]. Dropping it aborts the task at any point, which leaves the store
/// consistent; [`stop`](Cleaner::stop) ends it between two batches.
#[must_use = "the task ends when this is dropped"]
pub struct Cleaner {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Cleaner {
    /// Ends the task: at once while it is idle, otherwise after the current batch, which it waits for.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // If the store panicked, the runtime has reported it.
        let _ = (&mut self.task).await;
    }

    /// Whether the task has ended, which happens by itself only when the store panics.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cleaner").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}

async fn clean(
    store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let mut wait = interval.mul_f64(random_fraction());
    while timeout(wait, stopping.wait_for(|stop| *stop)).await.is_err() {
        let mut counted = 0;
        let mut progress = |cleared| {
            telemetry::cleared(cleared - counted);
            counted = cleared;
            if *stopping.borrow() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let clearing = store.clear_expired_with_progress(clock.now(), &mut progress);
        match telemetry::call(Operation::ClearExpired, clearing).await {
            Ok(cleared) => tracing::debug!(cleared, "expired sessions cleared"),
            Err(error) => {
                tracing::warn!(%error, "expired sessions could not be cleared; the next round tries again");
            }
        }
        wait = interval.mul_f64(1.0 + JITTER * (2.0 * random_fraction() - 1.0));
    }
}

/// Returns a number from 0 up to 1. Without random bytes one half: then processes may run in step, which is
/// no reason to clear nothing.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / (f64::from(u32::MAX) + 1.0))
}
