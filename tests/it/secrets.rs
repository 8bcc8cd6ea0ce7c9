//! What secrets derive, and how what they made is compared.

use std::collections::HashSet;
use std::path::Path;

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::signing::{Algorithm, salted_hmac_hex};
use cloakroom::{DecodeError, SessionCodec, SessionData, Settings, TextFormat, auth};

/// Each use has a salt of its own, so that what one signed is worth nothing to another; so with each session class,
/// each secret and each algorithm.
#[test]
fn a_text_of_the_other_format_is_not_genuine() {
    let mut settings = Settings::new("secret");
    let data = SessionData::from_json(r#"{"a":1}"#).unwrap();
    for (written, asked) in
        [(TextFormat::Legacy, TextFormat::Modern), (TextFormat::Modern, TextFormat::Legacy)]
    {
        settings.text_format = written;
        let codec = SessionCodec::new(&settings);
        let text = codec.encode(&data, DateTime::UNIX_EPOCH).unwrap();
        let decode = |format| codec.decode_json_as(&text, format, DateTime::UNIX_EPOCH, None);
        assert!(decode(None).is_ok() && decode(Some(written)).is_ok());
        assert_eq!(decode(Some(asked)), Err(DecodeError::BadSignature), "{written:?}");
    }
}

#[test]
fn salts_derive_keys_that_never_collide() {
    let salts = [
        "django.contrib.sessions.SessionStore",
        "django.contrib.sessionsSessionStore",
        "django.contrib.sessions.backends.signed_cookies",
        "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash",
        "django.core.signing.Signer",
        "django.core.signing.TimestampSigner",
        "django.core.signing",
    ];
    let suffixes = ["", "signer", "Signer", "x"];
    let mut seen = HashSet::new();
    let mut made = 0;
    for salt in salts {
        for suffix in suffixes {
            for secret in ["secret", "Secret", "another"] {
                for algorithm in [Algorithm::Sha1, Algorithm::Sha256] {
                    let salt = format!("{salt}{suffix}");
                    assert!(
                        seen.insert(salted_hmac_hex(&salt, b"value", &secret.into(), algorithm)),
                        "{salt}"
                    );
                    made += 1;
                }
            }
        }
    }
    assert_eq!(seen.len(), made);

    let session = |class: &str| {
        let mut settings = Settings::new("secret");
        settings.session_class = class.to_owned();
        SessionCodec::new(&settings)
    };
    let data = SessionData::from_json(r#"{"_auth_user_id":"7"}"#).unwrap();
    let classes = ["SessionStore", "sessionStore", "Outer.SessionStore", "SessionStoresigner", "signer"];
    for one in classes {
        let text = session(one).encode(&data, Utc::now()).unwrap();
        for other in classes {
            assert_eq!(session(other).decode(&text).is_ok(), one == other, "{one} read by {other}");
        }
    }
}

#[test]
fn fallbacks_verify_and_never_sign() {
    let (old, mut both, new) = (Settings::new("old"), Settings::new("new"), Settings::new("new"));
    both.secret_key_fallbacks = vec!["older".into(), "old".into()];
    let data = SessionData::from_json(r#"{"_auth_user_id":"7"}"#).unwrap();
    let [of_old, of_both, of_new] = [&old, &both, &new].map(SessionCodec::new);
    let encode = |codec: &SessionCodec| codec.encode(&data, Utc::now()).unwrap();

    assert!(of_both.decode(&encode(&of_old)).is_ok() && of_both.decode(&encode(&of_new)).is_ok());
    assert!(of_new.decode(&encode(&of_old)).is_err(), "without it, it verifies nothing");
    assert!(
        of_new.decode(&encode(&of_both)).is_ok() && of_old.decode(&encode(&of_both)).is_err(),
        "signed with new"
    );

    assert!(auth::verify_session_auth_hash(&auth::session_auth_hash("p", &old), "p", &both));
    assert!(!auth::verify_session_auth_hash(&auth::session_auth_hash("p", &old), "p", &new));
    assert_eq!(auth::session_auth_hash("p", &both), auth::session_auth_hash("p", &new));
}

/// Time tells nothing that a test could measure reliably; so the source is looked at: one function compares what
/// secrets made, and that is `subtle`'s.
#[test]
fn what_secrets_made_is_compared_in_constant_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let signing = read("formats/src/signing.rs");
    let (_, body) = signing.split_once("fn constant_time_equal(").unwrap();
    let body = body.split("\n}").next().unwrap();
    assert!(body.contains(".ct_eq(") && !body.contains("=="), "{body}");
    for (name, file) in [
        ("signing.rs", signing),
        ("session_text.rs", read("formats/src/session_text.rs")),
        ("auth.rs", read("src/login/auth.rs")),
    ] {
        assert!(file.contains("constant_time_equal("), "{name} compares through it");
        for line in file.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let sides = line.split("==").chain(line.split("!=")).collect::<Vec<_>>();
            let is_made = |side: &str| {
                ["signature", "hash", "mac", "digest"].iter().any(|word| {
                    side.trim_end().ends_with(word)
                        || side.trim_start().trim_start_matches('&').starts_with(word)
                })
            };
            assert!(sides.len() == 2 || !sides.iter().any(|side| is_made(side)), "{name}: {}", line.trim());
        }
    }
}
