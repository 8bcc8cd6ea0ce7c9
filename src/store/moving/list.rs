//! The listing: the old store, then the new one.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;

use super::entry::{Entry, Found, Place};
use super::{MovingStore, NAME, entry_in};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::contract::SessionStore;
use crate::store::listing::{Cursor, Listed};

/// How far a listing has come.
struct At {
    in_new: bool,
    /// The cursor of that store.
    cursor: Mutex<Cursor>,
}

/// How many sessions are looked up in the other store at the same time.
const AT_ONCE: usize = 64;

impl MovingStore {
    pub(super) async fn page(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<Listed>, StoreError> {
        let (in_new, mut inner) = match cursor.place::<At>()? {
            // After an error it is put back.
            Some(at) => (at.in_new, std::mem::take(&mut *crate::site::lock::lock(&at.cursor))),
            None => (false, Cursor::start()),
        };
        let page = async {
            let store = if in_new { &self.new } else { &self.old };
            let page = store.list(&mut inner, limit, now).await?;
            self.sessions_of(page, in_new, now).await
        };
        let page = match page.await {
            Ok(page) => page,
            Err(error) => {
                // Pages that were not given are listed again from their beginning, if their store had moved on.
                if let Ok(Some(at)) = cursor.place::<At>() {
                    *crate::site::lock::lock(&at.cursor) = inner;
                }
                return Err(error);
            }
        };
        cursor.move_to(match (inner.is_done(), in_new) {
            (false, in_new) => Some(At { in_new, cursor: Mutex::new(inner) }),
            (true, false) => Some(At { in_new: true, cursor: Mutex::default() }),
            (true, true) => None,
        });
        Ok(page)
    }

    /// Those entries of a page that are sessions.
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

/// The session in an entry, if it is one and not the other store's.
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
        // The new store's counts.
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
