//! `revoke`, also beside requests that are under way.

use cloakroom::{Error, Session, SessionKey, Settings};
use serde_json::json;

use crate::support::command::{SECRET, with_secret};
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

async fn is_revoked(url: &str) {
    let store = open(url).await;
    let mut of_seven = Vec::new();
    for _ in 0..3 {
        of_seven.push(create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await);
    }
    let of_eight = create(&*store, r#"{"_auth_user_id":"8"}"#, 5).await;
    create(&*store, r#"{"user":"_auth_user_id 7"}"#, 5).await;

    // A request that has read the session and will write it.
    let in_flight = session(url, &of_seven[0]).await;
    assert_eq!(in_flight.get::<String>("_auth_user_id").unwrap().as_deref(), Some("7"));
    in_flight.set("visits", 1).unwrap();

    let dry = with_secret(&["revoke", "--user", "7", "--dry-run", "--json", "--store", url], "");
    assert_eq!(dry.json(), json!({ "revoked": 0, "found": 3, "unread": 0 }));
    let revoked = with_secret(&["revoke", "--user", "7", "--store", url], "");
    assert_eq!((revoked.code, revoked.stdout.as_str()), (0, "3 sessions of user 7 revoked\n"), "{revoked:?}");

    assert!(matches!(in_flight.save().await, Err(Error::Interrupted)), "the session stays dead");
    for key in &of_seven {
        assert!(store.load(key, cloakroom::chrono::Utc::now()).await.unwrap().is_none());
    }
    assert!(store.load(&of_eight, cloakroom::chrono::Utc::now()).await.unwrap().is_some());
    assert_eq!(with_secret(&["count", "--json", "--store", url], "").json()["live"], 2);
}

async fn session(url: &str, session_key: &SessionKey) -> Session {
    let settings = Settings::new(SECRET);
    let store = cloakroom::connect(url, &settings).await.unwrap();
    Session::open(store, settings, session_key.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    is_revoked(&sqlite(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_revoked() {
    is_revoked(&postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_revoked() {
    is_revoked(&servers::redis::url().await).await;
}

/// Sessions that cannot be read may be the user's: the exit code tells.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    create(&*open(&url).await, r#"{"_auth_user_id":"7"}"#, 5).await;
    let revoked = with_secret(&["revoke", "--user", "7", "--store", &url, "--secret-key", "another"], "");
    assert_eq!(revoked.code, 3);
    assert!(revoked.stderr.contains("1 sessions could not be read"), "{revoked:?}");
}

/// Requests write the user's sessions, and move them to new keys, all the while.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_sessions_that_move() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    for number in 0..2_000 {
        create(&*store, &format!(r#"{{"number":{number}}}"#), 5).await;
    }
    let mut busy = Vec::new();
    for _ in 0..4 {
        let key = create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
        let url = url.clone();
        busy.push(tokio::spawn(async move {
            let mut key = key;
            // Until it is dead: a session that nobody can bring back.
            loop {
                let session = session(&url, &key).await;
                if session.get::<String>("_auth_user_id").unwrap().is_none() {
                    return;
                }
                session.cycle_key().unwrap();
                match session.save().await {
                    Ok(_) => key = session.session_key().unwrap(),
                    Err(Error::Interrupted) => return,
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
        }));
    }
    let revoked = with_secret(&["revoke", "--user", "7", "--store", &url], "");
    assert_eq!(revoked.code, 0, "{revoked:?}");
    for task in busy {
        task.await.unwrap();
    }
    assert_eq!(with_secret(&["list", "--user", "7", "--store", &url], "").stdout, "");
}
