//! Redis over TLS.

use std::sync::Arc;

use cloakroom::store::redis::RedisOptions;
use cloakroom::{RedisStore, SessionStore, Settings, StoreErrorKind, conformance};

use crate::support::servers::Server;
use crate::support::servers::redis::{PASSWORD, start_with_tls, url_of};

fn options(server: &Server, host: &str, certificates: Option<&str>) -> RedisOptions {
    let url = url_of(server).replace("redis://", "rediss://").replace("127.0.0.1", host);
    let mut options = RedisStore::options(&url).unwrap();
    options.root_certificates = certificates.map(|name| server.folder.join(name));
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_show_a_certificate_that_is_trusted() {
    let server = start_with_tls().await;
    let settings = Settings::new("secret");
    let store = options(&server, "127.0.0.1", Some("ca.pem")).open(&settings).await.unwrap();
    let store: Arc<dyn SessionStore> = Arc::new(store);
    println!("redis over TLS: {}", conformance::run(&store, &[]).await.unwrap());

    RedisStore::open(&url_of(&server), &settings).await.expect_err("this server speaks nothing else");
    for (options, why) in [
        (options(&server, "127.0.0.1", None), "signed by nobody whom the system trusts"),
        (options(&server, "127.0.0.1", Some("server.pem")), "signed by somebody else"),
        (options(&server, "localhost", Some("ca.pem")), "for another host"),
        (options(&server, "127.0.0.1", Some("names")), "no certificates"),
        (options(&server, "127.0.0.1", Some("nowhere.pem")), "no file"),
    ] {
        let error = options.open(&settings).await.expect_err(why);
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{why}: {error}");
        let text = error.to_string();
        assert!(text.contains("no TLS") && text.contains("certificate"), "{why}: {text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_is_made_again_with_tls() {
    let mut server = start_with_tls().await;
    let settings = Settings::new("secret");
    let store = options(&server, "127.0.0.1", Some("ca.pem")).open(&settings).await.unwrap();
    let session_key = cloakroom::SessionKey::random().unwrap();
    let exists = async || store.exists(&session_key, chrono::Utc::now()).await;
    assert!(!exists().await.unwrap());
    server.send("KILL");
    let error = async {
        loop {
            if let Err(error) = exists().await {
                break error;
            }
        }
    };
    assert_eq!(error.await.kind(), StoreErrorKind::Unavailable);
    server.send("start");
    server.wait_until(async || exists().await.is_ok()).await;
}
