//! PostgreSQL over TLS.

use cloakroom::{PostgresStore, Settings, StoreErrorKind, conformance};

use crate::servers::postgres::{client, start_with_tls, url};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_show_a_certificate_that_is_trusted() {
    let server = start_with_tls().await;
    let plain = url(&server, "postgres");
    let with_tls = |host: &str, certificates: Option<&str>| {
        let url = format!("{}?sslmode=require", plain.replace("127.0.0.1", host));
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
        assert!(!text.contains(crate::servers::postgres::PASSWORD), "{text}");
    }
}
