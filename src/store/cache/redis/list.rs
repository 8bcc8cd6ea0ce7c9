//! Listing: `SCAN` for the names of entries, on each primary in turn, then the entry of each name.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::{join, join_all};
use redis::Value as Reply;

use super::RedisStore;
use super::connection::Failure;
use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::cache::format::ends_in;
use crate::store::listing::{Count, Listed, Paged};
use crate::store::loaded::{Content, Loaded, Version};

/// The position in a scan. The server keeps no state of it.
#[derive(Clone)]
pub struct Scan {
    /// The remaining servers, the current one last.
    pub(super) servers: Vec<Option<String>>,
    /// Its cursor.
    pub(super) cursor: Vec<u8>,
}

/// The cursor with which each scan begins and ends.
pub(super) const START: &[u8] = b"0";

#[async_trait]
impl Paged<Listed> for RedisStore {
    type Place = Scan;

    async fn page(
        &self,
        after: Option<&Scan>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<Scan>), StoreError> {
        let (keys, rest) = self.scan(after, limit).await?;
        let listed = join_all(keys.into_iter().map(|key| self.listed(key, now))).await;
        let page = listed.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        Ok((page, rest))
    }
}

impl RedisStore {
    /// Counts names only; a name that the server returns twice counts twice.
    pub(super) async fn count_entries(&self) -> Result<Count, StoreError> {
        let mut count = Count::default();
        let mut place = None;
        loop {
            let (keys, rest) = self.scan(place.as_ref(), 10_000).await?;
            count.live += keys.len() as u64;
            if rest.is_none() {
                return Ok(count);
            }
            place = rest;
        }
    }

    /// Returns the keys of the next sessions, and the next position.
    async fn scan(
        &self,
        place: Option<&Scan>,
        limit: usize,
    ) -> Result<(Vec<SessionKey>, Option<Scan>), StoreError> {
        let mut place = match place {
            Some(place) => place.clone(),
            None => {
                let servers = self.connection.primaries().await.map_err(|failure| self.explain(failure))?;
                Scan { servers, cursor: START.to_vec() }
            }
        };
        let Some(server) = place.servers.last() else { return Ok((Vec::new(), None)) };
        let prefix = self.format.entry_prefix("redis")?;
        let mut command = redis::cmd("SCAN");
        command.arg(&place.cursor).arg("MATCH").arg(format!("{}*", escaped(&prefix)));
        command.arg("COUNT").arg(limit.max(1));
        let reply = self.connection.query_at(server.as_deref(), command).await;
        let (cursor, names) = scanned(reply.map_err(|failure| self.explain(failure))?)
            .map_err(|failure| self.explain(failure))?;
        let key = |name: Vec<u8>| {
            let name = String::from_utf8(name).ok()?;
            name.strip_prefix(&prefix).map(SessionKey::from_trusted)
        };
        let keys = names.into_iter().filter_map(key).collect();
        if cursor == START {
            place.servers.pop();
        }
        place.cursor = cursor;
        Ok((keys, (!place.servers.is_empty()).then_some(place)))
    }

    /// Reads an entry; `None` if it is gone meanwhile.
    async fn listed(
        &self,
        session_key: SessionKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Listed>, StoreError> {
        let name = self.format.entry_key(&session_key);
        let (mut get, mut age) = (redis::cmd("GET"), redis::cmd("PTTL"));
        get.arg(&name);
        age.arg(&name);
        // Both are sent to the server in one packet.
        let (entry, age) = join(self.connection.query_again(&get), self.connection.query_again(&age)).await;
        let expire_date = match age.map_err(|failure| self.explain(failure))? {
            Reply::Int(-2) => return Ok(None),
            Reply::Int(milliseconds) => Some(ends_in(now, TimeDelta::try_milliseconds(milliseconds))),
            _ => return Err(self.explain(Failure::Unexpected)),
        };
        let session = match entry.map_err(|failure| self.explain(failure)) {
            Ok(Reply::Nil) => return Ok(None),
            Ok(Reply::BulkString(entry)) => match self.format.decode(&entry, self.limit) {
                Ok(None) => return Ok(None),
                Ok(Some(data)) => {
                    let content = Content::Genuine(data);
                    Ok(Loaded { content, version: Version::from_bytes(entry), expire_date })
                }
                Err(error) => Err(error.into_store_error("redis")),
            },
            Ok(_) => return Err(self.explain(Failure::Unexpected)),
            Err(error) if error.kind() == StoreErrorKind::Unreadable => Err(error),
            Err(error) => return Err(error),
        };
        Ok(Some(Listed { session_key, expire_date, session }))
    }
}

/// Splits an answer to `SCAN` into the new cursor and the names.
pub(super) fn scanned(reply: Reply) -> Result<(Vec<u8>, Vec<Vec<u8>>), Failure> {
    let Reply::Array(parts) = reply else { return Err(Failure::Unexpected) };
    let Ok([Reply::BulkString(cursor), Reply::Array(names)]) = <[Reply; 2]>::try_from(parts) else {
        return Err(Failure::Unexpected);
    };
    let name = |name| match name {
        Reply::BulkString(name) => Ok(name),
        _ => Err(Failure::Unexpected),
    };
    Ok((cursor, names.into_iter().map(name).collect::<Result<_, _>>()?))
}

/// Escapes a text to a pattern that matches only it.
pub(super) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if r"*?[]^-\".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
