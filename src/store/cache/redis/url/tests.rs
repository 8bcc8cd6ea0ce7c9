use std::path::Path;

use crate::store::tls::RootCertificates;

use super::*;

fn options(url: &str) -> RedisOptions {
    parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn refusal(url: &str) -> String {
    let error = parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    error.to_string()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp(host.to_owned(), port)
}

#[test]
fn addresses_logins_and_databases_are_redis_pys() {
    for (url, address, username, password, database) in [
        ("redis://cache", tcp("cache", 6379), None, None, 0),
        ("redis://", tcp("localhost", 6379), None, None, 0),
        ("redis:///3", tcp("localhost", 6379), None, None, 3),
        ("valkey://cache:6380/2/", tcp("cache", 6380), None, None, 2),
        ("redis://[::1]:6380", tcp("::1", 6380), None, None, 0),
        ("redis://[::1]", tcp("::1", 6379), None, None, 0),
        ("redis://:p@cache/1", tcp("cache", 6379), None, Some("p"), 1),
        ("redis://ann@cache", tcp("cache", 6379), Some("ann"), None, 0),
        ("redis://an%20n:p%40%2F%25@cache", tcp("cache", 6379), Some("an n"), Some("p@/%"), 0),
        ("redis://ann:p@@/s@cache", tcp("cache", 6379), Some("ann"), Some("p@@/s"), 0),
        // The query's database counts, and the login of the address.
        ("redis://cache/1?db=5", tcp("cache", 6379), None, None, 5),
        ("redis://cache?username=ann&password=p%261", tcp("cache", 6379), Some("ann"), Some("p&1"), 0),
        ("redis://bob:q@cache?username=ann&password=p", tcp("cache", 6379), Some("bob"), Some("q"), 0),
        ("redis://:q@cache?username=ann", tcp("cache", 6379), Some("ann"), Some("q"), 0),
    ] {
        let options = options(url);
        let Target::Server(found) = &options.target else { panic!("{url}") };
        assert_eq!(*found, address, "{url}");
        let login = (options.username.as_deref(), options.password.as_deref());
        assert_eq!((login, options.database), ((username, password), database), "{url}");
        assert_eq!(options.tls.mode, TlsMode::Disable, "{url}");
    }
    for scheme in ["unix", "redis+unix", "redis+socket", "valkey+unix"] {
        let options = options(&format!("{scheme}://ann:p@/run/re%20dis.sock?db=1"));
        let Target::Server(Address::Socket(path)) = &options.target else { panic!("{scheme}") };
        assert_eq!((path.as_path(), options.database), (Path::new("/run/re dis.sock"), 1));
        assert_eq!(options.password.as_deref(), Some("p"));
    }
}

#[test]
fn clusters_and_sentinels_have_several_hosts() {
    for (scheme, mode) in [
        ("redis+cluster", TlsMode::Disable),
        ("rediss+cluster", TlsMode::VerifyFull),
        ("valkeys+cluster", TlsMode::VerifyFull),
    ] {
        let options = options(&format!("{scheme}://ann:p@one,two:7001,[::1]:7002/"));
        let Target::Cluster(addresses) = &options.target else { panic!("{scheme}") };
        assert_eq!(*addresses, [tcp("one", 6379), tcp("two", 7001), tcp("::1", 7002)]);
        assert_eq!((options.tls.mode, options.username.as_deref()), (mode, Some("ann")));
        assert_eq!(options.target.shown(), "one:6379,two:7001,[::1]:7002");
    }
    for (scheme, mode) in [
        ("redis+sentinel", TlsMode::Disable),
        ("valkey+sentinel", TlsMode::Disable),
        ("rediss+sentinel", TlsMode::VerifyFull),
    ] {
        let url = format!("{scheme}://:p@one,two:26380/ser%20vice/4?sentinel_password=hunter2");
        let options = options(&url);
        let Target::Sentinels(addresses, service) = &options.target else { panic!("{scheme}") };
        assert_eq!(
            (&addresses[..], service.as_str()),
            (&[tcp("one", 26_379), tcp("two", 26_380)][..], "ser vice")
        );
        assert_eq!((options.database, options.tls.mode, options.sentinel.tls.mode), (4, mode, mode));
        assert_eq!(options.sentinel.password.as_deref(), Some("hunter2"), "and not the server's");
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}

#[test]
fn tls_has_redis_pys_parameters_and_defaults() {
    use TlsMode::{Require, VerifyCa, VerifyFull};
    for (query, mode, authority) in [
        ("", VerifyFull, None),
        ("ssl_ca_certs=/ca.pem", VerifyFull, Some("/ca.pem")),
        ("ssl_cert_reqs=required&ssl_check_hostname=True", VerifyFull, None),
        ("ssl_cert_reqs=optional", VerifyFull, None),
        ("ssl_check_hostname=no&ssl_ca_certs=/ca.pem", VerifyCa, Some("/ca.pem")),
        ("ssl_cert_reqs=none", Require, None),
        ("ssl_cert_reqs=CERT_NONE", Require, None),
        // In libpq's words, which the mode is in, the file would make it verify.
        ("ssl_cert_reqs=none&ssl_ca_certs=/ca.pem&ssl_check_hostname=true", Require, None),
        ("ssl_min_version=771", VerifyFull, None),
    ] {
        let tls = options(&format!("rediss://cache?{query}")).tls;
        let mut expected = TlsOptions::new(mode);
        expected.root_certificates = authority.map(|path| RootCertificates::File(path.into()));
        assert_eq!(tls, expected, "{query}");
    }
    let tls = options("valkeys://cache?ssl_certfile=/c.pem&ssl_keyfile=/k.pem").tls;
    assert_eq!(tls.client_certificate.as_deref(), Some(Path::new("/c.pem")));
    assert_eq!(tls.client_key.as_deref(), Some(Path::new("/k.pem")));

    let url = "rediss+sentinel://one/service?ssl_ca_certs=/ca.pem";
    let both = options(url);
    assert_eq!(both.tls, both.sentinel.tls, "the same for both");
    let plain = options(&format!("{url}&sentinel_ssl=false"));
    assert_eq!((plain.tls.mode, plain.sentinel.tls.mode), (VerifyFull, TlsMode::Disable));
    let own = options(&format!("{url}&sentinel_ssl_cert_reqs=none"));
    assert_eq!((own.tls.mode, own.sentinel.tls.mode), (VerifyFull, Require));
    let alone = options("redis+sentinel://one/service?sentinel_ssl=1&sentinel_ssl_ca_certs=/s.pem");
    assert_eq!((alone.tls.mode, alone.sentinel.tls.mode), (TlsMode::Disable, VerifyFull));
}

#[test]
fn time_limits_are_redis_pys() {
    let limits = |url| {
        let options = options(url);
        (options.timeout, options.connect_timeout)
    };
    assert_eq!(limits("redis://cache"), (Duration::from_secs(5), None));
    assert_eq!(
        limits("redis://cache?socket_timeout=2.5&socket_connect_timeout=1"),
        (Duration::from_millis(2_500), Some(Duration::from_secs(1)))
    );
    for value in ["0", "-1", "soon", "NaN", "inf", "1e300"] {
        assert!(refusal(&format!("redis://cache?socket_timeout={value}")).contains("`socket_timeout`"));
    }
}

#[test]
fn what_changes_nothing_is_accepted_and_what_cannot_be_obeyed_is_named() {
    for name in WITHOUT_EFFECT {
        options(&format!("redis://cache?{name}=1"));
    }
    options("redis://cache?encoding=UTF-8&timeout=20&key_prefix=site");
    for name in ssl_parameters::REFUSED.map(|(name, _)| name).into_iter().chain(["path"]) {
        assert!(refusal(&format!("rediss://cache?{name}=hunter2")).contains(&format!("`{name}`")));
    }
    for (url, named) in [
        ("redis://cache?ssl_ca_certs=/ca.pem", "`ssl_ca_certs` needs an encrypted connection"),
        ("redis://cache?ssl_check_hostname=false", "`ssl_check_hostname` needs an encrypted connection"),
        ("unix:///run/redis.sock?ssl_cert_reqs=none", "`ssl_cert_reqs` needs an encrypted connection"),
        ("redis+sentinel://a/b?sentinel_ssl_certfile=x", "write `sentinel_ssl=true`"),
        ("rediss://cache?ssl_cert_reqs=hunter2", "write none, optional or required"),
        ("rediss://cache?ssl_check_hostname=hunter2", "write true or false"),
        ("rediss://cache?ssl_min_version=772", "`ssl_min_version` demands more"),
        ("rediss://cache?ssl_keyfile=/k.pem", "`ssl_keyfile` lacks the certificate"),
        ("redis://cache?encoding=utf-16", "`encoding`"),
        ("redis://cache?db=hunter2", "`db` has no such value"),
        ("redis://cache?db=1&db=2", "`db` is there twice"),
        ("redis://cache?keyprefix=hunter2", "parameter `keyprefix` is not known; there are key_prefix"),
        ("redis://cache?sentinel_password=hunter2", "parameter `sentinel_password` is not known"),
        ("redis://:p?hunter2@cache", "`%3F` for a `?` in a password"),
        ("redis://p?hunter2@cache", "text after `?`"),
        ("redis://cache/hunter2", "database is not a number"),
        ("redis://cache:hunter2", "port is not a number"),
        ("redis://cache:66666", "port is not a number"),
        ("redis://one,two/1", "one host"),
        ("redis://[::1", "host is invalid"),
        ("redis://[::1]6379", "host is invalid"),
        ("redis://::1", "[::1] for an IPv6 address"),
        ("redis://cache:0", "port is not a number"),
        ("redis:cache", "two slashes"),
        ("unix:/tmp/memcached.sock", "memcached:///"),
        ("unix://run/redis.sock", "three slashes"),
        ("redis+sentinel://one", "lacks the service"),
        ("redis+sentinel://one/?sentinel_username=ann", "lacks the service"),
        ("carrier-pigeon://cache", "begins with `redis://`"),
    ] {
        let text = refusal(url);
        assert!(text.contains(named), "{url}: {text}");
    }
}

#[test]
fn modes_that_redis_does_not_know_are_named() {
    let mut wrong = options("rediss://cache");
    wrong.tls.mode = TlsMode::Prefer;
    assert!(check_modes(&wrong).unwrap_err().to_string().contains("`tls` has the mode `prefer`"));
    let mut socket = options("unix:///run/redis.sock");
    socket.tls.mode = TlsMode::VerifyFull;
    assert!(check_modes(&socket).unwrap_err().to_string().contains("Unix socket"));
    check_modes(&options("rediss+sentinel://one/service")).unwrap();
}
