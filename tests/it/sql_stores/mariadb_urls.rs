//! URLs of MySQL as people write them, on a server.

use cloakroom::{MysqlStore, Settings};

use super::*;
use crate::support::servers::mariadb::{PASSWORD, USER, start, url};

async fn open(url: &str) -> Result<MysqlStore, StoreError> {
    MysqlStore::open(url, &Settings::new("secret")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_tables_and_timeouts_in_the_url() {
    let server = start().await;
    let tables = "table=shop_session&user_session_table=shop_user_session";
    let url = format!("{}?{tables}", url(&server, "mysql"));
    cloakroom::store::create_table(&url, Default::default()).await.unwrap();
    cloakroom::store::create_user_session_table(&url).await.unwrap();
    open(&format!("{url}&charset=utf8mb4&connect_timeout=3&timeout=2.5&tcp_keepalive=1000")).await.unwrap();
    let socket = server.folder.join("socket");
    let socket = socket.display();
    for (host, name) in [("", "unix_socket"), ("localhost", "unix_socket"), ("", "socket")] {
        let url = format!("mysql://{USER}:{PASSWORD}@{host}/mysql?{name}={socket}&{tables}");
        let store = open(&url).await.unwrap();
        create(&store).await;
        assert!(format!("{store:?}").contains(&format!("at {socket}")), "{store:?}");
    }
    let error = open(&url.replace("shop_session", "none_session")).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no table none_session"]);
    let nowhere = format!("mysql://{USER}:{PASSWORD}@/mysql?unix_socket=/nowhere/mysqld.sock");
    let error = open(&nowhere).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["/nowhere/mysqld.sock", "is the server running"]);
}

#[tokio::test]
async fn connecting_has_a_limit_of_its_own() {
    let (_silent, port) = crate::support::servers::silent();
    let start = Instant::now();
    let url = format!("mysql://u:open-sesame@127.0.0.1:{port}/db?connect_timeout=0.2&timeout=30");
    let error = open(&url).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &[&format!("127.0.0.1:{port}")]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drivers_own_options() {
    let server = start().await;
    let opts = mysql_async::Opts::from_url(&url(&server, "mysql")).unwrap();
    let mut options = MysqlStore::from_opts(opts).unwrap();
    options.table = "shop_session".to_owned();
    options.create_table(Default::default()).await.unwrap();
    create(&options.open(&Settings::new("secret")).await.unwrap()).await;
}
