//! Connecting to one server: over TCP, TLS or a Unix socket.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::connection::Failure;
use crate::site::error::StoreErrorKind;
#[cfg(feature = "redis-tls")]
use crate::store::cache::tls::{Encryption, NotEncrypted, encrypt, tls_error};
use crate::store::password::PasswordSource;
use crate::store::tls::{TlsMode, TlsOptions};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(formatter, "{host}:{port}"),
            Address::Socket(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// How connections are made, to whichever server. There is no `Debug`, which would show the password.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_source: Option<PasswordSource>,
    pub(super) database: i64,
    pub(super) tls: TlsOptions,
    /// The time limit of connecting, if it has one of its own.
    pub(super) connect_timeout: Option<Duration>,
    /// The beginning of the names of the URL's parameters, for errors: `sentinel_` for the sentinels.
    #[cfg_attr(not(feature = "redis-tls"), allow(dead_code, reason = "these are all of TLS"))]
    pub(super) prefix: &'static str,
}

/// An open connection, which requests share.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) connection: MultiplexedConnection,
    /// The task that reads and writes; it ends with the connection.
    pub(super) driver: Arc<Driver>,
}

pub(super) struct Driver(AbortHandle);

impl Driver {
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Access {
    /// The same without the login and the database: for a server of a kind that is not yet known.
    pub(super) fn anonymous(&self) -> Access {
        Access { username: None, password: None, password_source: None, database: 0, ..self.clone() }
    }

    /// Connects and logs in. A host's name is looked up anew each time, and files are read anew, so that
    /// addresses and certificates may change while the program runs.
    pub(super) async fn connect(
        &self,
        address: &Address,
        config: AsyncConnectionConfig,
    ) -> Result<Open, Failure> {
        match self.connect_timeout {
            Some(limit) => match tokio::time::timeout(limit, self.connect_at(address, config)).await {
                Ok(connected) => connected,
                // As a host that cannot be reached: it is tried again within the call's own time limit.
                Err(_) => Err(Failure::Redis(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
            },
            None => self.connect_at(address, config).await,
        }
    }

    async fn connect_at(&self, address: &Address, config: AsyncConnectionConfig) -> Result<Open, Failure> {
        match address {
            #[cfg(unix)]
            Address::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(io)?;
                self.start(stream, address, config).await
            }
            #[cfg(not(unix))]
            Address::Socket(_) => {
                let error = std::io::Error::from(std::io::ErrorKind::Unsupported);
                Err(io(error))
            }
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(io)?;
                stream.set_nodelay(true).map_err(io)?;
                if self.tls.mode == TlsMode::Disable {
                    return self.start(stream, address, config).await;
                }
                self.start_encrypted(stream, host, address, config).await
            }
        }
    }

    #[cfg(feature = "redis-tls")]
    async fn start_encrypted(
        &self,
        stream: TcpStream,
        host: &str,
        address: &Address,
        config: AsyncConnectionConfig,
    ) -> Result<Open, Failure> {
        let encryption = Encryption { options: &self.tls, address, prefix: self.prefix };
        let (stream, handshake) = match encrypt(stream, host, encryption).await {
            Ok(encrypted) => encrypted,
            Err(NotEncrypted::Refused(reason)) => return Err(Failure::Tls(reason)),
            Err(NotEncrypted::Io(error)) => return Err(io(error)),
        };
        self.start(stream, address, config).await.map_err(|failure| {
            let reason = match &failure {
                Failure::Redis(error) if error.is_io_error() || error.is_connection_dropped() => {
                    handshake.explain(inner_io(error).and_then(tls_error), encryption)
                }
                _ => None,
            };
            reason.map_or(failure, Failure::Tls)
        })
    }

    #[cfg(not(feature = "redis-tls"))]
    async fn start_encrypted(
        &self,
        _stream: TcpStream,
        _host: &str,
        address: &Address,
        _config: AsyncConnectionConfig,
    ) -> Result<Open, Failure> {
        Err(Failure::Tls(format!("{address}: no TLS: this build lacks it; add the feature `redis-tls`")))
    }

    async fn start<S>(
        &self,
        stream: S,
        address: &Address,
        config: AsyncConnectionConfig,
    ) -> Result<Open, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut info = RedisConnectionInfo::default().set_db(self.database);
        let password = match &self.password_source {
            Some(source) => Some(source.next().await.map_err(|error| {
                let message = format!("no password for {address}: {error}");
                Failure::Explained(StoreErrorKind::Unavailable, message)
            })?),
            None => self.password.clone(),
        };
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        // As redis-py: a user without a password logs in with an empty one.
        if let Some(password) = password.or_else(|| self.username.is_some().then(String::new)) {
            info = info.set_password(password);
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let driver = Driver(tokio::spawn(driver).abort_handle());
        Ok(Open { connection, driver: Arc::new(driver) })
    }
}

/// The error of the connection inside of the driver's, which has its cause in an `Arc`.
#[cfg(feature = "redis-tls")]
fn inner_io(error: &redis::RedisError) -> Option<&std::io::Error> {
    use std::error::Error;

    error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?.downcast_ref()
}

fn io(error: std::io::Error) -> Failure {
    Failure::Redis(error.into())
}
