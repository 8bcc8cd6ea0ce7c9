//! Valkey, in place of Redis.

use std::sync::Arc;

use cloakroom::{RedisStore, SessionStore, Settings, conformance};

use crate::support::servers::redis::{PASSWORD, start_valkey};

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
    for scheme in ["valkey", "redis"] {
        let error =
            RedisStore::open(&format!("{scheme}://{place}"), &Settings::new("secret")).await.unwrap_err();
        assert!(error.to_string().contains("use redis+cluster://"), "{scheme}: {error}");
    }
}
