//! PgBouncer in front of a PostgreSQL server.

use tokio_postgres::SimpleQueryMessage;

use super::postgres::{PASSWORD, USER, client};
use super::{Server, folder, free_port, is_root, program};

/// How PgBouncer pools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    /// `transaction`, `session` or `statement`.
    pub(crate) mode: &'static str,
    /// How many connections to the server there are at most. With one, all clients share it.
    pub(crate) size: usize,
    /// Its `ignore_startup_parameters`.
    pub(crate) ignored: &'static str,
}

impl Pool {
    /// As Debian's package sets it up, with one connection.
    pub(crate) const TRANSACTION: Pool = Pool { mode: "transaction", size: 1, ignored: "extra_float_digits" };
}

/// A pooler before the server of this URL, and the URL of it.
pub(crate) async fn start(url: &str, pool: Pool) -> (Server, String) {
    start_with(url, pool, "").await
}

/// `further` are more lines of its configuration.
pub(crate) async fn start_with(url: &str, pool: Pool, further: &str) -> (Server, String) {
    let (before_port, rest) = url.rsplit_once(':').unwrap();
    let (port_of_server, database) = rest.split_once('/').unwrap();
    // PgBouncer refuses to run as root.
    let user = is_root().then_some("postgres");
    let (folder, port) = (folder("pgbouncer", user), free_port());
    let users = folder.join("users.txt");
    std::fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
    let settings = folder.join("pgbouncer.ini");
    let Pool { mode, size, ignored } = pool;
    // Without the reset query, which only session mode runs, what a client leaves behind shows in each mode.
    let text = format!(
        "[databases]\n\
         {database} = host=127.0.0.1 port={port_of_server} user={USER} password={PASSWORD}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {}\n\
         pool_mode = {mode}\n\
         default_pool_size = {size}\n\
         max_client_conn = 500\n\
         server_reset_query =\n\
         server_login_retry = 1\n\
         ignore_startup_parameters = {ignored}\n\
         {further}",
        users.display()
    );
    std::fs::write(&settings, text).unwrap();
    let command = [program("pgbouncer", &["/usr/sbin"]).into(), settings.into()];
    let server = Server::start("PgBouncer", folder, port, user, command);
    let answers = || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
    server.wait_until(answers).await;
    let url = format!("{before_port}:{port}/{database}");
    if further.is_empty() {
        client(&url).await.simple_query("SELECT 1").await.unwrap();
    }
    (server, url)
}

/// The state that a client finds on a connection to the server: each setting with its value, and everything else that
/// outlives a transaction.
const LOOK: &str = "SELECT 'setting', name, setting FROM pg_settings \
     UNION ALL SELECT 'prepared statement', name, statement FROM pg_prepared_statements \
     UNION ALL SELECT 'cursor', name, statement FROM pg_cursors \
     UNION ALL SELECT 'lock', locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' \
     UNION ALL SELECT 'temporary table', relname, '' FROM pg_class WHERE relpersistence = 't' \
     ORDER BY 1, 2";

async fn look(client: &tokio_postgres::Client) -> Vec<[String; 3]> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some([0, 1, 2].map(|column| row.get(column).unwrap().to_owned())),
        _ => None,
    };
    client.simple_query(LOOK).await.unwrap().into_iter().filter_map(row).collect()
}

/// Takes each connection of the pool, as a client that begins a transaction does, and compares what it finds there
/// with a connection that nobody used before.
pub(crate) async fn assert_nothing_is_left(direct: &str, pooled: &str, pool: Pool) {
    // Whoever has just gone may still hold a connection.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let fresh = look(&client(direct).await).await;
    assert!(fresh.len() > 300, "{}", fresh.len());
    let (mut clients, mut processes) = (Vec::new(), std::collections::HashSet::new());
    for _ in 0..pool.size {
        let client = client(pooled).await;
        client.batch_execute("BEGIN").await.unwrap();
        let rows = client.simple_query("SELECT pg_backend_pid()").await.unwrap();
        let process = rows.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        assert!(processes.insert(process.unwrap()), "two clients share a connection");
        let found = look(&client).await;
        let left: Vec<_> = found.iter().filter(|found| !fresh.contains(found)).collect();
        assert!(left.is_empty(), "{pool:?}: {left:?}");
        clients.push(client);
    }
    for client in clients {
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    let open = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let open: i64 = client(direct).await.query_one(open, &[]).await.unwrap().get(0);
    assert_eq!(open, 0, "{pool:?}: transactions are open");
}
