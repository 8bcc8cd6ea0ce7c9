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
    let (folder, port) = (folder("memcached", None), free_port());
    let mut command: Vec<OsString> = vec![program("memcached", &[]).into()];
    command.extend([
        "-p".into(),
        port.to_string().into(),
        "-l".into(),
        "127.0.0.1".into(),
        "-m".into(),
        "32".into(),
    ]);
    command.extend(options.iter().map(Into::into));
    if is_root() {
        command.extend(["-u".into(), "nobody".into()]);
    }
    let server = Server::start("memcached", folder, port, None, command);
    server.wait_until(|| async { TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() }).await;
    server
}
