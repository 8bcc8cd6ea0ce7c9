//! The command on a site that moves to another store: `moving:OLD|NEW`.

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use serde_json::json;

use crate::support::command::{SECRET, cloakroom, run, with_secret};
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

#[tokio::test(flavor = "multi_thread")]
async fn commands_see_both_stores_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (sqlite(folder.path()), servers::redis::url().await);
    let url = format!("moving:{old}|{new}");
    let (old, new) = (open(&old).await, open(&new).await);
    let mut keys = Vec::new();
    for (store, json) in [
        (&old, r#"{"_auth_user_id":"7"}"#),
        (&old, r#"{"_auth_user_id":"8"}"#),
        (&new, r#"{"_auth_user_id":"7"}"#),
        (&new, r#"{"_auth_user_id":"8"}"#),
    ] {
        keys.push(create(&**store, json, 5).await);
    }
    // In both: as somebody copied it.
    let data = cloakroom::SessionData::from_json(r#"{"_auth_user_id":"8"}"#).unwrap();
    let record = Record { data: &data, expire_date: Utc::now() + TimeDelta::hours(5), now: Utc::now() };
    old.create(&keys[3], record).await.unwrap();
    create(&*old, "{}", -5).await;
    let cloakroom = |arguments: &[&str]| with_secret(&[arguments, &["--store", &url]].concat(), "");

    assert_eq!(cloakroom(&["count", "--json"]).json(), json!({ "live": 4, "expired": 1, "unreadable": 0 }));
    let listed = cloakroom(&["list"]);
    assert_eq!((listed.code, listed.lines().len()), (0, 4), "{listed:?}");
    assert_eq!(cloakroom(&["check"]).code, 0);
    let revoked = cloakroom(&["revoke", "--user", "7", "--json"]);
    assert_eq!((revoked.code, &revoked.json()["revoked"]), (0, &json!(2)), "{revoked:?}");
    let cleared = cloakroom(&["clearsessions", "--json"]);
    assert_eq!((cleared.code, &cleared.json()["removed"]), (0, &json!(1)), "{cleared:?}");

    let moved = cloakroom(&["move", "--json"]);
    assert_eq!((moved.code, moved.json()), (0, json!({ "moved": 1, "left": 0 })), "{moved:?}");
    assert!(new.exists(&keys[1], Utc::now()).await.unwrap());
    assert!(!old.exists(&keys[1], Utc::now()).await.unwrap());
    let again = cloakroom(&["move"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "0 moved, 0 left in the old store\n"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_move_is_left_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (sqlite(folder.path()), postgres().await);
    create(&*open(&old).await, "{}", 5).await;
    let other = cloakroom::connect(&old, &cloakroom::Settings::new("another")).await.unwrap();
    create(&*other, "{}", 5).await;
    let moved = with_secret(&["move", "--store", &format!("moving:{old}|{new}")], "");
    assert_eq!((moved.code, moved.stdout.as_str()), (3, "1 moved, 1 left in the old store\n"), "{moved:?}");
    assert!(moved.stderr.contains("cloakroom check"), "{moved:?}");
    assert_eq!(other.count(Utc::now()).await.unwrap().live, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_explained_and_their_secrets_hidden() {
    let folder = tempfile::tempdir().unwrap();
    for (url, part) in [
        ("moving:cached_db:sqlite:a|redis://:hunter2@b|postgres://c:hunter2@d/e", "moving:OLD||NEW"),
        ("moving:sqlite:a", "takes the old and the new store"),
        ("moving:sqlite:absent.sqlite3|redis://:hunter2@127.0.0.1:1", "absent.sqlite3"),
    ] {
        let ran = with_secret(&["list", "--store", url], "");
        assert!(ran.code != 0 && ran.stderr.contains(part), "{url}: {ran:?}");
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    }
    let alone = with_secret(&["move", "--store", "sqlite:a"], "");
    assert!(alone.code == 2 && alone.stderr.contains("moving:OLD|NEW"), "{alone:?}");

    // In a file of settings, paths count from where it lies.
    create(&*open(&sqlite(folder.path())).await, "{}", 5).await;
    let new = folder.path().join("new");
    std::fs::create_dir(&new).unwrap();
    let settings = folder.path().join("cloakroom.toml");
    std::fs::write(&settings, "store = \"moving:sqlite:db.sqlite3|file:new\"\n").unwrap();
    let mut command = cloakroom(&["move", "--json", "--settings", settings.to_str().unwrap()]);
    command.env("CLOAKROOM_SECRET_KEY", SECRET);
    let moved = run(command, b"");
    assert_eq!((moved.code, moved.json()), (0, json!({ "moved": 1, "left": 0 })), "{moved:?}");
    assert_eq!(std::fs::read_dir(&new).unwrap().count(), 1);
}

/// The old store goes away in the middle, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_fails_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = servers::postgres::start().await;
    let old = servers::postgres::url(&server, "postgres");
    assert_eq!(with_secret(&["create-table", "--store", &old], "").code, 0);
    let new = sqlite(folder.path());
    let source = open(&old).await;
    for _ in 0..1_500 {
        create(&*source, r#"{"_auth_user_id":"7"}"#, 5).await;
    }
    drop(source);
    let url = format!("moving:{old}|{new}");
    let child = {
        let mut command = cloakroom(&["move", "--store", &url]);
        command.env("CLOAKROOM_SECRET_KEY", SECRET);
        tokio::task::spawn_blocking(move || run(command, b""))
    };
    let target = open(&new).await;
    while target.count(Utc::now()).await.unwrap().live < 50 {
        tokio::task::yield_now().await;
    }
    server.send("KILL");
    let failed = child.await.unwrap();
    assert!(failed.code == 1 && failed.stdout.is_empty(), "{failed:?}");
    assert!(failed.stderr.contains("looked at before this"), "{failed:?}");
    server.send("start");
    server
        .wait_until(async || cloakroom::connect(&old, &cloakroom::Settings::new(SECRET)).await.is_ok())
        .await;
    let again = with_secret(&["move", "--json", "--store", &url], "");
    assert_eq!((again.code, &again.json()["left"]), (0, &json!(0)), "{again:?}");
    assert_eq!(target.count(Utc::now()).await.unwrap().live, 1_500);
    // The kill may leave an entry that is no session, for a minute.
    assert!(open(&old).await.count(Utc::now()).await.unwrap().live <= 16);
    assert_eq!(with_secret(&["count", "--json", "--store", &url], "").json()["live"], 1_500);
    assert_eq!(with_secret(&["check", "--store", &new], "").code, 0);
    assert_eq!(with_secret(&["list", "--store", &new, "--user", "7"], "").lines().len(), 1_500);
}
