//! The gate's assertion, verified as a back end does it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::chrono::Utc;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

use super::proxy::HOST;

/// The keys of a gate.
pub(super) struct Verifier {
    keys: Value,
}

impl Verifier {
    pub(super) fn of(gate: u16) -> Verifier {
        let address = format!("http://127.0.0.1:{gate}/.well-known/jwks.json");
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let text = agent.get(&address).call().unwrap().body_mut().read_to_string().unwrap();
        Verifier { keys: serde_json::from_str(&text).unwrap() }
    }

    /// The user whom a valid assertion for this host names.
    pub(super) fn subject(&self, assertion: &str) -> Result<String, String> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or("it is no JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("it is no JWT")?;
        let [header, claims]: [Value; 2] =
            [header, claims].map(|part| serde_json::from_slice(&decode(part)).unwrap_or_default());
        if header["alg"] != "ES256" {
            return Err(format!("the algorithm is {}", header["alg"]));
        }
        let keys = self.keys["keys"].as_array().ok_or("no keys")?;
        let key = keys.iter().find(|key| key["kid"] == header["kid"]).ok_or("an unknown key")?;
        let [x, y] = ["x", "y"].map(|name| decode(key[name].as_str().unwrap_or_default()));
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], &x[..], &y].concat())
            .verify(signed.as_bytes(), &decode(signature))
            .map_err(|_| "the signature is wrong")?;
        if claims["aud"] != HOST || claims["exp"].as_i64().is_none_or(|end| end < Utc::now().timestamp()) {
            return Err(format!("it is for another host or time: {claims}"));
        }
        Ok(claims["sub"].as_str().unwrap_or_default().to_owned())
    }
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}
