//! The connection over TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::Failure;
use crate::store::tls::{RootCertificates, TlsMode, TlsOptions};

/// Performs the TLS handshake with the server at this address, which must have a certificate for it.
pub(super) async fn encrypt(
    stream: TcpStream,
    address: &ConnectionAddr,
    certificates: Option<&Path>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let mut tls = TlsOptions::new(TlsMode::VerifyFull);
    tls.root_certificates = certificates.map(|path| RootCertificates::File(path.to_owned()));
    let config = tls.client_config().map_err(Failure::Tls)?;
    let host = match address {
        ConnectionAddr::Tcp(host, _) => host.clone(),
        other => other.to_string(),
    };
    let host = ServerName::try_from(host).map_err(|error| Failure::Tls(error.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(host, stream).await;
    connected.map_err(|error| match error.get_ref().map(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
        Some(true) => Failure::Tls(format!(
            "{error}; does the server speak TLS at this port, with a certificate for this host that is trusted here?"
        )),
        _ => Failure::Redis(io::Error::into(error)),
    })
}
