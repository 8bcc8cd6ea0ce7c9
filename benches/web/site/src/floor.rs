//! The floors: what any service does that keeps a user's data in this server and is written by hand, with one
//! statement after the other and no session library. No other request's change is noticed.

pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod sqlite;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::session_data::{NEW, TEXTS};

/// How long a session lasts, in seconds: two weeks.
const AGE: i64 = 14 * 24 * 60 * 60;

/// The session as a struct, which is cheaper than a dictionary.
#[derive(Default, Deserialize, Serialize)]
pub(crate) struct Data<'a> {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    _auth_user_id: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    _auth_user_backend: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    _auth_user_hash: &'a str,
    pub(crate) name: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    token: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    language: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    theme: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(crate) user: &'a str,
    #[serde(default)]
    pub(crate) count: u64,
}

impl<'a> Data<'a> {
    pub(crate) fn seed() -> Data<'a> {
        let [(_, id), (_, backend), (_, hash), (_, name), (_, token)] = TEXTS;
        Data {
            _auth_user_id: id,
            _auth_user_backend: backend,
            _auth_user_hash: hash,
            name,
            token,
            ..Data::default()
        }
    }

    pub(crate) fn new() -> Data<'a> {
        let [(_, name), (_, language), (_, theme)] = NEW;
        Data { name, language, theme, ..Data::default() }
    }

    pub(crate) fn parse(json: &'a str) -> Data<'a> {
        serde_json::from_str(json).expect("the session is ours")
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

/// Signs what is stored: HMAC-SHA256 over its base64, as Django does, with the key prepared once.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    pub(crate) fn new() -> Signer {
        Signer(Hmac::new_from_slice(b"the secret of the benchmark's sites").expect("any length is a key"))
    }

    pub(crate) fn sign(&self, data: &Data) -> String {
        let mut text = URL_SAFE_NO_PAD.encode(data.json());
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        text.push(':');
        URL_SAFE_NO_PAD.encode_string(mac.finalize().into_bytes(), &mut text);
        text
    }

    /// The JSON, when the signature is right.
    pub(crate) fn open(&self, text: &str) -> String {
        let (payload, signature) = text.split_once(':').expect("a signature");
        let mut mac = self.0.clone();
        mac.update(payload.as_bytes());
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("the signature is base64");
        mac.verify_slice(&signature).expect("the signature is right");
        let json = URL_SAFE_NO_PAD.decode(payload).expect("the payload is base64");
        String::from_utf8(json).expect("the payload is JSON")
    }
}

/// The session key in the cookie.
pub(crate) fn key_of(headers: &HeaderMap) -> &str {
    let cookie = headers.get(COOKIE).and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
    cookie.split("; ").find_map(|pair| pair.strip_prefix("sessionid=")).unwrap_or_default()
}

/// A key that nobody can guess, of 32 characters.
pub(crate) fn new_key() -> String {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn set_cookie(key: &str) -> [(HeaderName, String); 1] {
    [(SET_COOKIE, format!("sessionid={key}; HttpOnly; Max-Age={AGE}; Path=/; SameSite=Lax"))]
}
