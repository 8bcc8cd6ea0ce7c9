//! "A database behind a cache" of docs/stores.md: a user is revoked while the cache is down.

use super::people::{Habit, Noticed, People};
use super::site::{self, Deployment, Site};
use super::{follow, place};
use crate::support::{project, servers};

/// The cache keeps its copies over a restart. The command says that one may be left, and finds it when it is run again.
/// Django stands still until the cache is cleared, as the page says, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_revoked_while_the_cache_is_down() {
    for python in project::pythons() {
        let mut server = servers::redis::start_durable().await;
        let address = format!("{}?key_prefix=site", servers::redis::url_of(&server));
        let (mut site, deployment) = Site::new(python, |folder| Deployment {
            engine: "cached_db",
            caches: site::redis_caches(&address),
            store: format!("cached_db:sqlite:{}|{address}", folder.join("db.sqlite3").display()),
            ..site::sqlite(folder)
        });
        site.deploy(&deployment).await;
        let people =
            People::arrive(&site, &[("ann", Habit::Both), ("bob", Habit::Rust), ("gus", Habit::Sleeps)]);
        let place = place(&site, &deployment).await;
        people.go_on().await;
        // What Django has put there.
        assert_eq!(people.look("gus", 0).await.as_deref(), Some("gus"));
        server.send("KILL");
        let revoke =
            format!("cloakroom revoke --user 7 --secret-key-file secret.txt --store '{}'", deployment.store);
        let ran = place.run(&revoke);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.code() == Some(1) && said.contains("not from everywhere"), "{said}");
        people.go_on().await;
        site.stop_django();
        server.send("start");
        let ping = format!("cloakroom ping --store '{}'", deployment.store);
        server.wait_until(async || place.run(&ping).status.success()).await;
        let again = follow(&place, &revoke);
        assert!(again.contains("1 session of user 7 revoked"), "his copy was there: {again}");
        let mut client = servers::redis::client(&address).await;
        redis::cmd("FLUSHDB").query_async::<()>(&mut client).await.unwrap();
        site.deploy_django(&deployment);
        people.go_on().await;
        assert_eq!(people.go_home().await, Noticed { logged_out: vec!["gus"], ..Noticed::default() });
    }
}
