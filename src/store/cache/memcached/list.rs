//! Listing: fetches the names of all entries by `lru_crawler metadump`, then the entries.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use super::client::{Server, Status};
use super::{MemcachedStore, decode, explain};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::cache::format::ends_in;
use crate::store::listing::{Count, Listed, Paged};
use crate::store::loaded::{Content, Loaded, Version};

/// The position in a listing. memcached sends all names at once, and closes the connection of a slow reader.
/// So a server's keys are kept here: about 33 bytes each.
pub struct Dump {
    /// The index of the server.
    server: usize,
    /// The keys of its sessions, one per line.
    keys: Arc<str>,
    /// How many bytes of them have been listed.
    done: usize,
}

/// How many entries are requested concurrently, each on its own connection.
const AT_ONCE: usize = 8;

#[async_trait]
impl Paged<Listed> for MemcachedStore {
    type Place = Dump;

    async fn page(
        &self,
        after: Option<&Dump>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<Dump>), StoreError> {
        let (server, keys, done) = match after {
            Some(dump) => (dump.server, Arc::clone(&dump.keys), dump.done),
            None => (0, self.dump(0, now).await?, 0),
        };
        let keys_here: Vec<&str> = keys[done..].lines().take(limit).collect();
        let mut page = Vec::new();
        for keys in keys_here.chunks(AT_ONCE) {
            for listed in join_all(keys.iter().map(|key| self.listed(key, now))).await {
                page.extend(listed?);
            }
        }
        let done = done + keys_here.iter().map(|key| key.len() + 1).sum::<usize>();
        let end = if done < keys.len() {
            Some(Dump { server, keys, done })
        } else if server + 1 < self.servers.len() {
            Some(Dump { server: server + 1, keys: self.dump(server + 1, now).await?, done: 0 })
        } else {
            None
        };
        Ok((page, end))
    }
}

impl MemcachedStore {
    pub(super) async fn count_entries(&self, now: DateTime<Utc>) -> Result<Count, StoreError> {
        let mut count = Count::default();
        for server in &self.servers {
            self.each_key(server, now, |_| count.live += 1).await?;
        }
        Ok(count)
    }

    async fn dump(&self, server: usize, now: DateTime<Utc>) -> Result<Arc<str>, StoreError> {
        let mut keys = String::new();
        let add = |key: &str| {
            keys.push_str(key);
            keys.push('\n');
        };
        self.each_key(&self.servers[server], now, add).await?;
        Ok(keys.into())
    }

    /// Returns the session keys in the names of a server's unexpired entries.
    async fn each_key(
        &self,
        server: &Server,
        now: DateTime<Utc>,
        mut each: impl FnMut(&str) + Send,
    ) -> Result<(), StoreError> {
        let prefix = self.format.entry_prefix("memcached")?;
        let found = |name: &str, ends: i64| {
            if (ends < 0 || ends > now.timestamp())
                && let Some(key) = name.strip_prefix(&prefix)
            {
                each(key);
            }
        };
        server.dump(found).await.map_err(|failure| explain(server, failure))
    }

    async fn listed(&self, key: &str, now: DateTime<Utc>) -> Result<Option<Listed>, StoreError> {
        let session_key = SessionKey::from_trusted(key);
        let (server, name) = self.entry(&session_key)?;
        let reply = self.get(server, &format!("mg {name} v f c t")).await?;
        if reply.status != Status::Done {
            return Ok(None);
        }
        let expire_date = reply.seconds_left.map(|left| ends_in(now, TimeDelta::try_seconds(left)));
        let session = match decode(&self.format, &reply, self.limit) {
            Ok(None) => return Ok(None),
            Ok(Some(data)) => {
                let version = Version::from_number(reply.version);
                Ok(Loaded { content: Content::Genuine(data), version, expire_date })
            }
            Err(error) => Err(error.into_store_error("memcached")),
        };
        Ok(Some(Listed { session_key, expire_date, session }))
    }
}
