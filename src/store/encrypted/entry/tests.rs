//! Vectors of the form, made with libsodium and Python's `hmac`, and what happens to any other text.

use super::*;

const SESSION_KEY: &str = "abcdefgh12345678abcdefgh12345678";

fn key(bytes: [u8; 32]) -> EncryptionKey {
    EncryptionKey::from_bytes(bytes)
}

fn counting(from: u8) -> [u8; 32] {
    std::array::from_fn(|index| from + u8::try_from(index).unwrap())
}

fn entry(text: &str) -> SessionData {
    let mut entry = SessionData::new();
    entry.write(ENCRYPTED, text).unwrap();
    entry
}

#[test]
fn the_form_is_that_of_the_vectors() {
    let (session_key, data) =
        (SessionKey::from_trusted(SESSION_KEY), SessionData::from_json(r#"{"visits":1}"#).unwrap());
    let nonce: [u8; NONCE] = std::array::from_fn(|index| 100 + u8::try_from(index).unwrap());
    for (session_key, text) in [
        (
            Some(&session_key),
            "1.02f6b4c2.ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp757vtd1yOLVdsDfnMP/ay1hjGalR6cQnBOQPo5gI=",
        ),
        (None, "1.02f6b4c2.ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp757vtd1yOLVdsDfnMP8vgPFQ1ae2VgpDp5MzsO/I="),
    ] {
        let sealed = seal_with(nonce, &key(counting(0)), session_key, &data).unwrap();
        assert_eq!(sealed.read::<String>(ENCRYPTED).unwrap().unwrap(), text);
        let keys = EncryptionKeys::new([key([9; 32]), key(counting(0))]).unwrap();
        assert_eq!(open(&keys, session_key, sealed).unwrap(), data);
    }
    // A pickle, of which only the reading is fixed.
    let keys = EncryptionKeys::new([key([7; 32])]).unwrap();
    let pickle = entry("1.b1b2d9c1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8wNgqn9iWk98RXy1O++Wk1r9C8LAgA==");
    assert_eq!(open(&keys, Some(&session_key), pickle).unwrap(), SessionData::new());
}

#[test]
fn a_text_with_any_other_byte_does_not_open() {
    let session_key = SessionKey::from_trusted(SESSION_KEY);
    let data = SessionData::from_json(r#"{"visits":1}"#).unwrap();
    let keys = EncryptionKeys::new([key([1; 32]), key([2; 32])]).unwrap();
    let sealed = seal(keys.first(), Some(&session_key), &data, "test").unwrap();
    let text: String = sealed.read(ENCRYPTED).unwrap().unwrap();
    for place in 0..text.len() {
        for other in *b"A0f=+/.- \n\0~" {
            let mut bytes = text.clone().into_bytes();
            if bytes[place] == other {
                continue;
            }
            bytes[place] = other;
            let changed = entry(&String::from_utf8(bytes).unwrap());
            assert!(open(&keys, Some(&session_key), changed).is_err(), "{place} {other}");
        }
        assert!(open(&keys, Some(&session_key), entry(&text[..place])).is_err(), "{place}");
        for more in ["A", "=", "\n", " ", "-"] {
            let longer = [&text[..place], more, &text[place..]].concat();
            assert!(open(&keys, Some(&session_key), entry(&longer)).is_err(), "{place} {more:?}");
        }
    }
    let of_other = text.replacen(keys.first().id(), key([2; 32]).id(), 1);
    assert!(matches!(open(&keys, Some(&session_key), entry(&of_other)), Err(Closed::Changed(_))));
    assert!(matches!(open(&keys, None, sealed.clone()), Err(Closed::Changed(_))), "a row is no cookie");
    let another = SessionKey::from_trusted("12345678abcdefgh12345678abcdefgh");
    assert!(matches!(open(&keys, Some(&another), sealed.clone()), Err(Closed::Changed(_))));
    let without = EncryptionKeys::new([key([3; 32])]).unwrap().accepting_plain();
    assert!(matches!(open(&without, Some(&session_key), sealed.clone()), Err(Closed::UnknownKey(_))));
    let mut mixed = sealed.clone();
    mixed.write("_auth_user_id", "1").unwrap();
    assert_eq!(open(&keys, Some(&session_key), mixed), Err(Closed::Mixed));
    assert_eq!(open(&keys, Some(&session_key), data), Err(Closed::Plain));
    assert_eq!(open(&keys, Some(&session_key), SessionData::new()), Err(Closed::Plain));
    let mut number = SessionData::new();
    number.write(ENCRYPTED, &7).unwrap();
    assert_eq!(open(&keys, Some(&session_key), number), Err(Closed::Form));
}

/// An odd id is not shown: it may be anything.
#[test]
fn only_an_id_is_shown() {
    let keys = EncryptionKeys::new([key([1; 32])]).unwrap();
    for text in ["1.hush-hush.AAAA", "2.02f6b4c2.AAAA", "1.02f6b4c2", "hush", ""] {
        let error = open(&keys, None, entry(text)).unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

#[test]
fn every_write_has_its_own_nonce_and_values_keep_their_spelling() {
    let keys = EncryptionKeys::new([key([1; 32])]).unwrap();
    let data = SessionData::from_json(r#"{"a": 1e5, "b": {"c": [1.50, NaN]}}"#).unwrap();
    let [one, other] = [(); 2].map(|()| seal(keys.first(), None, &data, "test").unwrap());
    assert_ne!(one.to_json(), other.to_json());
    assert_eq!(open(&keys, None, one).unwrap().to_json(), data.to_json());
    // pickle.dumps({"a": (1, 2)})
    let pickle = b"\x80\x04}\x94\x8c\x01a\x94K\x01K\x02\x86\x94s.";
    let tuple = SessionData::from_pickle(pickle, 1 << 10).unwrap();
    let opened = open(&keys, None, seal(keys.first(), None, &tuple, "test").unwrap()).unwrap();
    assert!(opened.get("a").unwrap().pickled().is_some(), "a tuple stays one");
}
