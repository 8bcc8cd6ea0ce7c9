//! TLS: which certificates are trusted.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "postgres-tls")]
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
#[cfg(feature = "postgres-tls")]
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
#[cfg(feature = "postgres-tls")]
use rustls::{DigitallySignedStruct, SignatureScheme};

/// The TLS settings of a connection that trusts the certificates in this PEM file, or the system's. Created
/// anew for each connection, so that certificates can be replaced while the program runs.
pub(super) fn client_config(root_certificates: Option<&Path>) -> Result<ClientConfig, String> {
    let roots = match root_certificates {
        Some(path) => from_file(path)?,
        None => of_the_system()?,
    };
    Ok(builder(ring())?.with_root_certificates(roots).with_no_client_auth())
}

/// The TLS settings of an encrypted connection that does not verify the server. See [`AnyCertificate`].
#[cfg(feature = "postgres-tls")]
pub(super) fn unverified_client_config() -> Result<ClientConfig, String> {
    let provider = ring();
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    Ok(builder(provider)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn ring() -> Arc<CryptoProvider> {
    rustls::crypto::ring::default_provider().into()
}

fn builder(provider: Arc<CryptoProvider>) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| error.to_string())
}

/// Accepts every certificate, as libpq does below `sslmode=verify-ca`. This protects against eavesdropping,
/// but not against an impostor in the server's place. The check that the other side holds the certificate's
/// key remains.
#[cfg(feature = "postgres-tls")]
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

#[cfg(feature = "postgres-tls")]
impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("{} holds no certificates in PEM: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(unreadable(&"it is empty")) } else { Ok(roots) }
}

fn of_the_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // The system's certificates may include invalid ones; the others are used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "this system has no certificates to trust; name a file in `root_certificates`";
        return Err(message.to_owned());
    }
    Ok(roots)
}
