//! memcached over TLS and on a Unix socket, with Django's `PyMemcacheCache` beside it.

use std::sync::Arc;

use cloakroom::{MemcachedStore, SessionStore, Settings, StoreErrorKind, conformance};

use crate::support::servers::Server;
use crate::support::servers::memcached::{start, start_on_a_socket, start_with_tls};

fn url(server: &Server, host: &str, parameters: &str) -> String {
    let parameters = parameters.replace("FOLDER", &server.folder.display().to_string());
    format!("memcacheds://{host}:{}?{parameters}", server.port)
}

async fn conforms(name: &str, url: &str) {
    let store = cloakroom::connect(url, &Settings::new("secret")).await.unwrap();
    println!("{name}: {}", conformance::run(&store, &[]).await.unwrap());
}

async fn refusal(url: &str) -> String {
    let error = MemcachedStore::open(url, &Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
    error.to_string()
}

/// Sets an entry with pymemcache, whose `tls_context` Django passes on, and reads ours.
fn by_pymemcache(code: &str, arguments: &[&str]) -> String {
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let code = format!(
        "import ssl, sys\n\
         from django.conf import settings\n\
         settings.configure()\n\
         from django.core.cache.backends.memcached import PyMemcacheCache\n\
         {code}"
    );
    let output = std::process::Command::new(python).args(["-c", &code]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Django's cache with these settings reads our session, and we its.
async fn django_shares(url: &str, cache: &str, arguments: &[&str]) {
    let store: Arc<dyn SessionStore> = cloakroom::connect(url, &Settings::new("secret")).await.unwrap();
    let ours = crate::support::many_sessions::create(&store, 7).await.unwrap();
    let (name, key) = ("django.contrib.sessions.cache", ours.as_str());
    let theirs = "k".repeat(32);
    let code = format!(
        "cache = {cache}\n\
         print(cache.get('{name}{key}')['number'])\n\
         assert cache.add('{name}{theirs}', {{'number': 8}}, 60)"
    );
    assert_eq!(by_pymemcache(&code, arguments), "7");
    let found = store.load(&cloakroom::SessionKey::from_trusted(theirs), chrono::Utc::now()).await.unwrap();
    let number = found.unwrap().data().unwrap().read::<u32>("number").unwrap();
    assert_eq!(number, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_show_a_certificate_that_is_trusted() {
    let server = start_with_tls("server", &[]).await;
    let good = url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem");
    conforms("memcached over TLS", &good).await;
    let context = "PyMemcacheCache(sys.argv[1], {'OPTIONS': {\n\
                   'tls_context': ssl.create_default_context(cafile=sys.argv[2])}})";
    let (place, authority) = (format!("127.0.0.1:{}", server.port), server.folder.join("ca.pem"));
    django_shares(&good, context, &[&place, authority.to_str().unwrap()]).await;

    for (host, parameters, named) in [
        ("127.0.0.1", "", "`ssl_ca_certs`"),
        ("127.0.0.1", "ssl_ca_certs=FOLDER/stranger.pem", "`ssl_ca_certs`"),
        ("localhost", "ssl_ca_certs=FOLDER/ca.pem", "`ssl_check_hostname=false`"),
        ("127.0.0.1", "ssl_ca_certs=FOLDER/nowhere.pem", "nowhere.pem holds no certificates"),
        ("127.0.0.1", "ssl_ca_path=FOLDER", "`ssl_ca_path`"),
        ("127.0.0.1", "ssl_ca=FOLDER/ca.pem", "parameter `ssl_ca` is not known"),
    ] {
        let text = refusal(&url(&server, host, parameters)).await;
        assert!(text.contains(named), "{host} {parameters}: {text}");
    }
    let plain = good.replace("memcacheds", "memcached");
    assert!(refusal(&plain).await.contains("`memcacheds://`"));
    for parameters in ["ssl_cert_reqs=none", "ssl_ca_certs=FOLDER/ca.pem&ssl_check_hostname=false"] {
        MemcachedStore::open(&url(&server, "localhost", parameters), &Settings::new("secret")).await.unwrap();
    }
    let server = start_with_tls("expired", &[]).await;
    let text = refusal(&url(&server, "127.0.0.1", "ssl_ca_certs=FOLDER/ca.pem")).await;
    assert!(text.contains("has expired") && text.contains("`ssl_cert_reqs`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_a_client_certificate_gets_one() {
    // 2: each client must show one.
    let server = start_with_tls("server", &["ssl_verify_mode=2"]).await;
    let own = "ssl_ca_certs=FOLDER/ca.pem&ssl_certfile=FOLDER/client.pem&ssl_keyfile=FOLDER/client.key";
    let store =
        MemcachedStore::open(&url(&server, "127.0.0.1", own), &Settings::new("secret")).await.unwrap();
    assert_eq!(store.count(chrono::Utc::now()).await.unwrap().live, 0);
    for (parameters, named) in [
        ("ssl_ca_certs=FOLDER/ca.pem", "asks for a client certificate"),
        (
            "ssl_ca_certs=FOLDER/ca.pem&ssl_certfile=FOLDER/foreign.pem&ssl_keyfile=FOLDER/foreign.key",
            "refuses the client certificate",
        ),
    ] {
        let text = refusal(&url(&server, "127.0.0.1", parameters)).await;
        assert!(text.contains(named) && text.contains("`ssl_certfile`"), "{parameters}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_named() {
    let server = start().await;
    let mut options = MemcachedStore::options(&url(&server, "127.0.0.1", "")).unwrap();
    options.timeout = std::time::Duration::from_secs(1);
    let error = options.open(&Settings::new("secret")).await.unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_used_as_djangos() {
    let (server, socket) = start_on_a_socket().await;
    let url = format!("memcached://{}", socket.display());
    conforms("memcached on a socket", &url).await;
    let cache = "PyMemcacheCache('unix:' + sys.argv[1], {})";
    django_shares(&url, cache, &[socket.to_str().unwrap()]).await;
    // Django's own spelling.
    let options = MemcachedStore::at([format!("unix:{}", socket.display())]);
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert!(store.count(chrono::Utc::now()).await.unwrap().live > 0);
    drop(server);
    let error = store.count(chrono::Utc::now()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains(socket.to_str().unwrap()), "{error}");
}
