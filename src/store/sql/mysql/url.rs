//! The URL's parameters: the MySQL clients' names, those of other languages' drivers, and the driver's own.

use std::str::FromStr;
use std::time::Duration;

use mysql_async::{Compression, Opts, OptsBuilder};

use super::super::row_format::{self, Tables};
use super::super::table;
use super::error::Failure;
use super::{Columns, MysqlOptions};
use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::tls::{RootCertificates, TlsMode, TlsOptions};
use crate::store::url::{Parameters, invalid};

const STORE: &str = "mysql";

/// The parameters, for the error about an unknown one.
const KNOWN: [&str; 18] = [
    "ssl-mode",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "unix_socket",
    "table",
    "user_session_table",
    "timeout",
    "connect_timeout",
    "charset",
    "compression",
    "enable_cleartext_plugin",
    "max_allowed_packet",
    "secure_auth",
    "stmt_cache_size",
    "tcp_keepalive",
    "tcp_nodelay",
    "wait_timeout",
];

/// Parameters that mean something elsewhere and nothing here, and what to do.
const REFUSED: [(&[&str], &str); 6] = [
    (
        &[
            "pool_min",
            "pool_max",
            "inactive_connection_ttl",
            "ttl_check_interval",
            "conn_ttl",
            "abs_conn_ttl",
            "abs_conn_ttl_jitter",
            "reset_connection",
        ],
        "the store keeps its own connections: leave it out, and set `MysqlOptions::connections`",
    ),
    (
        &["read_timeout", "write_timeout"],
        "a request has one limit, from connecting to its answer: write `timeout=SECONDS`",
    ),
    (
        &["init_command", "init", "sql_mode", "isolation_level", "autocommit"],
        "the store sets each connection up itself: leave it out, or set it at the server",
    ),
    (&["built_in_roots"], "the system's certificates are trusted: name others with `ssl-ca=FILE`"),
    (
        &["read_default_file", "read_default_group"],
        "option files are not read: write what the file says into the URL",
    ),
    (&["ssl_capath", "ssl-capath"], "write the certificates into one file, and `ssl-ca=FILE`"),
];

/// Parses a URL.
pub(super) fn options(url: &str) -> Result<MysqlOptions, StoreError> {
    let (address, mut parameters) = Parameters::of(STORE, url)?;
    let socket = parameters.take_one_of(&["unix_socket", "socket"])?;
    let opts = address_of(&address, socket.is_some())?;
    let mut builder = OptsBuilder::from_opts(opts.clone());
    if let Some(socket) = socket {
        if !socket.starts_with('/') {
            return Err(invalid(STORE, "unix_socket", "names no socket", "its absolute path"));
        }
        builder = builder.socket(Some(socket));
    }
    for (names, what) in REFUSED {
        for name in names {
            if parameters.take(name)?.is_some() {
                let message = format!("the URL's parameter `{name}` has no effect here; {what}");
                return Err(StoreError::new(STORE, StoreErrorKind::Misconfigured, message));
            }
        }
    }
    let tls = tls(&mut parameters)?;
    let builder = of_driver(&mut parameters, builder, &tls)?;
    let Tables { table, cache, user_session_table } = Tables::take_from(STORE, &mut parameters)?;
    let timeout = seconds(&mut parameters, "timeout")?.unwrap_or(Duration::from_secs(5));
    let connect_timeout = seconds(&mut parameters, "connect_timeout")?;
    if let Some(charset) = parameters.take("charset")?
        && !charset.eq_ignore_ascii_case("utf8mb4")
    {
        return Err(invalid(STORE, "charset", "is not the one of the connections", "`utf8mb4`"));
    }
    parameters.finish(&[&KNOWN[..], &row_format::PARAMETERS].concat())?;
    Ok(MysqlOptions {
        cache,
        table,
        user_session_table,
        timeout,
        connect_timeout,
        tls,
        ..new(builder.into())
    })
}

/// The options for a server that the driver's own options name.
pub(super) fn of_opts(opts: Opts) -> Result<MysqlOptions, StoreError> {
    if opts.ssl_opts().is_some() {
        let message =
            "the driver's `ssl_opts` have no effect here; leave them out, and set `MysqlOptions::tls`";
        return Err(StoreError::new(STORE, StoreErrorKind::Misconfigured, message));
    }
    Ok(new(opts))
}

fn new(connection: Opts) -> MysqlOptions {
    MysqlOptions {
        connection,
        tls: TlsOptions::new(TlsMode::Prefer),
        #[cfg(all(feature = "mysql-tls", unix))]
        has_no_tls: std::sync::Arc::default(),
        password: None,
        connect_timeout: None,
        table: table::DJANGO_TABLE.to_owned(),
        columns: Columns::default(),
        extra_columns: Vec::new(),
        cache: None,
        user_session_table: table::USER_SESSION_TABLE.to_owned(),
        timeout: Duration::from_secs(5),
        connections: 16,
        clear_batch: 1_000,
    }
}

/// The driver's options of the part before the `?`. With a socket the host may be left out.
fn address_of(address: &str, has_socket: bool) -> Result<Opts, StoreError> {
    let rest = address.strip_prefix("mariadb://").or(address.strip_prefix("mysql://")).unwrap_or_default();
    let (login_and_host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let lacks_host = has_socket && (login_and_host.is_empty() || login_and_host.ends_with('@'));
    let host = if lacks_host { "localhost" } else { "" };
    // The driver's own message may contain a part of the password.
    Opts::from_url(&format!("mysql://{login_and_host}{host}{path}"))
        .map_err(|_| Failure::Url.explain(&new(Opts::default())))
}

/// Takes the parameters about encryption.
fn tls(parameters: &mut Parameters) -> Result<TlsOptions, StoreError> {
    const MODES: &str = "`DISABLED`, `PREFERRED`, `REQUIRED`, `VERIFY_CA` or `VERIFY_IDENTITY`";
    let (mode, ca, certificate, key) = (
        parameters.take_one_of(&["ssl-mode", "ssl_mode", "sslmode", "sslMode"])?,
        parameters.take_one_of(&["ssl-ca", "ssl_ca"])?,
        parameters.take_one_of(&["ssl-cert", "ssl_cert"])?,
        parameters.take_one_of(&["ssl-key", "ssl_key"])?,
    );
    let mode = mode
        .map(|word| mode_of(&word).ok_or_else(|| invalid(STORE, "ssl-mode", "has no such value", MODES)))
        .transpose()?;
    let of_others = mode_of_other_drivers(parameters)?;
    if let (Some(_), Some((name, _))) = (mode, of_others) {
        return Err(invalid(STORE, name, "says what `ssl-mode` says too", "one of the two"));
    }
    if certificate.is_none() && key.is_some() {
        return Err(invalid(STORE, "ssl-key", "is the key of no certificate", "`ssl-cert` too"));
    }
    for (name, file) in [("ssl-ca", &ca), ("ssl-cert", &certificate), ("ssl-key", &key)] {
        if file.as_deref() == Some("") {
            return Err(invalid(STORE, name, "is empty", "the path of a PEM file"));
        }
    }
    // As the clients do. They would leave a certificate of their own unused where the server has no TLS.
    let default = match (&ca, &certificate) {
        (Some(_), _) => TlsMode::VerifyCa,
        (None, Some(_)) => TlsMode::Require,
        (None, None) => TlsMode::Prefer,
    };
    let mut tls = TlsOptions::new(mode.or(of_others.map(|(_, mode)| mode)).unwrap_or(default));
    tls.root_certificates = ca.as_deref().map(RootCertificates::from);
    tls.client_certificate = certificate.map(Into::into);
    tls.client_key = key.map(Into::into);
    Ok(tls)
}

/// MySQL's words, in either case, and libpq's.
fn mode_of(word: &str) -> Option<TlsMode> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    match word.as_str() {
        "disabled" => Some(TlsMode::Disable),
        "preferred" => Some(TlsMode::Prefer),
        "required" => Some(TlsMode::Require),
        "verify-identity" => Some(TlsMode::VerifyFull),
        word => word.parse().ok(),
    }
}

/// The mode that the drivers of Rust, Prisma and Node write, with the name of the parameter.
fn mode_of_other_drivers(parameters: &mut Parameters) -> Result<Option<(&'static str, TlsMode)>, StoreError> {
    let mut flag = |name: &str| parameters.take_parsed::<bool>(name, "`true` or `false`");
    let (require, ca, identity) = (flag("require_ssl")?, flag("verify_ca")?, flag("verify_identity")?);
    let of_rust = match (require, ca.unwrap_or(true), identity.unwrap_or(true)) {
        (Some(true), true, true) => Some(("require_ssl", TlsMode::VerifyFull)),
        (Some(true), true, false) => Some(("require_ssl", TlsMode::VerifyCa)),
        (Some(true), false, _) => Some(("require_ssl", TlsMode::Require)),
        (Some(false), ..) => Some(("require_ssl", TlsMode::Prefer)),
        (None, ..) if ca.is_some() || identity.is_some() => {
            let name = if ca.is_some() { "verify_ca" } else { "verify_identity" };
            return Err(invalid(
                STORE,
                name,
                "has no effect without `require_ssl=true`",
                "`ssl-mode=VERIFY_IDENTITY`",
            ));
        }
        (None, ..) => None,
    };
    let mut word = |name: &'static str, modes: &[(&str, TlsMode)], allowed: &str| {
        let Some(value) = parameters.take(name)? else { return Ok(None) };
        let value: String = value.chars().filter(|letter| !letter.is_whitespace()).collect();
        let mode = modes.iter().find(|(word, _)| *word == value).map(|(_, mode)| (name, *mode));
        mode.map(Some).ok_or_else(|| invalid(STORE, name, "has no such value", allowed))
    };
    let of_prisma = word(
        "sslaccept",
        &[("strict", TlsMode::VerifyFull), ("accept_invalid_certs", TlsMode::Require)],
        "`ssl-mode=VERIFY_IDENTITY`",
    )?;
    let of_node = word(
        "ssl",
        &[
            (r#"{"rejectUnauthorized":true}"#, TlsMode::VerifyFull),
            (r#"{"rejectUnauthorized":false}"#, TlsMode::Require),
        ],
        "`ssl-mode=VERIFY_IDENTITY`, and certificates as `ssl-ca=FILE`",
    )?;
    let mut found = [of_rust, of_prisma, of_node].into_iter().flatten();
    match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => {
            let what = format!("says what `{one}` says too");
            Err(invalid(STORE, other, &what, "one of the two"))
        }
        (one, _) => Ok(one),
    }
}

/// Takes the parameters of the driver.
fn of_driver(
    parameters: &mut Parameters,
    mut builder: OptsBuilder,
    tls: &TlsOptions,
) -> Result<OptsBuilder, StoreError> {
    fn parsed<T: FromStr>(
        parameters: &mut Parameters,
        name: &str,
        allowed: &str,
    ) -> Result<Option<T>, StoreError> {
        parameters.take_parsed(name, allowed)
    }
    const FLAG: &str = "`true` or `false`";
    const NUMBER: &str = "a whole number";
    if let Some(on) = parsed(parameters, "enable_cleartext_plugin", FLAG)? {
        builder = builder.enable_cleartext_plugin(on);
    }
    if let Some(on) = parsed(parameters, "secure_auth", FLAG)? {
        builder = builder.secure_auth(on);
    }
    if let Some(on) = parsed(parameters, "tcp_nodelay", FLAG)? {
        builder = builder.tcp_nodelay(on);
    }
    if let Some(size) = parsed::<usize>(parameters, "max_allowed_packet", "a number of bytes")? {
        builder = builder.max_allowed_packet(Some(size.clamp(1024, 1 << 30)));
    }
    if let Some(size) = parsed::<usize>(parameters, "stmt_cache_size", NUMBER)? {
        builder = builder.stmt_cache_size(size);
    }
    if let Some(time) = parsed::<usize>(parameters, "wait_timeout", "a whole number of seconds")? {
        builder = builder.wait_timeout(Some(time));
    }
    if let Some(time) = parsed::<u32>(parameters, "tcp_keepalive", "a whole number of milliseconds")? {
        if tls.mode >= TlsMode::Require {
            let what = "has no effect with TLS";
            return Err(invalid(
                STORE,
                "tcp_keepalive",
                what,
                "no `tcp_keepalive`: idle connections are checked before use",
            ));
        }
        builder = builder.tcp_keepalive(Some(Duration::from_millis(time.into())));
    }
    if let Some(word) = parameters.take("compression")? {
        let level = match word.as_str() {
            "fast" => Compression::fast(),
            "on" | "true" => Compression::default(),
            "best" => Compression::best(),
            digit => match digit.parse() {
                Ok(level @ 0..=9) => Compression::new(level),
                _ => {
                    let allowed = "`fast`, `on`, `best` or a digit";
                    return Err(invalid(STORE, "compression", "has no such value", allowed));
                }
            },
        };
        builder = builder.compression(level);
    }
    // The store's own choice, which the driver's parameter may only repeat.
    for (name, own) in [("prefer_socket", false), ("client_found_rows", true)] {
        if let Some(on) = parsed::<bool>(parameters, name, FLAG)?
            && on != own
        {
            let what = format!("must be `{own}`");
            return Err(invalid(STORE, name, &what, &format!("`{name}={own}`, or leave it out")));
        }
    }
    Ok(builder)
}

fn seconds(parameters: &mut Parameters, name: &str) -> Result<Option<Duration>, StoreError> {
    let Some(text) = parameters.take(name)? else { return Ok(None) };
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match time.filter(|time| !time.is_zero()) {
        Some(time) => Ok(Some(time)),
        None => Err(invalid(STORE, name, "is not a number of seconds", "one above 0, such as `5`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "mysql://site:open-sesame@db.example:3307/site";

    fn with(parameters: &str) -> MysqlOptions {
        options(&format!("{ADDRESS}?{parameters}")).unwrap_or_else(|error| panic!("{parameters}: {error}"))
    }

    #[track_caller]
    fn refused(parameters: &str) -> String {
        let error = options(&format!("{ADDRESS}?{parameters}")).map(drop).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        let text = error.to_string();
        assert!(!text.contains("open-sesame") && !text.contains("no MySQL URL"), "{text}");
        assert!(!text.contains("not a MySQL URL"), "{text}");
        text
    }

    #[test]
    fn modes_of_tls_by_all_their_names() {
        use TlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
        for (parameters, mode) in [
            ("", Prefer),
            ("ssl-mode=DISABLED", Disable),
            ("ssl-mode=PREFERRED", Prefer),
            ("ssl_mode=required", Require),
            ("sslmode=VERIFY_CA", VerifyCa),
            ("ssl-mode=VERIFY_IDENTITY", VerifyFull),
            ("sslMode=verify-full", VerifyFull),
            ("sslmode=disable", Disable),
            ("ssl-ca=/srv/ca.pem", VerifyCa),
            ("ssl-ca=/srv/ca.pem&ssl-mode=REQUIRED", Require),
            ("ssl_cert=/srv/site.pem&ssl_key=/srv/site.key", Require),
            ("require_ssl=true", VerifyFull),
            ("require_ssl=true&verify_identity=false", VerifyCa),
            ("require_ssl=true&verify_ca=false", Require),
            ("require_ssl=false", Prefer),
            ("sslaccept=strict", VerifyFull),
            ("sslaccept=accept_invalid_certs", Require),
            (r#"ssl={"rejectUnauthorized":true}"#, VerifyFull),
            ("ssl=%7B%22rejectUnauthorized%22%3A%20false%7D", Require),
        ] {
            assert_eq!(with(parameters).tls.mode, mode, "{parameters}");
        }
        let tls = with("ssl-ca=/srv/a%20ca.pem&ssl-cert=/srv/site.pem&ssl-key=/srv/site.key").tls;
        assert_eq!(tls.root_certificates, Some(RootCertificates::File("/srv/a ca.pem".into())));
        assert_eq!(tls.client_certificate, Some("/srv/site.pem".into()));
        assert_eq!(tls.client_key, Some("/srv/site.key".into()));
        assert_eq!(with("ssl-ca=system").tls.root_certificates, Some(RootCertificates::System));
    }

    #[test]
    fn what_is_no_parameter_or_no_value_is_named() {
        for (parameters, words) in [
            ("ssl-mode=yes", ["`ssl-mode`", "VERIFY_IDENTITY"]),
            ("ssl-mode=REQUIRED&sslmode=disable", ["`sslmode` says what `ssl-mode` says", "one of the two"]),
            ("ssl-mode=REQUIRED&require_ssl=true", ["`require_ssl`", "`ssl-mode`"]),
            ("require_ssl=true&sslaccept=strict", ["`sslaccept`", "`require_ssl`"]),
            ("require_ssl=maybe", ["`require_ssl`", "`true` or `false`"]),
            ("verify_ca=false", ["`verify_ca`", "require_ssl"]),
            ("built_in_roots=false", ["`built_in_roots`", "`ssl-ca=FILE`"]),
            ("ssl=true", ["`ssl`", "`ssl-mode=VERIFY_IDENTITY`"]),
            ("ssl-key=/srv/key.pem", ["`ssl-key`", "`ssl-cert`"]),
            ("ssl-ca=", ["`ssl-ca`", "is empty"]),
            ("charset=latin1", ["`charset`", "`utf8mb4`"]),
            ("unix_socket=mysqld.sock", ["`unix_socket`", "absolute"]),
            ("socket=/a&unix_socket=/b", ["`socket`", "`unix_socket`"]),
            ("read_timeout=3", ["`read_timeout`", "`timeout=SECONDS`"]),
            ("connect_timeout=soon", ["`connect_timeout`", "seconds"]),
            ("connect_timeout=0", ["`connect_timeout`", "seconds"]),
            ("timeout=-1", ["`timeout`", "seconds"]),
            ("init_command=SET%20x=1", ["`init_command`", "at the server"]),
            ("pool_max=7", ["`pool_max`", "MysqlOptions::connections"]),
            ("client_found_rows=false", ["`client_found_rows`", "`true`"]),
            ("prefer_socket=true", ["`prefer_socket`", "`false`"]),
            ("compression=10", ["`compression`", "digit"]),
            ("ssl-mode=REQUIRED&tcp_keepalive=1000", ["`tcp_keepalive`", "TLS"]),
            ("table=", ["`table`", "is not a name"]),
            ("verzion=3", ["`verzion` is not known", "ssl-mode"]),
            ("unix_sokket=open-sesame", ["`unix_sokket` is not known", "unix_socket"]),
        ] {
            let text = refused(parameters);
            assert!(words.iter().all(|word| text.contains(word)), "{parameters}: {text}");
        }
    }

    #[test]
    fn parameters_reach_the_driver() {
        let options = with(
            "secure_auth=false&tcp_nodelay=false&tcp_keepalive=2000&max_allowed_packet=4096&wait_timeout=60&\
             stmt_cache_size=5&enable_cleartext_plugin=true&compression=best&client_found_rows=true&table=shop&\
             user_session_table=logins&timeout=1.5&connect_timeout=1&unix_socket=/run/mysqld/mysqld.sock",
        );
        let opts = &options.connection;
        assert!(!opts.secure_auth() && !opts.tcp_nodelay() && opts.enable_cleartext_plugin());
        assert_eq!(opts.tcp_keepalive(), Some(Duration::from_secs(2)));
        assert_eq!((opts.max_allowed_packet(), opts.wait_timeout()), (Some(4096), Some(60)));
        assert_eq!((opts.stmt_cache_size(), opts.compression()), (5, Some(Compression::best())));
        assert_eq!(opts.socket(), Some("/run/mysqld/mysqld.sock"));
        assert_eq!((&*options.table, &*options.user_session_table), ("shop", "logins"));
        assert_eq!(options.timeout, Duration::from_millis(1500));
        assert_eq!((opts.user(), opts.pass()), (Some("site"), Some("open-sesame")));
        assert_eq!((opts.ip_or_hostname(), opts.tcp_port()), ("db.example", 3307));
    }

    #[test]
    fn with_a_socket_the_host_may_be_left_out() {
        for url in ["mysql://site:p%40ss@/site", "mysql:///site", "mariadb://localhost/site"] {
            let options = options(&format!("{url}?unix_socket=/run/mysqld/mysqld.sock")).unwrap();
            assert_eq!(options.connection.db_name(), Some("site"));
            assert_eq!(options.place(), "database site at /run/mysqld/mysqld.sock");
        }
    }
}
