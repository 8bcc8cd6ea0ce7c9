//! Going through all sessions of a store, with progress, in bounded memory.

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
    /// A walk, with the total from the store for the progress to be shown.
    pub(crate) async fn begin(
        store: &'a dyn SessionStore,
        now: DateTime<Utc>,
        what: &'static str,
    ) -> Result<Walk<'a>, StoreError> {
        let count = store.count(now).await?;
        let progress = Progress::new(what, Some(count.live + count.expired));
        Ok(Walk { listing: store.list()?, now, progress })
    }

    /// The next page; none at the end, and none when somebody has asked the program to stop.
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
