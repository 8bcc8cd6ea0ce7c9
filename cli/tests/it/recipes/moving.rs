//! "Move to another store" of docs/operations.md.

use std::path::Path;

use super::people::{Habit, Noticed, People};
use super::site::{Deployment, Site};
use super::{follow, on_postgres, on_redis, place, section, site};
use crate::support::project;

const EVERYBODY: [(&str, Habit); 5] = [
    ("ann", Habit::Both),
    ("bob", Habit::Rust),
    ("carol", Habit::Both),
    ("dora", Habit::Sleeps),
    ("emil", Habit::Django),
];

/// Carol logs out after the first copy; whoever has her cookie must be nobody at the new store, too.
async fn is_moved(
    python: &Path,
    from: impl FnOnce(&Path) -> Deployment,
    to: impl FnOnce(&Path) -> Deployment,
) {
    let (mut site, old) = Site::new(python.to_owned(), from);
    let new = to(&site.path());
    site.deploy(&old).await;
    let mut people = People::arrive(&site, &EVERYBODY);
    let mut place = place(&site, &old).await;
    place.here.insert(0, ("redis://cache.example/1?key_prefix=site", new.store.clone()));
    let commands = section("operations.md", "Move to another store");
    let settings = &section("operations.md", "Settings, once")[0];
    let copies: Vec<&String> = commands.iter().filter(|block| block.contains("copy --record")).collect();
    assert_eq!(copies.len(), 3, "{commands:?}");
    follow(&place, settings);
    if new.engine == "db" {
        site.make_table(&new);
        site.write(&old);
    }
    follow(&place, copies[0]);
    people.go_on().await;
    people.log_out("carol", 0).await;
    people.go_on().await;
    let again = follow(&place, copies[1]);
    assert!(again.contains("1 deleted, as they are gone from the source"), "{again}");
    people.go_on().await;
    site.stop_django();
    site.stop_rust().await;
    let last = follow(&place, copies[2]);
    assert!(last.contains("\ntook "), "{last}");
    site.deploy(&new).await;
    people.go_on().await;
    assert_eq!(people.go_home().await, Noticed::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_database_to_a_cache_and_from_a_cache_to_a_database() {
    for python in project::pythons() {
        is_moved(&python, site::sqlite, on_redis().await).await;
        is_moved(&python, on_redis().await, on_postgres().await).await;
        is_moved(&python, on_postgres().await, site::files).await;
    }
}

/// Services alone, without standing still: both orders of the two stores, as the page has them.
#[tokio::test(flavor = "multi_thread")]
async fn services_move_without_standing_still() {
    let (from, to) = (on_postgres().await, on_redis().await);
    let (mut site, old) = Site::new(project::python(), from);
    let new = to(&site.path());
    site.deploy(&old).await;
    let everybody =
        [("ann", Habit::Rust), ("bob", Habit::Rust), ("carol", Habit::Rust), ("dora", Habit::Sleeps)];
    let mut people = People::arrive(&site, &everybody);
    site.stop_django();
    let mut place = place(&site, &old).await;
    place.here.insert(0, ("redis://cache.example/1?key_prefix=site", new.store.clone()));
    let text = crate::support::documents::document("operations.md");
    let (_, text) = text.split_once("\n## Move a site of Rust services without standing still\n").unwrap();
    let urls: Vec<String> = text
        .split('`')
        .filter(|code| code.starts_with("moving:redis://") || code.starts_with("moving:postgres://"))
        .take(2)
        .map(|url| {
            url.replace("postgres://site:password@db.example/site", &old.store)
                .replace("redis://cache.example/1?key_prefix=site", &new.store)
        })
        .collect();
    assert!(urls.len() == 2 && urls[0].starts_with("moving:redis"), "{urls:?}");
    for store in &urls {
        site.deploy_rust(&Deployment { store: store.clone(), ..old.clone() }).await;
        people.go_on().await;
    }
    people.log_out("carol", 1).await;
    let heading = "Move a site of Rust services without standing still";
    follow(
        &place,
        &format!("export CLOAKROOM_SECRET_KEY_FILE=secret.txt\n{}", section("operations.md", heading)[0]),
    );
    people.go_on().await;
    site.deploy(&new).await;
    people.go_on().await;
    assert_eq!(people.go_home().await, Noticed::default());
}
