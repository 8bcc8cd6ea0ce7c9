//! PgBouncer in front of a PostgreSQL server.

use super::postgres::{PASSWORD, USER, client};
use super::{Server, folder, free_port, is_root, program};

/// A pooler with one connection to the server of this URL, which all of its clients share; and the URL of it.
/// `ignored` are its `ignore_startup_parameters`.
pub(crate) async fn start(url: &str, pool_mode: &str, ignored: &str) -> (Server, String) {
    let (before_port, rest) = url.rsplit_once(':').unwrap();
    let (port_of_server, database) = rest.split_once('/').unwrap();
    // PgBouncer refuses to run as root.
    let user = is_root().then_some("postgres");
    let (folder, port) = (folder("pgbouncer", user), free_port());
    let users = folder.join("users.txt");
    std::fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
    let settings = folder.join("pgbouncer.ini");
    let text = format!(
        "[databases]\n\
         {database} = host=127.0.0.1 port={port_of_server} user={USER} password={PASSWORD}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {}\n\
         pool_mode = {pool_mode}\n\
         default_pool_size = 1\n\
         ignore_startup_parameters = {ignored}\n",
        users.display()
    );
    std::fs::write(&settings, text).unwrap();
    let command = [program("pgbouncer", &["/usr/sbin"]).into(), settings.into()];
    let server = Server::start("PgBouncer", folder, port, user, command);
    let answers = || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
    server.wait_until(answers).await;
    let url = format!("{before_port}:{port}/{database}");
    client(&url).await.simple_query("SELECT 1").await.unwrap();
    (server, url)
}
