//! Builds the URL for an entry of `CACHES`.

use cloakroom::store::StoreUrl;
use serde_json::{Map, Value, json};

use super::{quoted, text, unknown};

/// Builds the URL for the cache with this alias. `entry_prefix` is the part before the key in the names of
/// entries, if the project's `KEY_FUNCTION` only adds such a prefix.
pub(super) fn url(
    alias: &str,
    cache: &Map<String, Value>,
    entry_prefix: Option<&str>,
) -> anyhow::Result<String> {
    let setting = |name: &str| format!("CACHES['{alias}']['{name}']");
    let backend = text(cache, "BACKEND");
    let locations = match cache.get("LOCATION") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => text(cache, "LOCATION")
            .split([',', ';'])
            .map(|location| location.trim().to_owned())
            .collect::<Vec<_>>(),
    };
    let mut query = Vec::new();
    let address = match backend.as_str() {
        "django.core.cache.backends.redis.RedisCache" | "django_redis.cache.RedisCache" => {
            redis(alias, cache, &locations, backend.starts_with("django_redis"), &mut query)?
        }
        "django.core.cache.backends.memcached.PyMemcacheCache"
        | "django.core.cache.backends.memcached.PyLibMCCache" => {
            let is_socket = |location: &String| location.starts_with('/') || location.starts_with("unix:");
            if locations.iter().any(is_socket) || (backend.ends_with("PyLibMCCache") && locations.len() > 1) {
                return Err(unknown(&setting("LOCATION"), &StoreUrl::from(locations.join(",")).to_string()));
            }
            format!("memcached://{}", locations.join(","))
        }
        _ => return Err(unknown(&setting("BACKEND"), &backend)),
    };
    let is_for_urls = |text: &str| !text.contains(['&', '#', '|', '?', '@']);
    if cache.get("KEY_FUNCTION").is_some_and(|function| !function.is_null()) {
        let head = entry_prefix.filter(|head| is_for_urls(head));
        let head = head.ok_or_else(|| unknown(&setting("KEY_FUNCTION"), ""))?;
        query.push(format!("entry_prefix={head}"));
    } else {
        let prefix = text(cache, "KEY_PREFIX");
        if !is_for_urls(&prefix) {
            return Err(unknown(&setting("KEY_PREFIX"), &prefix));
        }
        if !prefix.is_empty() {
            query.push(format!("key_prefix={prefix}"));
        }
        let version = text(cache, "VERSION");
        if !version.is_empty() && version != "1" {
            query.push(format!("version={version}"));
        }
    }
    Ok(if query.is_empty() { address } else { format!("{address}?{}", query.join("&")) })
}

/// Builds the address, with the additions of `OPTIONS`; `query` receives those that concern entries.
fn redis(
    alias: &str,
    cache: &Map<String, Value>,
    locations: &[String],
    is_django_redis: bool,
    query: &mut Vec<String>,
) -> anyhow::Result<String> {
    // Django writes to the first; the others are replicas, from which it reads.
    let location = locations.first().map_or("", String::as_str);
    let setting = |name: &str| format!("CACHES['{alias}']['OPTIONS']['{name}']");
    let refused =
        || unknown(&format!("CACHES['{alias}']['LOCATION']"), &StoreUrl::from(location).to_string());
    let empty = Map::new();
    let options = cache.get("OPTIONS").and_then(Value::as_object).unwrap_or(&empty);
    let (scheme, rest) = location.split_once("://").ok_or_else(refused)?;
    let (rest, address_query) = rest.split_once('?').unwrap_or((rest, ""));
    let (rest, mut database) = match rest.rsplit_once('/') {
        Some((rest, database)) => (rest, database.to_owned()),
        None => (rest, String::new()),
    };
    if !matches!(scheme, "redis" | "rediss") {
        return Err(refused());
    }
    for pair in address_query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", number)) => number.clone_into(&mut database),
            _ => return Err(refused()),
        }
    }
    let (mut user, mut password, mut sentinels) = (String::new(), String::new(), Vec::new());
    let mut is_cluster = false;
    for name in options.keys() {
        let value = text(options, name);
        match (name.to_ascii_lowercase().as_str(), value.rsplit('.').next().unwrap_or_default()) {
            ("db", _) => database = value,
            ("username", _) => user = quoted(&value),
            ("password", _) => password = quoted(&value),
            ("serializer", "JSONSerializer") if is_django_redis => query.push("serializer=json".to_owned()),
            ("compressor", "ZlibCompressor") if is_django_redis => query.push("compressor=zlib".to_owned()),
            ("sentinels", _) if is_django_redis => {
                sentinels = sentinels_of(options.get(name)).ok_or_else(|| unknown(&setting(name), ""))?;
            }
            ("client_class", "SentinelClient") if options.contains_key("SENTINELS") => {}
            ("connection_factory", "SentinelConnectionFactory") => {}
            ("sentinel_kwargs", _) if options.get(name) == Some(&json!({})) => {}
            ("serializer", "PickleSerializer")
            | ("compressor", "IdentityCompressor")
            | ("client_class", "DefaultClient")
                if is_django_redis => {}
            ("pool_class" | "connection_pool_class" | "redis_client_class", _) => {
                is_cluster |= value.to_ascii_lowercase().contains("cluster");
            }
            // Options that concern only connections.
            (
                "parser_class"
                | "connection_pool_kwargs"
                | "redis_client_kwargs"
                | "socket_timeout"
                | "socket_connect_timeout"
                | "socket_keepalive"
                | "health_check_interval"
                | "max_connections"
                | "retry_on_timeout"
                | "ignore_exceptions"
                | "log_ignored_exceptions"
                | "pickle_version",
                _,
            ) => {}
            // The value may be a secret.
            _ => return Err(unknown(&setting(name), "")),
        }
    }
    let address = if user.is_empty() && password.is_empty() {
        rest.to_owned()
    } else {
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{user}:{password}@{host}")
    };
    if is_cluster {
        // A cluster has one database, and is reached without TLS here. The other locations are further nodes.
        let is_whole = scheme == "redis" && matches!(&*database, "" | "0") && sentinels.is_empty();
        let others = locations.iter().skip(1).map(|location| host_of(location));
        let hosts: Vec<&str> = std::iter::once(Some(&*address)).chain(others).flatten().collect();
        return if is_whole && hosts.len() == locations.len() {
            Ok(format!("redis+cluster://{}", hosts.join(",")))
        } else {
            Err(refused())
        };
    }
    let address = if database.is_empty() { address } else { format!("{address}/{database}") };
    if sentinels.is_empty() {
        return Ok(format!("{scheme}://{address}"));
    }
    // The address is then the name of the service.
    if scheme != "redis" {
        return Err(refused());
    }
    let (login, service) = address.rsplit_once('@').map_or(("", &*address), |(login, rest)| (login, rest));
    let at = if login.is_empty() { "" } else { "@" };
    Ok(format!("redis+sentinel://{login}{at}{}/{service}", sentinels.join(",")))
}

/// `host:port` in `redis://user:password@host:port/0`.
fn host_of(location: &str) -> Option<&str> {
    let rest = location.strip_prefix("redis://")?;
    rest.rsplit('@').next()?.split(['/', '?']).next()
}

/// django-redis' `SENTINELS`: pairs of host and port.
fn sentinels_of(value: Option<&Value>) -> Option<Vec<String>> {
    let host = |pair: &Value| Some(format!("{}:{}", pair.get(0)?.as_str()?, pair.get(1)?.as_u64()?));
    let hosts: Option<Vec<String>> = value?.as_array()?.iter().map(host).collect();
    hosts.filter(|hosts| !hosts.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(cache: Value) -> Result<String, String> {
        let Value::Object(cache) = cache else { return Err("no dictionary".to_owned()) };
        url("sessions", &cache, Some("site-2-")).map_err(|error| error.to_string())
    }

    #[test]
    fn caches_become_urls() {
        let redis = "django.core.cache.backends.redis.RedisCache";
        let cache = json!({ "BACKEND": redis, "LOCATION": ["redis://a:6379", "redis://b:6379"], "KEY_PREFIX": "s",
            "VERSION": 3, "OPTIONS": { "db": "2", "password": "p@ss" } });
        assert_eq!(url_of(cache).unwrap(), "redis://:p%40ss@a:6379/2?key_prefix=s&version=3");
        let cache = json!({ "BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://u:p@a/1", "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer" } });
        assert_eq!(url_of(cache).unwrap(), "redis://u:p@a/1?serializer=json");
        let cache = json!({ "BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://a", "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient" } });
        assert!(url_of(cache).unwrap_err().contains("CACHES['sessions']['OPTIONS']['CLIENT_CLASS']"));
        let cache = json!({ "BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://primary/3", "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient", "SENTINELS": [["a", 26379], ["b", 26380]],
            "SENTINEL_KWARGS": {}, "PASSWORD": "p@ss",
            "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool" } });
        assert_eq!(url_of(cache.clone()).unwrap(), "redis+sentinel://:p%40ss@a:26379,b:26380/primary/3");
        let mut own_login = cache;
        own_login["OPTIONS"]["SENTINEL_KWARGS"] = json!({ "password": "another" });
        assert!(url_of(own_login).unwrap_err().contains("['SENTINEL_KWARGS']"));
        for (option, class) in [
            ("REDIS_CLIENT_CLASS", "redis.cluster.RedisCluster"),
            ("REDIS_CLIENT_CLASS", "rediscluster.RedisCluster"),
            ("CONNECTION_POOL_CLASS", "rediscluster.connection.ClusterConnectionPool"),
        ] {
            let mut cache = json!({ "BACKEND": "django_redis.cache.RedisCache", "KEY_PREFIX": "s",
                "LOCATION": ["redis://:p@a:7000/0", "redis://b:7001"], "OPTIONS": { option: class } });
            assert_eq!(url_of(cache.clone()).unwrap(), "redis+cluster://:p@a:7000,b:7001?key_prefix=s");
            for location in ["redis://a/1", "rediss://a"] {
                cache["LOCATION"] = json!(location);
                assert!(
                    url_of(cache.clone()).unwrap_err().contains("CACHES['sessions']['LOCATION']"),
                    "{location}"
                );
            }
        }
        for (option, class) in [
            ("CLIENT_CLASS", "django_valkey.cluster_cache.client.DefaultClusterClient"),
            ("CLIENT_CLASS", "django_redis.client.ClusterClient"),
            ("CONNECTION_FACTORY", "site.ClusterConnectionFactory"),
        ] {
            let cache = json!({ "BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://a",
                "OPTIONS": { option: class } });
            assert!(url_of(cache).unwrap_err().contains(option), "{class}");
        }
        let cache = json!({ "BACKEND": "django_valkey.cluster_cache.cache.ClusterValkeyCache", "LOCATION": "redis://a" });
        assert!(url_of(cache).unwrap_err().contains("CACHES['sessions']['BACKEND']"));
        let memcached = "django.core.cache.backends.memcached.PyMemcacheCache";
        let cache = json!({ "BACKEND": memcached, "LOCATION": "a:11211;b:11212" });
        assert_eq!(url_of(cache).unwrap(), "memcached://a:11211,b:11212");
        let cache = json!({ "BACKEND": memcached, "LOCATION": "a:11211", "KEY_PREFIX": "site",
            "KEY_FUNCTION": "site.caches.make_key" });
        assert_eq!(url_of(cache).unwrap(), "memcached://a:11211?entry_prefix=site-2-");
        let cache = json!({ "BACKEND": "django.core.cache.backends.locmem.LocMemCache" });
        assert!(url_of(cache).unwrap_err().contains("CACHES['sessions']['BACKEND']"));
    }
}
