//! PostgreSQL: one server for all tests, and a database for each.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use super::{Server, folder, free_port, is_root, program, run};

/// The role of the tests, who may do everything.
pub(crate) const USER: &str = "cloakroom";
/// Looked for in error messages and debug output, where it must not be.
pub(crate) const PASSWORD: &str = "open-sesame-8731";

static SHARED: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database on the shared server.
pub(crate) async fn database() -> String {
    let server = SHARED.get_or_init(start).await;
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    client(&url(server, "postgres")).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    url(server, &name)
}

/// The URL of a database on this server.
pub(crate) fn url(server: &Server, database: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", server.port)
}

/// A connection of the tests' own.
pub(crate) async fn client(url: &str) -> Client {
    try_client(url).await.unwrap()
}

async fn try_client(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A server of one test's own.
pub(crate) async fn start() -> Server {
    let hidden: Vec<String> =
        (13..=20).rev().map(|version| format!("/usr/lib/postgresql/{version}/bin")).collect();
    let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
    let (initdb, postgres) = (program("initdb", &hidden), program("postgres", &hidden));
    // PostgreSQL refuses to run as root; the Debian package brings this user.
    let user = is_root().then_some("postgres");
    let folder = folder("postgres", user);
    let data = folder.join("data");
    let password_file = folder.join("password");
    std::fs::write(&password_file, PASSWORD).unwrap();
    let mut command: Vec<OsString> = vec![initdb.into(), "-D".into(), (&data).into()];
    command.extend(
        ["--no-sync", "-A", "scram-sha-256", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8"].map(Into::into),
    );
    command.extend(["--pwfile".into(), password_file.into()]);
    run(user, command, &folder);
    let port = free_port();
    let mut command: Vec<OsString> = vec![postgres.into(), "-D".into(), data.into()];
    command.extend(["-h", "127.0.0.1", "-c", "max_connections=200", "-p"].map(Into::into));
    command.extend([port.to_string().into(), "-k".into(), (&folder).into()]);
    let server = Server::start("PostgreSQL", folder, port, user, command);
    server.wait_until(async || try_client(&url(&server, "postgres")).await.is_ok()).await;
    server
}
