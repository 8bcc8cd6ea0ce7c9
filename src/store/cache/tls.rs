//! The connection to a cache over TLS, and what its errors mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::store::tls::TlsOptions;

/// How connections are encrypted, and how errors name it.
#[derive(Clone, Copy)]
pub(super) struct Encryption<'a> {
    pub(super) options: &'a TlsOptions,
    /// The server, as errors name it.
    pub(super) address: &'a (dyn fmt::Display + Sync),
    /// The beginning of the names of the URL's parameters: `sentinel_` for sentinels.
    pub(super) prefix: &'a str,
}

/// Why a connection is not encrypted.
#[derive(Debug)]
pub(super) enum NotEncrypted {
    /// The fault, and the server that has it. It does not pass by itself.
    Refused(String),
    Io(io::Error),
}

/// The facts of a finished handshake.
pub(super) struct Handshake {
    /// Whether the server has asked for a client certificate.
    asked: Arc<Asked>,
}

/// Performs the TLS handshake with the server of this name.
pub(super) async fn encrypt(
    stream: TcpStream,
    host: &str,
    encryption: Encryption<'_>,
) -> Result<(TlsStream<TcpStream>, Handshake), NotEncrypted> {
    let no_tls = |reason: String| NotEncrypted::Refused(encryption.no_tls(&reason));
    let mut config = encryption.options.client_config().map_err(no_tls)?;
    let asked =
        Arc::new(Asked { certificates: config.client_auth_cert_resolver, asked: AtomicBool::new(false) });
    config.client_auth_cert_resolver = Arc::clone(&asked) as _;
    let handshake = Handshake { asked };
    let host = ServerName::try_from(host.to_owned()).map_err(|error| no_tls(error.to_string()))?;
    match TlsConnector::from(Arc::new(config)).connect(host, stream).await {
        Ok(stream) => Ok((stream, handshake)),
        Err(error) => match handshake.explain(tls_error(&error), encryption) {
            Some(refused) => Err(NotEncrypted::Refused(refused)),
            None => Err(NotEncrypted::Io(error)),
        },
    }
}

/// The TLS error inside of another.
pub(super) fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref::<TlsError>()
}

impl Encryption<'_> {
    fn no_tls(&self, reason: &str) -> String {
        format!("{}: no TLS: {reason}", self.address)
    }
}

impl Handshake {
    /// Says what is wrong with the certificates, if that is why the connection failed. With TLS 1.3 a server
    /// that misses a client certificate says so after the handshake, or just closes the connection.
    pub(super) fn explain(&self, error: Option<&TlsError>, encryption: Encryption<'_>) -> Option<String> {
        let reason = match error {
            Some(TlsError::AlertReceived(alert)) if !self.concerns_client(*alert) => {
                format!("the server refuses the connection: {alert:?}")
            }
            Some(error @ TlsError::AlertReceived(_)) => client_certificate(encryption, Some(error)),
            Some(error) => server_certificate(error, encryption.prefix),
            None if self.asked.asked.load(Ordering::Relaxed) => client_certificate(encryption, None),
            None => return None,
        };
        Some(encryption.no_tls(&reason))
    }

    /// Whether a server sends this alert because of a client certificate.
    fn concerns_client(&self, alert: AlertDescription) -> bool {
        use AlertDescription as Alert;
        self.asked.asked.load(Ordering::Relaxed)
            && !matches!(alert, Alert::ProtocolVersion | Alert::InternalError | Alert::UserCanceled)
    }
}

fn client_certificate(encryption: Encryption<'_>, said: Option<&TlsError>) -> String {
    let prefix = encryption.prefix;
    let said = said.map(|error| format!(" ({error})")).unwrap_or_default();
    if encryption.options.client_certificate.is_some() {
        return format!(
            "the server refuses the client certificate{said}; check `{prefix}ssl_certfile` and `{prefix}ssl_keyfile`"
        );
    }
    format!(
        "the server asks for a client certificate{said}; name its files in `{prefix}ssl_certfile` and \
         `{prefix}ssl_keyfile`"
    )
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
