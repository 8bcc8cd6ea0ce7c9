//! `list`, `show`, `count`, `check` and `delete`, on real stores.

use cloakroom::{Settings, TextFormat};
use serde_json::json;

use crate::support::command::{SECRET, with_secret};
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

pub(crate) async fn is_listed_shown_counted_and_deleted(url: &str, keeps_expired: bool) {
    let store = open(url).await;
    let seven = create(&*store, r#"{"_auth_user_id":"7","big":123456789012345678901234567890}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":"8"}"#, 5).await;
    create(&*store, r#"{"visits":1}"#, 5).await;
    if keeps_expired {
        create(&*store, r#"{"_auth_user_id":"7"}"#, -5).await;
    }
    let cloakroom = |arguments: &[&str], input: &str| {
        with_secret(&[&arguments[..1], &["--store", url], &arguments[1..]].concat(), input)
    };
    let expired = u32::from(keeps_expired);
    assert_eq!(
        cloakroom(&["count", "--json"], "").json(),
        json!({ "live": 3, "expired": expired, "unreadable": 0 })
    );

    let listed = cloakroom(&["list"], "");
    assert_eq!((listed.code, listed.lines().len()), (0, 3), "{listed:?}");
    assert!(!listed.stdout.contains(seven.as_str()), "keys are shown on request alone");
    assert_eq!(cloakroom(&["list", "--all"], "").lines().len(), 3 + expired as usize);
    assert_eq!(cloakroom(&["list", "--limit", "2"], "").lines().len(), 2);
    let of_user = cloakroom(&["list", "--user", "7", "--keys", "--json"], "");
    let entry = of_user.json();
    assert_eq!((&entry["session_key"], &entry["user"]), (&json!(seven.as_str()), &json!("7")));
    assert_eq!(entry["state"], "live");
    // Logs and traces name it so, too.
    assert_eq!(entry["id"], seven.public_id());
    let by_id = cloakroom(&["list", "--id", &seven.public_id(), "--json"], "");
    assert_eq!((by_id.json()["id"].as_str(), by_id.lines().len()), (entry["id"].as_str(), 1));

    let shown = cloakroom(&["show", "-", "--json"], &format!("{}\n", seven.as_str()));
    assert_eq!(shown.json()["data"]["big"].to_string(), "123456789012345678901234567890");
    assert_eq!(shown.json()["id"], entry["id"]);
    assert!(!shown.stdout.contains(seven.as_str()));
    let shown = cloakroom(&["show", seven.as_str()], "");
    assert!(shown.stdout.contains("user     7\n") && shown.stdout.contains("1234567890}"), "{shown:?}");
    let absent = cloakroom(&["show", "nosuchkey0"], "");
    assert!(absent.code == 1 && absent.stderr.contains("no such session"), "{absent:?}");

    let keys = format!("{}\nnosuchkey0\n", seven.as_str());
    let deleted = cloakroom(&["delete", "-", "--json"], &keys);
    assert_eq!((deleted.code, deleted.json()), (1, json!({ "deleted": 1, "missing": 1 })));
    assert!(!format!("{deleted:?}").contains(seven.as_str()));
    assert_eq!(cloakroom(&["list", "--user", "7"], "").stdout, "");
    let checked = cloakroom(&["check", "--json"], "");
    assert_eq!((checked.code, &checked.json()["live"]), (0, &json!(2)), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_listed_shown_counted_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    is_listed_shown_counted_and_deleted(&sqlite(folder.path()), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_listed_shown_counted_and_deleted() {
    is_listed_shown_counted_and_deleted(&postgres().await, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_listed_shown_counted_and_deleted() {
    is_listed_shown_counted_and_deleted(&servers::redis::url().await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_listed_shown_counted_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    is_listed_shown_counted_and_deleted(&format!("file:{}", folder.path().display()), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_is_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    create(&*store, r#"{"a":1}"#, 5).await;
    create(&*store, r#"{"a":1}"#, -5).await;
    let mut legacy = Settings::new(SECRET);
    legacy.text_format = TextFormat::Legacy;
    create(&*cloakroom::connect(&url, &legacy).await.unwrap(), r#"{"a":1}"#, 5).await;
    let check = |more: &[&str]| with_secret(&[&["check", "--store", &url], more].concat(), "");
    let well = check(&["--json"]);
    let secret = json!({ "name": "secret", "source": "the environment", "sessions": 2, "logins": null,
        "until": well.json()["secrets"][0]["until"], "may_go": null });
    let expected = json!({ "live": 2, "modern": 1, "legacy": 1, "cache": 0, "expired": 1, "not_genuine": 0,
        "unreadable": 0, "examples": [], "complete": true, "secrets": [secret], "logins_unknown": 0,
        "logins_ending": 0 });
    assert_eq!((well.code, well.json()), (0, expected), "{well:?}");

    let other = check(&["--secret-key", "another"]);
    assert!(other.code == 3 && other.stdout.contains("SECRET_KEY is another one"), "{other:?}");
    assert!(!other.stderr.contains("corrupted"), "one line each would be a flood: {other:?}");

    create(&*cloakroom::connect(&url, &Settings::new("another")).await.unwrap(), "{}", 5).await;
    let list = with_secret(&["encode"], "[1,2]\n").stdout;
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    let sql = "INSERT INTO django_session VALUES ('unreadablekey', ?1, '2999-01-01 00:00:00')";
    connection.execute(sql, [list.trim()]).unwrap();
    let some = check(&[]);
    assert_eq!(some.code, 3);
    for part in [
        "2 can be read (1 modern, 1 legacy",
        "1 not genuine",
        "1 unreadable",
        "another secret",
        "left as it is",
    ] {
        assert!(some.stdout.contains(part), "{part}: {}", some.stdout);
    }
    assert!(!some.stdout.contains("unreadablekey"));
    let states = with_secret(&["list", "--store", &url], "").stdout;
    assert!(states.contains("not genuine") && states.contains("unreadable"), "{states}");
    // With the other secret as a fallback.
    std::fs::write(folder.path().join("old.txt"), "another\n").unwrap();
    let old = folder.path().join("old.txt");
    let both = check(&["--json", "--secret-key-fallback-file", old.to_str().unwrap()]);
    assert_eq!(both.json()["not_genuine"], 0);
}

/// Green is not for a store in which nobody looked at the right place; what has expired is something.
#[tokio::test(flavor = "multi_thread")]
async fn check_on_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (files, redis) = (tempfile::tempdir().unwrap(), servers::redis::url().await);
    let files = format!("file:{}", files.path().display());
    let url = sqlite(folder.path());
    for (url, hint) in [
        (&url, "another database"),
        (&files, "another folder (SESSION_FILE_PATH)"),
        (&redis, "another key prefix, version"),
    ] {
        let empty = with_secret(&["check", "--store", url], "");
        assert_eq!((empty.code, empty.stdout.as_str()), (3, "no sessions found\n"), "{empty:?}");
        assert!(empty.stderr.contains(hint) && empty.stderr.contains("--from-django"), "{empty:?}");
        let json = with_secret(&["check", "--json", "--store", url], "");
        assert_eq!((json.code, &json.json()["live"]), (3, &json!(0)));
        let changed = with_secret(&["change-secret", "--secret-key-fallback", "old", "--store", url], "");
        assert_eq!((changed.code, changed.stdout.as_str()), (3, "no sessions found\n"), "{changed:?}");
        assert!(changed.stderr.contains(hint), "{changed:?}");
    }
    create(&*open(&url).await, r#"{"a":1}"#, -5).await;
    let expired = with_secret(&["check", "--store", &url], "");
    assert!(expired.code == 0 && expired.stdout.contains("1 expired"), "{expired:?}");
    // The scheme was forgotten.
    let path = folder.path().join("db.sqlite3").display().to_string();
    let forgotten = with_secret(&["check", "--store", &path], "");
    assert!(
        forgotten.code == 2 && forgotten.stderr.contains(&format!("write sqlite:{path}")),
        "{forgotten:?}"
    );
    let path = folder.path().display().to_string();
    let forgotten = with_secret(&["check", "--store", &path], "");
    assert!(forgotten.code == 2 && forgotten.stderr.contains(&format!("write file:{path}")), "{forgotten:?}");
}

/// The secret of an option stands alone; what else verifies is named.
#[tokio::test(flavor = "multi_thread")]
async fn fallbacks_of_the_settings_file_help_no_option_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    for (name, secret) in
        [("secret.txt", "old-secret"), ("older.txt", "older-secret"), ("new.txt", "new-secret")]
    {
        std::fs::write(folder.path().join(name), secret).unwrap();
        let store = cloakroom::connect(&url, &Settings::new(secret)).await.unwrap();
        create(&*store, r#"{"a":1}"#, 5).await;
    }
    let toml = format!(
        "store = \"{url}\"\nsecret_key_file = \"secret.txt\"\nsecret_key_fallback_files = [\"older.txt\"]\n"
    );
    std::fs::write(folder.path().join("cloakroom.toml"), toml).unwrap();
    let check = |arguments: &[&str]| {
        let mut command = crate::support::command::cloakroom(&[&["check"], arguments].concat());
        command.current_dir(folder.path());
        let ran = crate::support::command::run(command, b"");
        assert!(!format!("{ran:?}").contains("-secret\""), "{ran:?}");
        ran
    };
    let file = check(&[]);
    assert_eq!(file.code, 3, "the newest is of another: {file:?}");
    for part in [
        "the secret (secret.txt): 1 session, 0 logins",
        "fallback 1 (older.txt): may it go? no: 1 session, 0 logins, until ",
    ] {
        assert!(file.stdout.contains(part), "{part}: {file:?}");
    }
    let option = check(&["--secret-key-file", "new.txt"]);
    assert!(option.code == 3 && option.stdout.contains("2 not genuine"), "{option:?}");
    assert!(option.stdout.contains("Most are not genuine: SECRET_KEY is another"), "{option:?}");
    for part in ["the secret of new.txt is used alone", "(older.txt)", "--secret-key-fallback-file"] {
        assert!(option.stderr.contains(part), "{part}: {option:?}");
    }
    let named =
        check(&["--secret-key-file", "new.txt", "--secret-key-fallback-file", "secret.txt", "--json"]);
    let secrets = named.json()["secrets"].clone();
    assert_eq!((secrets[1]["source"].as_str(), &secrets[1]["may_go"]), (Some("secret.txt"), &json!(false)));
    // What nobody signed any more may go.
    let unused = check(&["--secret-key-file", "new.txt", "--secret-key-fallback", "unused", "--json"]);
    assert_eq!(unused.json()["secrets"][1]["may_go"], true, "{unused:?}");
}

#[test]
fn keys_and_stores_that_are_none_are_explained() {
    for (arguments, part) in [
        (["list", "--store", "memory:"].as_slice(), "inside one process"),
        (&["list", "--store", "cookie:"], "in the browsers"),
        (&["delete", "-", "--store", "sqlite:x"], "session key"),
        (&["list"], "--from-django"),
    ] {
        let ran = with_secret(arguments, "");
        // The store is opened first, where there is one.
        assert!(ran.code == 2 || arguments[0] == "delete", "{arguments:?} {ran:?}");
        assert!(ran.stderr.contains(part) || arguments[0] == "delete", "{ran:?}");
    }
}

/// The command has no keys. It says so, and still counts, lists and deletes.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_session_is_told_as_such() {
    use cloakroom::store::{EncryptionKey, EncryptionKeys};

    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let key = EncryptionKey::from_bytes([7; 32]);
    let store = cloakroom::EncryptedStore::new(open(&url).await, EncryptionKeys::new([key.clone()]).unwrap());
    let seven = create(&store, r#"{"_auth_user_id":"7","iban":"CH93"}"#, 5).await;
    let cloakroom = |arguments: &[&str]| {
        with_secret(&[&arguments[..1], &["--store", &url], &arguments[1..]].concat(), "")
    };
    let shown = cloakroom(&["show", seven.as_str()]);
    let told = format!("data     encrypted with the key {}\n", key.id());
    assert!(shown.code == 0 && shown.stdout.contains(&told) && !shown.stdout.contains("CH93"), "{shown:?}");
    let shown = cloakroom(&["show", seven.as_str(), "--json"]).json();
    assert!(shown["data"]["_cloakroom_encrypted"].as_str().unwrap().starts_with("1."), "{shown}");
    assert_eq!(cloakroom(&["count", "--json"]).json()["live"], 1);
    assert_eq!(cloakroom(&["list", "--user", "7"]).stdout, "", "it does not know the user");
    assert_eq!(cloakroom(&["delete", seven.as_str()]).code, 0);
}
