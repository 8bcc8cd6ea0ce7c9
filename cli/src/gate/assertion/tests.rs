use std::sync::Arc;
use std::time::{Duration, Instant};

use base64_simd::URL_SAFE_NO_PAD;
use cloakroom::{ManualClock, SystemClock};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{AssertionConfig, Assertions, Identity};

const NOW: i64 = 1_700_000_000;

fn ada() -> Identity {
    Identity {
        id: "7".to_owned(),
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        groups: vec!["editors".to_owned(), "Zürich, \"Süd\"".to_owned()],
        is_staff: true,
        is_superuser: false,
        ..Identity::default()
    }
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode_to_vec(part).unwrap()
}

/// Header and claims, if the signature is one of a published key.
fn verified(assertions: &Assertions, token: &str) -> Option<(Value, Value)> {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
    let set: Value = serde_json::from_str(&assertions.public_keys()).unwrap();
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"])?;
    let coordinates = ["x", "y"].map(|name| decoded(key[name].as_str().unwrap()));
    let point = [vec![4], coordinates.concat()].concat();
    let public_key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public_key.verify(signed.as_bytes(), &decoded(signature)).ok()?;
    Some((header, serde_json::from_slice(&decoded(claims)).unwrap()))
}

#[tokio::test]
async fn an_assertion_says_who_and_for_whom_and_no_more() {
    let config = AssertionConfig { issuer: "https://www.example.com".to_owned(), ..Default::default() };
    let assertions = Assertions::open_with(&config, Arc::new(ManualClock::at_unix_seconds(NOW))).unwrap();
    let token = assertions.sign(&ada(), "wiki.example.com").unwrap();
    let (header, claims) = verified(&assertions, &token).unwrap();
    assert_eq!(header, json!({ "typ": "JWT", "alg": "ES256", "kid": header["kid"] }));
    let said = json!({
        "iss": "https://www.example.com", "aud": "wiki.example.com", "sub": "7", "iat": NOW, "exp": NOW + 60,
        "preferred_username": "ada", "email": "ada@example.com", "groups": ["editors", "Zürich, \"Süd\""],
        "is_staff": true, "is_superuser": false,
    });
    assert_eq!(claims, said);
    let without = Identity { email: String::new(), groups: Vec::new(), ..ada() };
    let (_, claims) = verified(&assertions, &assertions.sign(&without, "a").unwrap()).unwrap();
    assert_eq!((claims.get("email"), &claims["groups"]), (None, &json!([])));
}

#[tokio::test]
async fn a_changed_assertion_is_not_verified() {
    let assertions = Assertions::open(&AssertionConfig::default()).unwrap();
    let token = assertions.sign(&ada(), "wiki.example.com").unwrap();
    assert!(verified(&assertions, &token).is_some());
    let [header, claims, signature] = <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
    let root = String::from_utf8(decoded(claims)).unwrap().replace(r#""sub":"7""#, r#""sub":"1""#);
    let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode_to_string(root));
    assert!(verified(&assertions, &forged).is_none());
    let other = Assertions::open(&AssertionConfig::default()).unwrap();
    assert!(verified(&other, &token).is_none(), "each gate without a folder has its own keys");
}

#[tokio::test]
async fn the_times_are_those_of_a_clock_that_goes_back() {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let config = AssertionConfig { lifetime: 5, ..Default::default() };
    let assertions = Assertions::open_with(&config, Arc::clone(&clock) as _).unwrap();
    for now in [NOW, NOW - 86_400, 0] {
        clock.set(cloakroom::chrono::DateTime::from_timestamp(now, 0).unwrap());
        let token = assertions.sign(&ada(), "wiki.example.com").unwrap();
        let (_, claims) = verified(&assertions, &token).unwrap();
        assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(now), Some(now + 5)));
    }
}

#[tokio::test]
async fn an_assertion_outlives_a_change_of_the_configuration() {
    let assertions = Assertions::open(&AssertionConfig::default()).unwrap();
    let token = assertions.sign(&ada(), "wiki.example.com").unwrap();
    let again = assertions.reopen(&AssertionConfig { lifetime: 30, ..Default::default() }).unwrap();
    assert!(verified(&again, &token).is_some());
    assert!(again.reopen(&AssertionConfig { lifetime: 0, ..Default::default() }).is_err());
}

/// Two signatures of the same claims differ.
#[tokio::test]
async fn equal_claims_share_a_signature_for_their_second_and_others_never_do() {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let assertions = Assertions::open_with(&AssertionConfig::default(), Arc::clone(&clock) as _).unwrap();
    let first = assertions.sign(&ada(), "wiki.example.com").unwrap();
    assert_eq!(assertions.sign(&ada(), "wiki.example.com").unwrap(), first);
    let mut tokens = vec![first];
    tokens.push(assertions.sign(&ada(), "metrics.example.com").unwrap());
    let of_nobodys_groups = Identity { groups: Vec::new(), ..ada() };
    tokens.push(assertions.sign(&of_nobodys_groups, "wiki.example.com").unwrap());
    clock.advance(Duration::from_secs(1));
    tokens.push(assertions.sign(&ada(), "wiki.example.com").unwrap());
    assert_eq!(assertions.signed().tokens.len(), 1, "those of the second before are forgotten");
    let said = |token: &String| verified(&assertions, token).unwrap().1;
    let said: Vec<Value> = tokens.iter().map(said).collect();
    assert_eq!(
        (&said[0]["aud"], &said[1]["aud"]),
        (&json!("wiki.example.com"), &json!("metrics.example.com"))
    );
    assert_eq!((&said[2]["groups"], &said[3]["iat"]), (&json!([]), &json!(NOW + 1)));
    // More than are kept.
    for number in 0..super::MOST + 10 {
        let host = format!("{number}.example.com");
        let token = assertions.sign(&ada(), &host).unwrap();
        if number % 500 == 0 {
            assert_eq!(verified(&assertions, &token).unwrap().1["aud"], host);
        }
    }
    assert!(assertions.signed().tokens.len() <= super::MOST);
}

/// A key that another gate added.
#[tokio::test]
async fn the_folder_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        AssertionConfig { keys: Some(folder.path().join("keys")), publish_ahead: 4, ..Default::default() };
    let assertions = Assertions::open(&config).unwrap();
    let before = assertions.public_keys();
    let another = AssertionConfig { keys: Some(folder.path().join("other")), ..config.clone() };
    let another = Assertions::open(&another).unwrap();
    let token = another.sign(&ada(), "wiki.example.com").unwrap();
    drop(another);
    let added = std::fs::read_dir(folder.path().join("other")).unwrap().next().unwrap().unwrap();
    std::fs::rename(added.path(), folder.path().join("keys").join(added.file_name())).unwrap();
    let begin = Instant::now();
    while assertions.public_keys() == before {
        assert!(begin.elapsed() < Duration::from_secs(30), "the folder is not read again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(verified(&assertions, &token).is_some());
}

/// The time of one signature: `cargo test --release -p cloakroom-cli --bin cloakroom -- --nocapture one_signature`.
#[tokio::test]
async fn one_signature_takes_microseconds() {
    let assertions = Assertions::open_with(&AssertionConfig::default(), Arc::new(SystemClock)).unwrap();
    let (ada, count) = (ada(), 2000);
    let begin = Instant::now();
    for number in 0..count {
        // Another audience each time: equal claims of a second share a signature.
        assertions.sign(&ada, &format!("{number}.example.com")).unwrap();
    }
    let each = begin.elapsed() / count;
    println!("{each:?} an assertion");
    // Generous: a busy machine and a debug build.
    assert!(each < Duration::from_millis(5), "{each:?}");
}
