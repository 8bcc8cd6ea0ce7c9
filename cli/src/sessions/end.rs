//! Ends sessions by their keys. A failure for one does not prevent ending the others.

use cloakroom::{Clock, SessionKey, SessionStore, StoreError, SystemClock};
use futures_util::future::join_all;

use crate::interrupted::asked_to_stop;
use crate::output::lines::complain;

/// How many are ended concurrently: a silent cache keeps each waiting for seconds.
pub(crate) const AT_ONCE: usize = 64;

/// The outcome.
#[derive(Default)]
pub(crate) struct Ended {
    /// How many existed and are gone.
    pub(crate) gone: u64,
    /// How many did not exist.
    pub(crate) missing: u64,
    /// How many of those gone have left a copy in a cache that could not be reached.
    copied: u64,
    /// How many still exist.
    pub(crate) failed: u64,
    /// The first error of each of these two kinds.
    why: [Option<StoreError>; 2],
}

impl Ended {
    /// Ends these sessions and adds them to the counts.
    pub(crate) async fn end(&mut self, store: &dyn SessionStore, session_keys: &[SessionKey]) {
        for session_keys in session_keys.chunks(AT_ONCE) {
            if asked_to_stop().is_some() {
                return;
            }
            let fates = session_keys.iter().map(|session_key| async move {
                let deleted = store.delete(session_key).await;
                // With a database and a cache, the cache's failure comes after the row is gone.
                let is_gone = match &deleted {
                    Ok(_) => true,
                    Err(_) => store.exists(session_key, SystemClock.now()).await.is_ok_and(|exists| !exists),
                };
                (deleted, is_gone)
            });
            for fate in join_all(fates).await {
                match fate {
                    (Ok(true), _) => self.gone += 1,
                    (Ok(false), _) => self.missing += 1,
                    (Err(error), true) => {
                        self.gone += 1;
                        self.copied += 1;
                        self.why[0].get_or_insert(error);
                    }
                    (Err(error), false) => {
                        self.failed += 1;
                        self.why[1].get_or_insert(error);
                    }
                }
            }
        }
    }

    /// Ends the cache's copies of sessions whose rows are gone. The store reports that there was no row.
    pub(crate) async fn end_copies(&mut self, store: &dyn SessionStore, session_keys: &[SessionKey]) {
        let before = self.missing;
        self.end(store, session_keys).await;
        self.gone += self.missing - before;
        self.missing = before;
    }

    /// Reports failures; returns false when there were none.
    pub(crate) fn complain(&self) -> bool {
        let [copied, failed] = &self.why;
        if let Some(error) = copied {
            complain(&format!("{} of them are gone, but not from everywhere: {error}", self.copied));
        }
        if let Some(error) = failed {
            complain(&format!("{} sessions could not be deleted: {error}", self.failed));
        }
        self.copied + self.failed > 0
    }
}
