//! Sessions in Django's FileBasedCache: its names and contents beside a real Django, foreign and broken files, its
//! culling, a folder that goes away.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::cache::{CacheFormat, CacheSerializer};
use cloakroom::store::{Created, Record, Updated};
use cloakroom::{FileStore, SessionData, SessionKey, SessionStore, Settings, StoreErrorKind};
use serde_json::{Value as Json, json};

use crate::support::records::data;

struct Django {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Django {
    fn start(folder: &Path, options: Json) -> Django {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/bin/python");
        assert!(
            python.exists(),
            "no Django for this test: .venv is missing; run scripts/test, which makes it"
        );
        let mut process = Command::new(python)
            .arg(root.join("tests/it/file_cache/cache.py"))
            .args([folder.as_os_str(), options.to_string().as_ref()])
            .env_remove("PYTHONPATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Django { process, commands, answers: BufReader::new(answers) }
    }

    fn ask(&mut self, command: Json) -> Json {
        writeln!(self.commands, "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("Django failed; its error stands above")
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn open(folder: &Path) -> Arc<dyn SessionStore> {
    cloakroom::connect(&format!("filecache:{}", folder.display()), &Settings::new("secret")).await.unwrap()
}

fn living(data: &SessionData, lives: TimeDelta) -> Record<'_> {
    let now = Utc::now();
    Record { data, expire_date: now + lives, now }
}

async fn create(store: &Arc<dyn SessionStore>, json: &str, lives: TimeDelta) -> SessionKey {
    let session_key = SessionKey::random().unwrap();
    let created = store.create(&session_key, living(&data(json), lives)).await.unwrap();
    assert!(matches!(created, Created::Created(_)));
    session_key
}

async fn load(store: &Arc<dyn SessionStore>, session_key: &SessionKey) -> Option<String> {
    let loaded = store.load(session_key, Utc::now()).await.unwrap();
    loaded.map(|loaded| loaded.data().unwrap().to_json())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The one file of a folder.
fn file(folder: &Path) -> PathBuf {
    let mut files = files(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn django_and_this_store_find_each_others_sessions() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cache");
    let mut django = Django::start(&folder, json!({}));
    assert_eq!(django.ask(json!(["files"])), json!([]));
    assert_eq!(mode(&folder), 0o700, "Django makes it");
    let store = open(&folder).await;

    let theirs = django.ask(json!(["create", { "visits": 1, "name": "Zo\u{eb}" }]));
    let theirs = SessionKey::from_trusted(theirs.as_str().unwrap());
    let loaded = store.load(&theirs, Utc::now()).await.unwrap().unwrap();
    assert_eq!(loaded.data().unwrap().to_json(), r#"{"visits":1,"name":"Zo\u00eb"}"#);
    let left = loaded.expire_date.unwrap() - Utc::now();
    let age = TimeDelta::weeks(2);
    assert!(left <= age && left > age - TimeDelta::minutes(1), "{left}");
    let name = file(&folder);
    let changed = data(r#"{"visits":2}"#);
    let outcome = store.update(&theirs, Some(&loaded.version), living(&changed, age)).await.unwrap();
    assert!(matches!(outcome, Updated::Updated(_)));
    assert_eq!(file(&folder), name, "the same file");
    assert_eq!(mode(&name), 0o600);
    let seen = django.ask(json!(["load", theirs.as_str()]));
    assert_eq!(seen, json!({ "data": { "visits": 2 }, "key": theirs.as_str() }));

    let ours = create(&store, r#"{"cart":[1,null]}"#, TimeDelta::hours(1)).await;
    assert_eq!(django.ask(json!(["exists", ours.as_str()])), true);
    assert_eq!(django.ask(json!(["load", ours.as_str()]))["data"], json!({ "cart": [1, null] }));
    assert_eq!(django.ask(json!(["save", ours.as_str(), "more", true])), "saved");
    assert_eq!(load(&store, &ours).await.as_deref(), Some(r#"{"cart":[1,null],"more":true}"#));
    django.ask(json!(["delete", ours.as_str()]));
    assert_eq!(load(&store, &ours).await, None);
    let gone = store.update(&ours, None, living(&changed, age)).await.unwrap();
    assert_eq!(gone, Updated::Missing, "no save brings it back");

    // It expires for both at the same time, and Django removes it.
    let short = create(&store, "{}", TimeDelta::seconds(-1)).await;
    assert_eq!(load(&store, &short).await, None);
    assert_eq!(files(&folder).len(), 2);
    assert_eq!(django.ask(json!(["load", short.as_str()])), json!({ "data": {}, "key": null }));
    assert_eq!(files(&folder).len(), 1);
}

/// Django saves without a lock. The session is whole at each moment, and never away for either; the order of the steps
/// is forced in `store::file::tests`.
#[tokio::test(flavor = "multi_thread")]
async fn beside_djangos_saves_a_session_is_never_torn_or_away() {
    let place = tempfile::tempdir().unwrap();
    let mut django = Django::start(place.path(), json!({}));
    let store = open(place.path()).await;
    let session_key = create(&store, r#"{"number":0}"#, TimeDelta::hours(1)).await;
    let key = session_key.as_str().to_owned();
    let saving = tokio::task::spawn_blocking(move || django.ask(json!(["save_often", key, 2])));
    let (mut saved, mut changed) = (0, 0);
    while !saving.is_finished() {
        let loaded = store.load(&session_key, Utc::now()).await.unwrap().expect("it is away");
        let same = living(loaded.data().unwrap(), TimeDelta::hours(1));
        match store.update(&session_key, Some(&loaded.version), same).await.unwrap() {
            Updated::Updated(_) => saved += 1,
            Updated::Changed => changed += 1,
            Updated::Missing => panic!("nobody removed it"),
        }
    }
    // Only what was there is ever written back, so Django's last save must be what is there.
    let last = saving.await.unwrap();
    assert_eq!(load(&store, &session_key).await, Some(format!(r#"{{"number":{last}}}"#)));
    assert_eq!(files(place.path()).len(), 1, "nothing is left behind");
    assert!(saved > 0 && saved + changed > 10 && last.as_u64() > Some(10), "{saved} {changed} {last}");
    println!(
        "beside {last} saves of Django in a FileBasedCache: {saved} saved, {changed} told of the change"
    );
}

/// Django's `touch` writes into the file in place.
#[tokio::test]
async fn what_django_touched_is_another_version() {
    let place = tempfile::tempdir().unwrap();
    let mut django = Django::start(place.path(), json!({}));
    let store = open(place.path()).await;
    let session_key = create(&store, r#"{"a":1}"#, TimeDelta::hours(1)).await;
    let before = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
    assert_eq!(django.ask(json!(["touch", session_key.as_str(), 7_200])), true);
    let after = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
    assert_eq!(after.data(), before.data());
    let longer = after.expire_date.unwrap() - before.expire_date.unwrap();
    assert!(longer > TimeDelta::minutes(59), "{longer}");
    let changed = data(r#"{"a":2}"#);
    let stale = store.update(&session_key, Some(&before.version), living(&changed, TimeDelta::hours(1)));
    assert_eq!(stale.await.unwrap(), Updated::Changed);
    let fresh = store.update(&session_key, Some(&after.version), living(&changed, TimeDelta::hours(1)));
    assert!(matches!(fresh.await.unwrap(), Updated::Updated(_)));
}

/// A file that holds no session is an error that names it, and is never overwritten.
#[tokio::test]
async fn a_broken_or_foreign_file_is_an_error_and_stays() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let session_key = create(&store, r#"{"a":1}"#, TimeDelta::hours(1)).await;
    let file = file(place.path());
    let whole = std::fs::read(&file).unwrap();
    let mut pickles = Django::start(&place.path().join("other"), json!({}));
    pickles.ask(json!(["set", "number", [1, 2]]));
    let other = std::fs::read(&files(&place.path().join("other"))[0]).unwrap();
    drop(pickles);
    std::fs::remove_dir_all(place.path().join("other")).unwrap();
    for (content, why) in [
        (b"x".to_vec(), "is no expiry of Django's FileBasedCache"),
        (whole[..10].to_vec(), "is no expiry"),
        (whole[..21].to_vec(), "value cannot be read"),
        (whole[..whole.len() - 5].to_vec(), "value cannot be read"),
        ([&whole[..21], b"plain"].concat(), "value cannot be read"),
        (other, "a session must be a dict"),
    ] {
        std::fs::write(&file, &content).unwrap();
        let error = store.load(&session_key, Utc::now()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(why) && shown.contains(file.to_str().unwrap()), "{shown}");
        assert!(!shown.contains(session_key.as_str()), "{shown}");
        assert!(store.exists(&session_key, Utc::now()).await.unwrap());
        let taken =
            store.create(&session_key, living(&SessionData::new(), TimeDelta::hours(1))).await.unwrap();
        assert_eq!(taken, Created::KeyTaken);
        assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 0);
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
    // Django reads nothing more of an expired one.
    let expired = place.path().join("expired");
    std::fs::create_dir(&expired).unwrap();
    create(&open(&expired).await, "{}", TimeDelta::hours(-1)).await;
    let head = std::fs::read(files(&expired).remove(0)).unwrap()[..21].to_vec();
    std::fs::write(&file, [&head, &b"plain"[..]].concat()).unwrap();
    assert_eq!(load(&store, &session_key).await, None);
    assert!(!store.exists(&session_key, Utc::now()).await.unwrap());
    std::fs::remove_dir_all(&expired).unwrap();
    // To Django an empty file is an expired one.
    std::fs::write(&file, "").unwrap();
    assert_eq!(load(&store, &session_key).await, None);
    assert!(!store.exists(&session_key, Utc::now()).await.unwrap());
    assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 1);
    assert_eq!(files(place.path()).len(), 0);
}

/// A pickle larger than the limit is refused, and so is a file that grows when it is decompressed.
#[tokio::test]
async fn a_limit_bounds_what_is_decompressed() {
    let place = tempfile::tempdir().unwrap();
    let session_key = create(
        &open(place.path()).await,
        &format!(r#"{{"a":"{}"}}"#, "x".repeat(9_000)),
        TimeDelta::hours(1),
    )
    .await;
    let mut settings = Settings::new("secret");
    settings.max_decompressed_bytes = 8_000;
    let url = format!("filecache:{}", place.path().display());
    let small = cloakroom::connect(&url, &settings).await.unwrap();
    let error = small.load(&session_key, Utc::now()).await.unwrap_err();
    assert!(error.to_string().contains("larger than the limit of 8000 bytes"), "{error}");
    std::fs::write(file(place.path()), vec![b'x'; 20_000]).unwrap();
    let error = small.load(&session_key, Utc::now()).await.unwrap_err();
    assert!(error.to_string().contains("20000 bytes or more"), "{error}");
    assert!(error.to_string().contains(".djcache"), "{error}");
}

/// All expired entries go, whatever they are and however large; the living, other files and young temporary files stay.
#[tokio::test]
async fn clearing_removes_expired_entries_alone() {
    let place = tempfile::tempdir().unwrap();
    let mut django = Django::start(place.path(), json!({}));
    // Larger than any session may be.
    let mut settings = Settings::new("secret");
    settings.max_decompressed_bytes = 20_000;
    let url = format!("filecache:{}", place.path().display());
    let store = cloakroom::connect(&url, &settings).await.unwrap();
    let living = create(&store, "{}", TimeDelta::hours(1)).await;
    create(&store, "{}", TimeDelta::hours(-1)).await;
    django.ask(json!(["set_noise", "page", 1_000]));
    django.ask(json!(["set", "forever", "x", null]));
    django.ask(json!(["set_noise", "old-page", -1]));
    for name in [".cloakroom-0123456789abcdef", "tmpabcdefgh", "README", "short.djcache"] {
        std::fs::write(place.path().join(name), "x").unwrap();
    }
    assert_eq!(django.ask(json!(["files"])).as_array().unwrap().len(), 6, "none is hidden but ours");
    assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 2);
    assert_eq!(files(place.path()).len(), 7);
    assert!(load(&store, &living).await.is_some());
    let mut options = FileStore::options(&url).unwrap();
    options.leftover_age = std::time::Duration::ZERO;
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 0);
    let mut left = files(place.path());
    left.retain(|path| !path.to_str().unwrap().ends_with(".djcache"));
    assert!(left.len() == 2, "Django's own leftover may be another program's: {left:?}");
}

/// Django removes a third of all entries at random, with a session among them.
#[tokio::test]
async fn a_session_that_django_culled_is_absent() {
    let place = tempfile::tempdir().unwrap();
    let mut django = Django::start(place.path(), json!({ "MAX_ENTRIES": 20, "CULL_FREQUENCY": 2 }));
    let store = open(place.path()).await;
    let mut keys = Vec::new();
    for number in 0..20 {
        keys.push(create(&store, &format!(r#"{{"number":{number}}}"#), TimeDelta::hours(1)).await);
    }
    // Django's temporary names and ours are not counted.
    assert_eq!(files(place.path()).len(), 20);
    django.ask(json!(["create", {}]));
    let (mut there, mut absent) = (0, 0);
    for session_key in &keys {
        match load(&store, session_key).await {
            Some(_) => there += 1,
            None => {
                absent += 1;
                let record = data("{}");
                let outcome = store.update(session_key, None, living(&record, TimeDelta::hours(1))).await;
                assert_eq!(outcome.unwrap(), Updated::Missing);
                assert!(!store.delete(session_key).await.unwrap());
            }
        }
    }
    assert_eq!((there, absent), (10, 10));
}

/// `rm -r` of the folder is how a cache is emptied.
#[tokio::test]
async fn a_folder_that_was_removed_is_an_empty_cache() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("a/cache");
    let url = format!("filecache:{}", folder.display());
    let error = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("LOCATION"), "{error}");
    let store = cloakroom::connect_or_create(&url, &Settings::new("secret")).await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    let session_key = create(&store, r#"{"a":1}"#, TimeDelta::hours(1)).await;
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(load(&store, &session_key).await, None);
    assert!(!store.delete(&session_key).await.unwrap());
    assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 0);
    let record = data("{}");
    let outcome = store.update(&session_key, None, living(&record, TimeDelta::hours(1))).await.unwrap();
    assert_eq!(outcome, Updated::Missing);
    let session_key = create(&store, r#"{"a":2}"#, TimeDelta::hours(1)).await;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(load(&store, &session_key).await.as_deref(), Some(r#"{"a":2}"#));
}

#[tokio::test]
async fn sessions_cannot_be_listed() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    create(&store, "{}", TimeDelta::hours(1)).await;
    for error in [store.list().err().unwrap(), store.count(Utc::now()).await.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
        assert!(error.to_string().contains("FileBasedCache cannot be listed or counted"), "{error}");
    }
}

/// An option that says something impossible is named.
#[tokio::test]
async fn wrong_urls_and_options_are_named() {
    for (url, named) in [
        ("filecache:", "takes the folder"),
        ("filecache:?key_prefix=a", "takes the folder"),
        ("filecache://server/cache", "is the name of a machine"),
        ("filecache:/tmp?serializer=json", "`serializer` is not known; there are key_prefix, version"),
        ("filecache:/tmp?key_prefx=a", "`key_prefx` is not known"),
        ("filecache:/tmp?version=two", "`version` has no such value"),
        ("filecache:/tmp?engine=db", "`engine` has no such value"),
        ("file:/tmp?key_prefix=a", "`file:` takes nothing behind `?`"),
    ] {
        let error = cloakroom::connect(url, &Settings::new("secret")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}");
        assert!(error.to_string().contains(named), "{url}: {error}");
    }
    let place = tempfile::tempdir().unwrap();
    let mut format = CacheFormat::default();
    format.serializer = CacheSerializer::Json;
    let mut options = FileStore::at(place.path());
    options.cache = Some(format);
    let error = options.open(&Settings::new("secret")).await.unwrap_err();
    assert!(error.to_string().contains("no other serializer than pickle"), "{error}");
}
