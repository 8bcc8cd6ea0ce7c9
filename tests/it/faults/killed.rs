//! A process is killed while it saves, in files and in SQLite, which have no server that would go on.
//!
//! The process tells each save that was acknowledged. Afterwards each session is whole, and is the one that was told
//! last or the one that was under way; so it is with sessions that were made and keys that were changed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use cloakroom::FileStore;
use cloakroom::store::Rotated;

use super::*;
use crate::support::random::Random;

/// Tells the other process the store's URL.
const URL: &str = "CLOAKROOM_TEST_KILLED_URL";
/// How often to kill.
const LOOPS: &str = "CLOAKROOM_SOAK_LOOPS";

/// Sessions that are saved again and again.
const SAVED: usize = 2;

fn key(kind: &str, number: usize) -> SessionKey {
    SessionKey::from_trusted(format!("{kind}{number:020}"))
}

/// Shows when it is torn: its number, as often as its text says.
fn numbered(number: usize) -> SessionData {
    let text = format!("{number:06}").repeat(1_000);
    SessionData::from_json(&format!(r#"{{"number":{number},"text":"{text}"}}"#)).unwrap()
}

/// Says one line, which the other side has whole or not at all.
fn tell(kind: &str, number: usize) {
    let line = format!("\nack {kind} {number}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

async fn save_for_ever(url: &str) {
    let store = cloakroom::connect(url, &settings()).await.unwrap();
    let saving = async |kind: &str| {
        for number in 1.. {
            let outcome = store.update(&key(kind, 0), None, record(&numbered(number))).await.unwrap();
            assert!(matches!(outcome, Updated::Updated(_)));
            tell(kind, number);
        }
    };
    let creating = async {
        for number in 0.. {
            let outcome = store.create(&key("created", number), record(&numbered(number))).await.unwrap();
            assert!(matches!(outcome, Created::Created(_)));
            tell("created", number);
        }
    };
    let rotating = async {
        for number in 1.. {
            let (old, new) = (key("rotated", number - 1), key("rotated", number));
            let outcome = store.rotate(&old, None, &new, record(&numbered(number))).await.unwrap();
            assert!(matches!(outcome, Rotated::Rotated(_)));
            tell("rotated", number);
        }
    };
    tokio::join!(saving("saved0"), saving("saved1"), creating, rotating);
}

/// What is stored under a key; it must be whole.
async fn stored(store: &dyn SessionStore, session_key: &SessionKey) -> Option<usize> {
    let loaded = store.load(session_key, Utc::now()).await.unwrap()?;
    assert!(loaded.is_genuine());
    let number = loaded.data().unwrap().read("number").unwrap().unwrap();
    assert_eq!(loaded.data().unwrap().clone(), numbered(number), "torn");
    Some(number)
}

#[derive(Default)]
struct Seen {
    acknowledged: usize,
    under_way: usize,
    leftovers: usize,
}

async fn kill_once(test: &str, url: &str, random: &mut Random, seen: &mut Seen) {
    let store = cloakroom::connect(url, &settings()).await.unwrap();
    for number in 0..SAVED {
        store.create(&key(&format!("saved{number}"), 0), record(&numbered(0))).await.unwrap();
    }
    store.create(&key("rotated", 0), record(&numbered(0))).await.unwrap();
    drop(store);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(URL, url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Once it is at work, at one moment or another.
    let mut acknowledged: HashMap<String, usize> = HashMap::new();
    let mut note = |line: String| {
        if let Some((kind, number)) = line.strip_prefix("ack ").and_then(|line| line.split_once(' '))
            && let Ok(number) = number.parse()
        {
            acknowledged.insert(kind.to_owned(), number);
            return true;
        }
        false
    };
    while !note(lines.next().expect("it ended by itself").unwrap()) {}
    std::thread::sleep(Duration::from_micros(random.below(15_000) as u64));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.for_each(|line| _ = note(line.unwrap()));

    let store = cloakroom::connect(url, &settings()).await.unwrap();
    for number in 0..SAVED {
        let kind = format!("saved{number}");
        let told = acknowledged.get(&kind).copied().unwrap_or(0);
        let there = stored(&*store, &key(&kind, 0)).await.expect("a session is gone");
        assert!((told..=told + 1).contains(&there), "{kind}: {told} acknowledged, {there} there");
        seen.acknowledged += told;
        seen.under_way += there - told;
    }
    let told = acknowledged.get("rotated").copied().unwrap_or(0);
    let mut there = Vec::new();
    for number in [told, told + 1] {
        there.extend(stored(&*store, &key("rotated", number)).await);
    }
    assert!(there == [told] || there == [told + 1], "rotated: {told} acknowledged, {there:?} there");
    seen.acknowledged += told;
    seen.under_way += there[0] - told;
    let mut number = 0;
    while let Some(there) = stored(&*store, &key("created", number)).await {
        assert_eq!(there, number);
        number += 1;
    }
    let told = acknowledged.get("created").map_or(0, |last| last + 1);
    assert!((told..=told + 1).contains(&number), "created: {told} acknowledged, {number} there");
    seen.acknowledged += told;
    seen.under_way += number - told;
}

async fn kill(test: &str, name: &str, url: impl Fn(&std::path::Path) -> String) {
    if let Ok(url) = std::env::var(URL) {
        return save_for_ever(&url).await;
    }
    let loops = given(LOOPS, 15);
    let (mut random, mut seen) = (Random(u64::from(Utc::now().timestamp_subsec_nanos())), Seen::default());
    let start = std::time::Instant::now();
    for _ in 0..loops {
        let place = tempfile::tempdir().unwrap();
        let url = url(place.path());
        kill_once(test, &url, &mut random, &mut seen).await;
        if !url.starts_with("sqlite:") {
            seen.leftovers += reap(&url).await;
        } else {
            let database = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
            let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(check, "ok");
        }
    }
    assert!(seen.acknowledged > loops as usize, "too few saves to show anything: {}", seen.acknowledged);
    println!(
        "t26: {name}: killed {loops} of {loops} times: {0} of {0} acknowledged saves there, {1} under way done and the \
         others not, none torn; {2} files left behind and reaped; {3} s",
        seen.acknowledged,
        seen.under_way,
        seen.leftovers,
        start.elapsed().as_secs()
    );
}

/// Removes what the killed process left behind, and nothing else; gives how much that was.
async fn reap(url: &str) -> usize {
    let mut options = FileStore::options(url).unwrap();
    let folder = options.path.clone();
    let count = |session: bool| {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let is_session = |name: &str| name.starts_with("sessionid") || name.ends_with(".djcache");
        names.filter(|name| is_session(&name.to_string_lossy()) == session).count()
    };
    let (sessions, left) = (count(true), count(false));
    options.clone().open(&settings()).await.unwrap().clear_expired(Utc::now()).await.unwrap();
    assert_eq!(count(false), left, "they are young: somebody may be at work on them");
    options.leftover_age = Duration::ZERO;
    options.open(&settings()).await.unwrap().clear_expired(Utc::now()).await.unwrap();
    assert_eq!((count(true), count(false)), (sessions, 0));
    left
}

fn new_folder(scheme: &str, place: &std::path::Path) -> String {
    let folder = place.join("sessions");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    format!("{scheme}:{}", folder.display())
}

#[tokio::test]
async fn file_killed_while_saving() {
    kill("faults::killed::file_killed_while_saving", "file", |place| new_folder("file", place)).await;
}

#[tokio::test]
async fn file_based_cache_killed_while_saving() {
    let test = "faults::killed::file_based_cache_killed_while_saving";
    kill(test, "filecache", |place| new_folder("filecache", place)).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_killed_while_saving() {
    kill("faults::killed::sqlite_killed_while_saving", "sqlite", |place| {
        // Made once, as making it takes longer than everything else.
        static EMPTY: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
        let empty = EMPTY.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let options = cloakroom::SqliteStore::at(folder.path().join("db.sqlite3"));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(options.create_table(Default::default())).unwrap();
            })
            .join()
            .unwrap();
            folder
        });
        let path = place.join("db.sqlite3");
        std::fs::copy(empty.path().join("db.sqlite3"), &path).unwrap();
        format!("sqlite:{}", path.display())
    })
    .await;
}
