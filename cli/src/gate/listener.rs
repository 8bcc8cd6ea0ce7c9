//! The sockets that the gate listens on.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::config::Listen;
use crate::ending::usage;

/// The mode of a Unix socket: its owner and its group may ask.
const MODE: u32 = 0o660;

/// A socket that is listened on.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// An accepted connection.
pub(crate) enum Stream {
    Tcp(TcpStream, IpAddr),
    /// The socket's permissions decide who is trusted.
    Unix(UnixStream),
}

impl Listener {
    pub(crate) async fn bind(listen: &Listen) -> anyhow::Result<Listener> {
        match listen {
            Listen::Tcp(address) => {
                let bound = TcpListener::bind(address).await.map_err(|error| match error.kind() {
                    ErrorKind::AddrInUse => anyhow::anyhow!(
                        "{address} is in use by another program. Stop that one, or give the gate another port: `listen` in its \
                         configuration"
                    ),
                    _ => usage(format!("cannot listen on {address}: {error}; check `listen` in the gate's configuration")),
                })?;
                Ok(Listener::Tcp(bound))
            }
            Listen::Unix(path) => bind_file(path),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small, and waited for.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream, peer.ip()))
            }
            Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// The address, with the port that the system chose.
    pub(crate) fn address(&self) -> io::Result<Listen> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Listener::Unix(_, SocketFile(path)) => Ok(Listen::Unix(path.clone())),
        }
    }
}

/// The file of a Unix socket, which is removed at the end.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it cannot be removed, the next start replaces it.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bind_file(path: &Path) -> anyhow::Result<Listener> {
    let shown = path.display();
    let failed = |error: io::Error| {
        usage(format!(
            "cannot listen on unix:{shown}: {error}; check that the folder exists and may be written"
        ))
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(usage(format!("{shown} is there and no socket; remove it, or listen elsewhere")));
        }
        Ok(_) => match StdUnixStream::connect(path) {
            Ok(_) => {
                anyhow::bail!("unix:{shown} is in use by another program; stop that one, or listen elsewhere")
            }
            // The program that made it has ended without removing it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, PermissionsExt::from_mode(MODE)).map_err(failed)?;
    Ok(Listener::Unix(listener, file))
}
