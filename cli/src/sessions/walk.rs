//! Goes through all sessions of a store, with progress and in bounded memory.

use std::ops::ControlFlow;

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Listed, Listing};
use cloakroom::{SessionStore, StoreError};

use crate::interrupted::asked_to_stop;
use crate::output::progress::Progress;

/// How many sessions are in memory at a time.
const PAGE: usize = 500;

/// One walk through a store.
pub(crate) struct Walk<'a> {
    listing: Box<dyn Listing<Listed> + 'a>,
    now: DateTime<Utc>,
    pub(crate) progress: Progress,
}

impl<'a> Walk<'a> {
    /// Begins a walk; its total for the progress comes from the store.
    pub(crate) async fn begin(
        store: &'a dyn SessionStore,
        now: DateTime<Utc>,
        what: &'static str,
    ) -> Result<Walk<'a>, StoreError> {
        let count = store.count(now).await?;
        let progress = Progress::new(what, Some(count.live + count.expired));
        Ok(Walk { listing: store.list()?, now, progress })
    }

    /// Returns the next page; `None` at the end, or when the program was asked to stop.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Listed>>, StoreError> {
        if asked_to_stop().is_some() {
            return Ok(None);
        }
        let Some(page) = self.listing.next_page(PAGE, self.now).await? else { return Ok(None) };
        self.progress.add(page.len());
        Ok(Some(page))
    }

    /// Calls `each` with every session, until it breaks.
    pub(crate) async fn each(
        &mut self,
        mut each: impl FnMut(&Listed) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        while let Some(page) = self.next().await? {
            for listed in &page {
                if each(listed)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
