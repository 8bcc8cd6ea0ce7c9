//! Redis over TLS: one server, a cluster, and behind a sentinel. Each refusal names the parameter to change.

use std::sync::Arc;

use cloakroom::{RedisStore, SessionStore, Settings, StoreError, StoreErrorKind, conformance};

use crate::support::servers::Server;
use crate::support::servers::redis::{PASSWORD, start, start_with_certificate, start_with_tls, url_of};

/// The URL of a server with TLS, whose files `parameters` name as `FOLDER/…`.
fn url(server: &Server, host: &str, parameters: &str) -> String {
    let url = url_of(server).replace("redis://", "rediss://").replace("127.0.0.1", host);
    format!("{url}?{}", parameters.replace("FOLDER", &server.folder.display().to_string()))
}

async fn refusal(url: &str) -> String {
    let error: StoreError = RedisStore::open(url, &Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
    let text = error.to_string();
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{text}");
    text
}

async fn conforms(name: &str, url: &str) {
    let store = RedisStore::open(url, &Settings::new("secret")).await.unwrap();
    let store: Arc<dyn SessionStore> = Arc::new(store);
    println!("{name} over TLS: {}", conformance::run(&store, &[]).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_show_a_certificate_that_is_trusted() {
    let server = start_with_tls().await;
    conforms("redis", &url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem")).await;

    RedisStore::open(&url_of(&server), &Settings::new("secret"))
        .await
        .expect_err("this server speaks nothing else");
    for (host, parameters, named) in [
        ("127.0.0.1", "", "`ssl_ca_certs`"),
        ("127.0.0.1", "ssl_ca_certs=FOLDER/stranger.pem", "`ssl_ca_certs`"),
        ("127.0.0.1", "ssl_ca_certs=FOLDER/stranger.pem&ssl_check_hostname=false", "`ssl_ca_certs`"),
        ("localhost", "ssl_ca_certs=FOLDER/ca.pem", "`ssl_check_hostname=false`"),
        ("127.0.0.1", "ssl_ca_certs=FOLDER/names", "names holds no certificates"),
        ("127.0.0.1", "ssl_ca_certs=FOLDER/nowhere.pem", "nowhere.pem holds no certificates"),
        (
            "127.0.0.1",
            "ssl_certfile=FOLDER/client.pem&ssl_keyfile=FOLDER/ca.pem",
            "ca.pem holds no private key",
        ),
    ] {
        let text = refusal(&url(&server, host, parameters)).await;
        assert!(text.contains("no TLS") && text.contains(named), "{host} {parameters}: {text}");
    }
    for (host, parameters) in [
        ("localhost", "ssl_ca_certs=FOLDER/ca.pem&ssl_check_hostname=false"),
        ("localhost", "ssl_cert_reqs=none"),
        // Nothing is compared, as by redis-py.
        ("127.0.0.1", "ssl_cert_reqs=none&ssl_ca_certs=FOLDER/stranger.pem"),
    ] {
        let opened = RedisStore::open(&url(&server, host, parameters), &Settings::new("secret")).await;
        opened.unwrap_or_else(|error| panic!("{host} {parameters}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_and_a_self_signed_certificate_are_named() {
    let server = start_with_certificate("expired", &[]).await;
    let text = refusal(&url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem")).await;
    assert!(text.contains("has expired") && text.contains("`ssl_cert_reqs`"), "{text}");
    let text =
        refusal(&url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem&ssl_check_hostname=false")).await;
    assert!(text.contains("has expired"), "without the host too: {text}");

    // Heroku's: for another name, signed by nobody.
    let server = start_with_certificate("alone", &[]).await;
    let text = refusal(&url(&server, "127.0.0.1", "")).await;
    assert!(text.contains("`ssl_cert_reqs=none`"), "{text}");
    let url = url(&server, "127.0.0.1", "ssl_cert_reqs=none");
    RedisStore::open(&url, &Settings::new("secret")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_a_client_certificate_gets_one() {
    let server = start_with_certificate("server", &["--tls-auth-clients", "yes"]).await;
    let authority = "ssl_ca_certs=FOLDER/ca.pem";
    let own = "ssl_certfile=FOLDER/client.pem&ssl_keyfile=FOLDER/client.key";
    conforms("redis with a client certificate", &url(&server, "127.0.0.1", &format!("{authority}&{own}")))
        .await;
    for (parameters, named) in [
        ("", "asks for a client certificate"),
        ("&ssl_certfile=FOLDER/foreign.pem&ssl_keyfile=FOLDER/foreign.key", "refuses the client certificate"),
    ] {
        // Whether the server's word arrives before it closes the connection is chance.
        for _ in 0..5 {
            let text = refusal(&url(&server, "127.0.0.1", &format!("{authority}{parameters}"))).await;
            assert!(text.contains(named) && text.contains("`ssl_certfile`"), "{parameters}: {text}");
        }
    }
    let text =
        refusal(&url(&server, "127.0.0.1", &format!("{authority}&ssl_keyfile=FOLDER/client.key"))).await;
    assert!(
        text.contains("`ssl_keyfile` lacks the certificate") && text.contains("`ssl_certfile`"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_named() {
    let server = start().await;
    let quick = url(&server, "127.0.0.1", "socket_timeout=1");
    let error = RedisStore::open(&quick, &Settings::new("secret")).await.unwrap_err();
    assert!(error.to_string().contains("within 1 seconds; does it speak TLS at this port?"), "{error}");
    let text = refusal(&format!("{}?ssl_ca_certs=ca.pem", url_of(&server))).await;
    assert!(
        text.contains("`ssl_ca_certs` needs an encrypted connection") && text.contains("`rediss://`"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_is_made_again_with_tls() {
    let mut server = start_with_tls().await;
    let url = url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem");
    let store = RedisStore::open(&url, &Settings::new("secret")).await.unwrap();
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

/// Certificates are read for each connection, so that they can be renewed while the program runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_authority_is_read_at_the_next_connection() {
    let mut server = start_with_certificate("expired", &[]).await;
    let trusted = server.folder.join("trusted.pem");
    std::fs::copy(server.folder.join("stranger.pem"), &trusted).unwrap();
    // The renewed certificate of the server.
    let (from, to) = (server.folder.join("server.pem"), server.folder.join("expired.pem"));
    std::fs::copy(from, to).unwrap();
    std::fs::copy(server.folder.join("server.key"), server.folder.join("expired.key")).unwrap();
    server.send("KILL");
    server.send("start");
    let url = url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/trusted.pem");
    server
        .wait_until(async || tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.is_ok())
        .await;
    assert!(refusal(&url).await.contains("`ssl_ca_certs`"));
    std::fs::copy(server.folder.join("ca.pem"), &trusted).unwrap();
    RedisStore::open(&url, &Settings::new("secret")).await.unwrap();
}

#[cfg(feature = "redis-cluster")]
mod cluster {
    use super::*;
    use crate::support::servers::redis::start_cluster_with_tls;

    fn url(nodes: &[Server], host: &str, parameters: &str) -> String {
        let hosts: Vec<String> = nodes.iter().map(|node| format!("{host}:{}", node.port)).collect();
        let parameters = parameters.replace("FOLDER", &nodes[0].folder.display().to_string());
        format!("rediss+cluster://:{PASSWORD}@{}?{parameters}", hosts.join(","))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_node_must_show_a_certificate_that_is_trusted() {
        let nodes = start_cluster_with_tls("server", false).await;
        let good = url(&nodes, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem");
        let store = RedisStore::open(&good, &Settings::new("secret")).await.unwrap();
        let store: Arc<dyn SessionStore> = Arc::new(store);
        println!("redis cluster over TLS: {}", conformance::run(&store, &[]).await.unwrap());

        for (host, parameters, named) in [
            ("127.0.0.1", "", "`ssl_ca_certs`"),
            ("127.0.0.1", "ssl_ca_certs=FOLDER/stranger.pem", "`ssl_ca_certs`"),
            ("localhost", "ssl_ca_certs=FOLDER/ca.pem", "`ssl_check_hostname=false`"),
            ("127.0.0.1", "ssl_ca_certs=FOLDER/nowhere.pem", "nowhere.pem holds no certificates"),
        ] {
            let text = refusal(&url(&nodes, host, parameters)).await;
            assert!(text.contains("no TLS") && text.contains(named), "{host} {parameters}: {text}");
        }
        let wrong = good.replace(PASSWORD, "wrong");
        assert!(refusal(&wrong).await.contains("refuses this user"));
        // One node is refused with the scheme to use, which encrypts too.
        let one = good.split(',').next().unwrap().replace("rediss+cluster", "rediss");
        let certificates = nodes[0].folder.display();
        let text = refusal(&format!("{one}?ssl_ca_certs={certificates}/ca.pem")).await;
        assert!(text.contains("use rediss+cluster://"), "{text}");
    }

    /// The host that is compared is the one that a node announces.
    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_are_verified_by_the_names_that_they_announce() {
        let nodes = start_cluster_with_tls("localhost", true).await;
        let good = url(&nodes[..1], "localhost", "ssl_ca_certs=FOLDER/ca.pem");
        let store = RedisStore::open(&good, &Settings::new("secret")).await.unwrap();
        assert_eq!(store.count(chrono::Utc::now()).await.unwrap().live, 0, "each node is reached");

        // Here they announce their addresses, for which the certificate is not; the first is reached by its name.
        let nodes = start_cluster_with_tls("localhost", false).await;
        let text = match RedisStore::open(
            &url(&nodes[..1], "localhost", "ssl_ca_certs=FOLDER/ca.pem"),
            &Settings::new("secret"),
        )
        .await
        {
            Err(error) => error.to_string(),
            Ok(store) => store.count(chrono::Utc::now()).await.unwrap_err().to_string(),
        };
        assert!(text.contains("127.0.0.1") && text.contains("`ssl_check_hostname=false`"), "{text}");
        let lax = url(&nodes[..1], "localhost", "ssl_ca_certs=FOLDER/ca.pem&ssl_check_hostname=false");
        let store = RedisStore::open(&lax, &Settings::new("secret")).await.unwrap();
        assert_eq!(store.count(chrono::Utc::now()).await.unwrap().live, 0);
    }
}

#[cfg(feature = "redis-sentinel")]
mod sentinel {
    use super::*;
    use crate::support::servers::redis::{SENTINEL_PASSWORD, start_watched_with_tls};

    #[tokio::test(flavor = "multi_thread")]
    async fn sentinels_have_a_login_and_certificates_of_their_own() {
        let (primary, sentinel) = start_watched_with_tls().await;
        let url = |parameters: &str| {
            let parameters = parameters.replace("FOLDER", &primary.folder.display().to_string());
            format!("rediss+sentinel://:{PASSWORD}@127.0.0.1:{}/sessions/1?{parameters}", sentinel.port)
        };
        let login = format!("&sentinel_username=watcher&sentinel_password={SENTINEL_PASSWORD}");
        let authority = "ssl_ca_certs=FOLDER/ca.pem";
        conforms("redis behind a sentinel", &url(&format!("{authority}{login}"))).await;

        for (parameters, named) in [
            (login.clone(), "`sentinel_ssl_ca_certs`"),
            (authority.to_owned(), "`sentinel_username`"),
            (format!("{authority}{login}").replace(SENTINEL_PASSWORD, "wrong"), "`sentinel_password`"),
            (
                format!("{authority}{login}&sentinel_ssl_ca_certs=FOLDER/stranger.pem"),
                "`sentinel_ssl_ca_certs`",
            ),
            (
                format!("ssl_ca_certs=FOLDER/stranger.pem{login}&sentinel_ssl_ca_certs=FOLDER/ca.pem"),
                " `ssl_ca_certs`",
            ),
            (
                format!("{authority}{login}&sentinel_ssl_check_hostname=perhaps"),
                "`sentinel_ssl_check_hostname`",
            ),
            (
                format!("{authority}{login}&sentinel_ssl=false&sentinel_ssl_ca_certs=x"),
                "`sentinel_ssl_ca_certs` needs",
            ),
        ] {
            let text = refusal(&url(&parameters)).await;
            assert!(text.contains(named) && !text.contains(SENTINEL_PASSWORD), "{parameters}: {text}");
        }
        let other = url(&format!("{authority}{login}")).replace("/sessions/", "/others/");
        let text = refusal(&other).await;
        assert!(text.contains("watch no service `others`"), "{text}");
    }
}
