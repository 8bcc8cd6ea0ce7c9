//! Objects in pickles: of Django's and Python's own classes, and of a site's. Real Django makes them and judges what
//! comes back.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloakroom::{PickleError, SessionData, Value, ValueError};

const LIMIT: usize = 16 << 20;

/// The plain ones read as what they are, of the others the class is named; all go back as they came, whatever else of
/// the session changes.
#[test]
fn objects_of_django_5_2_are_read_or_kept() {
    objects_of(".venv");
}

#[test]
fn objects_of_django_4_2_are_read_or_kept() {
    objects_of(".venv-4.2");
}

fn objects_of(environment: &str) {
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(environment).join("bin/python");
    let mut python = Command::new(python)
        .args(["-c", include_str!("pickle_objects.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/test makes the environment with Django");
    let mut input = python.stdin.take().unwrap();
    let mut verdict = String::new();
    for line in BufReader::new(python.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("came back") {
            verdict = line;
            break;
        }
        let (pickle, case) = line.split_once(' ').unwrap();
        let (name, reads): (String, Option<String>) = serde_json::from_str(case).unwrap();
        let pickle = STANDARD.decode(pickle).unwrap();
        let mut data =
            SessionData::from_pickle(&pickle, LIMIT).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(data.read("before"), Ok(Some(1)), "{name}");
        assert_eq!(data.read("_auth_user_id"), Ok(Some("7".to_owned())), "{name}");
        let value = data.get("value").unwrap();
        match reads.as_deref() {
            Some("*") => {}
            Some(json) => {
                assert_eq!(value.json(), json, "{name}");
                assert!(value.deserialize::<serde_json::Value>().is_ok(), "{name}");
            }
            None => {
                let error = value.deserialize::<serde_json::Value>().unwrap_err();
                assert!(matches!(error, ValueError::PythonObject(_)), "{name}: {error}");
            }
        }
        data.insert("new", Value::serialize(&[1]).unwrap());
        let again = data.to_pickle().unwrap();
        assert_eq!(SessionData::from_pickle(&again, LIMIT).unwrap(), data, "{name}");
        writeln!(input, "{}", STANDARD.encode(again)).unwrap();
        assert!(data.remove("value").is_some() && data.to_pickle().is_ok(), "{name}");
    }
    drop(input);
    assert!(python.wait().unwrap().success(), "{verdict}");
    println!("{verdict}");
    let count: usize = verdict.trim_start_matches("came back ").parse().expect(&verdict);
    assert!(count > 150, "{count}");
}

fn sized(text: &str) -> Vec<u8> {
    [&[0x8c, text.len() as u8], text.as_bytes()].concat()
}

/// A session with this value beside others.
fn session_of(opcodes: &[u8]) -> Vec<u8> {
    [b"\x80\x04}(\x8c\x01aK\x01\x8c\x01k", opcodes, &sized("_auth_user_id"), &sized("7"), b"u."].concat()
}

/// What would run code is the value of its key, and is neither run nor read; the other keys are.
#[test]
fn what_would_run_code_keeps_its_own_key_from_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("proof");
    let touch = sized(&format!("touch {}", proof.display()));
    let global = |module: &str, name: &str| [&sized(module)[..], &sized(name), b"\x93"].concat();
    let system = [&global("os", "system")[..], &touch, b"\x85R"].concat();
    let cases = [
        (system.clone(), "os.system"),
        ([b"cos\nsystem\n", &touch[..], b"\x85R"].concat(), "os.system"),
        (
            [&global("subprocess", "Popen")[..], b"](", &sized("touch"), b"e\x85R"].concat(),
            "subprocess.Popen",
        ),
        ([&global("subprocess", "Popen")[..], &touch, b"\x85R"].concat(), "subprocess.Popen"),
        ([&global("builtins", "eval")[..], &sized("1"), b"\x85R"].concat(), "builtins.eval"),
        (global("os", "system"), "os.system"),
        (
            [b"cbuiltins\ngetattr\n", &global("builtins", "dict")[..], &sized("__init__"), b"\x86R"].concat(),
            "builtins.dict",
        ),
        ([&global("shop", "X")[..], b")}\x92"].concat(), "shop.X"),
        ([&global("shop", "X")[..], b")\x81}b"].concat(), "shop.X"),
        ([b"](", &system[..], b"e"].concat(), "os.system"),
        ([b"}", &system[..], b"K\x01s"].concat(), "os.system"),
        // In what is not read of an object that could be: a deque's first items, a factory, an attribute.
        (
            [&global("collections", "deque")[..], b"](", &system[..], b"eK\x03\x86R"].concat(),
            "collections.deque",
        ),
        (
            [&global("collections", "defaultdict")[..], &system[..], b"\x85R"].concat(),
            "collections.defaultdict",
        ),
        (
            [&global("collections", "OrderedDict")[..], b")R}", &sized("a"), &system[..], b"sb"].concat(),
            "collections.OrderedDict",
        ),
        // A name with a line's end in it stays one name.
        (global("os\nsystem", "x\n(S'true'\ntR"), r"os\nsystem"),
    ];
    for (opcodes, named) in &cases {
        let mut data = SessionData::from_pickle(&session_of(opcodes), LIMIT).unwrap();
        assert_eq!(data.read("a"), Ok(Some(1)));
        assert_eq!(data.read("_auth_user_id"), Ok(Some("7".to_owned())));
        let error = data.read::<serde_json::Value>("k").unwrap_err();
        let ValueError::PythonObject(class) = &error else { panic!("{named}: {error}") };
        assert!(class.contains(named), "{class} does not name {named}");
        assert!(!format!("{error} {data:?} {}", data.to_json()).contains("touch"), "arguments are not shown");
        // It goes back, where only Python reads it, and a store of JSON takes it in no form.
        let again = data.to_pickle().unwrap();
        assert_eq!(SessionData::from_pickle(&again, LIMIT).unwrap(), data);
        data.remove("k");
        assert!(!data.to_pickle().unwrap().windows(2).any(|two| two == b"os" || two == b"\x93R"));
    }
    assert!(!proof.exists(), "nothing was run");
    // What no value holds would be run and dropped: such an entry stays an error.
    for opcodes in [
        [&system[..], b"0N"].concat(),
        [b"(", &system[..], b"1N"].concat(),
        [b"N", &global("os", "x")[..], b"0"].concat(),
    ] {
        let error = SessionData::from_pickle(&session_of(&opcodes), LIMIT).unwrap_err();
        assert!(matches!(&error, PickleError::Global(name) if name.starts_with("os.")), "{error}");
    }
    let as_key = [b"\x80\x04}", &system[..], b"Ns."].concat();
    assert!(matches!(SessionData::from_pickle(&as_key, LIMIT), Err(PickleError::Key(_))));
}

/// Filling an object in another order than Python's, or twice, is an error of the entry, not of what comes out.
#[test]
fn an_object_is_filled_as_python_fills_it() {
    let object = b"cshop\nX\n)\x81".as_slice();
    for opcodes in [&b"}b}b"[..], b"}bN\x8c\x01aa", b"K\x01K\x02sNa", b"}bK\x01K\x02s"] {
        let pickle = session_of(&[object, opcodes].concat());
        let error = SessionData::from_pickle(&pickle, LIMIT).unwrap_err();
        assert!(matches!(error, PickleError::Malformed(_)), "{error}");
    }
    for opcodes in [&b"K\x01\x81"[..], b"}\x81", b"NR", b"cshop\nX\nNR", b"cshop\nX\n)N\x92"] {
        assert!(SessionData::from_pickle(&session_of(opcodes), LIMIT).is_err(), "{opcodes:?}");
    }
}

/// What costs much is done once or counted: the pickles are small, and so is the time.
#[test]
fn repeating_what_is_costly_ends_within_bounds() {
    let start = crate::support::limited::processor_time();
    // 4,090 references to one integer of 4,095 digits are read, as each is a copy of one text.
    let digits = [b"\x80\x04L", &vec![b'7'; 4_095][..], b"L\n\x940}(\x8c\x01k]("].concat();
    let repeated = [&digits[..], &b"h\x00".repeat(4_090), b"eu."].concat();
    let data = SessionData::from_pickle(&repeated, 17_000_000).unwrap();
    assert!(data.get("k").unwrap().json().len() > 4_090 * 4_095);
    // As many integers, each its own, are too much work.
    let long = [b"L", &vec![b'7'; 4_095][..], b"L\n"].concat();
    let many = [b"\x80\x04}(\x8c\x01k](", &long.repeat(4_000)[..], b"eu."].concat();
    assert_eq!(SessionData::from_pickle(&many, 64 << 20), Err(PickleError::TooLong));
    // A Decimal's text is looked through each time that one is made of it, also if nobody keeps it.
    let decimal =
        [b"\x80\x04cdecimal\nDecimal\n\x940X\x40\x42\x0f\x00", &vec![b'7'; 1_000_000][..], b"\x940"].concat();
    let decimals = [&decimal[..], &b"h\x00h\x01\x85R0".repeat(300), b"}."].concat();
    assert_eq!(SessionData::from_pickle(&decimals, LIMIT), Err(PickleError::TooLong));
    // Names that were remembered, as classes over and over.
    let names = [b"\x80\x04X\xe8\x03\x00\x00", &vec![b'm'; 1_000][..], b"\x940"].concat();
    let classes = [&names[..], &b"h\x00h\x00\x930".repeat(300_000), b"}."].concat();
    assert!(SessionData::from_pickle(&classes, LIMIT).is_err());
    // Objects that hold each other twice: as many paths as there are atoms, and few objects.
    let mut doubled = b"\x80\x04}(\x8c\x01kcshop\nX\n)\x81".to_vec();
    for level in 0..200 {
        doubled.extend_from_slice(&[b'q', level]);
        doubled.extend_from_slice(b"0cshop\nX\n");
        doubled.extend_from_slice(&[b'h', level, b'h', level, 0x86, b'R']);
    }
    doubled.extend_from_slice(b"u.");
    let data = SessionData::from_pickle(&doubled, LIMIT).unwrap();
    assert!(matches!(data.read::<String>("k"), Err(ValueError::PythonObject(_))));
    assert!(data.to_pickle().unwrap().len() < 10_000);
    assert_eq!(SessionData::from_pickle(&data.to_pickle().unwrap(), LIMIT).unwrap(), data);
    let taken = crate::support::limited::processor_time() - start;
    // Unoptimised; a release build needs a tenth of it.
    assert!(taken.as_secs() < 20, "{taken:?}");
}

/// A session as a site's Django left it in its cache: a cart that only Python reads beside a login.
#[cfg(feature = "redis")]
mod in_redis {
    use std::sync::Arc;

    use cloakroom::auth::{logout, user_id};
    use cloakroom::chrono::{TimeDelta, Utc};
    use cloakroom::store::{Created, Record};
    use cloakroom::{
        CachedDbStore, ConcurrentChanges, Error, Session, SessionKey, SessionMiddleware, SessionStore,
        Settings, SqliteStore, StoreErrorKind, ValueError,
    };

    use super::*;
    use crate::support::raw_caches::Raw;

    const CART: &[u8] = b"cshop.models\nCart\n)\x81}\x8c\x05itemsK\x01sb";

    fn entry(engine: &str, session_key: &SessionKey) -> String {
        format!(":1:django.contrib.sessions.{engine}{}", session_key.as_str())
    }

    async fn sqlite(folder: &std::path::Path) -> Arc<dyn SessionStore> {
        let options = SqliteStore::at(folder.join("db.sqlite3"));
        options.create_table(Default::default()).await.unwrap();
        Arc::new(options.open(&Settings::new("secret")).await.unwrap())
    }

    /// Its key alone is an error. Everything else works: reading, saving, a new session key, removing it, logging out.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_that_only_python_reads_stops_no_other() {
        let server = crate::support::servers::redis::start().await;
        let settings = Settings::new("secret");
        let store =
            cloakroom::connect(&crate::support::servers::redis::url_of(&server), &settings).await.unwrap();
        let mut raw = Raw::redis(server.port);
        let session_key = SessionKey::random().unwrap();
        let open = |session_key: &SessionKey| {
            Session::open(Arc::clone(&store), Settings::new("secret"), session_key.clone())
        };
        raw.set(&entry("cache", &session_key), &session_of(CART), 0);

        let session = open(&session_key).await.unwrap();
        assert_eq!(user_id(&session).unwrap().as_deref(), Some("7"));
        assert_eq!(session.get::<u32>("a").unwrap(), Some(1));
        let is_refused = |error: Error| {
            let Error::Value { key, source: ValueError::PythonObject(class) } = &error else {
                panic!("{error}")
            };
            key == "k" && class == "shop.models.Cart"
        };
        assert!(is_refused(session.get::<serde_json::Value>("k").unwrap_err()));
        assert!(is_refused(session.pop::<String>("k").unwrap_err()));
        assert!(is_refused(
            session.modify("k", |cart: Option<String>| cart.unwrap_or_default()).unwrap_err()
        ));
        session.set("b", 2).unwrap();
        session.save().await.unwrap();
        session.cycle_key().unwrap();
        session.save().await.unwrap();
        let new_key = session.session_key().unwrap();
        assert!(raw.get(&entry("cache", &session_key)).is_none());
        let (stored, ..) = raw.get(&entry("cache", &new_key)).unwrap();
        let kept = SessionData::from_pickle(&stored, LIMIT).unwrap();
        let original = SessionData::from_pickle(&session_of(CART), LIMIT).unwrap();
        assert_eq!((kept.get("k"), kept.read("b").unwrap()), (original.get("k"), Some(2)));

        // A store of JSON takes it in no form, and says what it is.
        let folder = tempfile::tempdir().unwrap();
        let now = Utc::now();
        let record = Record { data: &kept, expire_date: now + TimeDelta::hours(1), now };
        let error = sqlite(folder.path()).await.create(&new_key, record).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert!(error.to_string().contains("shop.models.Cart"), "{error}");

        let session = open(&new_key).await.unwrap();
        assert!(session.remove("k"));
        session.save().await.unwrap();
        assert!(!open(&new_key).await.unwrap().contains_key("k"));
        raw.set(&entry("cache", &new_key), &session_of(CART), 0);
        logout(&open(&new_key).await.unwrap()).await.unwrap();
        assert!(raw.get(&entry("cache", &new_key)).is_none());
    }

    /// What is no session for a reader is one for a logout: the entry goes, whatever is in it, and the browser's cookie.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_entry_that_cannot_be_read_is_ended_by_a_logout() {
        let server = crate::support::servers::redis::start().await;
        let url = crate::support::servers::redis::url_of(&server);
        let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
        let middleware = SessionMiddleware::new(store, Settings::new("secret")).unwrap();
        let mut raw = Raw::redis(server.port);
        for pickle in [&b"(Vtrue\nios\nsystem\n."[..], b"\x80\x04]\x94.", b"no pickle"] {
            let session_key = SessionKey::random().unwrap();
            raw.set(&entry("cache", &session_key), pickle, 0);
            let cookie = format!("sessionid={}", session_key.as_str());
            let lazy = middleware.begin([cookie.as_bytes()]);
            assert!(lazy.load().await.is_err());
            lazy.flush().await.unwrap();
            assert!(raw.get(&entry("cache", &session_key)).is_none());
            assert!(lazy.is_empty() && lazy.session_key().is_none() && lazy.load().await.is_ok());
        }
    }

    /// In `cached_db` the row has the text that Django's JSON made of it, and the row is what counts.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_with_objects_leaves_the_row_to_be_read() {
        let server = crate::support::servers::redis::start().await;
        let folder = tempfile::tempdir().unwrap();
        let database = sqlite(folder.path()).await;
        let url = crate::support::servers::redis::url_of(&server) + "?engine=cached_db";
        let cache = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
        let store: Arc<dyn SessionStore> =
            Arc::new(CachedDbStore::new(Arc::clone(&database), Arc::clone(&cache)).unwrap());
        let session_key = SessionKey::random().unwrap();
        let data = SessionData::from_json(r#"{"status":"new"}"#).unwrap();
        let now = Utc::now();
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
        assert!(matches!(database.create(&session_key, record).await.unwrap(), Created::Created(_)));
        let status = [&sized("status")[..], b"cshop.models\nStatus\n", &sized("new"), b"\x85R"].concat();
        let copy = [b"\x80\x04}", &status[..], b"s."].concat();
        // A minute yet, as long as a copy may live: one without an end would not be believed anyway.
        let copy = SessionData::from_pickle(&copy, LIMIT).unwrap();
        let record = Record { data: &copy, expire_date: now + TimeDelta::minutes(1), now };
        assert!(matches!(cache.create(&session_key, record).await.unwrap(), Created::Created(_)));

        // The row and a copy that was believed would differ, which counts as another request's change.
        let mut settings = Settings::new("secret");
        settings.concurrent_changes = ConcurrentChanges::Reject;
        let session = Session::open(store, settings, session_key.clone()).await.unwrap();
        assert_eq!(session.get::<String>("status").unwrap().as_deref(), Some("new"));
        session.set("b", 2).unwrap();
        session.save().await.unwrap();
        let row = database.load(&session_key, Utc::now()).await.unwrap().unwrap();
        assert_eq!(row.data().unwrap().to_json(), r#"{"status":"new","b":2}"#);
    }
}
