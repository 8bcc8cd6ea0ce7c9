//! The URLs of Redis: redis-py's, and those of a cluster and of sentinels.

use std::time::Duration;

use super::node::Address;
use super::{RedisOptions, SentinelOptions};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::cache::format::CacheFormat;
use crate::store::tls::{RootCertificates, TlsMode, TlsOptions};
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

/// Parameters of redis-py's connections that this store cannot obey, and what to do instead.
const REFUSED: [(&str, &str); 9] = [
    ("ssl_ca_path", "a folder of certificates is not read; name one PEM file in `ssl_ca_certs`"),
    ("ssl_ca_data", "certificates are read from a file; name it in `ssl_ca_certs`"),
    ("ssl_password", "an encrypted key is not read; decrypt the file that `ssl_keyfile` names"),
    ("ssl_ciphers", "the cipher suites of TLS 1.2 and 1.3 that are considered safe are used"),
    ("ssl_validate_ocsp", "OCSP is not asked"),
    ("ssl_validate_ocsp_stapled", "OCSP is not asked"),
    ("ssl_include_verify_flags", "OpenSSL's flags have no counterpart"),
    ("ssl_exclude_verify_flags", "OpenSSL's flags have no counterpart"),
    ("path", "write the socket's path after the scheme: unix:///path/to/redis.sock"),
];

const TLS_PARAMETERS: [&str; 6] =
    ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version"];

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

const BOOLEAN: &str = "true or false";
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
    let tls = tls(&mut parameters, "", is_encrypted, None)?;
    let sentinel = match &target {
        Target::Sentinels(..) => {
            let sentinel_ssl = boolean(&mut parameters, "sentinel_ssl")?.unwrap_or(is_encrypted);
            SentinelOptions {
                username: parameters.take("sentinel_username")?,
                password: parameters.take("sentinel_password")?,
                tls: self::tls(&mut parameters, "sentinel_", sentinel_ssl, is_encrypted.then_some(&tls))?,
            }
        }
        _ => SentinelOptions { username: None, password: None, tls: TlsOptions::new(TlsMode::Disable) },
    };
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
    for (name, why) in REFUSED {
        if parameters.take(name)?.is_some() {
            return Err(misconfigured(format!("the URL's parameter `{name}` has no effect here: {why}")));
        }
    }
    let known = CacheFormat::PARAMETERS.into_iter().chain(OWN_PARAMETERS).chain(TLS_PARAMETERS);
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
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().map_err(|_| {
                misconfigured(
                    "the URL's port is not a number from 1 to 65535; write redis://[user:password@]host[:port][/database], \
                     and `%3F` for a `?` in a password",
                )
            })?;
            (host, port)
        }
        _ => (text, default_port),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match percent_decoded(host) {
        Some(host) if host.is_empty() => Ok(Address::Tcp("localhost".to_owned(), port)),
        Some(host) if !host.contains([' ', '#', '/']) => Ok(Address::Tcp(host, port)),
        _ => Err(misconfigured(
            "the URL's host is invalid; write redis://[user:password@]host[:port][/database]",
        )),
    }
}

/// Takes redis-py's `ssl_…`. `others` are the options to copy where none of these is given.
fn tls(
    parameters: &mut Parameters,
    prefix: &str,
    is_encrypted: bool,
    others: Option<&TlsOptions>,
) -> Result<TlsOptions, StoreError> {
    let name = |name: &str| format!("{prefix}{name}");
    let root_certificates = parameters.take(&name("ssl_ca_certs"))?;
    let client_certificate = parameters.take(&name("ssl_certfile"))?;
    let client_key = parameters.take(&name("ssl_keyfile"))?;
    let verifies = match parameters.take(&name("ssl_cert_reqs"))?.as_deref() {
        // `CERT_…` is how Celery writes it, and Heroku's guide.
        Some("none" | "CERT_NONE") => Some(false),
        // For a client OpenSSL knows no difference.
        Some("optional" | "required" | "CERT_OPTIONAL" | "CERT_REQUIRED") => Some(true),
        Some(_) => {
            return Err(invalid(
                "redis",
                &name("ssl_cert_reqs"),
                "has no such value",
                "none, optional or required",
            ));
        }
        None => None,
    };
    let checks_host = boolean(parameters, &name("ssl_check_hostname"))?;
    let version: Option<i32> =
        parameters.take_parsed(&name("ssl_min_version"), "Python's number, such as 771 for TLS 1.2")?;
    // `ssl.TLSVersion.TLSv1_2`: there is nothing older here.
    if version.is_some_and(|version| version > 771) {
        return Err(invalid(
            "redis",
            &name("ssl_min_version"),
            "demands more than TLS 1.2",
            "771, or nothing",
        ));
    }
    let given = [
        ("ssl_ca_certs", root_certificates.is_some()),
        ("ssl_certfile", client_certificate.is_some()),
        ("ssl_keyfile", client_key.is_some()),
        ("ssl_cert_reqs", verifies.is_some()),
        ("ssl_check_hostname", checks_host.is_some()),
        ("ssl_min_version", version.is_some()),
    ];
    let given = given.iter().find(|(_, is_given)| *is_given).map(|(name, _)| *name);
    match (given, is_encrypted, others) {
        (Some(given), false, _) => {
            let how =
                if prefix.is_empty() { "a scheme with TLS, `rediss://`" } else { "`sentinel_ssl=true`" };
            return Err(invalid("redis", &name(given), "needs an encrypted connection", how));
        }
        (None, false, _) => return Ok(TlsOptions::new(TlsMode::Disable)),
        (None, true, Some(others)) => return Ok(others.clone()),
        (_, true, _) => {}
    }
    if client_key.is_some() && client_certificate.is_none() {
        let what = format!("lacks the certificate to this key in `{}`", name("ssl_certfile"));
        return Err(invalid("redis", &name("ssl_keyfile"), &what, "both"));
    }
    let verifies = verifies.unwrap_or(true);
    let mut tls = TlsOptions::new(match (verifies, checks_host.unwrap_or(true)) {
        (true, true) => TlsMode::VerifyFull,
        (true, false) => TlsMode::VerifyCa,
        (false, _) => TlsMode::Require,
    });
    // Nothing is compared with them where nothing is verified: in libpq's words they would make `require` verify.
    tls.root_certificates =
        root_certificates.filter(|_| verifies).map(|path| RootCertificates::File(path.into()));
    tls.client_certificate = client_certificate.map(Into::into);
    tls.client_key = client_key.map(Into::into);
    Ok(tls)
}

/// Takes a truth value in one of redis-py's spellings, of which it takes every unknown one for true.
fn boolean(parameters: &mut Parameters, name: &str) -> Result<Option<bool>, StoreError> {
    let Some(value) = parameters.take(name)? else { return Ok(None) };
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" => Ok(Some(true)),
        "0" | "f" | "false" | "n" | "no" => Ok(Some(false)),
        _ => Err(invalid("redis", name, "is neither true nor false", BOOLEAN)),
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
