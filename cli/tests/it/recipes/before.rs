//! The two recipes that did damage, as the page had them: the people notice it, so that they would notice it again.

use serde_json::Value;

use super::people::{Habit, People};
use super::site::{self, Site};
use super::{follow, place, write_secret};
use crate::support::{project, servers};

const EVERYBODY: [(&str, Habit); 4] =
    [("ann", Habit::Both), ("bob", Habit::Rust), ("carol", Habit::Both), ("dora", Habit::Sleeps)];

/// Signing the text anew is not enough: Django's session auth hash depends on the secret, too.
#[tokio::test(flavor = "multi_thread")]
async fn changing_the_secret_logged_users_out() {
    let (mut site, old) = Site::new(project::python(), site::sqlite);
    site.deploy(&old).await;
    let people = People::arrive(&site, &EVERYBODY);
    let place = place(&site, &old).await;
    let mut new = old.clone();
    new.fallbacks.push("the secret of the site, new".to_owned());
    site.deploy(&new).await;
    new.secret = std::mem::replace(&mut new.fallbacks[0], old.secret.clone());
    site.deploy(&new).await;
    write_secret(&site.path(), "new-secret.txt", &new.secret);
    follow(
        &place,
        "from=postgres://site:password@db.example/site\n\
         cloakroom copy --from $from --to $from --to-secret-key-file new-secret.txt --overwrite \
         --secret-key-file secret.txt --secret-key-fallback-file new-secret.txt || test $? = 3\n",
    );
    people.go_on().await;
    new.fallbacks.clear();
    site.deploy(&new).await;
    let noticed = people.go_home().await;
    assert!(noticed.logged_out.contains(&"bob") && noticed.logged_out.contains(&"dora"), "{noticed:?}");
}

/// Copying again kept what was at the target, and nothing left it.
#[tokio::test(flavor = "multi_thread")]
async fn moving_lost_writes_and_brought_a_session_back() {
    let (mut site, old) = Site::new(project::python(), site::sqlite);
    site.deploy(&old).await;
    let mut people = People::arrive(&site, &EVERYBODY);
    let place = place(&site, &old).await;
    let redis = servers::redis::url().await;
    let copy =
        format!("cloakroom copy --from {} --to '{redis}' --secret-key-file secret.txt || true", old.store);
    follow(&place, &copy);
    people.log_out("carol", 0).await;
    people.go_on().await;
    follow(&place, &copy);
    let mut new = old.clone();
    (new.engine, new.caches, new.store) = ("cache", site::redis_caches(&redis), redis);
    assert!(new.caches != Value::Null);
    site.deploy(&new).await;
    follow(&place, &copy);
    let noticed = people.go_home().await;
    assert!(!noticed.lost.is_empty() && noticed.came_back == ["carol"], "{noticed:?}");
}
