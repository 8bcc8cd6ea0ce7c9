//! MariaDB over TLS.

use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom::store::PasswordSource;
use cloakroom::{MysqlStore, Settings, conformance};
use mysql_async::prelude::Queryable;

use super::*;
use crate::support::log::Log;
use crate::support::servers::Server;
use crate::support::servers::mariadb::{
    PASSWORD, USER, connection, database, show_certificate, start_with_tls, url,
};

/// The URL of a user of whom the server demands this, in a database with the tables.
async fn url_of_user(server: &Server, user: &str, demand: &str) -> String {
    let url = url(server, "mysql");
    cloakroom::store::create_table(&url, Default::default()).await.unwrap();
    cloakroom::store::create_user_session_table(&url).await.unwrap();
    let mut raw = connection(&url).await;
    raw.query_drop(format!("CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}' {demand}")).await.unwrap();
    raw.query_drop(format!("GRANT ALL ON mysql.* TO {user}@'%'")).await.unwrap();
    url.replacen(USER, user, 1)
}

async fn open(url: &str) -> Result<MysqlStore, StoreError> {
    MysqlStore::open(url, &Settings::new("secret")).await
}

fn file(server: &Server, name: &str) -> String {
    server.folder.join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_over_verified_tls() {
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    let url = format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", file(&server, "ca.pem"));
    let store: Arc<dyn SessionStore> = Arc::new(open(&url).await.unwrap());
    println!("mariadb over TLS: {}", conformance::run(&store, &[]).await.unwrap());
}

/// A site whose URL says nothing is encrypted too, where the server can.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_connections_are_encrypted_if_the_server_can() {
    let server = start_with_tls(&[]).await;
    let guarded = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    for parameters in ["", "?ssl-mode=PREFERRED", "?ssl_mode=required", "?compression=on"] {
        let store = open(&format!("{guarded}{parameters}")).await.unwrap();
        let session = create(&store).await;
        assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))), "{parameters}");
    }
    let error = open(&format!("{guarded}?ssl-mode=DISABLED")).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["`REQUIRE SSL`", "`ssl-mode=REQUIRED`"]);

    // The shared server has no TLS.
    let plain = database().await;
    cloakroom::store::create_table(&plain, Default::default()).await.unwrap();
    open(&plain).await.unwrap();
    for mode in ["REQUIRED", "VERIFY_CA", "verify_identity"] {
        let error = open(&format!("{plain}?ssl-mode={mode}")).await.unwrap_err();
        let said = format!("`ssl-mode={}`", mode.to_uppercase());
        assert_error(&error, StoreErrorKind::Misconfigured, &["offers no TLS", &said]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_that_is_refused_is_told_with_its_parameter() {
    use StoreErrorKind::Misconfigured;
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    let with = |mode: &str, ca: &str| format!("{url}?ssl-mode={mode}&ssl-ca={}", file(&server, ca));
    let full = with("VERIFY_IDENTITY", "ca.pem");
    open(&full).await.unwrap();
    open(&full.replace("127.0.0.1", "localhost")).await.expect_err("a certificate for 127.0.0.1");

    for mode in ["VERIFY_IDENTITY", "VERIFY_CA"] {
        let error = open(&with(mode, "stranger.pem")).await.unwrap_err();
        assert_error(&error, Misconfigured, &[mode, "`ssl-ca`", "stranger.pem", "not signed"]);
        let error = open(&format!("{url}?ssl-mode={mode}")).await.unwrap_err();
        assert_error(&error, Misconfigured, &[mode, "`ssl-ca`", "this system trusts"]);
    }
    for (ca, words) in
        [("nowhere.pem", ["`ssl-ca`", "nowhere.pem"]), ("server.names", ["`ssl-ca`", "server.names"])]
    {
        std::fs::write(server.folder.join("server.names"), "no certificate").unwrap();
        assert_error(&open(&with("VERIFY_CA", ca)).await.unwrap_err(), Misconfigured, &words);
    }
    let own = format!("{full}&ssl-cert={}", file(&server, "client.pem"));
    for key in ["nowhere.key", "ca.key"] {
        let error = open(&format!("{own}&ssl-key={}", file(&server, key))).await.unwrap_err();
        assert_error(&error, Misconfigured, &["`ssl-key`", key]);
    }
    let error = open(&format!("{full}&ssl-cert={}", file(&server, "nowhere.pem"))).await.unwrap_err();
    assert_error(&error, Misconfigured, &["`ssl-cert`", "nowhere.pem"]);

    // The store that is open meets the new certificates too: each is read for each connection.
    show_certificate(&server, "elsewhere").await;
    let error = open(&full).await.unwrap_err();
    assert_error(&error, Misconfigured, &["VERIFY_IDENTITY", "another host than 127.0.0.1", "VERIFY_CA"]);
    open(&with("VERIFY_CA", "ca.pem")).await.expect("it is signed by the authority");
    open(&format!("{url}?ssl-ca={}", file(&server, "ca.pem"))).await.expect("this alone means VERIFY_CA");

    show_certificate(&server, "expired").await;
    let error = open(&with("VERIFY_CA", "ca.pem")).await.unwrap_err();
    assert_error(&error, Misconfigured, &["VERIFY_CA", "expired"]);
    open(&format!("{url}?ssl-mode=REQUIRED")).await.expect("nothing is verified");
    open(&url).await.expect("nor here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_needs_a_certificate() {
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "certified", "REQUIRE X509").await;
    let error = open(&format!("{url}?ssl-mode=REQUIRED")).await.unwrap_err();
    let words = ["Access denied", "`REQUIRE X509`", "`ssl-cert`", "`ssl-key`"];
    assert_error(&error, StoreErrorKind::Misconfigured, &words);
    let with = |name: &str| {
        let (certificate, key) =
            (file(&server, &format!("{name}.pem")), file(&server, &format!("{name}.key")));
        format!("{url}?ssl_cert={certificate}&ssl_key={key}&ssl_ca={}", file(&server, "ca.pem"))
    };
    let store = open(&with("client")).await.unwrap();
    create(&store).await;
    // The server verifies it, and says so only after the handshake.
    let error = open(&with("foreign")).await.unwrap_err();
    println!("a certificate of another authority: {error}");
    assert_no_secret(&format!("{error} {error:?}"));
}

/// A server that speaks only versions of TLS that are no longer safe.
#[tokio::test]
async fn where_tls_fails_the_default_goes_on_without_it_and_says_so() {
    let server = start_with_tls(&["--tls-version=TLSv1.1"]).await;
    let url = url_of_user(&server, "anyone", "").await;
    let log = Log::start();
    let store = open(&url).await.unwrap();
    create(&store).await;
    let said = log.lines().join("\n");
    assert_eq!(
        said.matches("connections are not encrypted, as TLS with the server fails").count(),
        1,
        "{said}"
    );
    assert_no_secret(&said);
    let error = open(&format!("{url}?ssl-mode=REQUIRED")).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["`ssl-mode=REQUIRED`", "TLS 1.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_clear_text_needs_encryption() {
    let url = database().await;
    let error = open(&format!("{url}?enable_cleartext_plugin=true")).await.unwrap_err();
    let words = ["`enable_cleartext_plugin`", "`ssl-mode=VERIFY_IDENTITY`"];
    assert_error(&error, StoreErrorKind::Misconfigured, &words);
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    open(&format!("{url}?enable_cleartext_plugin=true")).await.unwrap();
}

/// A password that is changed while the store is open: each new connection asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes() {
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    let changed = Arc::new(AtomicBool::new(false));
    let mut options = MysqlStore::options(&url.replace(PASSWORD, "open-sesame-of-last-year")).unwrap();
    options.password = Some(PasswordSource::new({
        let changed = Arc::clone(&changed);
        move || {
            let changed = changed.load(Ordering::Relaxed);
            async move { Ok::<_, std::io::Error>(if changed { "open-sesame-new" } else { PASSWORD }) }
        }
    }));
    assert_no_secret(&format!("{options:?}"));
    let store = options.clone().open(&Settings::new("secret")).await.unwrap();
    let session = create(&store).await;
    let mut raw = connection(&self::url(&server, "mysql")).await;
    raw.query_drop("ALTER USER guarded@'%' IDENTIFIED BY 'open-sesame-new' REQUIRE SSL").await.unwrap();
    let ended: Option<u64> = raw
        .query_first("SELECT id FROM information_schema.processlist WHERE user = 'guarded'")
        .await
        .unwrap();
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))), "this connection is open");
    raw.query_drop(format!("KILL {}", ended.unwrap())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let error = update(&store, &session).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["Access denied"]);
    changed.store(true, Ordering::Relaxed);
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_) | Updated::Changed)));

    options.password = Some(PasswordSource::new(|| async { Err::<String, _>("the vault is sealed") }));
    let error = options.open(&Settings::new("secret")).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["source of the password", "the vault is sealed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_each_acknowledged_write_is_there_over_tls() {
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    let url = format!("{url}?ssl-ca={}", file(&server, "ca.pem"));
    killed_and_started_again(Arc::new(open(&url).await.unwrap()), server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_keeps_the_deadline_over_tls() {
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    let mut options = MysqlStore::options(&url).unwrap();
    options.timeout = Duration::from_millis(500);
    let store = options.clone().open(&Settings::new("secret")).await.unwrap();
    stopped(Arc::new(store), server, options.timeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests_over_tls() {
    let server = start_with_tls(&[]).await;
    let url = url_of_user(&server, "guarded", "REQUIRE SSL").await;
    cancelled_requests_hurt_nobody(Arc::new(open(&url).await.unwrap())).await;
}
