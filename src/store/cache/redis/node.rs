//! Connecting to one server: over TCP, TLS or a Unix socket.

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "redis-tls")]
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join3;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::Failure;
use super::wire::Wire;
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

impl Access {
    /// The same without the login and the database: for a server of a kind that is not yet known.
    pub(super) fn anonymous(&self) -> Access {
        Access { username: None, password: None, password_source: None, database: 0, ..self.clone() }
    }

    /// Connects and logs in. A host's name is looked up anew each time, and files are read anew, so that
    /// addresses and certificates may change while the program runs.
    pub(super) async fn connect(&self, address: &Address) -> Result<Wire, Failure> {
        match self.connect_timeout {
            Some(limit) => match tokio::time::timeout(limit, self.connect_at(address)).await {
                Ok(connected) => connected,
                // As a host that cannot be reached: it is tried again within the call's own time limit.
                Err(_) => Err(Failure::Redis(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
            },
            None => self.connect_at(address).await,
        }
    }

    async fn connect_at(&self, address: &Address) -> Result<Wire, Failure> {
        match address {
            #[cfg(unix)]
            Address::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(io)?;
                self.start(stream, address).await
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
                    return self.start(stream, address).await;
                }
                self.start_encrypted(stream, host, address).await
            }
        }
    }

    #[cfg(feature = "redis-tls")]
    async fn start_encrypted(
        &self,
        stream: TcpStream,
        host: &str,
        address: &Address,
    ) -> Result<Wire, Failure> {
        let encryption = Encryption { options: &self.tls, address, prefix: self.prefix };
        let (stream, handshake) = match encrypt(stream, host, encryption).await {
            Ok(encrypted) => encrypted,
            Err(NotEncrypted::Refused(reason)) => return Err(Failure::Tls(reason)),
            Err(NotEncrypted::Io(error)) => return Err(io(error)),
        };
        self.start(stream, address).await.map_err(|failure| {
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
    ) -> Result<Wire, Failure> {
        Err(Failure::Tls(format!("{address}: no TLS: this build lacks it; add the feature `redis-tls`")))
    }

    async fn start<S>(&self, stream: S, address: &Address) -> Result<Wire, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let password = match &self.password_source {
            Some(source) => Some(source.next().await.map_err(|error| {
                let message = format!("no password for {address}: {error}");
                Failure::Explained(StoreErrorKind::Unavailable, message)
            })?),
            None => self.password.clone(),
        };
        // As redis-py: a user without a password logs in with an empty one.
        let password = password.or_else(|| self.username.is_some().then(String::new));
        let wire = Wire::start(stream);
        let log_in = self.log_in(&wire, self.username.as_deref(), password.as_deref());
        if !log_in.await? {
            // Before Redis 6 there were no users.
            self.log_in(&wire, None, password.as_deref()).await?;
        }
        Ok(wire)
    }

    /// Logs in, selects the database and tells the client's name, in one round trip. Returns false if the server
    /// knows no users.
    async fn log_in(&self, wire: &Wire, username: Option<&str>, password: Option<&str>) -> RedisResult<bool> {
        // For `CLIENT LIST`. Servers before 7.2 do not know it, and a user may not be allowed to.
        let name = client_name();
        // Polled in this order, which is that of the commands.
        let (authenticated, selected, _) =
            join3(authenticate(wire, username, password), self.select(wire), wire.send(&name)).await;
        let authenticated = authenticated?;
        if authenticated {
            selected?;
        }
        Ok(authenticated)
    }

    async fn select(&self, wire: &Wire) -> RedisResult<()> {
        if self.database == 0 {
            return Ok(());
        }
        let reply = wire.send(redis::cmd("SELECT").arg(self.database)).await?;
        reply.extract_error().map(drop).map_err(|error| {
            let detail = error.detail().unwrap_or_default().to_owned();
            (ErrorKind::Server(ServerErrorKind::ResponseError), "the database was refused", detail).into()
        })
    }
}

/// Sends the password, if there is one. Returns false if the server knows no users.
async fn authenticate(wire: &Wire, username: Option<&str>, password: Option<&str>) -> RedisResult<bool> {
    let Some(password) = password else { return Ok(true) };
    let mut command = redis::cmd("AUTH");
    command.arg(username).arg(password);
    match wire.send(&command).await?.extract_error() {
        Ok(Value::Okay) => Ok(true),
        Err(error) if username.is_some() && error.detail().is_some_and(knows_no_users) => Ok(false),
        _ => Err((ErrorKind::AuthenticationFailed, "the password was refused").into()),
    }
}

fn client_name() -> Cmd {
    let mut command = redis::cmd("CLIENT");
    command.arg("SETINFO").arg("LIB-NAME").arg("cloakroom");
    command
}

fn knows_no_users(detail: &str) -> bool {
    detail.contains("wrong number of arguments for 'auth' command")
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
