//! TLS: whether a connection is encrypted, and what is trusted.

use std::path::PathBuf;
use std::str::FromStr;

/// Whether a connection to a server is encrypted, and what is verified: libpq's `sslmode`.
///
/// ```
/// use cloakroom::store::TlsMode;
///
/// assert_eq!("verify-full".parse(), Ok(TlsMode::VerifyFull));
/// assert_eq!(TlsMode::VerifyFull.as_str(), "verify-full");
/// assert!(TlsMode::Require < TlsMode::VerifyCa, "from the weakest to the strongest");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server accepts nothing else.
    Allow,
    /// Encrypted if the server can. Nothing is verified, so that this protects against nobody who can change
    /// what is sent.
    Prefer,
    /// Encrypted. The server's certificate is verified only if there are
    /// [`root_certificates`](TlsOptions::root_certificates), and then as by `VerifyCa`: libpq's rule.
    Require,
    /// Encrypted, with a certificate of a trusted authority, for whatever host.
    VerifyCa,
    /// Encrypted, with a certificate of a trusted authority for the URL's host.
    VerifyFull,
}

const MODES: [(TlsMode, &str); 6] = [
    (TlsMode::Disable, "disable"),
    (TlsMode::Allow, "allow"),
    (TlsMode::Prefer, "prefer"),
    (TlsMode::Require, "require"),
    (TlsMode::VerifyCa, "verify-ca"),
    (TlsMode::VerifyFull, "verify-full"),
];

impl TlsMode {
    /// libpq's word for it.
    pub fn as_str(self) -> &'static str {
        MODES.iter().find(|(mode, _)| *mode == self).map(|(_, word)| *word).unwrap_or_default()
    }
}

/// Reads libpq's words.
impl FromStr for TlsMode {
    type Err = UnknownTlsMode;

    fn from_str(text: &str) -> Result<TlsMode, UnknownTlsMode> {
        MODES.iter().find(|(_, word)| *word == text).map(|(mode, _)| *mode).ok_or(UnknownTlsMode(()))
    }
}

/// The error for a word that names no [`TlsMode`].
///
/// ```
/// use cloakroom::store::TlsMode;
///
/// let error = "yes".parse::<TlsMode>().unwrap_err();
/// assert!(error.to_string().ends_with("disable, allow, prefer, require, verify-ca or verify-full"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mode of TLS is one of disable, allow, prefer, require, verify-ca or verify-full")]
pub struct UnknownTlsMode(());

/// The certificates that are trusted: libpq's `sslrootcert`, redis-py's `ssl_ca_certs`, MySQL's `ssl-ca`.
///
/// ```
/// use cloakroom::store::RootCertificates;
///
/// assert_eq!(RootCertificates::from("/srv/ca.pem"), RootCertificates::File("/srv/ca.pem".into()));
/// assert_eq!(RootCertificates::from("system"), RootCertificates::System);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootCertificates {
    /// The system's.
    System,
    /// Those in this PEM file alone.
    File(PathBuf),
}

/// Reads a file's path, or libpq's word `system`.
impl From<&str> for RootCertificates {
    fn from(text: &str) -> Self {
        match text {
            "system" => RootCertificates::System,
            path => RootCertificates::File(path.into()),
        }
    }
}

/// How a store's connections are encrypted. Files are read for each new connection, so that certificates can
/// be replaced while the program runs.
///
/// ```
/// use cloakroom::store::{RootCertificates, TlsMode, TlsOptions};
///
/// let mut tls = TlsOptions::new(TlsMode::VerifyFull);
/// tls.root_certificates = Some(RootCertificates::File("/srv/ca.pem".into()));
/// assert_eq!(tls.client_certificate, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Whether it is encrypted, and what is verified.
    pub mode: TlsMode,
    /// The authorities to trust. Default: none, which is the system's where something is verified.
    pub root_certificates: Option<RootCertificates>,
    /// A PEM file with this client's certificate, and the certificates between it and the authority. Default:
    /// none.
    pub client_certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key, not encrypted. Default: the certificate's file.
    pub client_key: Option<PathBuf>,
}

impl TlsOptions {
    /// Creates the options of a mode, with the system's certificates.
    ///
    /// ```
    /// use cloakroom::store::{TlsMode, TlsOptions};
    ///
    /// assert_eq!(TlsOptions::new(TlsMode::Prefer).root_certificates, None);
    /// ```
    pub fn new(mode: TlsMode) -> TlsOptions {
        TlsOptions { mode, root_certificates: None, client_certificate: None, client_key: None }
    }
}

#[cfg(feature = "rustls")]
mod config {
    use std::path::Path;
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    };

    use super::{RootCertificates, TlsMode, TlsOptions};

    impl TlsOptions {
        /// What is verified, by libpq's rule: root certificates make `require` mean `verify-ca`.
        fn verified(&self) -> TlsMode {
            match (self.mode, &self.root_certificates) {
                (TlsMode::Require, Some(_)) => TlsMode::VerifyCa,
                (mode, _) => mode,
            }
        }

        /// The settings of one connection. The error names the file, and what is wrong with it.
        pub(in crate::store) fn client_config(&self) -> Result<ClientConfig, String> {
            let provider: Arc<CryptoProvider> = rustls::crypto::ring::default_provider().into();
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?;
            let builder = match self.verified() {
                TlsMode::VerifyFull => builder.with_root_certificates(self.roots()?),
                TlsMode::VerifyCa => {
                    let roots = Arc::new(self.roots()?);
                    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                    let verifier = AnyHost(verifier.map_err(|error| error.to_string())?);
                    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
                }
                _ => {
                    let verifier = Arc::new(AnyCertificate(provider));
                    builder.dangerous().with_custom_certificate_verifier(verifier)
                }
            };
            let Some(path) = &self.client_certificate else { return Ok(builder.with_no_client_auth()) };
            let key = self.client_key.as_ref().unwrap_or(path);
            builder.with_client_auth_cert(certificates(path)?, private_key(key)?).map_err(|error| {
                format!("{} is no key for the certificate {}: {error}", key.display(), path.display())
            })
        }

        fn roots(&self) -> Result<RootCertStore, String> {
            let mut roots = RootCertStore::empty();
            match &self.root_certificates {
                Some(RootCertificates::File(path)) => {
                    for certificate in certificates(path)? {
                        roots.add(certificate).map_err(|error| {
                            format!("{} has a certificate that is none: {error}", path.display())
                        })?;
                    }
                }
                // Among the system's certificates there may be invalid ones; the others are used.
                Some(RootCertificates::System) | None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    if roots.is_empty() {
                        return Err(
                            "this system has no certificates to trust; name a file of them".to_owned()
                        );
                    }
                }
            }
            Ok(roots)
        }
    }

    fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let unreadable = |error: &dyn std::fmt::Display| {
            format!("{} holds no certificates in PEM: {error}", path.display())
        };
        let list: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?.collect();
        let list = list.map_err(|error| unreadable(&error))?;
        if list.is_empty() { Err(unreadable(&"it has none")) } else { Ok(list) }
    }

    fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_file(path).map_err(|error| {
            let path = path.display();
            format!("{path} holds no private key in PEM, or one that is encrypted: {error}")
        })
    }

    /// Verifies the certificate and not whom it is for, as libpq does with `verify-ca`.
    #[derive(Debug)]
    struct AnyHost(Arc<WebPkiServerVerifier>);

    impl ServerCertVerifier for AnyHost {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            intermediates: &[CertificateDer<'_>],
            server_name: &ServerName<'_>,
            ocsp_response: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                // The name is compared last, once everything else is verified.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verified => verified,
            }
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }

    /// Accepts every certificate, as libpq does below `verify-ca`. This protects against eavesdropping, but
    /// not against an impostor in the server's place. The check that the other side holds the certificate's
    /// key remains.
    #[derive(Debug)]
    struct AnyCertificate(Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
