//! The connection over TLS, and what its errors mean.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::Failure;
use super::node::{Access, Address};

/// What is known of a finished handshake.
pub(super) struct Handshake {
    /// Whether the server has asked for a client certificate.
    asked: Arc<Asked>,
}

/// Performs the TLS handshake with the server at this address.
pub(super) async fn encrypt(
    stream: TcpStream,
    host: &str,
    address: &Address,
    access: &Access,
) -> Result<(TlsStream<TcpStream>, Handshake), Failure> {
    let no_tls = |reason: String| Failure::Tls(format!("{address}: no TLS: {reason}"));
    let mut config = access.tls.client_config().map_err(no_tls)?;
    let asked =
        Arc::new(Asked { certificates: config.client_auth_cert_resolver, asked: AtomicBool::new(false) });
    config.client_auth_cert_resolver = Arc::clone(&asked) as _;
    let handshake = Handshake { asked };
    let host = ServerName::try_from(host.to_owned()).map_err(|error| no_tls(error.to_string()))?;
    match TlsConnector::from(Arc::new(config)).connect(host, stream).await {
        Ok(stream) => Ok((stream, handshake)),
        Err(error) => Err(handshake.explain(Failure::Redis(error.into()), address, access)),
    }
}

impl Handshake {
    /// Says what is wrong with the certificates, if that is why connecting failed. With TLS 1.3 a server that
    /// misses a client certificate says so after the handshake, or just closes the connection.
    pub(super) fn explain(&self, failure: Failure, address: &Address, access: &Access) -> Failure {
        let Failure::Redis(error) = &failure else { return failure };
        if !(error.is_io_error() || error.is_connection_dropped()) {
            return failure;
        }
        let reason = match tls_error(error) {
            Some(TlsError::AlertReceived(alert)) if !self.concerns_client(*alert) => {
                Some(format!("the server refuses the connection: {alert:?}"))
            }
            Some(error @ TlsError::AlertReceived(_)) => Some(self.client_certificate(access, Some(error))),
            Some(error) => Some(server_certificate(error, access.prefix)),
            None if self.asked.asked.load(Ordering::Relaxed) => Some(self.client_certificate(access, None)),
            None => None,
        };
        match reason {
            Some(reason) => Failure::Tls(format!("{address}: no TLS: {reason}")),
            None => failure,
        }
    }

    /// Whether a server sends this alert because of a client certificate.
    fn concerns_client(&self, alert: AlertDescription) -> bool {
        use AlertDescription as Alert;
        self.asked.asked.load(Ordering::Relaxed)
            && !matches!(alert, Alert::ProtocolVersion | Alert::InternalError | Alert::UserCanceled)
    }

    fn client_certificate(&self, access: &Access, said: Option<&TlsError>) -> String {
        let prefix = access.prefix;
        let said = said.map(|error| format!(" ({error})")).unwrap_or_default();
        if access.tls.client_certificate.is_some() {
            return format!(
                "the server refuses the client certificate{said}; check `{prefix}ssl_certfile` and \
                 `{prefix}ssl_keyfile`"
            );
        }
        format!(
            "the server asks for a client certificate{said}; name its files in `{prefix}ssl_certfile` and \
             `{prefix}ssl_keyfile`"
        )
    }
}

/// Names the parameter that decides.
fn server_certificate(error: &TlsError, prefix: &str) -> String {
    let reason = match error {
        TlsError::InvalidCertificate(certificate) => match certificate {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "the server's certificate is for another host; correct the URL's host, or the certificate, or write \
                 `{prefix}ssl_check_hostname=false`"
            ),
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::InvalidPurpose => format!(
                "the server's certificate is signed by an authority that is not trusted here; name the authority's \
                 file in `{prefix}ssl_ca_certs`, or write `{prefix}ssl_cert_reqs=none`"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "the server's certificate has expired, and `{prefix}ssl_cert_reqs` is `required`; renew it"
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "the server's certificate is not valid yet, and `{prefix}ssl_cert_reqs` is `required`; check the clocks"
            ),
            // The library has no variant for it.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
                "the server's certificate is an authority's own, signed by itself, which cannot be verified here; give \
                 the server one that an authority signed, or write `{prefix}ssl_cert_reqs=none`"
            ),
            _ => format!(
                "the server's certificate is invalid, and `{prefix}ssl_cert_reqs` is `required`; replace it"
            ),
        },
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server speaks no TLS at this port, and the certificate was not asked for; use the scheme without TLS, \
             or the server's other port"
                .to_owned()
        }
        _ => "the handshake failed; does the server speak TLS at this port, with a certificate?".to_owned(),
    };
    format!("{reason} ({error})")
}

/// The TLS error inside of the driver's, which has its cause in an `Arc` and skips it when asked for the cause's cause.
fn tls_error(error: &redis::RedisError) -> Option<&TlsError> {
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<TlsError>()
}

/// Passes a server's request for a client certificate on, and remembers that there was one.
#[derive(Debug)]
struct Asked {
    certificates: Arc<dyn ResolvesClientCert>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certificates.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.certificates.has_certs()
    }
}
