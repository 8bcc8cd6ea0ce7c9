//! The listing: the old store, then the new one.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::task::JoinSet;

use super::entry::{Entry, Found, Place};
use super::{MovingStore, NAME, entry_in};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::contract::SessionStore;
use crate::store::listing::{Listed, Listing};

/// How many sessions are looked up concurrently in the other store.
const AT_ONCE: usize = 64;

/// Lists the sessions of the old store, then those of the new one.
pub(super) struct BothStores<'a> {
    store: &'a MovingStore,
    listing: Box<dyn Listing<Listed> + 'a>,
    in_new: bool,
    /// A page that was read, but could not be compared with the other store yet.
    left: Option<Vec<Listed>>,
}

impl<'a> BothStores<'a> {
    pub(super) fn new(store: &'a MovingStore) -> Result<BothStores<'a>, StoreError> {
        Ok(BothStores { store, listing: store.old.list()?, in_new: false, left: None })
    }
}

#[async_trait]
impl Listing<Listed> for BothStores<'_> {
    async fn next_page(
        &mut self,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Listed>>, StoreError> {
        if self.left.is_none() {
            self.left = self.listing.next_page(limit, now).await?;
        }
        let Some(page) = &self.left else {
            if self.in_new {
                return Ok(None);
            }
            self.listing = self.store.new.list()?;
            self.in_new = true;
            return Ok(Some(Vec::new()));
        };
        let sessions = self.store.sessions_of(page.clone(), self.in_new, now).await?;
        self.left = None;
        Ok(Some(sessions))
    }
}

impl MovingStore {
    /// Filters the entries of a page that are sessions.
    async fn sessions_of(
        &self,
        page: Vec<Listed>,
        in_new: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<Listed>, StoreError> {
        let (mut sessions, mut looked_up, mut waiting) =
            (Vec::with_capacity(page.len()), JoinSet::new(), page.into_iter());
        loop {
            while looked_up.len() < AT_ONCE
                && let Some(listed) = waiting.next()
            {
                let other = Arc::clone(if in_new { &self.old } else { &self.new });
                looked_up.spawn(async move { session(listed, &*other, in_new, now).await });
            }
            let Some(one) = looked_up.join_next().await else { return Ok(sessions) };
            let one = one.map_err(|error| {
                StoreError::new(NAME, StoreErrorKind::Unavailable, "the listing was broken off")
                    .with_source(error)
            })?;
            sessions.extend(one?);
        }
    }
}

/// The session in an entry, if it is one and does not belong to the other store.
async fn session(
    listed: Listed,
    other: &dyn SessionStore,
    in_new: bool,
    now: DateTime<Utc>,
) -> Result<Option<Listed>, StoreError> {
    let Listed { session_key, expire_date, session } = listed;
    let in_other = async || match entry_in(other, &session_key, now, true).await {
        Err(error) if error.kind() == StoreErrorKind::Unreadable => Ok(Some(None)),
        entry => entry.map(|entry| entry.map(Some)),
    };
    let place = if in_new { Place::New } else { Place::Old };
    let session = match session.map(Entry::of) {
        // The new store's entry counts.
        Ok(Entry::Session(..)) | Err(_)
            if !in_new && matches!(in_other().await?, Some(None | Some(Entry::Session(..)))) =>
        {
            return Ok(None);
        }
        Ok(Entry::Session(loaded, claim)) => Ok(Found::session(place, loaded, claim).loaded()),
        Err(error) => Err(error),
        Ok(Entry::Forward(..)) => return Ok(None),
        Ok(Entry::Provisional(nonce, loaded)) => match in_other().await? {
            Some(Some(Entry::Forward(to, forward))) if to == nonce => {
                let place = if in_new { Place::Arriving(forward) } else { Place::Old };
                Ok(Found::new(place, loaded).loaded())
            }
            _ => return Ok(None),
        },
    };
    Ok(Some(Listed { session_key, expire_date, session }))
}
