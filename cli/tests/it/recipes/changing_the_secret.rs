//! "Change the secret" of docs/operations.md.

use std::path::Path;

use super::people::{Habit, Noticed, People};
use super::site::{Deployment, Site};
use super::{follow, on_postgres, on_redis, place, section, site};
use crate::support::{project, servers};

/// Dora and Fay do nothing all the time, so that neither Django nor the service renews what they have.
const EVERYBODY: [(&str, Habit); 6] = [
    ("ann", Habit::Both),
    ("bob", Habit::Rust),
    ("carol", Habit::Both),
    ("dora", Habit::Sleeps),
    ("emil", Habit::Django),
    ("fay", Habit::Sleeps),
];

/// Follows the page, with what is said in place of its options; Carol logs out in the middle.
async fn is_changed(python: &Path, deployment: impl FnOnce(&Path) -> Deployment, options: [&str; 2]) {
    let (mut site, old) = Site::new(python.to_owned(), deployment);
    site.deploy(&old).await;
    let mut people = People::arrive(&site, &EVERYBODY);
    let place = place(&site, &old).await;
    let blocks = <[String; 4]>::try_from(section("operations.md", "Change the secret")).unwrap();
    let [make, renew, look, finish] = blocks.map(|script| script.replace(options[0], options[1]));
    follow(&place, &section("operations.md", "Settings, once")[0]);
    follow(&place, &make);

    let mut new = old.clone();
    let secret = std::fs::read_to_string(site.path().join("new-secret.txt")).unwrap();
    new.fallbacks.push(secret.trim_end().to_owned());
    site.deploy_django(&new);
    people.go_on().await;
    site.deploy_rust(&new).await;
    new.secret = std::mem::replace(&mut new.fallbacks[0], old.secret.clone());
    site.deploy_rust(&new).await;
    people.go_on().await;
    site.deploy_django(&new);

    let renewed = follow(&place, &renew);
    assert!(renewed.contains("no session depends on an old secret: it may go"), "{renewed}");
    people.log_out("carol", 0).await;
    people.go_on().await;
    // Again, as somebody does who is not sure: all of it is right already.
    let again = follow(&place, &renew);
    assert!(again.contains("it may go"), "{again}");
    let looked = follow(&place, &look);
    assert!(looked.contains("0 sessions, 0 logins. May it go? yes"), "{looked}");

    new.fallbacks.clear();
    site.deploy_django(&new);
    people.go_on().await;
    site.deploy_rust(&new).await;
    people.go_on().await;
    follow(&place, &finish);
    assert_eq!(people.go_home().await, Noticed::default());
}

const AS_WRITTEN: [&str; 2] = ["", ""];
const FROM_DJANGO: [&str; 2] =
    ["--secret-key-file new-secret.txt --secret-key-fallback-file old-secret.txt", "--from-django manage.py"];
const OTHER_USERS: [&str; 2] = ["--secret-key-file new", "--users sqlite:db.sqlite3 --secret-key-file new"];

#[tokio::test(flavor = "multi_thread")]
async fn where_the_users_are_beside_the_sessions() {
    for python in project::pythons() {
        is_changed(&python, site::sqlite, AS_WRITTEN).await;
        is_changed(&python, site::sqlite, FROM_DJANGO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_users_are_in_another_database() {
    for python in project::pythons() {
        is_changed(&python, on_redis().await, OTHER_USERS).await;
        is_changed(&python, on_postgres().await, FROM_DJANGO).await;
        is_changed(&python, site::files, OTHER_USERS).await;
    }
}

/// Copies in the cache in front of the database are renewed, too.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_cache_is_in_front() {
    for python in project::pythons() {
        let redis = servers::redis::url().await;
        let cached = |folder: &Path| Deployment {
            engine: "cached_db",
            caches: site::redis_caches(&redis),
            store: format!("cached_db:sqlite:{}|{redis}", folder.join("db.sqlite3").display()),
            ..site::sqlite(folder)
        };
        is_changed(&python, cached, FROM_DJANGO).await;
    }
}
