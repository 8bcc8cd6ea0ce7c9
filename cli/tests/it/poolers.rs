//! The command on PostgreSQL where it is not reached plainly: through PgBouncer, and over TLS.

use crate::sessions::is_listed_shown_counted_and_deleted;
use crate::support::command::{SECRET, cloakroom, run, with_secret};
use crate::support::servers::pgbouncer::{Pool, assert_nothing_is_left, start};
use crate::support::servers::postgres::{client, database, start_with_tls, url};
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

/// `sslrootcert=system`, with the system's file of authorities at a place of the test's.
#[tokio::test(flavor = "multi_thread")]
async fn the_systems_authorities_are_trusted() {
    let server = start_with_tls().await;
    let store = format!("{}?sslrootcert=system", url(&server, "postgres"));
    let ping = |authorities: &str| {
        let mut command = cloakroom(&["create-table", "--store", &store]);
        command.env("CLOAKROOM_SECRET_KEY", SECRET).env("SSL_CERT_FILE", server.folder.join(authorities));
        run(command, b"")
    };
    let trusted = ping("ca.pem");
    assert_eq!(trusted.code, 0, "{trusted:?}");
    let other = ping("other_ca.pem");
    assert!(other.code != 0 && other.stderr.contains("`sslrootcert`"), "{other:?}");
}
