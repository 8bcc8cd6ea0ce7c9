//! How the demo starts and stops, and what it leaves behind.

use std::io::Write;
use std::process::Command;

use crate::support::browser::Demo;
use crate::support::command::{cloakroom, run, with_secret};
use crate::support::{servers, sessions};

#[test]
fn sessions_outlive_the_demo_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("db.sqlite3").display());
    let secret_file = folder.path().join("db.sqlite3.secret");
    let cookie = {
        let demo = Demo::start(&store, &[]);
        assert!(demo.greeting.contains("db.sqlite3.secret, made just now"), "{}", demo.greeting);
        let mut browser = demo.browser();
        browser.get("/");
        let page = browser.get("/");
        assert!(page.body.contains("signature made with SECRET_KEY"), "the row's text is shown in its parts");
        let session = browser.session();
        // The row holds what any Django with this secret reads.
        let text = session["row"]["session_data"].as_str().unwrap();
        let arguments = ["decode", "--secret-key-file", secret_file.to_str().unwrap()];
        let ran = run(cloakroom(&arguments), text.as_bytes());
        assert_eq!(ran.stdout, "{\"visits\":2}\n", "{}", ran.stderr);
        browser.cookie.clone()
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The database, too: whoever reads it knows the keys of its sessions. SQLite's journals are as it is.
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.file_name());
        }
    }
    let demo = Demo::start(&store, &[]);
    assert!(!demo.greeting.contains("made"), "{}", demo.greeting);
    let mut browser = demo.browser();
    browser.cookie = cookie.clone();
    assert_eq!(browser.session()["visits"], 2);
    drop(demo);

    // Another secret reads nothing, and the secret is never told.
    let secret = std::fs::read_to_string(&secret_file).unwrap();
    let demo = Demo::start(&store, &["--secret-key", "another-secret"]);
    assert!(!demo.greeting.contains("another-secret") && !demo.greeting.contains(secret.trim()));
    let mut browser = demo.browser();
    browser.cookie = cookie;
    assert!(browser.session()["visits"].is_null());
}

#[test]
fn a_taken_port_is_explained() {
    let demo = Demo::start("memory:", &[]);
    let address = demo.address.strip_prefix("http://").unwrap();
    let ran = run(cloakroom(&["demo", "--store", "memory:", "--listen", address]), b"");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(address) && ran.stderr.contains("--listen"), "{}", ran.stderr);
    let ran = run(cloakroom(&["demo", "--store", "memory:", "--listen", "here"]), b"");
    assert!(ran.code == 2 && ran.stderr.contains("ADDRESS:PORT"), "{}", ran.stderr);
    let ran = run(cloakroom(&["demo", "--store", "memory:", "--cookie-name", "a b"]), b"");
    assert!(ran.code == 2 && ran.stderr.contains("no spaces"), "{}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn it_stops_cleanly() {
    for signal in ["-INT", "-TERM"] {
        let mut demo = Demo::start("memory:", &[]);
        demo.browser().get("/");
        // Even with a browser that holds a connection open.
        let address = demo.address.strip_prefix("http://").unwrap();
        let mut half_a_request = std::net::TcpStream::connect(address).unwrap();
        half_a_request.write_all(b"GET / HT").unwrap();
        let kill = Command::new("kill").args([signal, &demo.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(demo.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

/// The demo on a store: it says which, and counts.
fn serves(url: &str) {
    let demo = Demo::start(url, &[]);
    let mut browser = demo.browser();
    for _ in 0..2 {
        browser.get("/");
    }
    let page = browser.get("/");
    assert_eq!(browser.session()["visits"], 3, "{url}");
    // Passwords are left out.
    let scheme = url.split(':').next().unwrap();
    assert!(page.body.contains(&format!("<code>{scheme}:")), "{url}: {}", page.body);
    let shown = ["/devices", "/race", "/session.json"].map(|path| browser.get(path).body);
    for password in [servers::redis::PASSWORD, servers::postgres::PASSWORD] {
        assert!(!page.body.contains(password) && !demo.greeting.contains(password), "{url}");
        assert!(!shown.iter().any(|shown| shown.contains(password)), "{url}");
    }
    assert_eq!(browser.script("/login", &[])["logged_in_as"], "1", "{url}");
    assert_eq!(browser.get("/devices").status, 200, "{url}");
    browser.post("/logout", &[], &[]);
    assert!(browser.cookie.is_none(), "{url}");
}

/// The same URL, with user and password as libpq's parameters.
fn with_login_in_query(url: &str) -> String {
    let (login, place) = url.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).unwrap();
    let (user, password) = login.split_once(':').unwrap();
    format!("postgres://{place}?user={user}&password={password}")
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_store() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = sessions::sqlite(folder.path());
    let redis = servers::redis::url().await;
    let mysql = servers::mariadb::database().await;
    assert_eq!(with_secret(&["create-table", "--store", &mysql], "").code, 0);
    for url in [
        "memory:".to_owned(),
        "cookie:".to_owned(),
        format!("file:{}", folder.path().display()),
        format!("cached_db:{sqlite}|{redis}"),
        sessions::postgres().await,
        with_login_in_query(&sessions::postgres().await),
        mysql,
        redis,
        servers::redis::cluster_url().await,
        servers::memcached::url().await,
        sqlite,
    ] {
        serves(&url);
    }
}
