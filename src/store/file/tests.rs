//! Tests the moments between two steps in which Django, which takes no lock, may interfere.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use super::folder::{Folder, Replaced};
use super::names::{FileName, Names};
use crate::site::session_key::SessionKey;

fn folder(path: &std::path::Path) -> (Folder, FileName) {
    let lock_timeout = Duration::from_millis(200);
    let folder = Folder {
        path: path.to_owned(),
        names: Names::Prefixed("sessionid".into()),
        durable: false,
        lock_timeout,
        longest_text: 100,
        head: None,
    };
    let name = folder.names.parse("sessionidabcdefgh").unwrap();
    (folder, name)
}

/// Saves as Django does: another file, renamed over the old one.
fn django_saves(folder: &Folder, text: &str) {
    let temporary = folder.path.join("sessionidabcdefgh_out_12345678");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, folder.path.join("sessionidabcdefgh")).unwrap();
}

fn text(folder: &Folder) -> Option<String> {
    std::fs::read_to_string(folder.path.join("sessionidabcdefgh")).ok()
}

fn files(folder: &Folder) -> usize {
    std::fs::read_dir(&folder.path).unwrap().count()
}

#[test]
fn what_django_saved_after_the_comparison_stays() {
    let place = tempfile::tempdir().unwrap();
    let (folder, name) = folder(place.path());
    assert!(folder.add(&name, b"first", SystemTime::now()).unwrap());
    let prepared = folder.prepare(&name, Some(b"first"), b"mine", SystemTime::now()).unwrap();
    let (found, replacement) = prepared.unwrap();
    django_saves(&folder, "Django's");
    let outcome = folder.exchange(&name, Some(found.identity), &replacement).unwrap();
    assert_eq!(outcome, Replaced::Changed);
    drop(replacement);
    assert_eq!(text(&folder).as_deref(), Some("Django's"));
    assert_eq!(files(&folder), 1);
}

#[test]
fn what_was_removed_after_the_comparison_stays_removed() {
    let place = tempfile::tempdir().unwrap();
    let (folder, name) = folder(place.path());
    folder.add(&name, b"first", SystemTime::now()).unwrap();
    let prepared = folder.prepare(&name, Some(b"first"), b"mine", SystemTime::now()).unwrap();
    let (found, replacement) = prepared.unwrap();
    std::fs::remove_file(place.path().join("sessionidabcdefgh")).unwrap();
    let outcome = folder.exchange(&name, Some(found.identity), &replacement).unwrap();
    assert_eq!(outcome, Replaced::Missing);
    drop(replacement);
    assert_eq!(files(&folder), 0);
}

#[test]
fn a_session_renewed_after_the_cleaner_looked_survives() {
    let place = tempfile::tempdir().unwrap();
    let (folder, name) = folder(place.path());
    for renewed_by_django in [true, false] {
        folder.remove(&name).unwrap();
        folder.add(&name, b"expired", SystemTime::now()).unwrap();
        let found = folder.find(&name).unwrap().unwrap();
        if renewed_by_django {
            django_saves(&folder, "renewed");
        } else {
            let outcome = folder.replace(&name, Some(b"expired"), b"renewed", SystemTime::now()).unwrap();
            assert_eq!(outcome, Replaced::Done);
        }
        // It is not even away for a moment: the system records when a file's name changes.
        std::thread::sleep(Duration::from_millis(20));
        let named = || std::fs::metadata(place.path().join("sessionidabcdefgh")).unwrap();
        let before = (named().ctime(), named().ctime_nsec());
        assert!(!folder.remove_found(&name, &found).unwrap());
        assert_eq!(text(&folder).as_deref(), Some("renewed"));
        assert_eq!((named().ctime(), named().ctime_nsec()), before);
    }
    // Even later, when the cleaner holds the lock and has looked for the second time.
    let found = folder.find(&name).unwrap().unwrap();
    django_saves(&folder, "renewed again");
    assert!(!folder.take(&name, &found).unwrap());
    assert_eq!(text(&folder).as_deref(), Some("renewed again"));
    let found = folder.find(&name).unwrap().unwrap();
    assert!(folder.remove_found(&name, &found).unwrap(), "nobody renewed it");
    assert_eq!(files(&folder), 0);
}

#[test]
fn a_session_that_is_being_renewed_survives() {
    let place = tempfile::tempdir().unwrap();
    let (folder, name) = folder(place.path());
    folder.add(&name, b"expired", SystemTime::now()).unwrap();
    let found = folder.find(&name).unwrap().unwrap();
    let renewal = folder.prepare(&name, Some(b"expired"), b"renewed", SystemTime::now()).unwrap().unwrap();
    assert!(!folder.remove_found(&name, &found).unwrap(), "its file is locked");
    let outcome = folder.exchange(&name, Some(renewal.0.identity), &renewal.1).unwrap();
    assert_eq!(outcome, Replaced::Done);
    assert_eq!(text(&folder).as_deref(), Some("renewed"));
}

/// A writer that waited for the lock now holds the lock of a file that is no longer a session's.
#[test]
fn who_waited_for_the_lock_compares_again() {
    let place = tempfile::tempdir().unwrap();
    let (mut folder, name) = folder(place.path());
    folder.lock_timeout = Duration::from_secs(30);
    folder.add(&name, b"first", SystemTime::now()).unwrap();
    let (found, replacement) =
        folder.prepare(&name, Some(b"first"), b"mine", SystemTime::now()).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let prepared = folder.prepare(&name, Some(b"first"), b"theirs", SystemTime::now());
            prepared.unwrap().map(|_| "prepared")
        });
        // It has compared once when its temporary file is beside mine.
        while files(&folder) < 3 {
            std::thread::yield_now();
        }
        let outcome = folder.exchange(&name, Some(found.identity), &replacement).unwrap();
        assert_eq!(outcome, Replaced::Done);
        drop((found, replacement));
        assert_eq!(waiting.join().unwrap(), Err(Replaced::Changed));
    });
}

/// Django's `FileBasedCache.touch` takes the lock, and writes into the file in place.
#[test]
fn what_django_writes_in_place_is_compared_again() {
    use std::os::unix::fs::FileExt;

    let place = tempfile::tempdir().unwrap();
    let (mut folder, _) = folder(place.path());
    (folder.names, folder.head) = (Names::Hashed(Default::default()), Some(3));
    folder.lock_timeout = Duration::from_secs(30);
    let name = folder.names.of(&SessionKey::from_trusted("abcdefgh")).unwrap();
    folder.add(&name, b"first", SystemTime::now()).unwrap();
    let touch = |text: &[u8]| {
        let file = std::fs::File::options().write(true).open(folder.path_of(&name)).unwrap();
        file.write_all_at(text, 0).unwrap();
    };
    // A save that waits for the lock has compared already.
    let (touching, replacement) = folder.prepare(&name, None, b"unused", SystemTime::now()).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| folder.replace(&name, Some(b"first"), b"mine", SystemTime::now()));
        while files(&folder) < 3 {
            std::thread::yield_now();
        }
        touch(b"later");
        drop((touching, replacement));
        assert_eq!(waiting.join().unwrap().unwrap(), Replaced::Changed);
    });
    // And the cleaner looked before.
    let found = folder.look(&name).unwrap().unwrap();
    assert_eq!(found.text, b"lat");
    touch(b"never");
    assert!(!folder.remove_found(&name, &found).unwrap());
    assert_eq!(std::fs::read(folder.path_of(&name)).unwrap(), b"never");
    drop(found);
    let found = folder.look(&name).unwrap().unwrap();
    assert!(folder.remove_found(&name, &found).unwrap());
}

#[test]
fn a_lock_that_is_never_let_go_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let (folder, name) = folder(place.path());
    folder.add(&name, b"first", SystemTime::now()).unwrap();
    let _held = folder.prepare(&name, None, b"mine", SystemTime::now()).unwrap().unwrap();
    let error = folder.replace(&name, None, b"another's", SystemTime::now()).unwrap_err();
    assert!(error.explain(&folder).to_string().contains("locked"));
    assert_eq!(text(&folder).as_deref(), Some("first"));
}

#[tokio::test]
async fn texts_of_a_caller_and_sessions_of_the_store_are_compared_with_each_other() {
    use chrono::Utc;
    use cloakroom_formats::{SessionCodec, SessionData};

    use super::texts::TextFiles;
    use crate::FileStore;
    use crate::site::settings::Settings;
    use crate::store::contract::{Created, Record, SessionStore, Updated};

    let place = tempfile::tempdir().unwrap();
    let settings = Settings::new("secret");
    let store = FileStore::at(place.path()).open(&settings).await.unwrap();
    let files = TextFiles::open(place.path().to_owned(), settings.cookie_name.clone(), true).unwrap();
    let (one, other) = (SessionKey::from_trusted("one1"), SessionKey::from_trusted("other1"));
    let now = Utc::now();
    let expire_date = now + settings.cookie_age;
    let first = SessionData::from_json(r#"{"a":1}"#).unwrap();
    let Created::Created(version) =
        store.create(&one, Record { data: &first, expire_date, now }).await.unwrap()
    else {
        panic!()
    };
    let found = files.read(&one).unwrap().unwrap();
    assert_eq!(Some(&*found.text), version.as_bytes());
    let second =
        SessionCodec::new(&settings).encode(&SessionData::from_json(r#"{"a":2}"#).unwrap(), now).unwrap();
    assert!(!files.replace(&one, Some(b"another"), second.as_bytes()).unwrap());
    assert!(files.replace(&one, Some(&found.text), second.as_bytes()).unwrap());
    assert_eq!(
        store.update(&one, Some(&version), Record { data: &first, expire_date, now }).await.unwrap(),
        Updated::Changed
    );
    assert!(files.rotate(&one, second.as_bytes(), &other, &found.text).unwrap());
    assert_eq!(store.load(&other, now).await.unwrap().unwrap().version, version);
    assert!(store.load(&one, now).await.unwrap().is_none());
    assert!(!files.replace(&one, None, b"late").unwrap());
    assert!(!files.add(&other, b"late").unwrap());
    assert_eq!(files.clear_expired(&|text, _| text == b"late").unwrap(), 0);
    assert_eq!(files.clear_expired(&|text, _| text == found.text).unwrap(), 1);
    assert!(!files.remove(&other).unwrap());
}
