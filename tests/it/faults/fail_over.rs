//! The primary becomes one that only reads, and another server takes over under the same address: a proxy's, or a name's
//! in the DNS. The connections to the old one go on, and reading on them too.

use futures_util::future::join_all;

use super::*;

/// Two stores whose address leads to the old primary, and the new one.
struct FailOver {
    name: &'static str,
    /// It saves while the old one only reads and there is no new one yet.
    early: Arc<dyn SessionStore>,
    /// It saves after that.
    late: Arc<dyn SessionStore>,
    /// On the new primary, without the proxy.
    new: Arc<dyn SessionStore>,
    port_of_new: u16,
    proxy: Proxy,
}

/// `only_read` makes the old primary one that only reads.
async fn fails_over(this: FailOver, only_read: impl AsyncFnOnce()) {
    let FailOver { name, early, late, new, port_of_new, proxy } = this;
    let (session_key, _) = create(&*early).await;
    new.create(&session_key, record(&data_of(&session_key, 0))).await.unwrap();
    // Many at once, so that each store holds several connections to the old one.
    for store in [&early, &late] {
        for updated in join_all((0..8).map(|_| update(&**store, &session_key, 0))).await {
            assert!(matches!(updated, Ok(Updated::Updated(_))), "{name}: {updated:?}");
        }
    }
    only_read().await;
    let start = std::time::Instant::now();
    let error = loop {
        // Nobody tells when the server's processes have heard of it.
        match update(&*early, &session_key, 1).await {
            Ok(_) => assert!(start.elapsed() < Duration::from_secs(20), "{name}: it writes on"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{name}: {error}");
    assert!(error.to_string().contains("primary"), "{name}: {error}");
    proxy.lead_to(port_of_new);
    // The old one refused and wrote nothing, so that each may go to the new one at once: none is lost.
    for store in [&early, &late] {
        for updated in join_all((0..8).map(|_| update(&**store, &session_key, 2))).await {
            assert!(matches!(updated, Ok(Updated::Updated(_))), "{name}: {updated:?}");
        }
        assert_eq!(load(&*new, &session_key).await.unwrap(), 2, "{name}");
        update(&*new, &session_key, 3).await.unwrap();
    }
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_only_reads_is_given_up() {
    use crate::servers::mariadb::{PASSWORD, USER, connection, database, start, url};
    use mysql_async::prelude::Queryable;
    let of_new = database().await;
    let (address, name) = of_new.rsplit_once('/').unwrap();
    let old = start().await;
    let of_old = url(&old, name);
    let mut at_old = connection(&url(&old, "mysql")).await;
    at_old.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
    for of_server in [&of_old, &of_new] {
        cloakroom::store::create_table(of_server, Default::default()).await.unwrap();
        // Who may do everything writes on.
        let mut admin = connection(of_server).await;
        admin.query_drop(format!("CREATE USER site@'%' IDENTIFIED BY '{PASSWORD}'")).await.unwrap();
        admin
            .query_drop(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO site@'%'"))
            .await
            .unwrap();
    }
    let proxy = Proxy::before(old.port).await;
    let of_site = |url: &str| url.replacen(USER, "site", 1);
    let through_proxy = of_site(&proxy.url(&of_old, old.port));
    let early = cloakroom::connect(&through_proxy, &settings()).await.unwrap();
    let late = cloakroom::connect(&through_proxy, &settings()).await.unwrap();
    let new = cloakroom::connect(&of_site(&of_new), &settings()).await.unwrap();
    let port_of_new = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let this = FailOver { name: "mariadb", early, late, new, port_of_new, proxy };
    fails_over(this, async || at_old.query_drop("SET GLOBAL read_only = 1").await.unwrap()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_only_reads_is_given_up() {
    use crate::servers::postgres::{client, database, start, url};
    let of_new = database().await;
    let (address, name) = of_new.rsplit_once('/').unwrap();
    let old = start().await;
    let of_old = url(&old, name);
    let at_old = client(&url(&old, "postgres")).await;
    at_old.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    for of_server in [&of_old, &of_new] {
        cloakroom::store::create_table(of_server, Default::default()).await.unwrap();
    }
    let proxy = Proxy::before(old.port).await;
    let through_proxy = proxy.url(&of_old, old.port);
    let early = cloakroom::connect(&through_proxy, &settings()).await.unwrap();
    let late = cloakroom::connect(&through_proxy, &settings()).await.unwrap();
    let new = cloakroom::connect(&of_new, &settings()).await.unwrap();
    let port_of_new = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let this = FailOver { name: "postgres", early, late, new, port_of_new, proxy };
    let only_read = async || {
        at_old.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        at_old.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    fails_over(this, only_read).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_became_a_replica_is_given_up() {
    use crate::servers::redis::{PASSWORD, client, start, url_of};
    let (old, new) = (start().await, start().await);
    let proxy = Proxy::before(old.port).await;
    let through_proxy = proxy.url(&url_of(&old), old.port);
    let early = cloakroom::connect(&through_proxy, &settings()).await.unwrap();
    let late = cloakroom::connect(&through_proxy, &settings()).await.unwrap();
    let at_new = cloakroom::connect(&url_of(&new), &settings()).await.unwrap();
    let this = FailOver { name: "redis", early, late, new: at_new, port_of_new: new.port, proxy };
    let only_read = async || {
        let mut at_old = client(&url_of(&old)).await;
        let mut password = redis::cmd("CONFIG");
        password.arg("SET").arg("masterauth").arg(PASSWORD);
        password.query_async::<()>(&mut at_old).await.unwrap();
        let mut replicate = redis::cmd("REPLICAOF");
        replicate.arg("127.0.0.1").arg(new.port);
        replicate.query_async::<()>(&mut at_old).await.unwrap();
    };
    fails_over(this, only_read).await;
}
