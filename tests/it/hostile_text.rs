//! Text that was made to harm: JSON, signed text, cookie headers, timestamps, expiries.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use cloakroom::middleware::find_cookie;
use cloakroom::signing::{SecretKey, Signer, SigningError, TimestampSigner};
use cloakroom::{
    DecodeError, EXPIRY_KEY, Error, Expiry, ExpiryError, MAX_DEPTH, Session, SessionCodec, SessionData,
    SessionKey, Settings, SqliteStore, Value,
};

use crate::fuzz_corpus::targets;
use crate::support::limited::processor_time;

const SECRET: &str = "secret";

fn codec() -> SessionCodec {
    SessionCodec::new(&Settings::new(SECRET))
}

fn limited_codec(secret: &str, max_decompressed_bytes: usize) -> SessionCodec {
    let mut settings = Settings::new(secret);
    settings.max_decompressed_bytes = max_decompressed_bytes;
    SessionCodec::new(&settings)
}

/// The payload with the right signature, whatever it is.
fn signed(payload: &str) -> String {
    Signer::with_salt(&SecretKey::from(SECRET), "django.contrib.sessions.SessionStore")
        .sign(&format!("{payload}:1r31eq"))
}

/// On a stack of 1 MiB, so that whatever recurses with the depth of a text does not come back.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn json_a_million_levels_deep_is_an_error_and_900_levels_are_read() {
    on_a_small_stack(|| {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
            let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let levels = 1_000_000 / open.matches(['[', '{']).count();
            let million = nested(levels);
            assert!(Value::from_json(&million).is_err() && Value::from_json(&open.repeat(levels)).is_err());
            let session = format!(r#"{{"k":{million}}}"#);
            assert!(SessionData::from_json(&session).is_err());
            for payload in [URL_SAFE_NO_PAD.encode(&session), format!(".{}", deflated(session.as_bytes()))] {
                let error = codec().decode(&signed(&payload)).unwrap_err();
                assert!(matches!(error, DecodeError::Unreadable(_)), "{error}");
            }
            let levels = 900 / open.matches(['[', '{']).count();
            let session = format!(r#"{{"k":{}}}"#, nested(levels));
            let data = codec().decode(&signed(&URL_SAFE_NO_PAD.encode(&session))).unwrap();
            assert_eq!(data.to_json(), session);
            assert_eq!(SessionData::from_json(&session).unwrap(), data);
            // Reading into Rust types stops earlier, and says so.
            assert!(data.read::<serde_json::Value>("k").unwrap_err().to_string().contains("128"));
            assert_eq!(SessionData::from_pickle(&data.to_pickle().unwrap(), 1 << 20).unwrap(), data);
        }
        let list = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(
            Value::from_stored_json(&list(MAX_DEPTH - 1)).is_ok()
                && Value::from_stored_json(&list(MAX_DEPTH)).is_err()
        );
    });
}

fn deflated(bytes: &[u8]) -> String {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(bytes).unwrap();
    URL_SAFE_NO_PAD.encode(zlib.finish().unwrap())
}

/// A gibibyte of blanks, as zlib: one megabyte. Its parts stand alone, so that one of them is compressed once.
fn bomb() -> String {
    let mut zlib = flate2::Compress::new(flate2::Compression::best(), true);
    let mut part = || {
        let mut part = Vec::with_capacity(1 << 16);
        zlib.compress_vec(&[b' '; 1 << 20], &mut part, flate2::FlushCompress::Full).unwrap();
        part
    };
    let (first, others) = (part(), part());
    format!(".{}", URL_SAFE_NO_PAD.encode([first, others.repeat(1_023)].concat()))
}

#[test]
fn a_zlib_bomb_ends_at_the_limit_and_nothing_unsigned_is_inflated() {
    // Room for the text and what the limit allows, far from the gibibyte.
    if !crate::support::limited::memory(
        "hostile_text::a_zlib_bomb_ends_at_the_limit_and_nothing_unsigned_is_inflated",
        128,
    ) {
        return;
    }
    let bomb = bomb();
    let error = codec().decode(&signed(&bomb)).unwrap_err();
    assert!(error.to_string().contains("limit of 16777216 bytes"), "{error}");
    let genuine = signed(&bomb);
    let cut = |text: &str| text[..text.len() - 1].to_owned();
    // Were any of these inflated, this process would end.
    for unsigned in [
        bomb.clone(),
        format!("{bomb}:1r31eq:AAAA"),
        cut(&genuine),
        genuine.replacen("1r31eq", "1r31er", 1),
        STANDARD.encode(&bomb),
        STANDARD.encode(format!("{}:{bomb}", "0".repeat(40))),
    ] {
        let error = limited_codec(SECRET, usize::MAX).decode(&unsigned).unwrap_err();
        assert_eq!(error, DecodeError::BadSignature);
    }
    let another = limited_codec("another secret", usize::MAX);
    assert_eq!(another.decode(&genuine), Err(DecodeError::BadSignature));
}

#[test]
fn a_cut_stream_is_an_error_and_what_follows_its_end_is_passed_over() {
    let json = format!(r#"{{"a":"{}"}}"#, "coat ".repeat(400));
    let whole = URL_SAFE_NO_PAD.decode(deflated(json.as_bytes())).unwrap();
    let decode = |bytes: &[u8]| codec().decode(&signed(&format!(".{}", URL_SAFE_NO_PAD.encode(bytes))));
    for length in 0..whole.len() {
        let error = decode(&whole[..length]).unwrap_err();
        assert!(matches!(error, DecodeError::Unreadable(_)), "{length}: {error}");
    }
    assert_eq!(decode(&whole).unwrap().to_json(), json);
    assert_eq!(decode(&[&whole[..], b"and more"].concat()).unwrap().to_json(), json);
    for limit in [json.len() - 1, json.len()] {
        let text = signed(&format!(".{}", URL_SAFE_NO_PAD.encode(&whole)));
        assert_eq!(limited_codec(SECRET, limit).decode(&text).is_ok(), limit == json.len(), "limit {limit}");
    }
}

#[test]
fn of_generated_headers_django_takes_the_same_cookies() {
    const HEADERS: usize = 5_000;
    const NAMES: [&str; 9] =
        ["sessionid", "a", "", " sessionid", "sessionid\t", "Sessionid", "\u{1c}b", "ü", "$Path"];
    const PARTS: [&str; 22] = [
        "a", "0", "7", "\"", "\\", "\\\"", "\\101", "\\400", "\\08", "\\377", "\\000", "=", " ", "\t", ",",
        "é", "\u{a0}", "\u{3000}", "\u{85}", "\\\n", "\u{fffd}", "🦀",
    ];
    let mut numbers = crate::fuzz_corpus::corpus::Numbers::new();
    for _ in 0..HEADERS {
        let mut header = String::new();
        for _ in 0..numbers.below(6) {
            header.push_str(NAMES[numbers.below(NAMES.len())]);
            header.push_str(["=", "=", "=", " = ", "", "=="][numbers.below(6)]);
            let quoted = numbers.below(2) == 0;
            header.push_str(if quoted { "\"" } else { "" });
            (0..numbers.below(6)).for_each(|_| header.push_str(PARTS[numbers.below(PARTS.len())]));
            header.push_str(if quoted { "\"" } else { "" });
            header.push_str([";", "; ", ";;", " ; "][numbers.below(4)]);
        }
        targets::cookie_header(header.as_bytes());
    }
    println!("t17: of {HEADERS} of {HEADERS} headers Django takes the same cookies");
}

/// CPython before 3.13 took 17.7 seconds for 80 kB of backslashes.
#[test]
fn a_header_takes_time_in_proportion_to_its_length() {
    // What it is, how it starts, what is repeated, and how it ends.
    type Shape = (&'static str, &'static [u8], &'static [u8], &'static [u8]);
    let shapes: [Shape; 8] = [
        ("backslashes", b"sessionid=\"", b"\\\\", b"\""),
        ("octal escapes", b"sessionid=\"", b"\\101", b"\""),
        ("backslashes that end nowhere", b"sessionid=\"", b"\\", b""),
        ("pairs of the name", b"", b"sessionid=a;", b""),
        ("nameless pairs", b"", b"=;=a;b;", b"sessionid=a"),
        ("blanks", b"sessionid=", b" \t", b"\xc2\xa0"),
        ("equals signs", b"sessionid", b"=", b""),
        ("no UTF-8", b"sessionid=", b"\xff\xe2\x82", b""),
    ];
    for (name, start, part, end) in shapes {
        // As many bytes each time, in short headers or in long ones.
        let time = |length: usize| {
            let header = [start, &part.repeat(length / part.len()), end].concat();
            let started = processor_time();
            for _ in 0..5_120_000 / length {
                std::hint::black_box(find_cookie([header.as_slice()], "sessionid"));
            }
            processor_time() - started
        };
        let (short, long) = (time(80_000), time(640_000));
        // Were it the square of the length, it would be 8 times the time.
        let limit = short * 3 + Duration::from_millis(40);
        assert!(long < limit, "{name}: 5 MB take {short:?} in headers of 80 kB, {long:?} of 640 kB");
    }
}

#[test]
fn hostile_timestamps_get_djangos_answer() {
    let (z22, z400) = ("z".repeat(22), "z".repeat(400));
    let stamps = [
        "",
        "-",
        "--1",
        "0",
        "-0",
        "-1",
        "1",
        "1r31eq",
        "-1r31eq",
        "1r31cy",
        "1r31cz",
        "1r31gT",
        "2r31eq",
        "zzzzzzzzzzzzzzz",
        "-zzzzzzzzzzzzzzz",
        &z22,
        &z400,
        "1r31eq ",
        " 1r31eq",
        "1r3_eq",
        "1r31eq\n",
        "+1",
        "0x10",
        "\u{661}",
        "\u{0}",
        "1r31eq:",
    ];
    for stamp in stamps {
        // Without a limit to the age and with one.
        for mode in [0x05, 0x0d] {
            targets::signed_text(&[&[mode], stamp.as_bytes(), b"\ne30"].concat());
        }
    }
    println!("t19: {0} of {0} timestamps get Django's answer", stamps.len());

    let signer = TimestampSigner::from(Signer::with_salt(&SecretKey::from(SECRET), "salt"));
    let stamped =
        |stamp: &str| Signer::with_salt(&SecretKey::from(SECRET), "salt").sign(&format!("v:{stamp}"));
    let times = [DateTime::<Utc>::MIN_UTC, DateTime::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC];
    for stamp in ["zzzzzzzzzzzzzzz", "-zzzzzzzzzzzzzzz", &z400, "0"] {
        for now in times {
            for max_age in [TimeDelta::MIN, TimeDelta::zero(), TimeDelta::MAX] {
                // Neither a panic nor an overflow, which would turn the future into the past.
                let unsigned = signer.unsign(&stamped(stamp), now, Some(max_age)).map(str::to_owned);
                let expired = matches!(unsigned, Err(SigningError::SignatureExpired { .. }));
                assert!(expired || unsigned == Ok("v".to_owned()), "{stamp} {now} {max_age}: {unsigned:?}");
                if stamp.starts_with('z') && max_age >= TimeDelta::zero() {
                    assert!(!expired, "{stamp} is in the future at {now}");
                }
            }
        }
    }
}

#[test]
fn a_payload_that_is_no_dictionary_is_djangos_or_an_error() {
    let payloads = [
        "null",
        "5",
        "-0.0",
        "NaN",
        "true",
        "\"text\"",
        "[]",
        "[1,2]",
        "[{\"_auth_user_id\":\"1\"}]",
        "",
        " ",
        "{",
        "}",
        "{}x",
        "{1:2}",
        "{'a':1}",
        "\u{feff}{}",
        "{\"a\":1}{\"b\":2}",
    ];
    for payload in payloads {
        for mode in [2, 3] {
            targets::signed_text(&[&[mode], payload.as_bytes()].concat());
        }
        targets::legacy_text(&[&[1], payload.as_bytes()].concat());
        let error = codec().decode(&signed(&URL_SAFE_NO_PAD.encode(payload))).unwrap_err();
        assert!(matches!(error, DecodeError::Unreadable(_)), "{payload}: {error}");
    }
    println!("t23: {0} of {0} payloads that are no dictionary are an error", payloads.len());
}

/// What a session may hold as its `_session_expiry`, and what comes of it when the session is saved.
#[tokio::test]
async fn a_hostile_expiry_is_djangos_or_an_error_and_can_be_mended() {
    use ExpiryError::{NotADate, OutOfRange, WrongType};
    let cases: [(&str, Option<ExpiryError>); 19] = [
        ("0", None),
        ("1.5", None),
        ("-1", None),
        ("true", None),
        ("\"\"", Some(NotADate)),
        ("\"2030-01-01T00:00:00+00:00\"", None),
        ("\"2030-01-01T00:00:00\"", Some(ExpiryError::ZoneMismatch { naive: true })),
        ("\"tomorrow\"", Some(NotADate)),
        ("\"9999-12-31T23:59:59-23:59\"", Some(OutOfRange)),
        ("\"\\ud83e\"", Some(NotADate)),
        ("[]", None),
        ("[1]", Some(WrongType(cloakroom::Kind::List))),
        ("{\"a\":1}", Some(WrongType(cloakroom::Kind::Dict))),
        ("NaN", Some(OutOfRange)),
        ("Infinity", Some(OutOfRange)),
        ("-Infinity", Some(OutOfRange)),
        ("1e300", Some(OutOfRange)),
        ("999999999999999999999999999999", Some(OutOfRange)),
        ("-9223372036854775809", Some(OutOfRange)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("db.sqlite3");
    let options = SqliteStore::at(&database);
    options.create_table(Default::default()).await.unwrap();
    let store = Arc::new(options.open(&Settings::new(SECRET)).await.unwrap());
    let connection = rusqlite::Connection::open(&database).unwrap();
    let row = |key: &SessionKey| -> String {
        let select = "SELECT session_data FROM django_session WHERE session_key = ?1";
        connection.query_row(select, [key.as_str()], |row| row.get(0)).unwrap()
    };
    for (stored, refused) in &cases {
        // On a thread of its own, because it waits for a future.
        std::thread::spawn(|| targets::expiry(stored.as_bytes())).join().unwrap();
        let (key, json) = (SessionKey::random().unwrap(), format!(r#"{{"{EXPIRY_KEY}":{stored}}}"#));
        let text = codec().encode_json(&Value::from_json(&json).unwrap(), Utc::now()).unwrap();
        let insert = "INSERT INTO django_session VALUES (?1, ?2, '2099-01-01 00:00:00')";
        connection.execute(insert, [key.as_str(), &text]).unwrap();
        let session = Session::open(store.clone(), Settings::new(SECRET), key.clone()).await.unwrap();
        session.set("a", 1).unwrap();
        match (session.save().await, refused) {
            (Ok(()), None) => {}
            (Err(Error::Expiry(error)), Some(expected)) => {
                assert_eq!((&error, row(&key)), (expected, text), "{stored}: the row stays");
                session.set_expiry(Expiry::Seconds(300)).unwrap();
                session.save().await.unwrap();
            }
            (saved, expected) => panic!("{stored}: {saved:?}, expected {expected:?}"),
        }
        assert_eq!(codec().decode(&row(&key)).unwrap().read("a"), Ok(Some(1)), "{stored}: saved");
    }
    println!("t23: {0} of {0} hostile expiries have a defined end", cases.len());
}
