//! MariaDB: one server for all tests, and a database for each.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::OnceCell;

use super::{Server, folder, free_port, is_root, program, run};

/// The account of the tests, which may do everything.
pub(crate) const USER: &str = "cloakroom";
/// Looked for in error messages and debug output, where it must not be.
pub(crate) const PASSWORD: &str = "open-sesame-8731";

static SHARED: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database on the shared server.
pub(crate) async fn database() -> String {
    let server = SHARED.get_or_init(start).await;
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = connection(&url(server, "mysql")).await;
    // What MariaDB 10.11 does by itself; newer versions have another collation.
    let defaults = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci";
    connection.query_drop(format!("CREATE DATABASE {name} {defaults}")).await.unwrap();
    connection.disconnect().await.unwrap();
    url(server, &name)
}

/// The URL of a database on this server.
pub(crate) fn url(server: &Server, database: &str) -> String {
    format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", server.port)
}

/// A connection of the tests' own.
pub(crate) async fn connection(url: &str) -> Conn {
    Conn::from_url(url).await.unwrap()
}

/// A server of one test's own, with the server's own defaults: the collation matches keys without regard to
/// case and trailing spaces.
pub(crate) async fn start() -> Server {
    start_in(folder("mariadb", None), &[]).await
}

/// A server of one test's own that also speaks TLS, with `server.pem` of its folder, a certificate for 127.0.0.1.
/// Once that file is another, [`show_certificate`] has the server read it.
#[cfg(feature = "mysql-tls")]
pub(crate) async fn start_with_tls(also: &[&str]) -> Server {
    let folder = folder("mariadb", None);
    super::certificates::make_all(&folder);
    let file = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
    let options = [file("ssl-ca", "ca.pem"), file("ssl-cert", "server.pem"), file("ssl-key", "server.key")];
    let options: Vec<&str> = options.iter().map(String::as_str).chain(also.iter().copied()).collect();
    start_in(folder.clone(), &options).await
}

/// From now on the server shows this certificate of its folder.
#[cfg(feature = "mysql-tls")]
pub(crate) async fn show_certificate(server: &Server, name: &str) {
    for kind in ["pem", "key"] {
        let file = |name: &str| server.folder.join(format!("{name}.{kind}"));
        std::fs::copy(file(name), file("server")).unwrap();
    }
    connection(&url(server, "mysql")).await.query_drop("FLUSH SSL").await.unwrap();
}

async fn start_in(folder: std::path::PathBuf, options: &[&str]) -> Server {
    let hidden = ["/usr/sbin", "/usr/bin"];
    let (install, mariadbd) = (program("mariadb-install-db", &hidden), program("mariadbd", &hidden));
    let option = |name: &str, value: &str| OsString::from(format!("--{name}={}{value}", folder.display()));
    // Its own temporary files too: servers that start at once would remove each other's.
    let mut common: Vec<OsString> = vec![option("datadir", "/data"), option("tmpdir", "")];
    if is_root() {
        common.push("--user=root".into());
    }
    let mut command: Vec<OsString> = vec![install.into(), "--no-defaults".into()];
    command.extend(common.clone());
    command.extend(["--auth-root-authentication-method=normal", "--skip-test-db"].map(Into::into));
    run(None, command, &folder);
    // The account is made before the server listens to anybody.
    let accounts = folder.join("accounts.sql");
    let statement = format!(
        "CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n"
    );
    std::fs::write(&accounts, statement.replace("; ", ";\n")).unwrap();
    let port = free_port();
    let mut command: Vec<OsString> = vec![mariadbd.into(), "--no-defaults".into()];
    command.extend(common);
    command.extend([
        option("socket", "/socket"),
        option("pid-file", "/pid"),
        option("init-file", "/accounts.sql"),
    ]);
    command.extend(["--bind-address=127.0.0.1".into(), format!("--port={port}").into()]);
    command.extend(options.iter().map(Into::into));
    let server = Server::start("MariaDB", folder, port, None, command);
    let address = url(&server, "mysql");
    server.wait_until(async || Conn::from_url(&address).await.is_ok()).await;
    server
}
