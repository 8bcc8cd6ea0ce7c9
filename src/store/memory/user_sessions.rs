//! The index of user sessions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::MemoryStore;
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listing, Paged, Pages, end_of};
use crate::store::user_session_index::{Client, Entry, UserSessionIndex};

/// By user and session.
pub(super) type Index = Mutex<BTreeMap<Place, Entry>>;

type Place = (String, SessionKey);

fn place(entry: &Entry) -> Place {
    (entry.user_id.clone(), entry.session_key.clone())
}

#[async_trait]
impl UserSessionIndex for MemoryStore {
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError> {
        let mut index = crate::site::lock::lock(&self.user_sessions);
        let known = match index.get(&place(entry)) {
            None => moved_from.and_then(|old| index.get(&(entry.user_id.clone(), old.clone()))),
            known => known,
        };
        let mut entry = entry.clone();
        if let Some(known) = known {
            entry.first_seen = known.first_seen;
            entry.last_seen = entry.last_seen.max(known.last_seen);
            entry.client = Client::new(
                entry.client.address().or(known.client.address()),
                entry.client.user_agent().or(known.client.user_agent()),
            );
        }
        index.insert(place(&entry), entry);
        Ok(())
    }

    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut index = crate::site::lock::lock(&self.user_sessions);
        for entry in entries {
            index.entry(place(entry)).or_insert_with(|| entry.clone());
        }
        Ok(())
    }

    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError> {
        let index = crate::site::lock::lock(&self.user_sessions);
        let first = (user_id.to_owned(), SessionKey::from_trusted(""));
        let all = index.range(first..).map(|(_, entry)| entry);
        Ok(all.take_while(|entry| entry.user_id == user_id).cloned().collect())
    }

    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError> {
        let mut index = crate::site::lock::lock(&self.user_sessions);
        for (user_id, session_key) in entries {
            index.remove(&((*user_id).to_owned(), (*session_key).clone()));
        }
        Ok(())
    }

    fn entries(&self) -> Box<dyn Listing<Entry> + '_> {
        Box::new(Pages::<_, Entry>::of(self))
    }
}

#[async_trait]
impl Paged<Entry> for MemoryStore {
    type Place = (String, SessionKey);

    async fn page(
        &self,
        after: Option<&(String, SessionKey)>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Entry>, Option<(String, SessionKey)>), StoreError> {
        let index = crate::site::lock::lock(&self.user_sessions);
        let after = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<Entry> =
            index.range((after, Bound::Unbounded)).take(limit).map(|(_, entry)| entry.clone()).collect();
        drop(index);
        let end = end_of(&page, limit, Entry::place);
        Ok((page, end))
    }
}
