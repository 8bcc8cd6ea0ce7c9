//! URLs of Redis as people and providers write them, against real servers, beside redis-py itself.

use std::path::Path;
use std::process::Command;

use cloakroom::{RedisStore, SessionStore, Settings, StoreErrorKind};

use crate::support::servers::redis::{PASSWORD, client, start, start_with, url_of};

/// The database and the user of the only other client of this server.
async fn seen_by(admin: &mut redis::aio::MultiplexedConnection) -> (String, String) {
    let own: i64 = redis::cmd("CLIENT").arg("ID").query_async(admin).await.unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(admin).await.unwrap();
    let others: Vec<&str> = list.lines().filter(|line| !line.starts_with(&format!("id={own} "))).collect();
    let [other] = others[..] else { panic!("one other client: {list}") };
    let field = |name: &str| {
        other.split(' ').find_map(|field| field.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    (field("db="), field("user="))
}

/// The database and the user that redis-py, Django's client, gets with this URL.
fn by_redis_py(url: &str) -> (String, String) {
    let code = "import sys, redis\n\
                info = redis.ConnectionPool.from_url(sys.argv[1])\n\
                info = redis.Redis(connection_pool=info).execute_command('CLIENT', 'INFO')\n\
                info = info if isinstance(info, dict) else dict(\n\
                    field.split('=', 1) for field in (info if isinstance(info, str) else info.decode()).split())\n\
                print(info['db'], info['user'])";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let output = Command::new(python).args(["-c", code, url]).output().unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (database, user) = text.trim().split_once(' ').unwrap();
    (database.to_owned(), user.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_leads_where_redis_py_goes() {
    let socket_folder = tempfile::tempdir().unwrap();
    let socket = socket_folder.path().join("redis.sock");
    let server = start_with(&["--unixsocket", socket.to_str().unwrap()]).await;
    let mut admin = client(&url_of(&server)).await;
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("ann").arg("on").arg(">p@ss/1%").arg("~*").arg("+@all");
    command.query_async::<()>(&mut admin).await.unwrap();
    let (port, socket) = (server.port, socket.display());
    let urls = [
        format!("redis://:{PASSWORD}@127.0.0.1:{port}"),
        format!("redis://:{PASSWORD}@127.0.0.1:{port}/3"),
        format!("redis://:{PASSWORD}@localhost:{port}/3?db=4"),
        format!("redis://127.0.0.1:{port}?db=5&password={PASSWORD}"),
        format!("redis://ann:p%40ss%2F1%25@127.0.0.1:{port}/6"),
        format!("redis://127.0.0.1:{port}?username=ann&password=p%40ss%2F1%25&db=7"),
        format!("redis://ann:p%40ss%2F1%25@127.0.0.1:{port}?username=default&password={PASSWORD}"),
        format!("unix://{socket}?db=8&password={PASSWORD}"),
        format!("unix://ann:p%40ss%2F1%25@{socket}?db=9"),
        format!(
            "redis://:{PASSWORD}@127.0.0.1:{port}/1?socket_timeout=5&socket_connect_timeout=2&health_check_interval=30\
             &max_connections=20&retry_on_timeout=true&protocol=2&decode_responses=1&client_name=web&socket_keepalive=1"
        ),
    ];
    for url in &urls {
        let store = RedisStore::open(url, &Settings::new("secret")).await.unwrap();
        let ours = seen_by(&mut admin).await;
        drop(store);
        assert_eq!(ours, by_redis_py(url), "{url}");
    }
    // Other tools' names of the same.
    for (url, database) in [
        (format!("valkey://:{PASSWORD}@127.0.0.1:{port}/2"), "2"),
        (format!("redis+socket://{socket}?db=3&password={PASSWORD}"), "3"),
        (format!("redis+unix://:{PASSWORD}@{socket}?db=4"), "4"),
        (format!("valkey+unix://:{PASSWORD}@{socket}"), "0"),
    ] {
        let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
        assert_eq!(seen_by(&mut admin).await.0, database, "{url}");
        drop(store);
    }
    println!("{} of {} URLs lead where redis-py goes", urls.len(), urls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_url_is_named_by_the_command_too() {
    let server = start().await;
    for (url, named) in [
        (format!("{}/0?keyprefix=site", url_of(&server)), "parameter `keyprefix` is not known"),
        (format!("{}/0?ssl_ca_path=/etc/ssl", url_of(&server)), "`ssl_ca_path`"),
        (format!("{}?db=99", url_of(&server)), "database"),
    ] {
        let error = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
        assert!(error.to_string().contains(named) && !error.to_string().contains(PASSWORD), "{url}: {error}");
    }
    // A socket that nobody listens on.
    let error = cloakroom::connect("unix:///nowhere/redis.sock", &Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("/nowhere/redis.sock"), "{error}");
}

/// The URLs of providers, at servers of that shape: their certificates, users and hosts.
#[cfg(feature = "redis-tls")]
mod providers {
    use std::sync::Arc;

    use super::*;
    use crate::support::servers::redis::start_with_certificate;

    async fn serves(name: &str, url: &str) {
        let store = RedisStore::open(url, &Settings::new("secret")).await;
        let store: Arc<dyn SessionStore> = Arc::new(store.unwrap_or_else(|error| panic!("{name}: {error}")));
        assert_eq!(store.count(chrono::Utc::now()).await.unwrap().live, 0, "{name}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn heroku() {
        let server = start_with_certificate("alone", &[]).await;
        let url = format!("rediss://:{PASSWORD}@127.0.0.1:{}", server.port);
        serves("Heroku", &format!("{url}?ssl_cert_reqs=none")).await;
        serves("Heroku, as its guide has it for Celery", &format!("{url}?ssl_cert_reqs=CERT_NONE")).await;
        serves(
            "Heroku, with the user that the URL has in other plans",
            &format!("rediss://default:{PASSWORD}@127.0.0.1:{}?ssl_cert_reqs=none", server.port),
        )
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn digital_ocean_upstash_and_elasticache_without_a_cluster() {
        let server = start_with_certificate("localhost", &[]).await;
        let authority = server.folder.join("ca.pem");
        let authority = authority.display();
        for (name, url) in [
            ("DigitalOcean", format!("rediss://default:{PASSWORD}@localhost:{}", server.port)),
            ("Upstash", format!("rediss://default:{PASSWORD}@localhost:{}/0", server.port)),
            ("ElastiCache", format!("rediss://:{PASSWORD}@localhost:{}/0", server.port)),
            ("Aiven for Valkey", format!("valkeys://default:{PASSWORD}@localhost:{}", server.port)),
        ] {
            // The authority is public at the provider, and here the test's.
            serves(name, &format!("{url}?ssl_ca_certs={authority}")).await;
        }
    }

    /// The endpoint of configuration names the nodes, whose certificates are for their names.
    #[cfg(feature = "redis-cluster")]
    #[tokio::test(flavor = "multi_thread")]
    async fn elasticache_with_a_cluster() {
        let nodes = crate::support::servers::redis::start_cluster_with_tls("localhost", true).await;
        let authority = nodes[0].folder.join("ca.pem");
        let place = format!(":{PASSWORD}@localhost:{}?ssl_ca_certs={}", nodes[0].port, authority.display());
        serves("ElastiCache in cluster mode", &format!("rediss+cluster://{place}")).await;
        let error =
            RedisStore::open(&format!("rediss://{place}"), &Settings::new("secret")).await.unwrap_err();
        assert!(error.to_string().contains("use rediss+cluster://"), "{error}");
    }
}
