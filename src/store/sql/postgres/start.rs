//! Opens a connection: encrypted or not, with its own settings, and only to PostgreSQL itself.

use std::time::Duration;

#[cfg(not(feature = "postgres-tls"))]
use tokio_postgres::config::Host;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Socket};

use super::PostgresOptions;
use super::error::{Failure, Task};

/// The settings of each connection. The statements look up single keys, so a plan is made once and kept. A
/// table without statistics must not lead to a plan that reads the whole table.
///
/// All settings are in the startup packet, not set by `SET`, so that they apply to this connection alone. A
/// connection pooler would carry a `SET` over to a connection that others use later.
const SETTINGS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off \
     -c default_transaction_isolation=read\\ committed -c cloakroom.connection=direct";

/// Asks for the last of these settings, which no role and no database sets by itself.
const IS_DIRECT: &str = "SELECT current_setting('cloakroom.connection', true) = 'direct'";

/// Connects, and runs the connection.
pub(super) async fn start(options: &PostgresOptions) -> Task<Client> {
    let client = encrypted(with_settings(options), options).await.map_err(Failure::or_a_pooler)?;
    // Uses the simple protocol: a connection pooler would keep the name of a prepared statement.
    let answer = client.simple_query(IS_DIRECT).await?;
    let is_direct = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t"));
    if answer.iter().any(is_direct) { Ok(client) } else { Err(Failure::Pooler) }
}

fn with_settings(options: &PostgresOptions) -> Config {
    let mut config = options.config.clone();
    let of_the_site = config.get_options().unwrap_or_default();
    let limit = statement_timeout(options.timeout);
    let all = format!("{of_the_site} {SETTINGS} -c statement_timeout={limit}");
    config.options(all.trim_start());
    config
}

/// In milliseconds. The server gives up shortly before the caller. So a statement that waited for a lock in
/// vain is known not to have written, and an abandoned statement holds no locks.
pub(super) fn statement_timeout(remaining: Duration) -> u128 {
    (remaining * 9 / 10).as_millis().clamp(1, i32::MAX as u128)
}

/// Encrypts as the URL's `sslmode` says; by default as libpq's `prefer`.
#[cfg(feature = "postgres-tls")]
async fn encrypted(mut config: Config, options: &PostgresOptions) -> Task<Client> {
    use crate::store::tls::{RootCertificates, TlsMode, TlsOptions};
    use tokio_postgres_rustls::MakeRustlsConnect;

    let certificates = options.root_certificates.as_deref();
    match config.get_ssl_mode() {
        SslMode::Disable => return connect(&config, NoTls).await,
        SslMode::Prefer if certificates.is_none() => {}
        // Explicit trusted certificates exclude all others.
        _ => {
            let mut tls = TlsOptions::new(TlsMode::VerifyFull);
            tls.root_certificates = certificates.map(|path| RootCertificates::File(path.to_owned()));
            let tls = tls.client_config().map_err(Failure::Tls)?;
            config.ssl_mode(SslMode::Require);
            return connect(&config, MakeRustlsConnect::new(tls)).await;
        }
    }
    let tls = MakeRustlsConnect::new(TlsOptions::new(TlsMode::Prefer).client_config().map_err(Failure::Tls)?);
    let failure = match connect(&config, tls).await {
        Err(failure) if failure.may_come_of_encryption() => failure,
        connected => return connected,
    };
    config.ssl_mode(SslMode::Disable);
    let Ok(client) = connect(&config, NoTls).await else { return Err(failure) };
    tracing::warn!(
        store = "postgres",
        error = %failure.explain(options),
        "the connection is not encrypted, as the server refused that; `sslmode=require` in the URL makes this an error"
    );
    Ok(client)
}

#[cfg(not(feature = "postgres-tls"))]
async fn encrypted(config: Config, _: &PostgresOptions) -> Task<Client> {
    match config.get_ssl_mode() {
        SslMode::Require => Err(Failure::NoTls),
        _ => connect(&config, NoTls).await,
    }
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
    if options.config.get_ssl_mode() == SslMode::Prefer && options.config.get_hosts().iter().any(is_far) {
        tracing::warn!(
            store = "postgres",
            place = options.place(),
            "connections are not encrypted, as this build lacks TLS, where Django would encrypt them if the server can; \
             add the feature `postgres-tls`, or write `sslmode=disable` into the URL if that is meant"
        );
    }
}

async fn connect<T>(config: &Config, tls: T) -> Task<Client>
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
        match &self {
            Failure::Server { code, message }
                if [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED].contains(code)
                    && ["startup parameter", "options"].iter().any(|word| message.contains(word)) =>
            {
                Failure::Pooler
            }
            _ => self,
        }
    }

    /// Whether an unencrypted attempt may succeed.
    #[cfg(feature = "postgres-tls")]
    fn may_come_of_encryption(&self) -> bool {
        // The second case: pg_hba.conf accepts this client only without encryption.
        matches!(self, Failure::Connection(error) if super::error::is_tls(error))
            || self.is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
    }
}
