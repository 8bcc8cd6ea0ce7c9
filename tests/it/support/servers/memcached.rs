//! memcached: one server for all tests, and a key prefix for each.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::{Server, folder, free_port, is_root, program};

static SHARED: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of the shared server, with a key prefix that no other test has.
pub(crate) async fn url() -> String {
    let server = SHARED.get_or_init(start).await;
    format!("memcached://127.0.0.1:{}?key_prefix=test{}", server.port, NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A server of one test's own.
pub(crate) async fn start() -> Server {
    start_with(&[]).await
}

/// The same with further options.
pub(crate) async fn start_with(options: &[&str]) -> Server {
    let server = start_in(folder("memcached", None), options);
    server.wait_until(|| async { TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() }).await;
    server
}

/// A server that speaks TLS alone, with one of the [`certificates`](super::certificates), which are in its folder.
#[cfg(feature = "memcached-tls")]
pub(crate) async fn start_with_tls(certificate: &str, options: &[&str]) -> Server {
    let folder = folder("memcached", None);
    super::certificates::make_all(&folder);
    readable_by_all(&folder);
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = format!(
        "ssl_chain_cert={},ssl_key={},ssl_ca_cert={}",
        file(&format!("{certificate}.pem")),
        file(&format!("{certificate}.key")),
        file("ca.pem")
    );
    let tls = std::iter::once(tls.as_str()).chain(options.iter().copied()).collect::<Vec<_>>().join(",");
    let server = start_in(folder, &["-Z", "-o", &tls]);
    server.wait_until(|| async { TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() }).await;
    server
}

/// A server on a Unix socket, and the socket's path.
#[cfg(unix)]
pub(crate) async fn start_on_a_socket() -> (Server, std::path::PathBuf) {
    let folder = folder("memcached", None);
    readable_by_all(&folder);
    let socket = folder.join("memcached.sock");
    let server = start_in(folder, &["-s", socket.to_str().unwrap(), "-a", "0777"]);
    server.wait_until(|| async { tokio::net::UnixStream::connect(&socket).await.is_ok() }).await;
    (server, socket)
}

/// The server runs as another user when the tests run as root.
#[cfg(unix)]
fn readable_by_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;

    let readable = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    readable(folder, 0o777);
    for file in std::fs::read_dir(folder).unwrap() {
        readable(&file.unwrap().path(), 0o644);
    }
}

fn start_in(folder: std::path::PathBuf, options: &[&str]) -> Server {
    let port = free_port();
    let mut command: Vec<OsString> = vec![program("memcached", &[]).into()];
    // Beside a socket it opens no port.
    if !options.contains(&"-s") {
        command.extend(["-p".into(), port.to_string().into(), "-l".into(), "127.0.0.1".into()]);
    }
    command.extend(["-m".into(), "32".into()]);
    command.extend(options.iter().map(Into::into));
    if is_root() {
        command.extend(["-u".into(), "nobody".into()]);
    }
    Server::start("memcached", folder, port, None, command)
}
