//! One key: ECDSA on the curve P-256, for signatures of the JWT algorithm ES256.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::{self, PemObject};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A private key. It has no `Debug`, so that no message can show it.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    /// When it was made, as a Unix time.
    pub(crate) created: i64,
    /// Where it was read from.
    pub(crate) file: Option<PathBuf>,
    pub(crate) public_key: PublicKey,
    /// The first part of each JWT that it signs, encoded.
    header: String,
}

/// The published part of a key: a JSON Web Key (RFC 7517).
#[derive(Serialize)]
pub(crate) struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    /// The thumbprint of RFC 7638.
    pub(crate) kid: String,
    #[serde(rename = "use")]
    intended_use: &'static str,
    alg: &'static str,
}

/// A private key in PEM, as it goes to a file.
pub(crate) struct Pem(pub(crate) String);

impl SigningKey {
    /// Makes a key.
    pub(crate) fn generate(now: i64) -> anyhow::Result<(SigningKey, Pem)> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| anyhow!("the system gave no random numbers for a signing key"))?;
        let key = SigningKey::from_pkcs8(document.as_ref(), now)?;
        let body = STANDARD.encode_to_string(document.as_ref());
        let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
        for (number, character) in body.chars().enumerate() {
            if number > 0 && number % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        Ok((key, Pem(pem)))
    }

    /// Reads a key from PEM.
    ///
    /// # Errors
    /// When the text holds no private key in PKCS#8, or one of another kind. The message shows nothing of it.
    pub(crate) fn from_pem(text: &[u8], created: i64) -> anyhow::Result<SigningKey> {
        let key = match PrivatePkcs8KeyDer::from_pem_slice(text) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => bail!(
                "it holds no key in PKCS#8 (`BEGIN PRIVATE KEY`); `openssl pkcs8 -topk8 -nocrypt` converts other forms"
            ),
            Err(_) => bail!("it is no PEM file, or it is damaged"),
        };
        SigningKey::from_pkcs8(key.secret_pkcs8_der(), created)
    }

    fn from_pkcs8(document: &[u8], created: i64) -> anyhow::Result<SigningKey> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random).map_err(
            |rejected| {
                anyhow!(
                    "its key is not usable ({rejected}); it must be one of the curve P-256, \
                     with its public key, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes it"
                )
            },
        )?;
        let public_key = PublicKey::new(pair.public_key().as_ref())?;
        let header = serde_json::json!({ "typ": "JWT", "alg": public_key.alg, "kid": public_key.kid });
        let header = URL_SAFE_NO_PAD.encode_to_string(header.to_string());
        Ok(SigningKey { pair, random, created, file: None, public_key, header })
    }

    /// Signs claims, given as JSON: a JWT in compact form (RFC 7515).
    pub(crate) fn sign(&self, claims: &[u8]) -> anyhow::Result<String> {
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 96);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_append(claims, &mut token);
        let signature = self
            .pair
            .sign(&self.random, token.as_bytes())
            .map_err(|_| anyhow!("the system gave no random numbers for a signature"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_append(signature.as_ref(), &mut token);
        Ok(token)
    }
}

impl PublicKey {
    /// From an uncompressed point: the byte 4, x and y.
    fn new(point: &[u8]) -> anyhow::Result<PublicKey> {
        let (x, y) = point
            .strip_prefix(&[4])
            .and_then(|coordinates| coordinates.split_at_checked(32))
            .context("the public key is not an uncompressed point")?;
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode_to_string(coordinate));
        // The members that the standard names, in its order.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(canonical));
        Ok(PublicKey { kty: "EC", crv: "P-256", x, y, kid, intended_use: "sig", alg: "ES256" })
    }
}
