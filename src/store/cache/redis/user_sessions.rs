//! The index of user sessions: one hash for each user, whose fields are session keys. One key holds all of a
//! user's entries, so that scripts work in Redis Cluster too. It has no expiry, and disappears with its last
//! field.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;
use futures_util::future::join_all;
use redis::Value as Reply;

use super::RedisStore;
use super::connection::{Code, Failure};
use super::list::{START, Scan, escaped, scanned};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listing, Paged, Pages};
use crate::store::user_session_index::{Client, Entry, UserSessionIndex};

/// `ARGV`: the session key, the one it moved from or nothing, first and last seen in microseconds, address
/// and user agent or nothing. Times are texts, because Lua would round numbers when writing them.
static PUT: Code = Code::new(
    "local known = redis.call('HGET', KEYS[1], ARGV[1])\n\
    if not known and ARGV[2] ~= '' then known = redis.call('HGET', KEYS[1], ARGV[2]) end\n\
    local entry = {first_seen = ARGV[3], last_seen = ARGV[4], address = ARGV[5], user_agent = ARGV[6]}\n\
    if known then\n\
        local old = cjson.decode(known)\n\
        entry.first_seen = old.first_seen\n\
        if tonumber(old.last_seen) > tonumber(entry.last_seen) then entry.last_seen = old.last_seen end\n\
        if entry.address == '' then entry.address = old.address end\n\
        if entry.user_agent == '' then entry.user_agent = old.user_agent end\n\
    end\n\
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(entry))\n\
    return 1",
);

/// `ARGV`: the same as for [`PUT`].
static FILL: Code = Code::new(
    "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end\n\
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode({first_seen = ARGV[3], last_seen = ARGV[4], \
        address = ARGV[5], user_agent = ARGV[6]}))\n\
    return 1",
);

impl RedisStore {
    fn users_prefix(&self) -> String {
        format!("{}:{}:cloakroom.user_sessions:", self.format.key_prefix, self.format.version)
    }

    fn user_key(&self, user_id: &str) -> String {
        self.users_prefix() + user_id
    }

    async fn index_script(
        &self,
        code: &'static Code,
        entry: &Entry,
        moved_from: Option<&SessionKey>,
    ) -> Result<(), StoreError> {
        let key = self.user_key(&entry.user_id);
        let [first, last] =
            [entry.first_seen, entry.last_seen].map(|time| time.timestamp_micros().to_string());
        let arguments = [
            entry.session_key.as_str(),
            moved_from.map_or("", SessionKey::as_str),
            &first,
            &last,
            entry.client.address().unwrap_or_default(),
            entry.client.user_agent().unwrap_or_default(),
        ]
        .map(str::as_bytes);
        match self.connection.run_script(code, &[&key], &arguments).await {
            Ok(Reply::Int(_)) => Ok(()),
            Ok(_) => Err(self.explain(Failure::Unexpected)),
            Err(failure) => Err(self.explain(failure)),
        }
    }
}

#[async_trait]
impl UserSessionIndex for RedisStore {
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError> {
        self.index_script(&PUT, entry, moved_from).await
    }

    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let filled = join_all(entries.iter().map(|entry| self.index_script(&FILL, entry, None))).await;
        filled.into_iter().collect()
    }

    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.user_key(user_id));
        let reply = self.connection.query_again(&command).await.map_err(|failure| self.explain(failure))?;
        let fields = match reply {
            Reply::Map(fields) => fields,
            Reply::Array(flat) => {
                let mut flat = flat.into_iter();
                let mut fields = Vec::new();
                while let (Some(field), Some(value)) = (flat.next(), flat.next()) {
                    fields.push((field, value));
                }
                fields
            }
            _ => return Err(self.explain(Failure::Unexpected)),
        };
        let entry = |(field, value)| entry(user_id, field, value).ok_or(Failure::Unexpected);
        fields.into_iter().map(|field| entry(field).map_err(|failure| self.explain(failure))).collect()
    }

    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError> {
        let removals = entries.iter().map(|(user_id, session_key)| {
            let mut command = redis::cmd("HDEL");
            command.arg(self.user_key(user_id)).arg(session_key.as_str());
            async move { self.connection.query_again(&command).await }
        });
        let removed = join_all(removals).await.into_iter().collect::<Result<Vec<_>, _>>();
        removed.map(drop).map_err(|failure| self.explain(failure))
    }

    fn entries(&self) -> Box<dyn Listing<Entry> + '_> {
        Box::new(Pages::<_, Entry>::of(self))
    }
}

#[async_trait]
impl Paged<Entry> for RedisStore {
    type Place = Scan;

    async fn page(
        &self,
        after: Option<&Scan>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Entry>, Option<Scan>), StoreError> {
        let explain = |failure| self.explain(failure);
        let mut place = match after {
            Some(place) => place.clone(),
            None => {
                Scan { servers: self.connection.primaries().await.map_err(explain)?, cursor: START.to_vec() }
            }
        };
        let Some(server) = place.servers.last() else { return Ok((Vec::new(), None)) };
        let prefix = self.users_prefix();
        let mut command = redis::cmd("SCAN");
        command.arg(&place.cursor).arg("MATCH").arg(format!("{}*", escaped(&prefix)));
        command.arg("COUNT").arg(limit);
        let reply = self.connection.query_at(server.as_deref(), command).await.map_err(explain)?;
        let (next, names) = scanned(reply).map_err(explain)?;
        let users = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
        let users: Vec<String> =
            users.filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect();
        let pages = join_all(users.iter().map(|user_id| self.of_user(user_id))).await;
        let page: Vec<Vec<Entry>> = pages.into_iter().collect::<Result<_, _>>()?;
        if next == START {
            place.servers.pop();
        }
        place.cursor = next;
        let end = (!place.servers.is_empty()).then_some(place);
        Ok((page.into_iter().flatten().collect(), end))
    }
}

fn entry(user_id: &str, field: Reply, value: Reply) -> Option<Entry> {
    let (Reply::BulkString(field), Reply::BulkString(value)) = (field, value) else { return None };
    let data = SessionData::from_json(&String::from_utf8_lossy(&value)).ok()?;
    let text = |name: &str| data.read::<String>(name).ok().flatten();
    let time = |name: &str| {
        DateTime::<Utc>::from_timestamp_micros(
            text(name).and_then(|text| text.parse().ok()).unwrap_or_default(),
        )
    };
    Some(Entry {
        user_id: user_id.to_owned(),
        session_key: SessionKey::from_trusted(String::from_utf8(field).ok()?),
        first_seen: time("first_seen")?,
        last_seen: time("last_seen")?,
        client: Client::new(text("address").as_deref(), text("user_agent").as_deref()),
    })
}
