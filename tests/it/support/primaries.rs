//! A primary that another server takes over from.

use crate::support::proxy::Proxy;
use crate::support::servers::Server;

/// Two servers of one kind, of which the old one is the primary, and a proxy that leads to it.
pub(crate) struct Primaries {
    pub(crate) name: &'static str,
    old: Server,
    /// A site's URL by way of the proxy.
    pub(crate) address: String,
    /// A site's URL of the new one.
    pub(crate) of_new: String,
    proxy: Proxy,
}

impl Primaries {
    async fn new(name: &'static str, old: Server, of_old: &str, of_new: String) -> Primaries {
        let proxy = Proxy::before(old.port).await;
        let address = proxy.url(of_old, old.port);
        Primaries { name, old, address, of_new, proxy }
    }

    pub(crate) async fn all() -> Vec<Primaries> {
        vec![
            #[cfg(feature = "postgres")]
            Primaries::postgres().await,
            #[cfg(feature = "mysql")]
            Primaries::mariadb().await,
            #[cfg(feature = "redis")]
            Primaries::redis().await,
        ]
    }

    /// In databases of one name, with both tables, for a user who may not do everything: that one writes on.
    #[cfg(feature = "mysql")]
    async fn mariadb() -> Primaries {
        use crate::support::servers::mariadb::{PASSWORD, USER, connection, database, start, url};
        use mysql_async::prelude::Queryable;
        let of_new = database().await;
        let name = of_new.rsplit_once('/').unwrap().1;
        let old = start().await;
        let of_old = url(&old, name);
        let mut at_old = connection(&url(&old, "mysql")).await;
        at_old.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
        let user = format!("site_of_{name}");
        for of_server in [&of_old, &of_new] {
            make_tables(of_server).await;
            let mut admin = connection(of_server).await;
            let made = format!("CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'");
            admin.query_drop(made).await.unwrap();
            let granted = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {user}@'%'");
            admin.query_drop(granted).await.unwrap();
        }
        let of_site = |url: &str| url.replacen(USER, &user, 1);
        Primaries::new("mariadb", old, &of_site(&of_old), of_site(&of_new)).await
    }

    /// In databases of one name, with both tables.
    #[cfg(feature = "postgres")]
    async fn postgres() -> Primaries {
        use crate::support::servers::postgres::{client, database, start, url};
        let of_new = database().await;
        let name = of_new.rsplit_once('/').unwrap().1;
        let old = start().await;
        let of_old = url(&old, name);
        let at_old = client(&url(&old, "postgres")).await;
        at_old.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        for of_server in [&of_old, &of_new] {
            make_tables(of_server).await;
        }
        Primaries::new("postgres", old, &of_old, of_new).await
    }

    /// The new one is the shared server, under a key prefix of its own.
    #[cfg(feature = "redis")]
    async fn redis() -> Primaries {
        use crate::support::servers::redis::{start, url, url_of};
        let (old, of_new) = (start().await, url().await);
        let of_old = format!("{}?{}", url_of(&old), of_new.split_once('?').unwrap().1);
        Primaries::new("redis", old, &of_old, of_new).await
    }

    /// The old one only reads from now on.
    pub(crate) async fn only_read(&self) {
        match self.name {
            #[cfg(feature = "mysql")]
            "mariadb" => {
                use mysql_async::prelude::Queryable;
                let url = crate::support::servers::mariadb::url(&self.old, "mysql");
                let mut admin = crate::support::servers::mariadb::connection(&url).await;
                admin.query_drop("SET GLOBAL read_only = 1").await.unwrap();
            }
            #[cfg(feature = "postgres")]
            "postgres" => {
                let url = crate::support::servers::postgres::url(&self.old, "postgres");
                let admin = crate::support::servers::postgres::client(&url).await;
                let set = "ALTER SYSTEM SET default_transaction_read_only = on";
                admin.batch_execute(set).await.unwrap();
                admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
            }
            #[cfg(feature = "redis")]
            "redis" => {
                let mut admin = crate::support::servers::redis::client(
                    &crate::support::servers::redis::url_of(&self.old),
                )
                .await;
                // Of one that nobody can reach, so that it keeps what it has.
                let mut command = redis::cmd("REPLICAOF");
                command.arg("127.0.0.1").arg(1);
                command.query_async::<()>(&mut admin).await.unwrap();
            }
            other => panic!("{other} has no primary"),
        }
    }

    /// The address leads to the new one from now on.
    pub(crate) fn fail_over(&self) {
        let (address, _) = self.of_new.split_once('?').unwrap_or((&self.of_new, ""));
        let port = address.rsplit_once(':').unwrap().1.split('/').next().unwrap();
        self.proxy.lead_to(port.parse().unwrap());
    }
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
async fn make_tables(url: &str) {
    cloakroom::store::create_table(url, Default::default()).await.unwrap();
    cloakroom::store::create_user_session_table(url).await.unwrap();
}
