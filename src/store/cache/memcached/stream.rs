//! A connection to memcached: over TCP, TLS or a Unix socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(feature = "memcached-tls")]
use tokio_rustls::client::TlsStream;

use super::client::{Address, Failure};
#[cfg(feature = "memcached-tls")]
use crate::store::cache::tls::{Encryption, Handshake, NotEncrypted, encrypt, tls_error};
use crate::store::tls::{TlsMode, TlsOptions};

pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "memcached-tls")]
    Tls(Box<TlsStream<TcpStream>>, Handshake),
}

impl Stream {
    /// Connects. A host's name is looked up anew each time, and files are read anew.
    pub(super) async fn connect(address: &Address, tls: &TlsOptions) -> Result<Stream, Failure> {
        let (host, port) = match address {
            Address::Tcp(host, port) => (host.as_str(), *port),
            #[cfg(unix)]
            Address::Socket(path) => return Ok(Stream::Unix(UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Socket(_) => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if tls.mode == TlsMode::Disable {
            return Ok(Stream::Tcp(stream));
        }
        #[cfg(feature = "memcached-tls")]
        match encrypt(stream, host, Encryption { options: tls, address, prefix: "" }).await {
            Ok((stream, handshake)) => Ok(Stream::Tls(Box::new(stream), handshake)),
            Err(NotEncrypted::Refused(reason)) => Err(Failure::Tls(reason)),
            Err(NotEncrypted::Io(error)) => Err(error.into()),
        }
        #[cfg(not(feature = "memcached-tls"))]
        Err(Failure::Tls(format!("{address}: no TLS: this build lacks it; add the feature `memcached-tls`")))
    }

    /// Says what is wrong with the certificates, if that is why the first command failed.
    pub(super) fn explain(&self, failure: Failure, address: &Address, tls: &TlsOptions) -> Failure {
        match self {
            #[cfg(feature = "memcached-tls")]
            Stream::Tls(_, handshake) => {
                let encryption = Encryption { options: tls, address, prefix: "" };
                let reason = match &failure {
                    Failure::Io(error) => handshake.explain(tls_error(error), encryption),
                    Failure::Closed => handshake.explain(None, encryption),
                    _ => None,
                };
                reason.map_or(failure, Failure::Tls)
            }
            _ => {
                // Only TLS has something to say.
                let _ = (address, tls);
                failure
            }
        }
    }

    /// Whether the runtime knows of no data and no end. Its information is outdated if nothing has driven it.
    pub(super) fn seems_quiet(&self) -> bool {
        is_quiet(match self {
            Stream::Tcp(stream) => stream.try_read(&mut [0]),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.try_read(&mut [0]),
            #[cfg(feature = "memcached-tls")]
            Stream::Tls(stream, _) => stream.get_ref().0.try_read(&mut [0]),
        })
    }

    /// The same, asked of the operating system.
    #[cfg(unix)]
    pub(super) fn is_quiet(&self) -> bool {
        use std::io::Read;
        use std::os::fd::AsFd;

        let same = match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
            #[cfg(feature = "memcached-tls")]
            Stream::Tls(stream, _) => stream.get_ref().0.as_fd(),
        };
        // A byte that this reads is of a connection that is not used again. The standard library's read works
        // for both kinds of sockets.
        is_quiet(same.try_clone_to_owned().and_then(|same| std::fs::File::from(same).read(&mut [0])))
    }

    #[cfg(not(unix))]
    pub(super) fn is_quiet(&self) -> bool {
        self.seems_quiet()
    }
}

/// Whether a read found the connection open and without data.
fn is_quiet(read: io::Result<usize>) -> bool {
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Calls the same function of whichever stream it is.
macro_rules! of_each {
    ($stream:expr, $each:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($each) => $call,
            #[cfg(unix)]
            Stream::Unix($each) => $call,
            #[cfg(feature = "memcached-tls")]
            Stream::Tls($each, _) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_write(context, buffer))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}
