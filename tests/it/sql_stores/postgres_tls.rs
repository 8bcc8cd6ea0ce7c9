//! PostgreSQL over TLS: `sslmode` and the parameters beside it mean what they mean for libpq.

use std::sync::Arc;

use cloakroom::store::RootCertificates;
use cloakroom::{PostgresStore, SessionStore, Settings, StoreErrorKind, conformance};

use super::assert_error;
use crate::support::servers::pgbouncer::{self, Pool};
use crate::support::servers::postgres::{client, start_with_tls, url};
use crate::support::servers::{Server, free_port};

/// The query with the files of the server's folder: `{name.pem}` is one of them.
fn with_files(server: &Server, query: &str) -> String {
    query.replace('{', &format!("{}/", server.folder.display())).replace('}', "")
}

/// Opens the URL with this query. How many of the store's two connections are encrypted.
async fn opened(
    server: &Server,
    watcher: &tokio_postgres::Client,
    host: &str,
    query: &str,
) -> Result<i64, String> {
    // What was opened before may not have ended yet.
    server.wait_until(async || encrypted(watcher).await.1 == 0).await;
    let url = url(server, "postgres").replace("127.0.0.1", host);
    let options = PostgresStore::options(&format!("{url}?{}", with_files(server, query))).unwrap();
    match options.open(&Settings::new("secret")).await {
        Ok(_store) => {
            let (encrypted, all) = encrypted(watcher).await;
            assert_eq!(all, 2, "{query}");
            Ok(encrypted)
        }
        Err(error) => {
            assert_error(&error, StoreErrorKind::Misconfigured, &[]);
            assert_eq!(encrypted(watcher).await, (0, 0), "{query}");
            Err(error.to_string())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_verifies_what_libpq_verifies() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let watcher = client(&plain).await;
    PostgresStore::options(&plain).unwrap().create_table(Default::default()).await.unwrap();
    for (host, query, encrypted) in [
        ("127.0.0.1", "sslmode=disable", 0),
        ("127.0.0.1", "sslmode=allow", 0),
        ("127.0.0.1", "", 2),
        ("127.0.0.1", "sslmode=prefer", 2),
        ("127.0.0.1", "sslrootcert={ca.pem}", 2),
        // Without authorities it is not verified, and with them as by `verify-ca`.
        ("127.0.0.1", "sslmode=require", 2),
        ("localhost", "sslmode=require&sslrootcert={ca.pem}", 2),
        ("localhost", "sslmode=verify-ca&sslrootcert={ca.pem}", 2),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={ca.pem}", 2),
        ("127.0.0.1", "sslmode=require&channel_binding=require", 2),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={ca.pem}&channel_binding=disable", 2),
    ] {
        assert_eq!(opened(&server, &watcher, host, query).await, Ok(encrypted), "{host} {query}");
    }
    for (host, query, words) in [
        ("127.0.0.1", "sslmode=require&sslrootcert={other_ca.pem}", &["authority", "sslrootcert=/"][..]),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={other_ca.pem}", &["authority", "sslrootcert=/"]),
        ("127.0.0.1", "sslmode=verify-ca", &["authority", "as `sslrootcert`"]),
        ("127.0.0.1", "sslmode=verify-full", &["authority", "as `sslrootcert`"]),
        ("127.0.0.1", "sslrootcert=system", &["authority", "as `sslrootcert`"]),
        ("localhost", "sslmode=verify-full&sslrootcert={ca.pem}", &["another host", "sslmode=verify-ca"]),
        // It does not go on without encryption, where somebody may have put another server in the place.
        ("127.0.0.1", "sslmode=prefer&sslrootcert={other_ca.pem}", &["authority", "sslrootcert=/"]),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert={names}",
            &["names holds no certificates", "`sslrootcert`"],
        ),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={nowhere.pem}", &["nowhere.pem", "`sslrootcert`"]),
        ("127.0.0.1", "sslmode=disable&channel_binding=require", &["channel_binding=require", "SCRAM"]),
        ("127.0.0.1", "sslmode=require&sslcert={client.pem}&sslkey={ca.key}", &["client.pem", "`sslkey`"]),
        ("127.0.0.1", "sslmode=require&sslcert={client.key}", &["client.key", "`sslcert`"]),
    ] {
        let error = opened(&server, &watcher, host, query).await.expect_err(query);
        assert!(words.iter().all(|word| error.contains(word)), "{query}: {error}");
    }

    let verified = with_files(&server, "sslmode=verify-full&sslrootcert={ca.pem}");
    let store = PostgresStore::open(&format!("{plain}?{verified}"), &Settings::new("secret")).await.unwrap();
    let store: Arc<dyn SessionStore> = Arc::new(store);
    println!("postgres over verified TLS: {}", conformance::run(&store, &[]).await.unwrap());
}

/// The server's certificate is replaced while the program runs: by one that has expired, and back.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_where_it_is_verified() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let watcher = client(&plain).await;
    PostgresStore::options(&plain).unwrap().create_table(Default::default()).await.unwrap();
    let show = async |name: &str| {
        // A file that is there keeps its owner.
        let certificate = std::fs::read(server.folder.join(name)).unwrap();
        std::fs::write(server.folder.join("server.pem"), certificate).unwrap();
        watcher.batch_execute("SELECT pg_reload_conf(), pg_sleep(0.5)").await.unwrap();
    };
    let right = std::fs::read(server.folder.join("server.pem")).unwrap();
    std::fs::write(server.folder.join("right.pem"), right).unwrap();
    show("expired.pem").await;
    for mode in ["verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={{ca.pem}}");
        let error = opened(&server, &watcher, "127.0.0.1", &query).await.unwrap_err();
        assert!(error.contains("has expired"), "{error}");
    }
    assert_eq!(opened(&server, &watcher, "127.0.0.1", "sslmode=require").await, Ok(2));
    show("right.pem").await;
    let query = "sslmode=verify-full&sslrootcert={ca.pem}";
    assert_eq!(opened(&server, &watcher, "127.0.0.1", query).await, Ok(2));
}

/// The server takes a certificate in place of a password.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_logs_in_by_its_certificate() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let watcher = client(&plain).await;
    PostgresStore::options(&plain).unwrap().create_table(Default::default()).await.unwrap();
    let line = "hostssl all all 127.0.0.1/32 cert\n";
    std::fs::write(server.folder.join("data/pg_hba.conf"), line).unwrap();
    watcher.batch_execute("SELECT pg_reload_conf(), pg_sleep(0.5)").await.unwrap();
    let verified = "sslmode=verify-full&sslrootcert={ca.pem}";
    for query in [
        "sslcert={client.pem}&sslkey={client.key}",
        "sslmode=prefer&sslcert={client.pem}&sslkey={client.key}",
    ] {
        assert_eq!(opened(&server, &watcher, "127.0.0.1", query).await, Ok(2), "{query}");
    }
    let query = format!("{verified}&sslcert={{client.pem}}&sslkey={{client.key}}");
    assert_eq!(opened(&server, &watcher, "127.0.0.1", &query).await, Ok(2));
    let query = format!("{verified}&user=postgres&sslcert={{client.pem}}&sslkey={{client.key}}");
    let error = opened(&server, &watcher, "127.0.0.1", &query).await.unwrap_err();
    assert!(error.contains("certificate") && error.contains("`sslcert`"), "{error}");
    for query in [verified.to_owned(), format!("{verified}&sslcert={{stranger.pem}}&sslkey={{stranger.key}}")]
    {
        let error = opened(&server, &watcher, "127.0.0.1", &query).await.unwrap_err();
        assert!(error.contains("certificate") && error.contains("`sslcert`"), "{query}: {error}");
    }
}

/// As managed services have it: the pooler alone is encrypted, at a port of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_is_verified_like_a_server() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    PostgresStore::options(&plain).unwrap().create_table(Default::default()).await.unwrap();
    let files = with_files(
        &server,
        "client_tls_sslmode = require\nclient_tls_cert_file = {server.pem}\nclient_tls_key_file = {server.key}\n",
    );
    let (_pooler, pooled) = pgbouncer::start_with(&plain, Pool::TRANSACTION, &files).await;
    let settings = Settings::new("secret");
    for query in
        ["", "sslmode=require", "sslmode=allow&pooler=yes", "sslmode=verify-full&sslrootcert={ca.pem}"]
    {
        let query = with_files(&server, query);
        let store = PostgresStore::open(&format!("{pooled}?{query}"), &settings).await.unwrap();
        super::create(&store).await;
    }
    for (query, word) in
        [("sslmode=disable", "sslmode"), ("sslmode=verify-full&sslrootcert={other_ca.pem}", "sslrootcert")]
    {
        let query = with_files(&server, query);
        let error = PostgresStore::open(&format!("{pooled}?{query}"), &settings).await.unwrap_err();
        assert_error(&error, StoreErrorKind::Misconfigured, &[word]);
    }
}

/// A server without TLS: only who asks for it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_told() {
    let plain = crate::support::servers::postgres::database().await;
    PostgresStore::options(&plain).unwrap().create_table(Default::default()).await.unwrap();
    let settings = Settings::new("secret");
    for mode in ["disable", "allow", "prefer"] {
        PostgresStore::open(&format!("{plain}?sslmode={mode}"), &settings).await.unwrap();
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = PostgresStore::open(&format!("{plain}?sslmode={mode}"), &settings).await.unwrap_err();
        let mode = format!("sslmode={mode}");
        assert_error(&error, StoreErrorKind::Misconfigured, &["offers no TLS", &mode, "sslmode=disable"]);
    }
    let nobody = format!("postgres://u:open-sesame@127.0.0.1:{}/db?sslmode=require", free_port());
    let error = PostgresStore::open(&nobody, &settings).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["refused"]);
}

/// How many connections to the database of this URL are encrypted, and how many there are, beside the one that asks.
async fn encrypted(watcher: &tokio_postgres::Client) -> (i64, i64) {
    let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = 'postgres' AND pid <> pg_backend_pid()";
    let row = watcher.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Which connections the server takes: `hostssl`, `hostnossl` or `host`.
async fn take_only(server: &Server, watcher: &tokio_postgres::Client, kind: &str) {
    // A file that is there keeps its owner.
    let line = format!("{kind} all all 127.0.0.1/32 scram-sha-256\n");
    std::fs::write(server.folder.join("data/pg_hba.conf"), line).unwrap();
    watcher.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let plain = url(server, "postgres");
    let takes_plain = async || tokio_postgres::connect(&plain, tokio_postgres::NoTls).await.map(drop).is_ok();
    server.wait_until(async || takes_plain().await == (kind != "hostssl")).await;
}

/// As libpq and so Django do it: encrypted where the server can, to whoever answers.
#[tokio::test(flavor = "multi_thread")]
async fn without_sslmode_a_connection_is_encrypted_where_the_server_can() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let watcher = client(&plain).await;
    let options = |query: &str| PostgresStore::options(&format!("{plain}{query}")).unwrap();
    let settings = Settings::new("secret");
    options("").create_table(Default::default()).await.unwrap();
    let open = async |options: cloakroom::store::postgres::PostgresOptions| {
        let opened = options.open(&settings).await;
        let found = encrypted(&watcher).await;
        (opened.err().map(|error| error.to_string()).unwrap_or_default(), found)
    };
    // What was opened before may not have ended yet.
    let gone = async || server.wait_until(async || encrypted(&watcher).await.1 == 0).await;
    for (query, encrypted) in [("", 2), ("?sslmode=prefer", 2), ("?sslmode=disable", 0)] {
        gone().await;
        assert_eq!(open(options(query)).await, (String::new(), (encrypted, 2)), "{query}");
    }
    // Whoever names the authorities to trust is not served by another's, and not without.
    for (certificates, works) in [("ca.pem", true), ("server.pem", false)] {
        gone().await;
        let mut options = options("");
        options.tls.root_certificates = Some(RootCertificates::File(server.folder.join(certificates)));
        let (error, found) = open(options).await;
        assert_eq!((error.is_empty(), found), (works, if works { (2, 2) } else { (0, 0) }), "{error}");
    }

    take_only(&server, &watcher, "hostssl").await;
    gone().await;
    assert_eq!(open(options("")).await, (String::new(), (2, 2)));
    gone().await;
    let (error, _) = open(options("?sslmode=disable")).await;
    assert!(error.contains("sslmode") && error.contains("TLS"), "{error}");
    assert!(!error.contains("user and password"), "{error}");

    take_only(&server, &watcher, "hostnossl").await;
    gone().await;
    assert_eq!(open(options("")).await, (String::new(), (0, 2)), "libpq goes on without as well");
    gone().await;
    let mut strict = options("?sslmode=require");
    strict.tls.root_certificates = Some(RootCertificates::File(server.folder.join("ca.pem")));
    let (error, found) = open(strict).await;
    assert!(error.contains("pg_hba.conf"), "{error}");
    assert_eq!(found, (0, 0));
}

/// A certificate that nothing can be made of, as for a name that is none: `prefer` goes on without, and says so.
#[tokio::test]
async fn what_prefer_does_without_encryption_is_logged() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let watcher = client(&plain).await;
    PostgresStore::options(&plain).unwrap().create_table(Default::default()).await.unwrap();
    take_only(&server, &watcher, "hostnossl").await;
    let log = crate::support::log::Log::start();
    let store = PostgresStore::open(&plain, &Settings::new("secret")).await.unwrap();
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.contains("not encrypted")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("sslmode"), "{lines:?}");
    assert!(!lines[0].contains(crate::support::servers::postgres::PASSWORD), "{lines:?}");
    drop(store);
}
