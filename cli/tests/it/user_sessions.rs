//! `user-sessions`, on sessions that only Django's way of logging in made.

use serde_json::{Value, json};

use crate::support::command::with_secret;
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

async fn is_listed_and_revoked(url: &str) {
    let store = open(url).await;
    for _ in 0..3 {
        create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    }
    create(&*store, r#"{"_auth_user_id":"8"}"#, 5).await;
    create(&*store, r#"{"visits":1}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":"7"}"#, -5).await;

    let index =
        |arguments: &[&str]| with_secret(&[&["user-sessions"], arguments, &["--store", url]].concat(), "");
    let rebuilt = index(&["rebuild", "--json"]).json();
    assert_eq!(
        (&rebuilt["logged_in"], &rebuilt["unread"], &rebuilt["removed"]),
        (&json!(4), &json!(0), &json!(0))
    );
    let listed = index(&["list", "--user", "7", "--json"]);
    let lines: Vec<Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{listed:?}");
    assert_eq!(lines[0]["user"], "7");
    let id = lines[0]["id"].as_str().unwrap();
    assert!(!index(&["list", "--user", "7"]).stdout.is_empty());

    let of_another = index(&["revoke", "--user", "8", "--id", id, "--json"]);
    assert_eq!((of_another.code, of_another.json()), (1, json!({ "revoked": 0 })), "another user's session");
    assert_eq!(index(&["revoke", "--user", "7", "--id", id, "--json"]).json(), json!({ "revoked": 1 }));
    let revoked = index(&["revoke", "--user", "7"]);
    assert_eq!((revoked.code, revoked.stdout.as_str()), (0, "2 sessions of user 7 revoked\n"), "{revoked:?}");
    assert_eq!(with_secret(&["count", "--json", "--store", url], "").json()["live"], 2);
    let dry = index(&["clean", "--dry-run", "--json"]).json();
    assert_eq!((&dry["entries"], &dry["removed"]), (&json!(1), &json!(0)), "{dry}");
    assert_eq!(index(&["clean", "--json"]).json()["entries"], 1);
}

fn make_table(url: &str) {
    let missing = with_secret(&["user-sessions", "list", "--user", "7", "--store", url], "");
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("cloakroom create-table --user-sessions"), "{missing:?}");
    for said in ["made the table", "is there already"] {
        let made = with_secret(&["create-table", "--user-sessions", "--store", url], "");
        assert!(made.code == 0 && made.stdout.contains(said), "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    make_table(&url);
    is_listed_and_revoked(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_listed_and_revoked() {
    let url = postgres().await;
    make_table(&url);
    is_listed_and_revoked(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_needs_no_table() {
    let url = servers::redis::url().await;
    let store = open(&url).await;
    create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    let rebuilt = with_secret(&["user-sessions", "rebuild", "--store", &url], "");
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    let revoked = with_secret(&["user-sessions", "revoke", "--user", "7", "--json", "--store", &url], "");
    assert_eq!(revoked.json(), json!({ "revoked": 1 }));
}
