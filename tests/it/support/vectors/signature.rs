//! Whether a text carries a genuine signature, told by the MAC alone: what a reader makes of the text plays no part.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use cloakroom::signing::{Algorithm, SecretKey, base64_hmac, salted_hmac_hex};
use serde_json::Value as Json;

/// How a genuine text is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// As Django has signed since 3.1.
    Modern,
    /// In the same layout with SHA-1, as signed cookies were before 3.1. Django 3.1 and 3.2 read it too.
    Sha1,
    /// In the layout of sessions before 3.1, which Django 3.1 and 3.2 read too.
    Legacy,
}

/// How this text is signed with one of the case's secrets, if it is. A session class has a legacy layout.
pub(crate) fn signed(case: &Json, text: &str, salt: &str, class: Option<&str>) -> Option<Signed> {
    let fallbacks = case["secret_key_fallbacks"].as_array().into_iter().flatten();
    let secrets = std::iter::once(&case["secret_key"]).chain(fallbacks).filter_map(Json::as_str);
    let secrets: Vec<SecretKey> = secrets.map(SecretKey::from).collect();
    if let Some((value, signature)) = text.rsplit_once(':') {
        let salt = format!("{salt}signer");
        for (algorithm, signed) in [(Algorithm::Sha256, Signed::Modern), (Algorithm::Sha1, Signed::Sha1)] {
            let with = |secret| base64_hmac(&salt, value.as_bytes(), secret, algorithm) == signature;
            if secrets.iter().any(with) {
                return Some(signed);
            }
        }
    }
    let salt = format!("django.contrib.sessions{}", class?);
    let (hash, json) = legacy_parts(text)?;
    let with = |secret| salted_hmac_hex(&salt, &json, secret, Algorithm::Sha1).as_bytes() == hash;
    secrets.iter().any(with).then_some(Signed::Legacy)
}

/// The JSON in a text of either layout; none where the text is compressed or broken.
pub(crate) fn json_in(text: &str) -> Option<String> {
    let bytes = match text.split_once(':') {
        Some((payload, _)) if payload.starts_with('.') => return None,
        Some((payload, _)) => decode(payload, '-', '_')?,
        None => legacy_parts(text)?.1,
    };
    // Django decodes JSON as Latin-1.
    Some(bytes.into_iter().map(char::from).collect())
}

/// The MAC and the JSON of a legacy text.
fn legacy_parts(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut hash = decode(text, '+', '/')?;
    let colon = hash.iter().position(|byte| *byte == b':')?;
    let json = hash.split_off(colon + 1);
    hash.pop();
    Some((hash, json))
}

/// As Python's `b64decode` and Django's `b64_decode`: foreign characters are skipped. The latter adds the padding.
fn decode(text: &str, plus: char, slash: char) -> Option<Vec<u8>> {
    let (mut digits, mut padding) = (String::new(), 0);
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || [plus, slash].contains(&character) {
            digits.push(character);
        } else if character == '=' && digits.len() % 4 >= 2 {
            padding += 1;
            if digits.len() % 4 + padding == 4 {
                break;
            }
        }
    }
    let is_whole = plus == '-' || (digits.len() % 4 + padding) % 4 == 0;
    let alphabet = if plus == '-' { &URL_SAFE } else { &STANDARD };
    let engine = GeneralPurpose::new(alphabet, NO_PAD.with_decode_allow_trailing_bits(true));
    is_whole.then(|| engine.decode(digits).ok())?
}
