//! PostgreSQL over TLS.

use cloakroom::{PostgresStore, Settings, StoreErrorKind, conformance};

use crate::support::servers::postgres::{client, start_with_tls, url};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_show_a_certificate_that_is_trusted() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let with_tls = |host: &str, certificates: Option<&str>| {
        let mode = if certificates == Some("ca.pem") { "verify-full" } else { "require" };
        let url = format!("{}?sslmode={mode}", plain.replace("127.0.0.1", host));
        let mut options = PostgresStore::options(&url).unwrap();
        options.root_certificates = certificates.map(|name| server.folder.join(name));
        options
    };
    let good = with_tls("127.0.0.1", Some("ca.pem"));
    good.create_table(Default::default()).await.unwrap();
    let store = good.open(&Settings::new("secret")).await.unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND datname = 'postgres'";
    let count: i64 = client(&plain).await.query_one(encrypted, &[]).await.unwrap().get(0);
    assert_eq!(count, 2, "the one that reads and the one that writes");
    let store: std::sync::Arc<dyn cloakroom::SessionStore> = std::sync::Arc::new(store);
    println!("postgres over TLS: {}", conformance::run(&store, &[]).await.unwrap());

    for (options, why) in [
        (with_tls("127.0.0.1", None), "signed by nobody whom the system trusts"),
        (with_tls("127.0.0.1", Some("server.pem")), "signed by somebody else"),
        (with_tls("localhost", Some("ca.pem")), "for another host"),
        (with_tls("127.0.0.1", Some("names")), "no certificates"),
        (with_tls("127.0.0.1", Some("nowhere.pem")), "no file"),
    ] {
        let error = options.open(&Settings::new("secret")).await.expect_err(why);
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{why}: {error}");
        let text = error.to_string();
        assert!(text.contains("TLS") && text.contains("certificate"), "{why}: {text}");
        assert!(!text.contains(crate::support::servers::postgres::PASSWORD), "{text}");
    }
}

/// How many connections to the database of this URL are encrypted, and how many there are, beside the one that asks.
async fn encrypted(watcher: &tokio_postgres::Client) -> (i64, i64) {
    let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = 'postgres' AND pid <> pg_backend_pid()";
    let row = watcher.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Which connections the server takes: `hostssl`, `hostnossl` or `host`.
async fn take_only(server: &crate::support::servers::Server, watcher: &tokio_postgres::Client, kind: &str) {
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
    // Who says which certificates to trust is not served by any other, nor without.
    for (certificates, works) in [("ca.pem", true), ("server.pem", false)] {
        gone().await;
        let mut options = options("");
        options.root_certificates = Some(server.folder.join(certificates));
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
    strict.root_certificates = Some(server.folder.join("ca.pem"));
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
