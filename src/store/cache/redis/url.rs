//! The URLs of Redis: redis-py's, and those of a cluster and of sentinels.

use std::time::Duration;

use super::node::Address;
use super::{RedisOptions, SentinelOptions};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::cache::format::CacheFormat;
use crate::store::cache::ssl_parameters::{self, boolean};
use crate::store::tls::{TlsMode, TlsOptions};
use crate::store::url::{Parameters, StoreScheme, StoreUrl, invalid, percent_decoded};

/// Which servers a store is on.
#[derive(Clone)]
pub(super) enum Target {
    Server(Address),
    Cluster(Vec<Address>),
    /// The sentinels, and the service that they watch.
    Sentinels(Vec<Address>, String),
}

impl Target {
    /// The servers, as errors name them.
    pub(super) fn shown(&self) -> String {
        match self {
            Target::Server(address) => address.to_string(),
            Target::Cluster(addresses) | Target::Sentinels(addresses, _) => {
                addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
            }
        }
    }
}

/// Parameters of redis-py's connections that change nothing here: this store has one connection, which it
/// reopens by itself, and it reads bytes.
const WITHOUT_EFFECT: [&str; 13] = [
    "client_name",
    "decode_responses",
    "encoding_errors",
    "health_check_interval",
    "legacy_responses",
    "lib_name",
    "lib_version",
    "max_connections",
    "protocol",
    "retry_on_error",
    "retry_on_timeout",
    "socket_keepalive",
    "socket_read_size",
];

const OWN_PARAMETERS: [&str; 6] =
    ["db", "username", "password", "socket_timeout", "socket_connect_timeout", "encoding"];

const SENTINEL_PARAMETERS: [&str; 9] = [
    "sentinel_username",
    "sentinel_password",
    "sentinel_ssl",
    "sentinel_ssl_ca_certs",
    "sentinel_ssl_certfile",
    "sentinel_ssl_keyfile",
    "sentinel_ssl_cert_reqs",
    "sentinel_ssl_check_hostname",
    "sentinel_ssl_min_version",
];

const SECONDS: &str = "a number of seconds, such as 2.5";

pub(super) fn parse(url: &str) -> Result<RedisOptions, StoreError> {
    let scheme = StoreUrl::from(url).scheme().filter(|scheme| scheme.is_redis()).ok_or_else(|| {
        misconfigured(
            "a URL of Redis begins with `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `rediss+cluster://`, \
             `redis+sentinel://` or `rediss+sentinel://`, or with `valkey` in place of `redis`",
        )
    })?;
    let (address, mut parameters) = Parameters::of("redis", url)?;
    let format = CacheFormat::take_from(&mut parameters)?;
    let Some((_, rest)) = address.split_once("://") else {
        return Err(misconfigured(
            "two slashes follow the scheme of a Redis URL: redis://host:port/database, or unix:///path/to/redis.sock. \
             memcached's socket is memcached:///path/to/memcached.sock",
        ));
    };
    // A password may contain an @, and a slash.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (mut username, mut password) = (parameters.take("username")?, parameters.take("password")?);
    if let Some(login) = login {
        let (user, secret) =
            login.split_once(':').map_or((login, None), |(user, secret)| (user, Some(secret)));
        let decoded = |text: &str| {
            percent_decoded(text).ok_or_else(|| misconfigured("the URL's user or password is not UTF-8"))
        };
        if !user.is_empty() {
            username = Some(decoded(user)?);
        }
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            password = Some(decoded(secret)?);
        }
    }
    let in_query: Option<i64> = parameters.take_parsed("db", "the database's number")?;
    let (target, in_path) = target(scheme, place)?;
    let is_encrypted = scheme.is_encrypted();
    let given =
        ssl_parameters::take(&mut parameters, "redis", "", (is_encrypted, "a scheme with TLS, `rediss://`"))?;
    let tls = given.unwrap_or(TlsOptions::new(default_mode(is_encrypted)));
    let mut sentinel =
        SentinelOptions { username: None, password: None, tls: TlsOptions::new(TlsMode::Disable) };
    if matches!(target, Target::Sentinels(..)) {
        let to_sentinels = boolean(&mut parameters, "redis", "sentinel_ssl")?.unwrap_or(is_encrypted);
        let encryption = (to_sentinels, "`sentinel_ssl=true`");
        let given = ssl_parameters::take(&mut parameters, "redis", "sentinel_", encryption)?;
        let default = if to_sentinels && is_encrypted {
            tls.clone()
        } else {
            TlsOptions::new(default_mode(to_sentinels))
        };
        sentinel = SentinelOptions {
            username: parameters.take("sentinel_username")?,
            password: parameters.take("sentinel_password")?,
            tls: given.unwrap_or(default),
        };
    }
    let timeout = seconds(&mut parameters, "socket_timeout")?.unwrap_or(Duration::from_secs(5));
    let connect_timeout = seconds(&mut parameters, "socket_connect_timeout")?;
    // A call is limited as a whole.
    seconds(&mut parameters, "timeout")?;
    if let Some(encoding) = parameters.take("encoding")?
        && !["utf-8", "utf8"].contains(&encoding.to_ascii_lowercase().as_str())
    {
        return Err(invalid(
            "redis",
            "encoding",
            "names an encoding of keys that is not known here",
            "utf-8",
        ));
    }
    for name in WITHOUT_EFFECT {
        parameters.take(name)?;
    }
    ssl_parameters::refuse(&mut parameters, "redis")?;
    if parameters.take("path")?.is_some() {
        let how = "the socket's path after the scheme: unix:///path/to/redis.sock";
        return Err(invalid("redis", "path", "is not read", how));
    }
    let known = CacheFormat::PARAMETERS.into_iter().chain(OWN_PARAMETERS).chain(ssl_parameters::NAMES);
    let known: Vec<&str> = match &target {
        Target::Sentinels(..) => known.chain(SENTINEL_PARAMETERS).collect(),
        _ => known.collect(),
    };
    parameters.finish(&known)?;
    Ok(RedisOptions {
        url: url.into(),
        target,
        username,
        password,
        password_source: None,
        database: in_query.or(in_path).unwrap_or(0),
        tls,
        sentinel,
        format,
        timeout,
        connect_timeout,
    })
}

fn default_mode(is_encrypted: bool) -> TlsMode {
    if is_encrypted { TlsMode::VerifyFull } else { TlsMode::Disable }
}

/// Checks what can be set besides the URL.
pub(super) fn check_modes(options: &RedisOptions) -> Result<(), StoreError> {
    for (name, mode) in [("tls", options.tls.mode), ("sentinel.tls", options.sentinel.tls.mode)] {
        if matches!(mode, TlsMode::Allow | TlsMode::Prefer) {
            return Err(misconfigured(format!(
                "the option `{name}` has the mode `{}`, which Redis does not know; use disable, require, verify-ca or \
                 verify-full",
                mode.as_str()
            )));
        }
        if mode != TlsMode::Disable && matches!(options.target, Target::Server(Address::Socket(_))) {
            return Err(misconfigured(format!("the option `{name}` encrypts, which a Unix socket does not")));
        }
    }
    Ok(())
}

/// The servers, and the database in the path.
fn target(scheme: StoreScheme, place: &str) -> Result<(Target, Option<i64>), StoreError> {
    if scheme == StoreScheme::RedisSocket {
        let path = percent_decoded(place).filter(|path| path.starts_with('/') && path.len() > 1);
        let path = path.ok_or_else(|| {
            misconfigured("a socket's path is absolute, with three slashes: unix:///path/to/redis.sock?db=1")
        })?;
        return Ok((Target::Server(Address::Socket(path.into())), None));
    }
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let database = |path: &str| {
        match path.trim_matches('/') {
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| {
            misconfigured(
                "the URL's database is not a number; write redis://[user:password@]host[:port][/database], and `%3F` for \
                 a `?` in a password",
            )
        }),
    }
    };
    match scheme {
        StoreScheme::RedisCluster | StoreScheme::RedisClusterTls => {
            Ok((Target::Cluster(addresses(hosts, 6379)?), database(path)?))
        }
        StoreScheme::RedisSentinel | StoreScheme::RedisSentinelTls => {
            let (service, path) = path.split_once('/').unwrap_or((path, ""));
            let service =
                percent_decoded(service).filter(|service| !service.is_empty()).ok_or_else(|| {
                    misconfigured(
                        "the URL lacks the service that the sentinels watch; write \
                     redis+sentinel://host1,host2/service[/database]",
                    )
                })?;
            Ok((Target::Sentinels(addresses(hosts, 26_379)?, service), database(path)?))
        }
        _ if hosts.contains(',') => Err(misconfigured(
            "a Redis URL has one host; name the primary, or use redis+cluster://host1,host2 for a cluster and \
             redis+sentinel://host1,host2/service for sentinels",
        )),
        _ => {
            let mut one = addresses(hosts, 6379)?;
            Ok((Target::Server(one.swap_remove(0)), database(path)?))
        }
    }
}

/// At least one address.
fn addresses(hosts: &str, port: u16) -> Result<Vec<Address>, StoreError> {
    hosts.split(',').map(|host| address(host, port)).collect()
}

/// `host`, `host:port`, `[::1]:port`; by redis-py's rule without a host it is this machine.
fn address(text: &str, default_port: u16) -> Result<Address, StoreError> {
    let invalid_host =
        || misconfigured("the URL's host is invalid; write redis://[user:password@]host[:port][/database]");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(invalid_host)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            misconfigured(
                "the URL's port is not a number from 1 to 65535; write redis://[user:password@]host[:port][/database], \
                 `%3F` for a `?` in a password, and [::1] for an IPv6 address",
            )
        })?,
        None if port.is_empty() => default_port,
        None => return Err(invalid_host()),
    };
    match percent_decoded(host) {
        Some(host) if host.is_empty() => Ok(Address::Tcp("localhost".to_owned(), port)),
        Some(host) if !host.contains([' ', '#', '/', '[', ']']) => Ok(Address::Tcp(host, port)),
        _ => Err(invalid_host()),
    }
}

fn seconds(parameters: &mut Parameters, name: &str) -> Result<Option<Duration>, StoreError> {
    let Some(number) = parameters.take_parsed::<f64>(name, SECONDS)? else { return Ok(None) };
    match Duration::try_from_secs_f64(number) {
        Ok(limit) if !limit.is_zero() => Ok(Some(limit)),
        _ => Err(invalid("redis", name, "is no time limit", SECONDS)),
    }
}

fn misconfigured(message: impl Into<String>) -> StoreError {
    StoreError::new("redis", StoreErrorKind::Misconfigured, message)
}

#[cfg(test)]
mod tests;
