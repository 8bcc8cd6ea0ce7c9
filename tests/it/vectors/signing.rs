//! `django.core.signing`.

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::signing::{
    self, Algorithm, Compression, LegacySalt, SecretKey, Signer, SigningError, TimestampSigner, base62,
    salted_hmac_hex,
};
use serde_json::Value as Json;

use super::python::Python;
use super::signature;
use super::{Reproduced, Rule, Vectors, bytes, text, time, version};

#[test]
fn signing() {
    let reused = Rule::new(
        "Django's cookie signer uses its fallbacks up at the first text; this one keeps them",
        |case| case["kind"] == "fallback" && case["second"]["raises"].is_string(),
    );
    Vectors::read("signing").run(&[reused], |case| {
        match text(case, "kind") {
            "b62_encode" => {
                assert_eq!(base62::encode(text(case, "value_text").parse().unwrap()), text(case, "result"));
            }
            "b62_decode" => {
                let expected = case["result_text"].as_str().map(|number| number.parse().unwrap());
                assert_eq!(base62::decode(text(case, "value")), expected);
            }
            "salted_hmac" => salted_hmac(case),
            "base64_hmac" => {
                let (salt, value) = (text(case, "salt"), text(case, "value"));
                let result = signing::base64_hmac(salt, value.as_bytes(), &secret(case), algorithm(case));
                assert_eq!(result, text(case, "result"));
            }
            "signer_sign" => {
                let signer = signer(case, Signer::SALT);
                assert_eq!(signer.sign(text(case, "value")), text(case, "result"));
                assert_eq!(signer.unsign(text(case, "result")).unwrap(), text(case, "value"));
            }
            "signer_unsign" => return signer_unsign(case),
            "timestamp_sign" => {
                let signer = TimestampSigner::from(signer(case, TimestampSigner::SALT));
                let now = time(&case["frozen_time"]);
                assert_eq!(signer.sign(text(case, "value"), now), text(case, "result"));
                assert_eq!(signer.unsign(text(case, "result"), now, None).unwrap(), text(case, "value"));
            }
            "timestamp_unsign" => timestamp_unsign(case),
            "dumps" => dumps(case),
            "sign_object" => {
                let signer = signer(case, Signer::SALT);
                let result = signer.sign_object(&case["input"], compression(case)).unwrap();
                compare_objects(&result, text(case, "result"));
                let read: Python = signer.unsign_object(text(case, "result")).unwrap();
                assert_eq!(read, Python::from_vector(&case["input"]));
            }
            "separator" => {
                let allowed = Signer::new(&"x".into()).separated_by(text(case, "sep"));
                assert_eq!(allowed.is_ok(), case["allowed"].as_bool().unwrap());
                if let Err(error) = allowed {
                    assert!(matches!(error, SigningError::UnsafeSeparator(_)));
                }
            }
            "cookie_signer" => {
                let key = text(case, "effective_key");
                assert_eq!(key, format!("django.http.cookies{}", text(case, "secret_key")));
                let signer = cookie_signer(case, text(case, "salt"));
                compare_signed(&signer, case);
            }
            "set_signed_cookie" => {
                let (name, salt) = (text(case, "cookie_name"), text(case, "cookie_salt"));
                // The newer salt came with releases of several series at once: the signature tells which it is.
                let (new, old) =
                    (signing::signed_cookie_salt(name, salt), signing::legacy_signed_cookie_salt(name, salt));
                let is_new = cookie_signer(case, &new).unsign(text(case, "result"), now(case), None).is_ok();
                assert!(is_new || version(case) < (6, 0), "Django 6 has the newer salt");
                compare_signed(&cookie_signer(case, if is_new { &new } else { &old }), case);
                for (legacy_salt, reads) in [(LegacySalt::Accept, true), (LegacySalt::Refuse, is_new)] {
                    let signer = TimestampSigner::for_signed_cookie(&secret(case), name, salt, legacy_salt);
                    // That constructor is for releases that sign with SHA-256.
                    if algorithm(case) == Algorithm::Sha256 {
                        assert_eq!(signer.unsign(text(case, "result"), now(case), None).is_ok(), reads);
                    }
                }
            }
            "fallback" => return fallback(case),
            other => panic!("kind {other}"),
        }
        Reproduced::Exactly
    });
}

/// The time of the case, where it plays a part.
fn now(case: &Json) -> DateTime<Utc> {
    if case["frozen_time"].is_null() { Default::default() } else { time(&case["frozen_time"]) }
}

fn secret(case: &Json) -> SecretKey {
    text(case, "secret_key").into()
}

fn algorithm(case: &Json) -> Algorithm {
    match case["algorithm"].as_str() {
        // Django's own default of base64_hmac.
        Some("(default)") => Algorithm::Sha1,
        Some(name) => name.parse().unwrap(),
        None => Algorithm::Sha256,
    }
}

fn signer(case: &Json, default_salt: &str) -> Signer {
    let args = &case["args"];
    let secret = args["key"].as_str().map_or_else(|| secret(case), SecretKey::from);
    let salt = case["salt"].as_str().or(args["salt"].as_str()).unwrap_or(default_salt);
    let algorithm = args["algorithm"].as_str().map_or_else(|| algorithm(case), |name| name.parse().unwrap());
    let signer = Signer::with_algorithm(&secret, salt, algorithm);
    match args["sep"].as_str() {
        Some(separator) => signer.separated_by(separator).unwrap(),
        None => signer,
    }
}

fn cookie_signer(case: &Json, salt: &str) -> TimestampSigner {
    match algorithm(case) {
        Algorithm::Sha256 => TimestampSigner::for_cookies(&secret(case), salt),
        other => {
            let secret = SecretKey::from(format!("django.http.cookies{}", text(case, "secret_key")));
            Signer::with_algorithm(&secret, salt, other).into()
        }
    }
}

fn compare_signed(signer: &TimestampSigner, case: &Json) {
    let now = time(&case["frozen_time"]);
    assert_eq!(signer.sign(text(case, "value"), now), text(case, "result"));
    assert_eq!(signer.unsign(text(case, "result"), now, None).unwrap(), text(case, "value"));
}

fn salted_hmac(case: &Json) {
    let Ok(algorithm) = text(case, "algorithm").parse::<Algorithm>() else {
        assert_eq!(text(case, "raises"), "django.utils.crypto.InvalidAlgorithm");
        return;
    };
    let value = match case["value_hex"].as_str() {
        Some(hex) => bytes(hex),
        None => text(case, "value").as_bytes().to_vec(),
    };
    assert_eq!(
        salted_hmac_hex(text(case, "salt"), &value, &secret(case), algorithm),
        text(case, "hexdigest")
    );
}

/// Django 3.1 and 3.2 take SHA-1 signatures beside their own.
fn as_release(case: &Json, signer: Signer, salt: &str) -> Signer {
    if version(case).0 == 3 {
        let old = Signer::with_algorithm(&secret(case), salt, Algorithm::Sha1);
        if version(case) < (3, 1) { old } else { signer.also_accepting(&old) }
    } else {
        signer
    }
}

fn signer_unsign(case: &Json) -> Reproduced {
    let default = if version(case) < (3, 1) { Algorithm::Sha1 } else { Algorithm::Sha256 };
    let signer = Signer::with_algorithm(&secret(case), Signer::SALT, default);
    let signer = as_release(case, signer, Signer::SALT);
    match (signer.unsign(text(case, "value")), case["result"].as_str()) {
        (Ok(value), Some(expected)) => assert_eq!(value, expected),
        (Err(error), None) => {
            assert_eq!(text(case, "raises"), "django.core.signing.BadSignature");
            assert_eq!(error, SigningError::BadSignature);
        }
        (result, _) => panic!("{result:?}"),
    }
    Reproduced::Exactly
}

fn timestamp_unsign(case: &Json) {
    let salt = case["args"]["salt"].as_str().unwrap_or(TimestampSigner::SALT);
    let default = if version(case) < (3, 1) { Algorithm::Sha1 } else { Algorithm::Sha256 };
    let signer = Signer::with_algorithm(&secret(case), salt, default);
    let signer = TimestampSigner::from(as_release(case, signer, salt));
    let max_age = (!case["max_age"].is_null()).then(|| {
        let seconds: f64 = case["max_age"].to_string().parse().unwrap();
        TimeDelta::microseconds((seconds * 1e6) as i64)
    });
    let now = now(case);
    match (signer.unsign(text(case, "value"), now, max_age), case["raises"].as_str()) {
        (Ok(value), None) => assert_eq!(value, text(case, "result")),
        (Err(SigningError::SignatureExpired { .. }), Some("django.core.signing.SignatureExpired")) => {}
        (Err(SigningError::BadSignature), Some("django.core.signing.BadSignature")) => {}
        (Err(SigningError::BadTimestamp), Some("builtins.ValueError")) => {}
        (result, raises) => panic!("Django: {raises:?}; here: {result:?}"),
    }
}

fn compression(case: &Json) -> Compression {
    if case["compress"].as_bool().unwrap() { Compression::Always } else { Compression::Never }
}

/// Compressed text may differ; it must be compressed where Django's is.
fn compare_objects(result: &str, expected: &str) {
    if expected.starts_with('.') {
        assert!(result.starts_with('.'));
    } else {
        assert_eq!(result, expected);
    }
}

fn dumps(case: &Json) {
    let (now, salt, expected) = (time(&case["frozen_time"]), text(case, "salt"), text(case, "result"));
    let value = Python::from_vector(&case["decoded"]);
    if algorithm(case) == Algorithm::Sha256 {
        let result =
            signing::dumps_compressed(&case["input"], &secret(case), salt, now, compression(case)).unwrap();
        compare_objects(&result, expected);
        for text in [&result, expected] {
            assert_eq!(signing::loads::<Python>(text, &secret(case), salt, now, None).unwrap(), value);
        }
    } else {
        // What Django before 3.1 signed: the same with SHA-1.
        let signer = TimestampSigner::from(Signer::with_algorithm(&secret(case), salt, algorithm(case)));
        let payload = signer.unsign(expected, now, None).unwrap();
        assert_eq!(signer.sign(payload, now), expected);
    }
}

fn fallback(case: &Json) -> Reproduced {
    let fallbacks = case["secret_key_fallbacks"].as_array().unwrap();
    let old: SecretKey = fallbacks[0].as_str().unwrap().into();
    let (new, value) = (secret(case), text(case, "value"));
    let now = now(case);
    let with_fallback =
        |salt: &str| Signer::with_salt(&new, salt).also_accepting(&Signer::with_salt(&old, salt));
    let cookies = || {
        let key = |secret: &SecretKey| {
            SecretKey::from([b"django.http.cookies", secret.as_bytes()].concat().as_slice())
        };
        let signer = Signer::with_salt(&key(&new), "c");
        TimestampSigner::from(signer.also_accepting(&Signer::with_salt(&key(&old), "c")))
    };
    let signed_now = |case: &Json| value.matches(':').count() == 2 && case["result"].is_string();
    if case["second"].is_object() {
        let signer = cookies();
        for _ in 0..2 {
            assert_eq!(signer.unsign(value, now, None).unwrap(), text(&case["first"], "result"));
        }
        return Reproduced::Differently;
    }
    if case["result"].is_object() || case["raises"] == "django.core.signing.SignatureExpired" {
        let signer = TimestampSigner::from(with_fallback(signing::DUMPS_SALT));
        // Only the message says how old it may be.
        let max_age = case["raises_message"].as_str().map(|message| {
            let (_, seconds) = message.split_once(" > ").unwrap();
            TimeDelta::seconds(seconds.trim_end_matches(" seconds").parse().unwrap())
        });
        match signer.unsign(value, now, max_age) {
            Ok(payload) => {
                let json = signature::json_in(&format!("{payload}:")).expect("it is not compressed");
                assert_eq!(serde_json::from_str::<Json>(&json).unwrap(), case["result"]);
            }
            Err(error) => {
                let SigningError::SignatureExpired { age, max_age } = error else { panic!("{error}") };
                assert_eq!(text(case, "raises_message"), format!("Signature age {age} > {max_age} seconds"));
            }
        }
    } else if signed_now(case) {
        assert_eq!(cookies().unsign(value, now, None).unwrap(), text(case, "result"));
    } else if case["result"].is_string() {
        let signer = with_fallback(Signer::SALT);
        assert_eq!(signer.unsign(value).unwrap(), text(case, "result"));
        assert_ne!(signer.sign(text(case, "result")), value, "a fallback never signs");
    } else {
        // Told to have no fallbacks.
        assert_eq!(text(case, "raises"), "django.core.signing.BadSignature");
        assert_eq!(Signer::new(&new).unsign(value), Err(SigningError::BadSignature));
    }
    Reproduced::Exactly
}
