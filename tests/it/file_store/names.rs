//! Names, permissions, the folder: nothing outside of it is touched.

use std::os::unix::fs::{PermissionsExt, symlink};

use cloakroom::store::{Created, Rotated, Updated};
use cloakroom::{FileStore, SessionKey, Settings, StoreErrorKind};

use super::*;

#[tokio::test]
async fn no_key_leaves_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("sessions");
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir(folder.join("sessionid")).unwrap();
    std::fs::write(place.path().join("outside"), "mine").unwrap();
    let store = open(&folder).await;
    let own = SessionKey::from_trusted("ownown00");
    create(&store, &own, "{}").await;
    let long = "a".repeat(5_000);
    let keys = [
        "",
        "/../../outside",
        "../outside",
        "..\\outside",
        "\\outside",
        "/outside",
        "a/b",
        "abcdefgh\0",
        "abcdefgh\n",
        "ABCDEFGH",
        "abc.defg",
        "_out_12345678",
        "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        &long,
    ];
    for text in keys {
        let (key, shown) = (SessionKey::from_trusted(text), &text[..text.len().min(20)]);
        let data = data(r#"{"a":1}"#);
        assert!(load(&store, &key).await.is_none(), "{shown:?}");
        assert!(!store.exists(&key, now()).await.unwrap(), "{shown:?}");
        assert!(!store.delete(&key).await.unwrap(), "{shown:?}");
        assert_eq!(store.update(&key, None, record(&data)).await.unwrap(), Updated::Missing, "{shown:?}");
        assert_eq!(
            store.rotate(&key, None, &session_key(), record(&data)).await.unwrap(),
            Rotated::Missing,
            "{shown:?}"
        );
        let refused = store.create(&key, record(&data)).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused, "{shown:?}");
        let refused = store.rotate(&own, None, &key, record(&data)).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused, "{shown:?}");
        assert!(
            text.is_empty() || !format!("{refused:?}{refused}").contains(text),
            "the error shows the key"
        );
    }
    assert_eq!(std::fs::read_to_string(place.path().join("outside")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "the session and the folder named as one");
    println!("{0} of {0} keys that cannot be one left everything alone", keys.len());
}

#[tokio::test]
async fn what_is_no_file_is_no_session() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("sessions");
    std::fs::create_dir(&folder).unwrap();
    let store = open(&folder).await;
    // What the links lead to would be a session if it were here.
    let elsewhere = place.path().join("elsewhere");
    create(&store, &session_key(), r#"{"a":1}"#).await;
    std::fs::rename(path(&folder, &session_key()), &elsewhere).unwrap();
    let content = std::fs::read(&elsewhere).unwrap();

    let keys = ["linklink", "deadlink", "folder00", "pipepipe", "sockets0"].map(SessionKey::from_trusted);
    let [link, dead, directory, pipe, socket] = &keys;
    symlink(&elsewhere, path(&folder, link)).unwrap();
    symlink(place.path().join("nothing"), path(&folder, dead)).unwrap();
    std::fs::create_dir(path(&folder, directory)).unwrap();
    let mkfifo = std::process::Command::new("mkfifo").arg(path(&folder, pipe)).status().unwrap();
    assert!(mkfifo.success());
    let _listener = std::os::unix::net::UnixListener::bind(path(&folder, socket)).unwrap();
    let own = SessionKey::from_trusted("ownown00");
    create(&store, &own, "{}").await;
    let data = data(r#"{"a":2}"#);
    for key in &keys {
        assert!(load(&store, key).await.is_none());
        assert!(!store.exists(key, now()).await.unwrap());
        assert_eq!(store.create(key, record(&data)).await.unwrap(), Created::KeyTaken);
        assert_eq!(store.update(key, None, record(&data)).await.unwrap(), Updated::Missing);
        assert_eq!(store.rotate(key, None, &session_key(), record(&data)).await.unwrap(), Rotated::Missing);
        assert_eq!(store.rotate(&own, None, key, record(&data)).await.unwrap(), Rotated::KeyTaken);
    }
    assert_eq!(store.clear_expired(now() + TimeDelta::days(900)).await.unwrap(), 1, "the one session");
    for key in &keys {
        assert!(path(&folder, key).symlink_metadata().is_ok(), "it is still there");
        assert_eq!(store.delete(key).await.unwrap(), key != directory);
    }
    assert_eq!(std::fs::read(&elsewhere).unwrap(), content, "what a link led to");
    assert!(!place.path().join("nothing").exists());
}

#[tokio::test]
async fn files_are_for_their_user_alone_whatever_the_umask() {
    const TEST: &str = "names::files_are_for_their_user_alone_whatever_the_umask";
    if let Some(folder) = restarted::folder_given() {
        let store = open(&folder).await;
        let version = create(&store, &session_key(), "{}").await;
        store.update(&session_key(), Some(&version), record(&data(r#"{"a":1}"#))).await.unwrap();
        create(&store, &SessionKey::from_trusted("another0"), "{}").await;
        return;
    }
    for umask in ["000", "022", "077", "777"] {
        let folder = tempfile::tempdir().unwrap();
        let shell = format!("umask {umask}; exec \"$@\"");
        restarted::run(&["sh", "-c", &shell, "sh"], TEST, folder.path());
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 2);
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "umask {umask}");
        }
    }
}

#[tokio::test]
async fn the_folder_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let (missing, file) = (place.path().join("missing"), place.path().join("file"));
    std::fs::write(&file, "").unwrap();
    for path in [&missing, &file] {
        let error = FileStore::at(path).open(&settings()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
        let message = format!("session store file: {}: no such folder; make it", path.display());
        assert!(error.to_string().starts_with(&message), "{error}");
        assert!(cloakroom::connect(&format!("file:{}", path.display()), &settings()).await.is_err());
    }
    assert!(!missing.exists());
    for name in ["", "a/b", "a\0", ".", ".cloakroom"] {
        let mut settings = Settings::new("secret");
        settings.cookie_name = name.to_owned();
        let error = FileStore::at(place.path()).open(&settings).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{name:?}");
    }
    assert!(cloakroom::connect(&format!("file:{}", place.path().display()), &settings()).await.is_ok());
    assert!(cloakroom::connect(&format!("file://{}", place.path().display()), &settings()).await.is_ok());
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "trying left nothing");
}

/// With the folder gone, every session would seem logged out.
#[tokio::test]
async fn a_folder_that_goes_away_is_an_error_and_not_the_end_of_all_sessions() {
    let place = tempfile::tempdir().unwrap();
    let (folder, moved) = (place.path().join("sessions"), place.path().join("moved"));
    std::fs::create_dir(&folder).unwrap();
    let store = open(&folder).await;
    let version = create(&store, &session_key(), "{}").await;
    std::fs::rename(&folder, &moved).unwrap();
    let (key, data) = (session_key(), data("{}"));
    let errors = [
        store.load(&key, now()).await.err(),
        store.exists(&key, now()).await.err(),
        store.create(&key, record(&data)).await.err(),
        store.update(&key, Some(&version), record(&data)).await.err(),
        store.rotate(&key, Some(&version), &SessionKey::from_trusted("newnewnew"), record(&data)).await.err(),
        store.delete(&key).await.err(),
        store.clear_expired(now()).await.err(),
    ];
    assert!(errors.iter().all(Option::is_some), "{errors:?}");
    std::fs::rename(&moved, &folder).unwrap();
    assert_eq!(load(&store, &key).await.as_deref(), Some("{}"));
}
