//! Valkey, in place of Redis.

use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record, Rotated, Updated, Version};
use cloakroom::{RedisStore, SessionData, SessionKey, SessionStore, Settings, StoreErrorKind, conformance};

use crate::support::proxy::{End, Proxy};
use crate::support::servers::Server;
use crate::support::servers::redis::{PASSWORD, client, start, start_valkey, url_of};

#[tokio::test(flavor = "multi_thread")]
async fn valkey_conforms() {
    let socket_folder = tempfile::tempdir().unwrap();
    let socket = socket_folder.path().join("valkey.sock");
    let server = start_valkey(&["--unixsocket", socket.to_str().unwrap()]).await;
    for (name, url) in [
        ("valkey", format!("valkey://default:{PASSWORD}@127.0.0.1:{}/1?key_prefix=tcp", server.port)),
        (
            "valkey on a socket",
            format!("valkey+unix://:{PASSWORD}@{}?db=2&key_prefix=socket", socket.display()),
        ),
    ] {
        let store: Arc<dyn SessionStore> =
            Arc::new(RedisStore::open(&url, &Settings::new("secret")).await.unwrap());
        println!("{name}: {}", conformance::run(&store, &[]).await.unwrap());
    }
}

/// How often the server ran a command.
async fn calls(server: &Server, command: &str) -> u64 {
    let mut admin = client(&url_of(server)).await;
    let statistics: String = redis::cmd("INFO").arg("commandstats").query_async(&mut admin).await.unwrap();
    let line = statistics.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Valkey 9 compares and replaces in one command of its own. Redis 7 has none, and a script does it; also where
/// it takes over from a server that has.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_own_comparison_is_used_where_there_is_one() {
    let (valkey, redis) = (start_valkey(&[]).await, start().await);
    let proxy = Proxy::before(valkey.port).await;
    let url = proxy.url(&url_of(&valkey), valkey.port);
    let store = RedisStore::open(&url, &Settings::new("secret")).await.unwrap();
    let (key, data) = (SessionKey::random().unwrap(), SessionData::new());
    let now = Utc::now();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    for (server, scripts) in [(&valkey, 0), (&redis, 1)] {
        proxy.lead_to(server.port);
        proxy.end_all(End::Reset);
        let created = loop {
            // The first call may find the connection ended.
            match store.create(&key, record).await {
                Ok(created) => break created,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
            }
        };
        let Created::Created(version) = created else { panic!("{created:?}") };
        let before = calls(server, "evalsha").await + calls(server, "eval").await;
        let updated = store.update(&key, Some(&version), record).await.unwrap();
        assert!(matches!(updated, Updated::Updated(_)), "{updated:?}");
        let after = calls(server, "evalsha").await + calls(server, "eval").await;
        assert_eq!((after - before).min(1), scripts, "{before} to {after}");
        let other = store.update(&key, Some(&Version::from_bytes(b"other".to_vec())), record).await.unwrap();
        assert!(matches!(other, Updated::Changed), "{other:?}");
        let absent = store.update(&SessionKey::random().unwrap(), None, record).await.unwrap();
        assert!(matches!(absent, Updated::Missing), "{absent:?}");
    }
}

/// Valkey 9 compares and deletes in one command of its own.
#[cfg(feature = "redis-cluster")]
async fn a_move_in_a_cluster_needs_no_script(server: &Server, store: &dyn SessionStore) {
    let scripts = async || calls(server, "evalsha").await + calls(server, "eval").await;
    let [old, new, other] = [(); 3].map(|()| SessionKey::random().unwrap());
    let (data, now) = (SessionData::new(), Utc::now());
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    let created = store.create(&old, record).await.unwrap();
    let Created::Created(version) = created else { panic!("{created:?}") };
    let before = (scripts().await, calls(server, "delifeq").await);
    let changed = Version::from_bytes(b"other".to_vec());
    let refused = store.rotate(&old, Some(&changed), &other, record).await.unwrap();
    assert!(matches!(refused, Rotated::Changed), "{refused:?}");
    assert!(!store.exists(&other, now).await.unwrap());
    let moved = store.rotate(&old, Some(&version), &new, record).await.unwrap();
    assert!(matches!(moved, Rotated::Rotated(_)), "{moved:?}");
    let again = store.rotate(&old, Some(&version), &other, record).await.unwrap();
    assert!(matches!(again, Rotated::Missing), "{again:?}");
    assert_eq!(scripts().await, before.0);
    // Each refused move also deletes its new entry.
    assert_eq!(calls(server, "delifeq").await, before.1 + 5);
}

/// One node that has all slots would answer for all sessions today, and for a part of them once there is another.
#[cfg(feature = "redis-cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_valkey_cluster_is_refused_with_the_scheme_to_use() {
    let bus = crate::support::servers::free_port().to_string();
    let server = start_valkey(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    let mut admin =
        crate::support::servers::redis::client(&format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port))
            .await;
    let mut command = redis::cmd("CLUSTER");
    command.arg("ADDSLOTSRANGE").arg(0).arg(16_383).query_async::<()>(&mut admin).await.unwrap();
    let place = format!(":{PASSWORD}@127.0.0.1:{}", server.port);
    let cluster = format!("valkey+cluster://{place}");
    server.wait_until(async || RedisStore::open(&cluster, &Settings::new("secret")).await.is_ok()).await;
    let store: Arc<dyn SessionStore> =
        Arc::new(RedisStore::open(&cluster, &Settings::new("secret")).await.unwrap());
    println!("valkey cluster: {}", conformance::run(&store, &[]).await.unwrap());
    a_move_in_a_cluster_needs_no_script(&server, &*store).await;
    for scheme in ["valkey", "redis"] {
        let error =
            RedisStore::open(&format!("{scheme}://{place}"), &Settings::new("secret")).await.unwrap_err();
        assert!(error.to_string().contains("use redis+cluster://"), "{scheme}: {error}");
    }
}
