//! A database behind a cache that is down: the operator counts, clears and ends sessions all the same.

use cloakroom::chrono::Utc;
use serde_json::json;

use crate::support::command::{Ran, with_secret};
use crate::support::servers::{self, free_port};
use crate::support::sessions::{create, open, sqlite};

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_from_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path());
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &database], "").code, 0);
    let store = open(&database).await;
    for scheme in ["redis://:open-sesame@", "memcached://"] {
        let mut of_nobody = Vec::new();
        for json in [r#"{"_auth_user_id":"7"}"#, r#"{"_auth_user_id":"7"}"#, r#"{"_auth_user_id":"8"}"#] {
            create(&*store, json, 5).await;
        }
        for _ in 0..2 {
            of_nobody.push(create(&*store, "{}", 5).await);
        }
        create(&*store, "{}", -5).await;
        let port = free_port();
        let url = format!("cached_db:{database}|{scheme}127.0.0.1:{port}");
        let cloakroom = |arguments: &[&str], input: &str| -> Ran {
            let ran = with_secret(&[arguments, &["--store", &url]].concat(), input);
            assert!(ran.stderr.contains(&format!("127.0.0.1:{port}")), "the cache is named: {ran:?}");
            assert!(!format!("{ran:?}").contains("open-sesame"), "{ran:?}");
            ran
        };
        let count = cloakroom(&["count", "--json"], "");
        assert_eq!((count.code, count.json()), (0, json!({ "live": 5, "expired": 1, "unreadable": 0 })));
        // Once the rows are gone, nobody would find the copies.
        let cleared = cloakroom(&["clearsessions"], "");
        assert!(cleared.code == 1 && cleared.stderr.contains("nothing was removed"), "{cleared:?}");
        assert_eq!(cloakroom(&["count", "--json"], "").json()["expired"], 1);
        assert_eq!(with_secret(&["clearsessions", "--store", &database], "").code, 0, "the database alone");
        assert_eq!(cloakroom(&["check"], "").code, 0);
        let listed = cloakroom(&["list", "--user", "7"], "");
        assert_eq!((listed.code, listed.lines().len()), (0, 2), "{listed:?}");
        assert_eq!(cloakroom(&["user-sessions", "rebuild"], "").code, 0);

        // The rows are gone, all of them, and the operator hears that copies may be left.
        let revoked = cloakroom(&["revoke", "--user", "7", "--json"], "");
        assert_eq!(revoked.code, 1, "{revoked:?}");
        assert_eq!(revoked.json(), json!({ "revoked": 2, "found": 2, "unread": 0 }));
        assert!(revoked.stderr.contains("2 of them are gone, but not from everywhere"), "{revoked:?}");
        let keys = format!("{}\n{}\n", of_nobody[0].as_str(), of_nobody[1].as_str());
        let deleted = cloakroom(&["delete", "-", "--json"], &keys);
        assert_eq!((deleted.code, deleted.json()), (1, json!({ "deleted": 2, "missing": 0 })), "{deleted:?}");
        assert!(deleted.stderr.contains("Call again once the cache is back"), "{deleted:?}");
        let by_index = cloakroom(&["user-sessions", "revoke", "--user", "8"], "");
        assert_eq!(by_index.code, 1, "{by_index:?}");
        assert_eq!(store.count(Utc::now()).await.unwrap().live, 0, "{scheme}: no row is left");
    }
}

/// A session that the store cannot delete is one, and the others go.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deleted_is_told() {
    let watched = servers::redis::start_watched().await;
    let primary = servers::redis::url_of(&watched.primary);
    let store = open(&primary).await;
    let key = create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    servers::redis::wait_until_info(&watched.replica, "master_link_status:up").await;
    let replica = servers::redis::url_of(&watched.replica);
    let copied = open(&replica).await;
    while copied.load(&key, Utc::now()).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    // A replica takes no writes.
    for arguments in [["revoke", "--user", "7"], ["delete", "--json", key.as_str()]] {
        let ran = with_secret(&[arguments.as_slice(), &["--store", &replica]].concat(), "");
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr.contains("1 sessions could not be deleted") && ran.stderr.contains("is a replica")
        );
    }
    assert!(store.load(&key, Utc::now()).await.unwrap().is_some());
}
