//! The secret is changed while people click all the time: nobody is logged out.

use super::people::{Habit, Noticed, People};
use super::site::{self, Deployment, Site};
use super::{follow, on_postgres, on_redis, place, write_secret};
use crate::{project, servers};

const EVERYBODY: [(&str, Habit); 5] = [
    ("ann", Habit::Both),
    ("bob", Habit::Rust),
    ("carol", Habit::Django),
    ("dora", Habit::Sleeps),
    ("emil", Habit::Rust),
];

async fn nobody_is_logged_out(
    python: std::path::PathBuf,
    deployment: impl FnOnce(&std::path::Path) -> Deployment,
) {
    let (mut site, old) = Site::new(python, deployment);
    site.deploy(&old).await;
    let people = People::arrive(&site, &EVERYBODY);
    let place = place(&site, &old).await;
    let mut new = old.clone();
    new.fallbacks.push("the secret of the site, new".to_owned());
    site.deploy(&new).await;
    people.go_on().await;
    new.secret = std::mem::replace(&mut new.fallbacks[0], old.secret.clone());
    site.deploy(&new).await;
    people.go_on().await;
    write_secret(&site.path(), "new-secret.txt", &new.secret);
    // Before, the old secret must stay.
    let found = follow(&place, "cloakroom change-secret --from-django manage.py --dry-run || test $? = 3");
    assert!(found.contains("the fallback must stay until "), "{found}");
    let changed = follow(&place, "cloakroom change-secret --from-django manage.py");
    assert!(changed.contains("it may go"), "{changed}");
    people.go_on().await;
    follow(&place, "cloakroom change-secret --from-django manage.py");
    let checked = follow(&place, "cloakroom check --from-django manage.py");
    assert!(checked.contains("0 sessions, 0 logins. May it go? yes"), "{checked}");
    new.fallbacks.clear();
    site.deploy(&new).await;
    people.go_on().await;
    assert_eq!(people.go_home().await, Noticed::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_secret_on_sqlite_and_postgres() {
    for python in project::pythons() {
        nobody_is_logged_out(python.clone(), site::sqlite).await;
        nobody_is_logged_out(python, on_postgres().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_secret_in_redis() {
    for python in project::pythons() {
        nobody_is_logged_out(python, on_redis().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_secret_with_cached_db() {
    for python in project::pythons() {
        let redis = servers::redis::url().await;
        let deployment = |folder: &std::path::Path| {
            let sqlite = site::sqlite(folder);
            Deployment {
                engine: "cached_db",
                caches: site::redis_caches(&redis),
                store: format!("cached_db:{}|{redis}", sqlite.store),
                ..sqlite
            }
        };
        nobody_is_logged_out(python, deployment).await;
    }
}
