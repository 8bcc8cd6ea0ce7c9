//! A URL whose scheme is not what the server is: a share of the sessions must not pass for all of them.

use cloakroom::user_sessions::UserSessions;
use cloakroom::{RedisStore, SessionKey, SessionStore, Settings, StoreError, StoreErrorKind};

use crate::support::many_sessions::create_many;
use crate::support::servers::redis::{
    PASSWORD, client, start, start_cluster, start_node_of_a_cluster, start_watched, url_of, wait_until_info,
};

async fn refusal(url: &str) -> StoreError {
    let error = cloakroom::connect(url, &Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_is_refused_with_the_scheme_to_use() {
    let (nodes, url) = start_cluster().await;
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    create_many(&store).await;
    for node in &nodes {
        let (address, scheme) = (format!("127.0.0.1:{}", node.port), "use redis+cluster://");
        for url in [
            format!("redis://{address}"),
            format!("redis://{address}/0?key_prefix=site"),
            // The node refuses this one before anything else.
            format!("redis://{address}/1"),
        ] {
            let error = refusal(&url).await.to_string();
            assert!(error.contains(scheme) && error.contains(&address), "{url}: {error}");
            let error = UserSessions::connect(&url, &Settings::new("secret")).await.unwrap_err().to_string();
            assert!(error.contains(scheme), "{url}: {error}");
        }
    }
    // Whoever may not ask what the server is finds out all the same.
    let mut connection = client(&format!("redis://127.0.0.1:{}", nodes[0].port)).await;
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("site").arg("on").arg(format!(">{PASSWORD}")).arg("~*").arg("+@all");
    command.arg("-info").arg("-cluster").arg("-ping").arg("-role");
    command.query_async::<()>(&mut connection).await.unwrap();
    let url = format!("redis://site:{PASSWORD}@127.0.0.1:{}", nodes[0].port);
    assert!(refusal(&url).await.to_string().contains("use redis+cluster://"));
}

/// A prefix with a hash tag keeps all sessions on one node: that node has them all, and is not refused. When the slot
/// moves away, no call takes the node's answer for "no sessions".
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_cluster_while_running_name_the_scheme() {
    let node = start_node_of_a_cluster().await;
    refusal(&format!("redis://127.0.0.1:{}", node.port)).await;
    let url = format!("redis://127.0.0.1:{}?key_prefix={{site}}", node.port);
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    let keys = create_many(&store).await;
    let now = chrono::Utc::now();
    assert_eq!(store.count(now).await.unwrap().live, 100);
    let mut connection = client(&url).await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    redis::cmd("CLUSTER").arg("FLUSHSLOTS").query_async::<()>(&mut connection).await.unwrap();
    let data = cloakroom::SessionData::new();
    let record =
        cloakroom::store::Record { data: &data, expire_date: now + chrono::TimeDelta::hours(1), now };
    let errors = [
        store.load(&keys[0], now).await.map(drop).unwrap_err(),
        store.exists(&keys[0], now).await.map(drop).unwrap_err(),
        store.create(&SessionKey::random().unwrap(), record).await.map(drop).unwrap_err(),
        store.update(&keys[0], None, record).await.map(drop).unwrap_err(),
        store.rotate(&keys[0], None, &SessionKey::random().unwrap(), record).await.map(drop).unwrap_err(),
        store.delete(&keys[0]).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains("use redis+cluster://"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_server_is_no_cluster() {
    let server = start().await;
    let address = format!("127.0.0.1:{}", server.port);
    let error = refusal(&format!("redis+cluster://:{PASSWORD}@{address}")).await.to_string();
    assert!(error.contains(&format!("use redis://{address}")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_is_refused_with_the_scheme_to_use() {
    let watched = start_watched().await;
    let address = format!("127.0.0.1:{}", watched.sentinels[0].port);
    for url in [
        format!("redis://{address}"),
        format!("redis://{address}/1"),
        // As the site has it for the server itself; the sentinel wants no password.
        format!("redis://:{PASSWORD}@{address}/1"),
    ] {
        let error = refusal(&url).await.to_string();
        assert!(error.contains("is a sentinel") && error.contains("use redis+sentinel://"), "{url}: {error}");
    }
    // A wrong password stays one.
    let url = url_of(&watched.primary).replace(PASSWORD, "wrong");
    let error = refusal(&url).await.to_string();
    assert!(error.contains("refuses this user"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_named_when_it_is_to_write() {
    let watched = start_watched().await;
    let url = url_of(&watched.replica);
    wait_until_info(&watched.replica, "role:slave").await;
    let store = RedisStore::open(&url, &Settings::new("secret")).await.unwrap();
    assert_eq!(store.count(chrono::Utc::now()).await.unwrap().live, 0, "it can be read");
    let error = store.delete(&SessionKey::random().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("is a replica") && error.to_string().contains("primary"), "{error}");
}
