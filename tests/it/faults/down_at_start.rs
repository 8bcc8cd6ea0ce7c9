//! A cache server that is down when its store is opened.

use std::time::Instant;

use cloakroom::store::Rotated;
use cloakroom::{Session, SqliteStore, auth};
use tokio::net::TcpStream;

use super::*;
use crate::support::log::Log;

/// Kills the server; nobody listens at its port from here on.
async fn kill(server: &mut Server) {
    server.send("KILL");
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(20), "it lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The lines that warn, of which each must be about the server at this port and tell no password.
fn warnings(log: &Log, port: u16) -> Vec<String> {
    let lines: Vec<String> = log.lines().into_iter().filter(|line| line.contains("WARN")).collect();
    for line in &lines {
        assert!(line.contains(&format!("127.0.0.1:{port}")) && !line.contains("open-sesame"), "{line}");
    }
    lines
}

async fn a_database_does_without_its_cache(name: &str, mut server: Server, cache: String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    SqliteStore::at(&path).create_table(Default::default()).await.unwrap();
    kill(&mut server).await;

    let error = cloakroom::connect(&cache, &settings()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{name}: alone it has nothing to serve");

    let log = Log::start();
    let url = format!("cached_db:sqlite:{}|{cache}", path.display());
    let store = cloakroom::connect(&url, &settings()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(warnings(&log, server.port).len(), 1, "{name}: the cache is named once: {:?}", log.lines());
    assert!(!format!("{store:?}").contains("open-sesame"), "{store:?}");

    let key = create(&*store).await.0;
    assert_eq!(load(&*store, &key).await.unwrap(), 0, "{name}");
    assert!(matches!(update(&*store, &key, 1).await, Ok(Updated::Updated(_))), "{name}");
    let (new, moved) = (create(&*store).await.0, SessionKey::random().unwrap());
    let outcome = store.rotate(&new, None, &moved, record(&data_of(&moved, 2))).await.unwrap();
    assert!(matches!(outcome, Rotated::Rotated(_)), "{name}");
    let session = Session::new(Arc::clone(&store), settings());
    let user = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };
    auth::login(&session, user).await.unwrap();
    session.save().await.unwrap();
    assert_eq!(store.count(Utc::now()).await.unwrap().live, 3, "{name}");
    assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 0, "{name}");
    // A logout cannot be told to a cache that is away.
    let error = store.delete(&moved).await.unwrap_err();
    assert!(error.to_string().contains("gone from the database"), "{name}: {error}");
    assert!(!store.exists(&moved, Utc::now()).await.unwrap(), "{name}");

    server.send("start");
    let start = Instant::now();
    // A copy does not tell when the session ends. Those from the outage are not believed for a while, so a new one each.
    loop {
        let new = create(&*store).await.0;
        if store.load(&new, Utc::now()).await.unwrap().unwrap().expire_date.is_none() {
            assert!(store.delete(&new).await.unwrap(), "{name}: the cache is told");
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{name}: the cache is not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(load(&*store, &key).await.unwrap(), 1, "{name}");
    println!(
        "{name}: down at the start, sessions came from the database; the cache was used once it was back"
    );
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_database_does_without_redis() {
    let server = crate::support::servers::redis::start().await;
    let cache = crate::support::servers::redis::url_of(&server);
    a_database_does_without_its_cache("redis", server, cache).await;
}

/// Its driver must have met a node before it can be made at all.
#[cfg(feature = "redis-cluster")]
#[tokio::test]
async fn a_database_does_without_a_redis_cluster() {
    let mut server = crate::support::servers::redis::start_node_of_a_cluster().await;
    let cache = format!("redis+cluster://127.0.0.1:{}", server.port);
    cloakroom::connect(&cache, &settings()).await.unwrap();
    kill(&mut server).await;
    server.send("start");
    a_database_does_without_its_cache("redis cluster", server, cache).await;
}

#[cfg(feature = "memcached")]
#[tokio::test]
async fn a_database_does_without_memcached() {
    let server = crate::support::servers::memcached::start().await;
    let cache = format!("memcached://127.0.0.1:{}", server.port);
    a_database_does_without_its_cache("memcached", server, cache).await;
}

/// A wrong setting is no outage: nobody would find it.
#[tokio::test]
async fn a_cache_that_is_set_up_wrongly_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    SqliteStore::at(&path).create_table(Default::default()).await.unwrap();
    for cache in ["redis://127.0.0.1:1?serializer=xml", "carrier-pigeon:", "cookie:"] {
        let url = format!("cached_db:sqlite:{}|{cache}", path.display());
        let error = cloakroom::connect(&url, &settings()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{cache}: {error}");
    }
}

#[cfg(feature = "memcached")]
#[tokio::test]
async fn one_of_three_memcached_servers_takes_only_its_own_sessions_with_it() {
    use crate::support::servers::memcached::start;
    let mut servers = [start().await, start().await, start().await];
    let addresses = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port));
    let open = async || cloakroom::MemcachedStore::at(addresses.clone()).open(&settings()).await;
    let store = open().await.unwrap();
    let mut keys = Vec::new();
    for _ in 0..60 {
        keys.push(create(&store).await.0);
    }
    kill(&mut servers[1]).await;

    let log = Log::start();
    let store = open().await.unwrap();
    assert_eq!(warnings(&log, servers[1].port).len(), 1, "{:?}", log.lines());
    let (mut served, mut failed) = (0, 0);
    for session_key in &keys {
        match load(&store, session_key).await {
            Ok(_) => served += 1,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains(&addresses[1]), "{error}");
                failed += 1;
            }
        }
    }
    assert!(served > 0 && failed > 0, "{served} served, {failed} failed");
    let error = store.count(Utc::now()).await.unwrap_err();
    assert!(error.to_string().contains(&addresses[1]), "a count of some is no count: {error}");

    servers[1].send("start");
    let start_of_healing = Instant::now();
    for session_key in &keys {
        // What was on it went with it.
        while let Err(error) = store.load(session_key, Utc::now()).await {
            assert!(start_of_healing.elapsed() < Duration::from_secs(20), "it does not heal: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(store.count(Utc::now()).await.unwrap().live, served);
    for server in &mut servers {
        kill(server).await;
    }
    let error = open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "with none of them there is nothing to serve");
    println!(
        "one of three memcached servers down at the start: {served} sessions served, {failed} errors, none absent"
    );
}
