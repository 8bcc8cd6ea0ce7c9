//! Builds the URL of a cache from what Django passes to its client library.

use std::path::Path;

use cloakroom::store::{StoreScheme, StoreUrl};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::database::{self, Database};
use super::{quoted, text, unknown};

/// A cache, as Django's object describes it.
#[derive(Deserialize)]
pub(super) struct Cache {
    alias: String,
    /// The class and its bases.
    backend: Vec<String>,
    key_prefix: String,
    version: Value,
    has_key_function: bool,
    /// The part before the key in the names of entries, if the project's `KEY_FUNCTION` only adds such a part.
    entry_prefix: Option<String>,
    redis: Option<Redis>,
    memcached: Option<Memcached>,
    /// The folder of a `FileBasedCache`.
    folder: Option<String>,
    /// The table of a `DatabaseCache`, and its database.
    table: Option<String>,
    database: Option<Database>,
    /// The number of entries beyond which one of these two removes some, if the project sets none.
    usual_max_entries: Option<u64>,
}

/// A client of Redis or Valkey, with the connections that it would open.
#[derive(Deserialize)]
struct Redis {
    client: String,
    serializer: String,
    /// Not of Django's own client, which compresses nothing.
    compressor: Option<String>,
    /// The number of locations: Django writes to the first.
    servers: usize,
    pool: String,
    /// The class of the connections, and its bases.
    connection: Vec<String>,
    parameters: Map<String, Value>,
    /// The nodes of a cluster.
    cluster: Option<Vec<String>>,
    service: Option<String>,
    #[serde(default)]
    sentinels: Vec<Sentinel>,
}

#[derive(Deserialize)]
struct Sentinel {
    connection: Vec<String>,
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
struct Memcached {
    servers: Vec<String>,
    options: Map<String, Value>,
}

/// A cache that no other process can reach, so that there is nothing to share.
pub(super) enum Unreachable {
    /// `LocMemCache`: each process of Django has its own.
    OfOneProcess,
    /// `DummyCache`: it keeps nothing.
    Empty,
}

impl Cache {
    pub(super) fn is_unreachable(&self) -> Option<Unreachable> {
        let is = |name: &str| self.backend.iter().any(|class| class == name);
        if is("django.core.cache.backends.locmem.LocMemCache") {
            return Some(Unreachable::OfOneProcess);
        }
        is("django.core.cache.backends.dummy.DummyCache").then_some(Unreachable::Empty)
    }

    fn setting(&self, name: &str) -> String {
        format!("CACHES['{}']['{name}']", self.alias)
    }

    fn option(&self, name: &str) -> String {
        format!("CACHES['{}']['OPTIONS']['{name}']", self.alias)
    }

    /// The setting's name, for an error about the class of the cache.
    pub(super) fn backend(&self) -> (String, &str) {
        (self.setting("BACKEND"), self.backend.first().map_or("", String::as_str))
    }

    /// Builds the URL of a cache in any place.
    pub(super) fn url_from(&self, folder: &Path) -> anyhow::Result<String> {
        match (self.backend().1, &self.table, &self.database) {
            // Another class may write its entries otherwise.
            ("django.core.cache.backends.db.DatabaseCache", Some(table), Some(database)) => {
                database::cache_url(database, table, self.names()?, folder)
            }
            _ => self.url(),
        }
    }

    /// Builds the URL of a cache on a server.
    fn url(&self) -> anyhow::Result<String> {
        let mut query = Vec::new();
        let address = match (&self.redis, &self.memcached, &self.folder) {
            (Some(redis), ..) => self.redis(redis, &mut query)?,
            (_, Some(memcached), _) => self.memcached(memcached)?,
            (.., Some(folder)) => {
                StoreUrl::of_path(StoreScheme::FileCache, Path::new(folder)).expose().to_owned()
            }
            _ => {
                let (setting, class) = self.backend();
                return Err(unknown(&setting, class));
            }
        };
        query.extend(self.names()?);
        Ok(if query.is_empty() { address } else { format!("{address}?{}", query.join("&")) })
    }

    /// The parameters that name the entries.
    pub(super) fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut query = Vec::new();
        if self.has_key_function {
            let head = self.entry_prefix.as_deref();
            let head = head.ok_or_else(|| unknown(&self.setting("KEY_FUNCTION"), ""))?;
            query.push(format!("entry_prefix={}", quoted(head)));
            return Ok(query);
        }
        if !self.key_prefix.is_empty() {
            query.push(format!("key_prefix={}", quoted(&self.key_prefix)));
        }
        match self.version.as_u64() {
            Some(1) => {}
            Some(version) => query.push(format!("version={version}")),
            None => return Err(unknown(&self.setting("VERSION"), &self.version.to_string())),
        }
        Ok(query)
    }

    fn memcached(&self, memcached: &Memcached) -> anyhow::Result<String> {
        let is_pylibmc = self.backend.iter().any(|class| class.ends_with("PyLibMCCache"));
        if is_pylibmc && memcached.servers.len() > 1 {
            let why = "with several servers pylibmc finds an entry's server by another rule";
            return Err(unknown(&self.setting("LOCATION"), "").context(why));
        }
        for (name, value) in &memcached.options {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                // They concern connections and what a failure does; pylibmc's behaviors, with one server, too.
                ("no_delay" | "ignore_exc" | "max_pool_size" | "use_pooling" | "behaviors" | "binary", _)
                | ("connect_timeout" | "timeout" | "retry_attempts" | "retry_timeout" | "dead_timeout", _)
                | ("pool_idle_timeout" | "lock_generator" | "default_noreply" | "encoding", _) => {}
                // It is how a failed server's entries move to another.
                ("hasher", _) => return Err(unknown(&self.option(name), "")),
                _ => return Err(unknown(&self.option(name), "")),
            }
        }
        let server = |server: &String| server.trim().to_owned();
        Ok(format!("memcached://{}", memcached.servers.iter().map(server).collect::<Vec<_>>().join(",")))
    }

    /// Builds the address; `query` receives what is not a part of it.
    fn redis(&self, redis: &Redis, query: &mut Vec<String>) -> anyhow::Result<String> {
        self.entries(redis, query)?;
        let text = |name: &str| text(&redis.parameters, name);
        let scheme = self.scheme(&redis.connection, redis)?;
        self.parameters(&redis.parameters, "", query)?;
        let mut login = String::new();
        if !text("username").is_empty() || !text("password").is_empty() {
            login = format!("{}:{}@", quoted(&text("username")), quoted(&text("password")));
        }
        let database = match text("db").as_str() {
            "" => String::new(),
            number => format!("/{number}"),
        };
        if let Some(nodes) = &redis.cluster {
            return Ok(format!("{scheme}+cluster://{login}{}{database}", nodes.join(",")));
        }
        if !redis.sentinels.is_empty() {
            let service = redis.service.as_deref().unwrap_or_default();
            let hosts = self.sentinels(redis, scheme, query)?;
            return Ok(format!("{scheme}+sentinel://{login}{hosts}/{}{database}", quoted(service)));
        }
        if scheme == "unix" {
            if !text("db").is_empty() {
                query.push(format!("db={}", text("db")));
            }
            let path = text("path").split('/').map(quoted).collect::<Vec<_>>().join("/");
            return Ok(format!("unix://{login}{path}"));
        }
        Ok(format!("{scheme}://{login}{}{database}", host_and_port(&redis.parameters, 6379)))
    }

    /// How the entries are written.
    fn entries(&self, redis: &Redis, query: &mut Vec<String>) -> anyhow::Result<()> {
        let ends_in = |class: &str, ends: &[&str]| {
            let is_known =
                ["django.", "django_redis.", "django_valkey."].iter().any(|known| class.starts_with(known));
            is_known && ends.contains(&class.rsplit('.').next().unwrap_or_default())
        };
        if !ends_in(&redis.client, &["RedisCacheClient", "DefaultClient", "SentinelClient"]) {
            return Err(unknown(&self.option("CLIENT_CLASS"), &redis.client));
        }
        match redis.serializer.as_str() {
            class if ends_in(class, &["RedisSerializer", "PickleSerializer"]) => {}
            class if ends_in(class, &["JSONSerializer"]) => query.push("serializer=json".to_owned()),
            class if ends_in(class, &["MSGPackSerializer"]) => query.push("serializer=msgpack".to_owned()),
            class => return Err(unknown(&self.option("SERIALIZER"), class)),
        }
        let words = [("Zlib", "zlib"), ("Gzip", "gzip"), ("Lz4", "lz4"), ("Lzma", "lzma"), ("ZStd", "zstd")];
        match redis.compressor.as_deref() {
            None => {}
            Some(class) if ends_in(class, &["IdentityCompressor"]) => {}
            Some(class) => {
                let word = words.iter().find(|(name, _)| ends_in(class, &[&format!("{name}Compressor")]));
                let (_, word) = word.ok_or_else(|| unknown(&self.option("COMPRESSOR"), class))?;
                query.push(format!("compressor={word}"));
            }
        }
        Ok(())
    }

    /// `redis`, `rediss` or `unix`.
    fn scheme(&self, connection: &[String], redis: &Redis) -> anyhow::Result<&'static str> {
        let is = |end: &str| connection.iter().any(|class| class.ends_with(end));
        let is_encrypted = is(".SSLConnection")
            || is(".SentinelManagedSSLConnection")
            || redis.parameters.get("ssl") == Some(&Value::Bool(true));
        if is(".UnixDomainSocketConnection") {
            return Ok("unix");
        }
        if !is_encrypted && !is(".Connection") && !is(".SentinelManagedConnection") && redis.cluster.is_none()
        {
            let class = connection.first().map_or("", String::as_str);
            return Err(unknown(
                &self.option("CONNECTION_POOL_KWARGS"),
                &format!("connection_class {class}"),
            ));
        }
        Ok(if is_encrypted { "rediss" } else { "redis" })
    }

    /// Takes redis-py's parameters of a connection into the query, under their own names.
    fn parameters(
        &self,
        parameters: &Map<String, Value>,
        prefix: &str,
        query: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        for (name, value) in parameters {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                // Parts of the address.
                ("host" | "port" | "path" | "db" | "ssl", _) => {}
                ("username" | "password", _) if prefix.is_empty() => {}
                ("username" | "password", _) => {
                    query.push(format!("{prefix}{name}={}", quoted(&text(parameters, name))));
                }
                // Python's number of `ssl.CERT_NONE`.
                ("ssl_cert_reqs", Value::Number(number)) => {
                    let word = if number.as_u64() == Some(0) { "none" } else { "required" };
                    query.push(format!("{prefix}ssl_cert_reqs={word}"));
                }
                (_, Value::Bool(truth)) if name.starts_with("ssl_") => {
                    query.push(format!("{prefix}{name}={truth}"));
                }
                (_, Value::String(_) | Value::Number(_)) if name.starts_with("ssl_") => {
                    query.push(format!("{prefix}{name}={}", quoted(&text(parameters, name))));
                }
                // They concern Python's connections, and change neither the server nor what is stored.
                (
                    "parser_class"
                    | "encoding"
                    | "encoding_errors"
                    | "decode_responses"
                    | "socket_timeout"
                    | "socket_connect_timeout"
                    | "socket_keepalive"
                    | "socket_keepalive_options"
                    | "socket_type"
                    | "socket_read_size"
                    | "retry"
                    | "retry_on_timeout"
                    | "retry_on_error"
                    | "health_check_interval"
                    | "client_name"
                    | "lib_name"
                    | "lib_version"
                    | "driver_info"
                    | "redis_connect_func"
                    | "protocol"
                    | "legacy_responses"
                    | "max_connections"
                    | "timeout"
                    | "command_packer"
                    | "connection_pool"
                    | "event_dispatcher"
                    | "maint_notifications_config"
                    | "maint_notifications_pool_handler"
                    | "oss_cluster_maint_notifications_handler"
                    | "orig_host_address"
                    | "orig_socket_timeout"
                    | "orig_socket_connect_timeout"
                    | "maint_state"
                    | "maintenance_notification_hash",
                    _,
                ) => {}
                _ => return Err(unknown(&self.option("CONNECTION_POOL_KWARGS"), name)),
            }
        }
        Ok(())
    }

    /// The sentinels' hosts. Their own login and certificates go into the query.
    fn sentinels(&self, redis: &Redis, scheme: &str, query: &mut Vec<String>) -> anyhow::Result<String> {
        let Some(first) = redis.sentinels.first() else { return Ok(String::new()) };
        let is_encrypted = first.connection.iter().any(|class| class.ends_with(".SSLConnection"));
        if is_encrypted != (scheme == "rediss") {
            query.push(format!("sentinel_ssl={is_encrypted}"));
        }
        self.parameters(&first.parameters, "sentinel_", query)?;
        let hosts = redis.sentinels.iter().map(|sentinel| host_and_port(&sentinel.parameters, 26_379));
        Ok(hosts.collect::<Vec<_>>().join(","))
    }

    /// The warning about sessions that Django removes from a full `DatabaseCache` or `FileBasedCache`.
    pub(super) fn note_of_culling(&self) -> Option<String> {
        let most = self.usual_max_entries?;
        Some(format!(
            "Django removes a part of this cache's entries, live sessions too, whenever it has more than {most}; set {} to \
             more than all of them",
            self.option("MAX_ENTRIES")
        ))
    }

    /// A note about servers that the URL does not name.
    pub(super) fn note(&self) -> Option<String> {
        let redis = self.redis.as_ref()?;
        let replicas = redis.servers.checked_sub(1).filter(|_| redis.cluster.is_none())?;
        (replicas > 0).then(|| {
            format!(
                "{} has {replicas} further {}, from which Django reads; this command uses the first alone ({})",
                self.setting("LOCATION"),
                if replicas == 1 { "server" } else { "servers" },
                redis.pool,
            )
        })
    }
}

fn host_and_port(parameters: &Map<String, Value>, usual: u16) -> String {
    let (host, port) = (text(parameters, "host"), text(parameters, "port"));
    let host = if host.is_empty() { "localhost".to_owned() } else { host };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    if port.is_empty() { format!("{host}:{usual}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn url_of(addition: Value) -> Result<String, String> {
        let mut cache = json!({ "alias": "sessions", "backend": ["django.core.cache.backends.redis.RedisCache"],
            "key_prefix": "", "version": 1, "has_key_function": false, "entry_prefix": null });
        for (name, value) in addition.as_object().unwrap() {
            cache[name] = value.clone();
        }
        let cache: Cache = serde_json::from_value(cache).unwrap();
        cache.url().map_err(|error| error.to_string())
    }

    fn redis(parameters: Value) -> Value {
        json!({ "client": "django_redis.client.default.DefaultClient", "servers": 1,
            "serializer": "django_redis.serializers.pickle.PickleSerializer",
            "compressor": "django_redis.compressors.identity.IdentityCompressor",
            "pool": "redis.connection.ConnectionPool", "connection": ["redis.connection.Connection"],
            "parameters": parameters })
    }

    #[test]
    fn servers() {
        let place = json!({ "host": "a", "port": 6379, "db": 2, "password": "p@ss", "parser_class": { "object": "x" } });
        let named = json!({ "redis": redis(place.clone()), "key_prefix": "s&t", "version": 3 });
        assert_eq!(url_of(named).unwrap(), "redis://:p%40ss@a:6379/2?key_prefix=s%26t&version=3");
        let with_function =
            json!({ "redis": redis(place.clone()), "has_key_function": true, "entry_prefix": "site-2-" });
        assert_eq!(url_of(with_function).unwrap(), "redis://:p%40ss@a:6379/2?entry_prefix=site-2-");
        let mut encrypted = redis(json!({ "host": "a", "ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": 0,
            "ssl_check_hostname": false }));
        encrypted["connection"] = json!(["redis.connection.SSLConnection", "redis.connection.Connection"]);
        assert_eq!(
            url_of(json!({ "redis": encrypted })).unwrap(),
            "rediss://a:6379?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=none&ssl_check_hostname=false"
        );
        let mut socket = redis(json!({ "path": "/run/red is.sock", "db": 1 }));
        socket["connection"] = json!(["redis.connection.UnixDomainSocketConnection"]);
        assert_eq!(url_of(json!({ "redis": socket })).unwrap(), "unix:///run/red%20is.sock?db=1");
        let mut cluster = redis(json!({ "password": "p" }));
        cluster["cluster"] = json!(["a:7000", "b:7001"]);
        assert_eq!(url_of(json!({ "redis": cluster })).unwrap(), "redis+cluster://:p@a:7000,b:7001");
        let mut sentinels = redis(json!({ "db": 3, "password": "p" }));
        sentinels["service"] = json!("primary");
        sentinels["sentinels"] = json!([
            { "connection": ["redis.connection.Connection"], "parameters": { "host": "a", "port": 26379, "password": "q" } },
            { "connection": ["redis.connection.Connection"], "parameters": { "host": "b", "port": 26380, "password": "q" } },
        ]);
        assert_eq!(
            url_of(json!({ "redis": sentinels })).unwrap(),
            "redis+sentinel://:p@a:26379,b:26380/primary/3?sentinel_password=q"
        );
        let memcached = json!({ "servers": ["a:11211", " b:11212"], "options": { "no_delay": true } });
        assert_eq!(url_of(json!({ "memcached": memcached })).unwrap(), "memcached://a:11211,b:11212");
    }

    #[test]
    fn what_cannot_be_carried_is_named() {
        let place = json!({ "host": "a" });
        let with = |name: &str, value: Value| {
            let mut redis = redis(place.clone());
            redis[name] = value;
            url_of(json!({ "redis": redis })).unwrap_err()
        };
        assert!(with("client", json!("django_redis.client.herd.HerdClient")).contains("['CLIENT_CLASS']"));
        assert!(with("serializer", json!("site.Serializer")).contains("['SERIALIZER']"));
        assert!(
            with("compressor", json!("django_redis.compressors.brotli.BrotliCompressor"))
                .contains("['COMPRESSOR']")
        );
        let provider = with("parameters", json!({ "host": "a", "credential_provider": { "object": "x" } }));
        assert!(provider.contains("['CONNECTION_POOL_KWARGS'] = credential_provider"), "{provider}");
        let function = url_of(json!({ "redis": redis(place), "has_key_function": true })).unwrap_err();
        assert!(function.contains("CACHES['sessions']['KEY_FUNCTION']"), "{function}");
        let other = url_of(json!({ "backend": ["site.caches.Cache"] })).unwrap_err();
        assert!(other.contains("CACHES['sessions']['BACKEND'] = site.caches.Cache"), "{other}");
        let hasher = json!({ "servers": ["a"], "options": { "hasher": { "object": "x" } } });
        assert!(url_of(json!({ "memcached": hasher })).unwrap_err().contains("['OPTIONS']['hasher']"));
    }
}
