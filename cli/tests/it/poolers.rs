//! The command through PgBouncer.

use crate::sessions::is_listed_shown_counted_and_deleted;
use crate::support::command::with_secret;
use crate::support::servers::pgbouncer::{Pool, assert_nothing_is_left, start};
use crate::support::servers::postgres::{client, database};
use crate::support::sessions::{create, open};

/// With one connection, which the command shares with everybody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_leaves_nothing_on_a_poolers_connection() {
    let direct = database().await;
    let pool = Pool::TRANSACTION;
    let (_server, pooled) = start(&direct, pool).await;
    for query in ["", "?pooler=yes", "?pgbouncer=true"] {
        let url = format!("{pooled}{query}");
        for arguments in [&["create-table"][..], &["create-table", "--user-sessions"], &["ping"]] {
            let ran = with_secret(&[arguments, &["--store", &url]].concat(), "");
            assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
            assert_nothing_is_left(&direct, &pooled, pool).await;
        }
        is_listed_shown_counted_and_deleted(&url, true).await;
        assert_nothing_is_left(&direct, &pooled, pool).await;
        let cleared = with_secret(&["clearsessions", "--store", &url], "");
        assert_eq!(cleared.code, 0, "{cleared:?}");
        let store = open(&url).await;
        create(&*store, r#"{"_auth_user_id":"9"}"#, 1).await;
        let revoked = with_secret(&["revoke", "--user", "9", "--store", &url], "");
        assert_eq!(revoked.code, 0, "{revoked:?}");
        assert_nothing_is_left(&direct, &pooled, pool).await;
        // The next round counts again.
        client(&direct).await.batch_execute("TRUNCATE django_session").await.unwrap();
    }
}
