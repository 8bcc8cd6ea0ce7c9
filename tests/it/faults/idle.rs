//! A server closes connections that nobody has used for a while. The next save finds that out before it sends anything,
//! and goes on another connection.

use tokio::runtime::{Builder, Runtime};

use super::*;

/// `wait_until_closed` waits until the server has closed all connections of the store.
fn costs_no_save(name: &str, url: &str, servers: &Runtime, mut wait_until_closed: impl AsyncFnMut()) {
    // On one that nobody drives meanwhile, nothing has noticed yet what the server did.
    let (driven, resting) =
        (Runtime::new().unwrap(), Builder::new_current_thread().enable_all().build().unwrap());
    for (kind, runtime) in [("driven", driven), ("resting", resting)] {
        let store = runtime.block_on(cloakroom::connect(url, &settings())).unwrap();
        let (session_key, _) = runtime.block_on(create(&*store));
        for number in 1..4 {
            servers.block_on(wait_until_closed());
            let updated = runtime.block_on(update(&*store, &session_key, number));
            assert!(matches!(updated, Ok(Updated::Updated(_))), "{name}, {kind}: {updated:?}");
        }
        servers.block_on(wait_until_closed());
        assert_eq!(runtime.block_on(load(&*store, &session_key)).unwrap(), 3);
        servers.block_on(wait_until_closed());
        assert!(runtime.block_on(store.delete(&session_key)).unwrap(), "{name}, {kind}");
    }
}

async fn wait_until(name: &str, mut closed: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !closed().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{name}: the server keeps idle connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(feature = "mysql")]
#[test]
fn connections_that_mariadb_closed_cost_no_save() {
    use crate::support::servers::mariadb::{connection, start, url};
    use mysql_async::prelude::Queryable;
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(start());
    let url = url(&server, "mysql");
    servers.block_on(cloakroom::store::create_table(&url, Default::default())).unwrap();
    let mut admin = servers.block_on(connection(&url));
    servers.block_on(admin.query_drop("SET GLOBAL wait_timeout = 1")).unwrap();
    let closed = async || {
        let count = "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE db = 'mysql' AND id <> CONNECTION_ID()";
        wait_until("mariadb", async || admin.query_first::<u64, _>(count).await.unwrap() == Some(0)).await;
    };
    costs_no_save("mariadb", &url, &servers, closed);
}

#[cfg(feature = "postgres")]
#[test]
fn connections_that_postgres_closed_cost_no_save() {
    use crate::support::servers::postgres::{client, database};
    let servers = Runtime::new().unwrap();
    let url = servers.block_on(database());
    servers.block_on(cloakroom::store::create_table(&url, Default::default())).unwrap();
    let (address, name) = url.rsplit_once('/').unwrap();
    let admin = servers.block_on(client(&format!("{address}/postgres")));
    let limit = format!("ALTER DATABASE {name} SET idle_session_timeout = '300ms'");
    servers.block_on(admin.batch_execute(&limit)).unwrap();
    let closed = async || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        wait_until("postgres", async || {
            admin.query_one(count, &[&name]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    };
    costs_no_save("postgres", &url, &servers, closed);
}

#[cfg(feature = "redis")]
#[test]
fn connections_that_redis_closed_cost_no_save() {
    use crate::support::servers::redis::{client, start, url_of};
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(start());
    let mut admin = servers.block_on(client(&url_of(&server)));
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("timeout").arg(1);
    servers.block_on(limit.query_async::<()>(&mut admin)).unwrap();
    let only_mine = async || {
        // Each time on a new one, as the server closes this one, too.
        let mut admin = client(&url_of(&server)).await;
        let mut list = redis::cmd("CLIENT");
        list.arg("LIST");
        list.query_async::<String>(&mut admin).await.unwrap().lines().count() == 1
    };
    let closed = async || wait_until("redis", only_mine).await;
    costs_no_save("redis", &url_of(&server), &servers, closed);
}

#[cfg(feature = "memcached")]
#[test]
fn connections_that_memcached_closed_cost_no_save() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(crate::support::servers::memcached::start_with(&["-o", "idle_timeout=1"]));
    let only_mine = async || {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        stream.write_all(b"stats conns\r\nquit\r\n").await.unwrap();
        let mut stats = String::new();
        stream.read_to_string(&mut stats).await.unwrap();
        let mut states = stats.lines().filter_map(|line| line.split_once(":state ")).map(|(_, state)| state);
        states.by_ref().filter(|state| !state.contains("listening")).count() == 1
    };
    let closed = async || wait_until("memcached", only_mine).await;
    let url = format!("memcached://127.0.0.1:{}", server.port);
    costs_no_save("memcached", &url, &servers, closed);
}
