//! TLS beneath the driver.
//!
//! The driver's own TLS takes the settings that the whole process shares: rustls' default provider, which it
//! installs, and without which it panics where a program contains two of them. It also cannot use the
//! system's certificates, or certificates that are replaced while the program runs. So the driver speaks to a
//! socket inside of this process, and a task of this module encrypts what passes through it:
//!
//! 1. The server's greeting says whether it can encrypt.
//! 2. Before the driver's login goes on, encryption is requested with the login's own first bytes.
//! 3. That request takes a number of the login's packets. Until the login is over, the numbers are shifted.
//!    Afterwards bytes pass as they are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::{Conn, Error, IoError, Opts, OptsBuilder, ServerError};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::MysqlOptions;
use super::connections::connect_plain;
use super::error::{Failure, Task, TlsProblem};
use crate::store::tls::TlsMode;

/// Logs in over TLS, as the options' mode says. The caller enforces the deadline.
pub(super) async fn connect(options: &MysqlOptions, builder: OptsBuilder) -> Task<Conn> {
    let prefers = options.tls.mode < TlsMode::Require;
    if prefers && options.has_no_tls.load(Ordering::Relaxed) {
        return connect_plain(options, builder).await;
    }
    // The files are read again for each connection.
    let tls = options.tls.clone();
    let config = tokio::task::spawn_blocking(move || tls.client_config());
    let config = config.await.map_err(|_| Failure::Stopped)?.map_err(TlsProblem::Files)?;
    let greeting = Greeting::read(&options.connection).await?;
    if !greeting.offers_tls() {
        if !prefers {
            return Err(TlsProblem::NotOffered.into());
        }
        options.has_no_tls.store(true, Ordering::Relaxed);
        return connect_plain(options, builder).await;
    }
    match connect_encrypted(options, builder.clone(), greeting, config).await {
        Err(failure @ Failure::Tls(TlsProblem::Handshake(_))) if prefers => {
            let connection = connect_plain(options, builder).await?;
            options.has_no_tls.store(true, Ordering::Relaxed);
            tracing::warn!(
                store = "mysql",
                error = %failure.explain(options),
                "connections are not encrypted, as TLS with the server fails; `ssl-mode=REQUIRED` in the URL makes this \
                 an error"
            );
            Ok(connection)
        }
        connected => connected,
    }
}

async fn connect_encrypted(
    options: &MysqlOptions,
    builder: OptsBuilder,
    greeting: Greeting,
    config: ClientConfig,
) -> Task<Conn> {
    let host = host_of(&options.connection);
    let server_name = ServerName::try_from(host.to_owned())
        .map_err(|_| TlsProblem::Certificate(format!("`{host}` is no name that a certificate can have")))?;
    let entrance = entrance::Entrance::open().map_err(io_failure)?;
    let builder = builder.socket(Some(entrance.path.clone()));
    let (failed, mut failure) = oneshot::channel();
    let limit = options.timeout;
    tokio::spawn(async move {
        let accepted = timeout(limit, entrance.accept()).await;
        if let Ok(Ok(driver)) = accepted {
            relay(driver, greeting, config, server_name, (limit, failed)).await;
        }
    });
    match Conn::new(builder).await {
        // The reason is sent before the driver's socket is closed.
        Err(error) => Err(failure.try_recv().map_or_else(|_| error.into(), Failure::Tls)),
        Ok(connection) => Ok(connection),
    }
}

/// A server that has been connected to, and its first packet.
struct Greeting {
    server: TcpStream,
    packet: Vec<u8>,
}

/// The capability `CLIENT_SSL`, in the second byte of the capabilities.
const CLIENT_SSL: u8 = 0x08;

/// The packets before encryption are short. What is longer is not MySQL's.
const LONGEST: usize = 1 << 16;

impl Greeting {
    async fn read(opts: &Opts) -> Task<Greeting> {
        let mut server = TcpStream::connect((host_of(opts), opts.tcp_port())).await.map_err(io_failure)?;
        server.set_nodelay(opts.tcp_nodelay()).map_err(io_failure)?;
        let packet = read_packet(&mut server, LONGEST).await.map_err(io_failure)?;
        match &packet[HEADER..] {
            // Too many connections, or a blocked host. The driver would say the same.
            [0xff, low, high, message @ ..] => Err(Failure::Server(ServerError {
                code: u16::from_le_bytes([*low, *high]),
                message: String::from_utf8_lossy(message).into_owned(),
                state: String::new(),
            })),
            _ => Ok(Greeting { server, packet }),
        }
    }

    /// Whether the capabilities, which follow the version, the thread and the first half of the nonce, contain
    /// `CLIENT_SSL`.
    fn offers_tls(&self) -> bool {
        let version = self.packet.get(HEADER + 1..).unwrap_or_default();
        let end = version.iter().position(|byte| *byte == 0).unwrap_or(version.len());
        version.get(end + 1 + 4 + 8 + 1 + 1).is_some_and(|capabilities| capabilities & CLIENT_SSL != 0)
    }
}

fn host_of(opts: &Opts) -> &str {
    opts.ip_or_hostname().trim_start_matches('[').trim_end_matches(']')
}

fn io_failure(error: io::Error) -> Failure {
    Failure::Driver(Error::Io(IoError::Io(error)))
}

/// Encrypts a connection until one side ends it.
async fn relay(
    mut driver: UnixStream,
    greeting: Greeting,
    config: ClientConfig,
    name: ServerName<'static>,
    (limit, failed): (Duration, oneshot::Sender<TlsProblem>),
) {
    let encrypting = encrypt(&mut driver, greeting, config, name);
    let server = match timeout(limit, encrypting).await {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => {
            let _ = failed.send(TlsProblem::of(&error));
            return;
        }
        // The caller's deadline, which is the same, has passed too.
        Err(_) => return,
    };
    let (mut of_driver, mut to_driver) = driver.into_split();
    let (mut of_server, mut to_server) = tokio::io::split(server);
    tokio::select! {
        // The server may refuse the client's certificate only now.
        ended = answer(&mut of_server, &mut to_driver) => if let Err(error) = ended
            && error.get_ref().is_some_and(|source| source.is::<rustls::Error>())
        {
            let _ = failed.send(TlsProblem::of(&error));
        },
        _ = ask(&mut of_driver, &mut to_server) => {}
    }
    let _ = timeout(FAREWELL, to_server.shutdown()).await;
}

/// How long the server has to take the end of the connection.
const FAREWELL: Duration = Duration::from_millis(100);

/// Passes the greeting to the driver, and its login to the server, encrypted.
async fn encrypt(
    driver: &mut UnixStream,
    Greeting { mut server, packet }: Greeting,
    config: ClientConfig,
    name: ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    driver.write_all(&packet).await?;
    let mut login = read_packet(driver, LONGEST).await?;
    let Some(capabilities) = login.get_mut(HEADER + 1) else { return Err(io::ErrorKind::InvalidData.into()) };
    *capabilities |= CLIENT_SSL;
    let Some(common) = login.get(HEADER..HEADER + REQUEST) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let request = [&[REQUEST as u8, 0, 0, 1][..], common].concat();
    server.write_all(&request).await?;
    let mut server = TlsConnector::from(Arc::new(config)).connect(name, server).await?;
    login[NUMBER] = 2;
    server.write_all(&login).await?;
    server.flush().await?;
    Ok(server)
}

/// The length of what the request for encryption and the login have in common: their first fields.
const REQUEST: usize = 32;

/// Passes on what the driver sends. Its first packet after the login has the number zero.
async fn ask(
    driver: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let mut packet = read_packet(driver, usize::MAX).await?;
        let is_login = packet[NUMBER] != 0;
        packet[NUMBER] = packet[NUMBER].wrapping_add(u8::from(is_login));
        server.write_all(&packet).await?;
        server.flush().await?;
        if !is_login {
            return tokio::io::copy(driver, server).await.map(drop);
        }
    }
}

/// Passes on what the server sends. The login ends with `OK` or an error.
async fn answer(
    server: &mut (impl AsyncRead + Unpin),
    driver: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let mut packet = read_packet(server, LONGEST).await?;
        packet[NUMBER] = packet[NUMBER].wrapping_sub(1);
        driver.write_all(&packet).await?;
        if matches!(packet.get(HEADER), Some(0x00 | 0xff)) {
            return tokio::io::copy(server, driver).await.map(drop);
        }
    }
}

/// A packet's header: three bytes of length, and its number.
const HEADER: usize = 4;
const NUMBER: usize = 3;

/// Reads a packet with its header.
async fn read_packet(from: &mut (impl AsyncRead + Unpin), longest: usize) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header).await?;
    let [low, middle, high, _] = header;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    if length > longest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this server does not speak MySQL's protocol",
        ));
    }
    let mut packet = header.to_vec();
    packet.resize(HEADER + length, 0);
    from.read_exact(&mut packet[HEADER..]).await?;
    Ok(packet)
}

impl TlsProblem {
    fn of(error: &io::Error) -> TlsProblem {
        let source = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(reason)) = source else {
            return TlsProblem::Handshake(error.to_string());
        };
        use CertificateError::{
            Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
            NotValidYetContext, UnknownIssuer,
        };
        match reason {
            UnknownIssuer => TlsProblem::UnknownAuthority,
            NotValidForName | NotValidForNameContext { .. } => TlsProblem::OtherHost,
            Expired | ExpiredContext { .. } => TlsProblem::Certificate("it has expired".to_owned()),
            NotValidYet | NotValidYetContext { .. } => {
                TlsProblem::Certificate("it is not valid yet; is this machine's clock right?".to_owned())
            }
            other => TlsProblem::Certificate(other.to_string()),
        }
    }
}

/// The socket that the driver connects to.
mod entrance {
    use std::io;

    use tokio::net::{UnixListener, UnixStream};

    pub(super) struct Entrance {
        listener: UnixListener,
        pub(super) path: String,
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        folder: std::path::PathBuf,
    }

    fn random_name() -> io::Result<String> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(format!("cloakroom-{:032x}", u128::from_le_bytes(bytes)))
    }

    /// A name that is no file, so that nothing must be writable.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    impl Entrance {
        pub(super) fn open() -> io::Result<Entrance> {
            let path = format!("\0{}", random_name()?);
            Ok(Entrance { listener: UnixListener::bind(&path)?, path })
        }

        /// Lets the driver in, and nobody else: other programs on the machine see the name.
        pub(super) async fn accept(self) -> io::Result<UnixStream> {
            loop {
                let (driver, _) = self.listener.accept().await?;
                let process = driver.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
                if process == Some(std::process::id()) {
                    return Ok(driver);
                }
            }
        }
    }

    /// A file in a folder that only this user can enter.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    impl Entrance {
        pub(super) fn open() -> io::Result<Entrance> {
            use std::os::unix::fs::DirBuilderExt;
            let folder = std::env::temp_dir().join(random_name()?);
            std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
            let path = folder.join("s");
            let Some(text) = path.to_str() else { return Err(io::ErrorKind::InvalidFilename.into()) };
            Ok(Entrance { listener: UnixListener::bind(&path)?, path: text.to_owned(), folder })
        }

        pub(super) async fn accept(self) -> io::Result<UnixStream> {
            Ok(self.listener.accept().await?.0)
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    impl Drop for Entrance {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packet of a server of this version and these capabilities.
    async fn offers_tls(version: &str, capabilities: u16) -> bool {
        let mut packet = vec![0, 0, 0, 0, 10];
        packet.extend(version.as_bytes());
        packet.extend([0, 1, 0, 0, 0, b'n', b'o', b'n', b'c', b'e', b'h', b'a', b'l', 0]);
        packet.extend(capabilities.to_le_bytes());
        packet[0] = u8::try_from(packet.len() - HEADER).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let greeted = tokio::spawn(async move {
            let mut client = listener.accept().await.unwrap().0;
            client.write_all(&packet).await.unwrap();
        });
        let opts: Opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).into();
        let greeting = Greeting::read(&opts).await.unwrap();
        greeted.await.unwrap();
        greeting.offers_tls()
    }

    #[tokio::test]
    async fn the_greeting_says_whether_there_is_tls() {
        for version in ["8.4.3", "5.5.5-10.11.6-MariaDB-0+deb12u1"] {
            assert!(offers_tls(version, 0x0800).await);
            assert!(!offers_tls(version, !0x0800).await);
        }
    }

    #[tokio::test]
    async fn a_packet_that_is_no_greeting_offers_nothing() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"HTTP/1.1 400 Bad Request").await.unwrap();
        let error = read_packet(&mut far, LONGEST).await.unwrap_err();
        assert!(error.to_string().contains("does not speak MySQL's protocol"), "{error}");
    }

    /// A packet of this number.
    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[length, 0, 0, number][..], payload].concat()
    }

    /// The full login of `caching_sha2_password`, as a MySQL server has it: two packets of the server in a row,
    /// and one of the driver after each.
    #[tokio::test]
    async fn until_the_login_is_over_the_numbers_are_shifted() {
        let (mut of_server, mut server) = tokio::io::duplex(1024);
        let (mut to_driver, mut driver) = tokio::io::duplex(1024);
        for (number, payload) in [(3, &b"\xfecaching_sha2_password"[..]), (5, b"\x01\x04"), (7, b"\x00ok")] {
            server.write_all(&packet(number, payload)).await.unwrap();
        }
        server.write_all(&packet(1, b"\x00a row")).await.unwrap();
        drop(server);
        answer(&mut of_server, &mut to_driver).await.unwrap();
        for (number, payload) in [(2, &b"\xfecaching_sha2_password"[..]), (4, b"\x01\x04"), (6, b"\x00ok")] {
            assert_eq!(read_packet(&mut driver, LONGEST).await.unwrap(), packet(number, payload));
        }
        let after = read_packet(&mut driver, LONGEST).await.unwrap();
        assert_eq!(after, packet(1, b"\x00a row"), "bytes pass as they are");

        let (mut of_driver, mut driver) = tokio::io::duplex(1024);
        let (mut to_server, mut server) = tokio::io::duplex(1024);
        for (number, payload) in [(3, &b"scramble"[..]), (5, b"password\0"), (0, b"\x03SELECT 1"), (1, b"x")]
        {
            driver.write_all(&packet(number, payload)).await.unwrap();
        }
        drop(driver);
        ask(&mut of_driver, &mut to_server).await.unwrap();
        for (number, payload) in [(4, &b"scramble"[..]), (6, b"password\0"), (0, b"\x03SELECT 1"), (1, b"x")]
        {
            assert_eq!(read_packet(&mut server, LONGEST).await.unwrap(), packet(number, payload));
        }
    }
}
