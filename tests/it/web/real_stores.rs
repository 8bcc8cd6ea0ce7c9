//! Over HTTP, with real servers behind the site.

use cloakroom::FileStore;

use super::*;

#[cfg(feature = "mysql")]
on_every_adapter!(an_alias_of_a_key_is_nobody);
#[cfg(feature = "redis")]
on_every_adapter!(a_killed_redis_is_a_503_that_keeps_the_cookie, ten_thousand_bogus_requests_make_no_key,);
on_every_adapter!(ten_thousand_bogus_requests_make_no_file);
#[cfg(all(feature = "postgres", feature = "mysql"))]
on_every_adapter!(a_quoted_nul_in_the_cookie_is_an_unknown_session);

/// What MariaDB's usual collation takes for the key is no session's key, and the database is not even asked.
#[cfg(feature = "mysql")]
async fn an_alias_of_a_key_is_nobody(on: Adapter) {
    let site =
        Site::start_on(on, crate::support::stores::new_mariadb().await, pages(), Settings::new("secret"))
            .await;
    let mut browser = site.visitor().await;
    let key = browser.session_key().unwrap().to_owned();
    let accented = key.replacen(|letter: char| letter.is_ascii_alphabetic(), "é", 1);
    let aliases = [key.to_uppercase(), format!("\"{key} \""), format!("\"{key}\\040\""), accented];
    for alias in &aliases {
        let cookie = http::HeaderValue::from_bytes(format!("sessionid={alias}").as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let reply = client.get(site.url("/read")).header("cookie", cookie).send().await.unwrap();
        assert_eq!(reply.text().await.unwrap(), "none", "{alias}");
        assert_eq!(site.store.calls(), [""; 0], "{alias}");
    }
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "1");
    println!("t03: {0} of {0} aliases of a key are nobody, without a question to MariaDB", aliases.len());
}

/// PostgreSQL refuses a NUL in a text: from a cookie it must not get there, and it is nobody's error.
#[cfg(all(feature = "postgres", feature = "mysql"))]
async fn a_quoted_nul_in_the_cookie_is_an_unknown_session(on: Adapter) {
    for store in [crate::support::stores::new_postgres().await, crate::support::stores::new_mariadb().await] {
        let site = Site::start_on(on, store, pages(), Settings::new("secret")).await;
        let mut browser = site.visitor().await;
        let key = browser.session_key().unwrap().to_owned();
        let values =
            [format!("\"{key}\\000\""), format!("\"\\000{key}\""), "\"abcdefgh\\000\\000\"".to_owned()];
        for value in &values {
            for (path, body) in [("/read", "none"), ("/logout", ""), ("/visit", "1")] {
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                let cookie = format!("sessionid={value}");
                let reply = client.get(site.url(path)).header("cookie", cookie).send().await.unwrap();
                assert_eq!(reply.status(), 200, "{path} {value}");
                assert_eq!(reply.text().await.unwrap(), body, "{path} {value}");
                let calls = site.store.calls();
                assert!(calls.is_empty() || calls == ["create"], "{path} {value}: {calls:?}");
            }
        }
        assert_eq!(browser.get(site.url("/read")).await.ok().body, "1");
    }
}

/// Django's cache back end deletes the cookie of whoever comes while Redis is down.
#[cfg(feature = "redis")]
async fn a_killed_redis_is_a_503_that_keeps_the_cookie(on: Adapter) {
    let mut server = crate::support::servers::redis::start().await;
    let mut options =
        cloakroom::RedisStore::options(&crate::support::servers::redis::url_of(&server)).unwrap();
    options.timeout = std::time::Duration::from_millis(700);
    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    let site = Site::start_on(on, store, pages(), Settings::new("secret")).await;
    let visitor = site.visitor().await;
    server.send("KILL");
    server
        .wait_until(async || tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.is_err())
        .await;
    for path in ["/read", "/visit", "/login", "/logout"] {
        let mut browser = visitor.clone();
        let reply = browser.get(site.url(path)).await;
        assert_eq!((reply.status, reply.set_cookies().len()), (503, 0), "{path}");
        assert_eq!(browser.session_key(), visitor.session_key(), "{path}");
    }
}

const REQUESTS: usize = 10_000;

/// Anonymous requests, unknown keys, and logouts of nobody.
async fn bogus_requests(on: Adapter, store: Arc<dyn SessionStore>) {
    let site = Site::start_on(on, store, pages(), Settings::new("secret")).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for number in 0..REQUESTS {
        let mut request = client.get(site.url(["/untouched", "/read", "/logout"][number % 3]));
        if number % 4 > 0 {
            request = request.header("cookie", format!("sessionid=unknown{number:025}"));
        }
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.bytes().await.unwrap();
    }
}

async fn ten_thousand_bogus_requests_make_no_file(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    bogus_requests(on, Arc::new(FileStore::at(folder.path()).open(&Settings::new("secret")).await.unwrap()))
        .await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    println!("t10: {REQUESTS} of {REQUESTS} bogus requests made no file");
}

#[cfg(feature = "redis")]
async fn ten_thousand_bogus_requests_make_no_key(on: Adapter) {
    let server = crate::support::servers::redis::start().await;
    let url = crate::support::servers::redis::url_of(&server);
    bogus_requests(on, cloakroom::connect(&url, &Settings::new("secret")).await.unwrap()).await;
    let mut client = crate::support::servers::redis::client(&url).await;
    assert_eq!(redis::cmd("DBSIZE").query_async::<usize>(&mut client).await.unwrap(), 0);
    println!("t10: {REQUESTS} of {REQUESTS} bogus requests made no key");
}
