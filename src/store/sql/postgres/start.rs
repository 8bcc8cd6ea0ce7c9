//! Opens a connection: to one of the servers, encrypted or not, directly or to a connection pooler.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Socket};
#[cfg(feature = "postgres-tls")]
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Failure, Task};
use super::pooler::Pooler;
use super::{PostgresOptions, servers};
use crate::store::tls::TlsMode;

/// The settings of each connection. The statements look up single keys, so a plan is made once and kept. A
/// table without statistics must not lead to a plan that reads the whole table.
///
/// All settings are in the startup packet, not set by `SET`: behind a connection pooler, a `SET` would stay on a
/// connection that others use later.
const SETTINGS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off \
     -c default_transaction_isolation=read\\ committed -c cloakroom.connection=direct";

/// Asks for the last of these settings, which no role and no database sets by itself.
const IS_DIRECT: &str = "SELECT current_setting('cloakroom.connection', true) = 'direct'";

/// A new connection.
pub(super) struct Started {
    pub(super) client: Client,
    /// Whether a connection pooler stands before the server.
    pub(super) is_pooled: bool,
}

/// Connects, and runs the connection. Finds out whether a connection pooler answers, unless that is known.
pub(super) async fn start(options: &PostgresOptions) -> Task<Started> {
    if !options.is_pooled() {
        match direct(options).await {
            Err(Failure::Pooler) if options.pooler != Pooler::No => {
                if options.notice_pooler() {
                    tracing::info!(
                        store = "postgres",
                        place = options.place(),
                        "a connection pooler stands before the server, so each statement is a transaction of its own; \
                         `pooler=yes` in the URL saves the attempt that found it"
                    );
                }
            }
            started => return started.map(|client| Started { client, is_pooled: false }),
        }
    }
    // The pooler itself may read what is no setting.
    let client = connect(options, &options.server_options.rest).await?;
    Ok(Started { client, is_pooled: true })
}

/// Connects to PostgreSQL itself, with the connection's own settings.
async fn direct(options: &PostgresOptions) -> Task<Client> {
    let of_the_site = &options.server_options.text;
    let limit = statement_timeout(options.timeout);
    let all = format!("{of_the_site} {SETTINGS} -c statement_timeout={limit}");
    let client = connect(options, all.trim_start()).await.map_err(Failure::or_a_pooler)?;
    // Uses the simple protocol: a connection pooler would keep the name of a prepared statement.
    let answer = client.simple_query(IS_DIRECT).await?;
    let is_direct = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t"));
    if answer.iter().any(is_direct) { Ok(client) } else { Err(Failure::Pooler) }
}

/// Connects to the first of the servers that can be used. Each host name is resolved anew.
async fn connect(options: &PostgresOptions, server_options: &str) -> Task<Client> {
    let end = Instant::now() + options.timeout;
    let mut config = options.config.clone();
    if !server_options.is_empty() {
        config.options(server_options);
    }
    if let Some(source) = &options.password {
        config.password(source.next().await.map_err(Failure::Password)?);
    }
    let servers = servers::each(&config);
    let (mut left, mut last) = (servers.len(), Failure::Deadline);
    for server in servers {
        let limit = servers::share(&config, end.saturating_duration_since(Instant::now()), left);
        last = match timeout(limit, encrypted(server, options)).await {
            Ok(Err(failure)) if !failure.may_be_one_server() => return Err(failure),
            Ok(Err(failure)) => failure,
            Ok(connected) => return connected,
            Err(_) => Failure::Deadline,
        };
        left -= 1;
    }
    Err(last)
}

/// In milliseconds. The server gives up shortly before the caller. So a statement that waited for a lock in
/// vain is known not to have written, and an abandoned statement holds no locks.
pub(super) fn statement_timeout(remaining: Duration) -> u128 {
    (remaining * 9 / 10).as_millis().clamp(1, i32::MAX as u128)
}

/// Encrypts as the `sslmode` says: libpq's rules.
#[cfg(feature = "postgres-tls")]
async fn encrypted(mut config: Config, options: &PostgresOptions) -> Task<Client> {
    let tls = || {
        let mut tls = options.tls.clone();
        // Given authorities are not there for nothing: libpq verifies with them in each mode.
        if tls.mode < TlsMode::Require && tls.root_certificates.is_some() {
            tls.mode = TlsMode::VerifyCa;
        }
        tls.client_config().map(MakeRustlsConnect::new).map_err(Failure::TlsFile)
    };
    let mode = if is_local(&config) { TlsMode::Disable } else { options.tls.mode };
    match mode {
        TlsMode::Disable => {
            config.ssl_mode(SslMode::Disable);
            connect_once(&config, NoTls).await
        }
        TlsMode::Allow => {
            config.ssl_mode(SslMode::Disable);
            match connect_once(&config, NoTls).await {
                Err(failure) if failure.may_want_encryption() => {
                    config.ssl_mode(SslMode::Require);
                    // If the server offers no TLS either, its first answer says more.
                    connect_once(&config, tls()?)
                        .await
                        .map_err(|other| if other.is_tls() { failure } else { other })
                }
                connected => connected,
            }
        }
        TlsMode::Prefer => {
            config.ssl_mode(SslMode::Prefer);
            let failure = match connect_once(&config, tls()?).await {
                Err(failure) if failure.may_come_of_encryption(options) => failure,
                connected => return connected,
            };
            config.ssl_mode(SslMode::Disable);
            let Ok(client) = connect_once(&config, NoTls).await else { return Err(failure) };
            tracing::warn!(
                store = "postgres",
                error = %failure.explain(options),
                "the connection is not encrypted, as the server refused that; `sslmode=require` in the URL makes this an error"
            );
            Ok(client)
        }
        _ => {
            config.ssl_mode(SslMode::Require);
            connect_once(&config, tls()?).await
        }
    }
}

#[cfg(not(feature = "postgres-tls"))]
async fn encrypted(mut config: Config, options: &PostgresOptions) -> Task<Client> {
    let tls = &options.tls;
    let asks =
        tls.mode >= TlsMode::Require || tls.root_certificates.is_some() || tls.client_certificate.is_some();
    if asks && !is_local(&config) {
        return Err(Failure::NoTls);
    }
    config.ssl_mode(SslMode::Disable);
    connect_once(&config, NoTls).await
}

/// Whether the server is reached by a Unix socket, which libpq never encrypts.
fn is_local(config: &Config) -> bool {
    #[cfg(unix)]
    return matches!(config.get_hosts(), [Host::Unix(_)]);
    #[cfg(not(unix))]
    return config.get_hosts().is_empty();
}

/// Logs a warning when sessions will cross a network unencrypted and nobody has asked for that.
#[cfg(not(feature = "postgres-tls"))]
pub(super) fn warn_of_plain_connections(options: &PostgresOptions) {
    let is_far = |host: &Host| match host {
        Host::Tcp(name) => {
            let address: Option<std::net::IpAddr> = name.parse().ok();
            name != "localhost" && !address.is_some_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => false,
    };
    if options.tls.mode == TlsMode::Prefer && options.config.get_hosts().iter().any(is_far) {
        tracing::warn!(
            store = "postgres",
            place = options.place(),
            "connections are not encrypted, as this build lacks TLS, where Django would encrypt them if the server can; \
             add the feature `postgres-tls`, or write `sslmode=disable` into the URL if that is meant"
        );
    }
}

async fn connect_once<T>(config: &Config, tls: T) -> Task<Client>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // It ends when the client is dropped, and its errors reach the client too.
    tokio::spawn(connection);
    Ok(client)
}

impl Failure {
    /// Recognizes a connection pooler's message about settings in the startup packet, which it cannot pass
    /// on.
    fn or_a_pooler(self) -> Failure {
        if self.refuses_startup() { Failure::Pooler } else { self }
    }

    fn refuses_startup(&self) -> bool {
        matches!(self, Failure::Server { code, message }
            if [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED].contains(code)
                && ["startup parameter", "options"].iter().any(|word| message.contains(word)))
    }

    /// Whether the next server of a list may do better. As with libpq, a refused login is final.
    fn may_be_one_server(&self) -> bool {
        let is_login = matches!(self, Failure::Server { code, .. }
            if ["28", "3D"].iter().any(|class| code.code().starts_with(class)));
        !is_login && !self.refuses_startup()
    }

    /// Whether the server or a connection pooler may accept this client only over TLS.
    #[cfg(feature = "postgres-tls")]
    fn may_want_encryption(&self) -> bool {
        self.is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || self.is(&SqlState::PROTOCOL_VIOLATION)
    }

    /// Whether an unencrypted attempt may succeed. One that the site wants verified is not replaced by one
    /// that nobody verifies.
    #[cfg(feature = "postgres-tls")]
    fn may_come_of_encryption(&self, options: &PostgresOptions) -> bool {
        // The second case: pg_hba.conf accepts this client only without encryption.
        (self.is_tls() && options.tls.root_certificates.is_none())
            || self.is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
    }
}
