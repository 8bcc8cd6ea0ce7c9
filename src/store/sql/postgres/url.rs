//! The URLs of PostgreSQL, with the parameters of libpq.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, TargetSessionAttrs};

use super::PostgresOptions;
use super::error::Failure;
use super::pooler::Pooler;
use super::server_options::ServerOptions;
use crate::site::error::StoreError;
use crate::store::sql::row_format::{self, Tables};
use crate::store::tls::TlsMode;
use crate::store::url::{Parameters, invalid};

const STORE: &str = "postgres";

/// The parameters of a URL, for the error about another.
const KNOWN: [&str; 30] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "pgbouncer",
    "pooler",
    "port",
    "schema",
    "sslcert",
    "sslcompression",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "table",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
    "user_session_table",
];

/// Parameters of libpq and of Prisma that mean something else than can be done here.
const REFUSED: [(&str, &str, &str); 9] = [
    (
        "service",
        "names an entry of pg_service.conf, a file that is not read here",
        "what the entry says: host, port, dbname and user",
    ),
    (
        "servicefile",
        "names a file of services, which is not read here",
        "what its entry says: host, port, dbname and user",
    ),
    (
        "passfile",
        "names a file of passwords, which is not read here",
        "the password into the URL, with percent codes, or set `PostgresOptions::password`",
    ),
    (
        "sslpassword",
        "is for an encrypted key, which cannot be read here",
        "the file of a key that is not encrypted as `sslkey`",
    ),
    ("sslcrl", "names revoked certificates, which are not checked here", "no `sslcrl`"),
    ("sslcrldir", "names revoked certificates, which are not checked here", "no `sslcrldir`"),
    ("sslnegotiation", "cannot be chosen here", "no `sslnegotiation`, which means `postgres`"),
    ("connection_limit", "is Prisma's, and the store has its own few connections", "no `connection_limit`"),
    ("pool_timeout", "is Prisma's, and the store has its own few connections", "no `pool_timeout`"),
];

/// Parses a URL, or libpq's other form, `host=db user=ann`.
pub(super) fn options(text: &str) -> Result<PostgresOptions, StoreError> {
    let scheme = ["postgres://", "postgresql://"].into_iter().find(|scheme| text.starts_with(scheme));
    let Some(scheme) = scheme else {
        // The driver's own message may contain a part of the password.
        return text.parse().map(PostgresOptions::of).map_err(|_| not_a_url());
    };
    // As in libpq, a password may contain a question mark: the login ends at the first `@` before a slash.
    let rest = &text[scheme.len()..];
    let before_path = rest.split('/').next().unwrap_or_default();
    let (user, rest) = rest.split_at(before_path.find('@').map_or(0, |at| at + 1));
    let (address, mut parameters) = Parameters::of(STORE, rest)?;
    let address = format!("{scheme}{user}{address}");
    let address: Config = address.parse().map_err(|error: tokio_postgres::Error| {
        let is_port =
            std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("`port`"));
        if is_port { invalid_port() } else { not_a_url() }
    })?;
    for (name, what, allowed) in REFUSED {
        if parameters.take(name)?.is_some() {
            return Err(invalid(STORE, name, what, allowed));
        }
    }
    let mut config = Config::new();
    login(&mut config, &address, &mut parameters)?;
    hosts(&mut config, &address, &mut parameters)?;
    network(&mut config, &mut parameters)?;
    let mut options = PostgresOptions::of(config);
    options.server_options = ServerOptions::of(&parameters.take("options")?.unwrap_or_default());
    tls(&mut options, &mut parameters)?;
    options.pooler = pooler(&mut parameters)?;
    options.schema = parameters.take_name("schema")?;
    let tables = Tables::take_from(STORE, &mut parameters)?;
    (options.table, options.cache) = (tables.table, tables.cache);
    options.user_session_table = tables.user_session_table;
    parameters.finish(&[&KNOWN[..], &row_format::PARAMETERS].concat())?;
    Ok(options)
}

fn not_a_url() -> StoreError {
    Failure::Url.explain(&PostgresOptions::of(Config::new()))
}

fn invalid_port() -> StoreError {
    invalid(
        STORE,
        "port",
        "is not a port number",
        "a number up to 65535. A `:`, `/` or `@` in a password is written as a percent code",
    )
}

fn login(config: &mut Config, address: &Config, parameters: &mut Parameters) -> Result<(), StoreError> {
    let or_address = |given: Option<String>, address: Option<&str>| given.or(address.map(str::to_owned));
    if let Some(user) = or_address(parameters.take("user")?, address.get_user()) {
        config.user(user);
    }
    match (parameters.take("password")?, address.get_password()) {
        (Some(password), _) => _ = config.password(password),
        (None, Some(password)) => _ = config.password(password),
        (None, None) => {}
    }
    if let Some(database) = or_address(parameters.take("dbname")?, address.get_dbname()) {
        config.dbname(database);
    }
    let fallback = parameters.take("fallback_application_name")?;
    if let Some(name) = parameters.take("application_name")?.or(fallback) {
        config.application_name(name);
    }
    Ok(())
}

/// Pairs hosts with ports as libpq does: one port is for all hosts, otherwise each host has its own.
fn hosts(config: &mut Config, address: &Config, parameters: &mut Parameters) -> Result<(), StoreError> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let given = parameters.take("host")?.filter(|hosts| !hosts.is_empty());
    let is_named = |host: &&Host| !matches!(host, Host::Tcp(name) if name.is_empty());
    let mut count = 0;
    match &given {
        Some(hosts) => {
            for host in list(hosts) {
                if host.starts_with('@') {
                    let what = "is an abstract Unix socket, which cannot be used here";
                    return Err(invalid(STORE, "host", what, "a name, an address or a folder"));
                }
                if host.is_empty() {
                    return Err(invalid(
                        STORE,
                        "host",
                        "has an empty name in its list",
                        "a name or address for each",
                    ));
                }
                config.host(host);
                count += 1;
            }
        }
        None => {
            for host in address.get_hosts().iter().filter(is_named) {
                match host {
                    Host::Tcp(name) => config.host(name),
                    #[cfg(unix)]
                    Host::Unix(folder) => config.host_path(folder),
                };
                count += 1;
            }
        }
    }
    if let Some(addresses) = parameters.take("hostaddr")?.filter(|addresses| !addresses.is_empty()) {
        let addresses = list(&addresses).iter().map(|address| address.parse()).collect::<Result<Vec<_>, _>>();
        let Ok(addresses) = addresses else {
            return Err(invalid(STORE, "hostaddr", "is not an IP address", "an IP address for each host"));
        };
        if count != 0 && count != addresses.len() {
            return Err(invalid(
                STORE,
                "hostaddr",
                "has another number of addresses than there are hosts",
                "one for each host",
            ));
        }
        count = addresses.len();
        addresses.into_iter().for_each(|address| _ = config.hostaddr(address));
    }
    if count == 0 {
        return Err(invalid(
            STORE,
            "host",
            "is missing, and no host stands before the database's name",
            "postgres://user:password@host/database, or ?host=/run/postgresql for a Unix socket",
        ));
    }
    let ports = match parameters.take("port")? {
        Some(ports) => {
            let port = |port: &String| if port.is_empty() { Ok(5432) } else { port.parse::<u16>() };
            list(&ports).iter().map(port).collect::<Result<Vec<_>, _>>().map_err(|_| invalid_port())?
        }
        None => address.get_ports().to_vec(),
    };
    // The driver fills in a port for each host before the path, so that only another list can differ.
    if ports.len() > 1 && ports.len() != count {
        let what = format!("has {} ports for {count} hosts", ports.len());
        return Err(invalid(STORE, "port", &what, "one for all hosts, or one for each"));
    }
    ports.into_iter().for_each(|port| _ = config.port(port));
    Ok(())
}

fn network(config: &mut Config, parameters: &mut Parameters) -> Result<(), StoreError> {
    let mut number = |name: &str, allowed: &str| -> Result<Option<u64>, StoreError> {
        // As in libpq, 0 and less mean the system's own value.
        let value = parameters.take_parsed::<i64>(name, allowed)?;
        Ok(value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0))
    };
    const SECONDS: &str = "a number of seconds";
    if let Some(seconds) = number("connect_timeout", SECONDS)? {
        config.connect_timeout(Duration::from_secs(seconds));
    }
    if let Some(seconds) = number("keepalives_idle", SECONDS)? {
        config.keepalives_idle(Duration::from_secs(seconds));
    }
    if let Some(seconds) = number("keepalives_interval", SECONDS)? {
        config.keepalives_interval(Duration::from_secs(seconds));
    }
    if let Some(milliseconds) = number("tcp_user_timeout", "a number of milliseconds")? {
        config.tcp_user_timeout(Duration::from_millis(milliseconds));
    }
    // The second is the driver's name.
    for name in ["keepalives_count", "keepalives_retries"] {
        if let Some(count) = number(name, "a number")? {
            config.keepalives_retries(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
    if let Some(keepalives) = parameters.take("keepalives")? {
        let is_on = word("keepalives", &keepalives, &[("1", true), ("0", false)])?;
        config.keepalives(is_on);
    }
    if let Some(attributes) = parameters.take("target_session_attrs")? {
        config.target_session_attrs(target(&attributes)?);
    }
    if let Some(balance) = parameters.take("load_balance_hosts")? {
        let words = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
        config.load_balance_hosts(word("load_balance_hosts", &balance, &words)?);
    }
    if let Some(encoding) = parameters.take("client_encoding")? {
        let lower = encoding.to_ascii_lowercase();
        word("client_encoding", &lower, &[("utf8", ()), ("utf-8", ()), ("auto", ())])?;
    }
    if let Some(mode) = parameters.take("gssencmode")? {
        word("gssencmode", &mode, &[("disable", ()), ("prefer", ())])?;
    }
    Ok(())
}

/// Takes one of these words.
fn word<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T, StoreError> {
    match words.iter().find(|(word, _)| *word == value) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(invalid(STORE, name, "has no such value here", &words.join(" or ")))
        }
    }
}

/// A store must write, so a standby is of no use to it.
fn target(attributes: &str) -> Result<TargetSessionAttrs, StoreError> {
    match attributes {
        "any" => Ok(TargetSessionAttrs::Any),
        "read-write" | "primary" => Ok(TargetSessionAttrs::ReadWrite),
        "read-only" => Ok(TargetSessionAttrs::ReadOnly),
        "standby" | "prefer-standby" => Err(invalid(
            STORE,
            "target_session_attrs",
            "asks for a standby, on which no session can be saved",
            "read-write, or read-only to look at the sessions",
        )),
        _ => Err(invalid(
            STORE,
            "target_session_attrs",
            "has no such value",
            "any, read-write, primary or read-only",
        )),
    }
}

fn tls(options: &mut PostgresOptions, parameters: &mut Parameters) -> Result<(), StoreError> {
    let allowed = "disable, allow, prefer, require, verify-ca or verify-full";
    let mode = parameters.take_parsed::<TlsMode>("sslmode", allowed)?;
    let tls = &mut options.tls;
    let path = |value: Option<String>| value.filter(|path| !path.is_empty());
    let roots = path(parameters.take("sslrootcert")?);
    // libpq's rule: everybody can have a certificate of an authority that the system trusts, for some host.
    if roots.as_deref() == Some("system") && mode.is_some_and(|mode| mode != TlsMode::VerifyFull) {
        return Err(invalid(STORE, "sslmode", "is too weak for `sslrootcert=system`", "verify-full"));
    }
    tls.mode = match (mode, roots.as_deref()) {
        (None, Some("system")) => TlsMode::VerifyFull,
        (mode, _) => mode.unwrap_or(TlsMode::Prefer),
    };
    tls.root_certificates = roots.as_deref().map(Into::into);
    tls.client_certificate = path(parameters.take("sslcert")?).map(Into::into);
    tls.client_key = path(parameters.take("sslkey")?).map(Into::into);
    if tls.client_key.is_some() && tls.client_certificate.is_none() {
        return Err(invalid(STORE, "sslkey", "is there without a certificate", "`sslcert` too"));
    }
    if let Some(compression) = parameters.take("sslcompression")? {
        word("sslcompression", &compression, &[("0", ())])?;
    }
    if let Some(binding) = parameters.take("channel_binding")? {
        let words = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        options.config.channel_binding(word("channel_binding", &binding, &words)?);
    }
    Ok(())
}

fn pooler(parameters: &mut Parameters) -> Result<Pooler, StoreError> {
    let pooler = parameters.take("pooler")?;
    // Prisma's name, which Supabase's and other consoles show.
    let prisma = parameters.take("pgbouncer")?;
    match (pooler, prisma) {
        (Some(_), Some(_)) => {
            Err(invalid(STORE, "pgbouncer", "says what `pooler` says too", "one of the two"))
        }
        (Some(pooler), None) => word("pooler", &pooler, &[("yes", Pooler::Yes), ("no", Pooler::No)]),
        // Without Prisma's word there may be a pooler that Prisma need not know.
        (None, Some(prisma)) => {
            word("pgbouncer", &prisma, &[("true", Pooler::Yes), ("false", Pooler::Detect)])
        }
        (None, None) => Ok(Pooler::Detect),
    }
}
