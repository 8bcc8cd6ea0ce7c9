//! An operator's daily work, and a database that is down.

use std::path::Path;

use super::people::{Habit, Noticed, People};
use super::site::{self, Deployment, Site};
use super::{follow, on_postgres, on_redis, place, section};
use crate::support::{project, servers};

/// Those whom the page does not name. Gus is user 7, and Hal user 8.
const EVERYBODY: [(&str, Habit); 6] = [
    ("ann", Habit::Both),
    ("bob", Habit::Rust),
    ("carol", Habit::Django),
    ("dora", Habit::Sleeps),
    ("gus", Habit::Both),
    ("hal", Habit::Rust),
];

/// Where the sessions of a site are.
#[derive(Clone, Copy, Debug)]
enum Place {
    Sqlite,
    Postgres,
    Redis,
}

const PLACES: [Place; 3] = [Place::Sqlite, Place::Postgres, Place::Redis];

/// Follows these sections of the page with each Django and in each of these places, while people click. Only these people
/// may be logged out, and each text must be printed.
async fn follow_all(headings: &[&str], places: &[Place], logged_out: &[&'static str], printed: &[&str]) {
    for python in project::pythons() {
        for place in places {
            let (output, noticed) = match place {
                Place::Sqlite => followed(headings, &python, site::sqlite).await,
                Place::Postgres => followed(headings, &python, on_postgres().await).await,
                Place::Redis => followed(headings, &python, on_redis().await).await,
            };
            assert_eq!(noticed, only(logged_out), "{place:?}");
            for text in printed {
                assert!(output.contains(text), "{place:?}, {text}: {output}");
            }
        }
    }
}

/// Django's `cache` engine saves in two steps, and so brings a session back that is deleted in between. Where it serves, those
/// who are logged out click on the Rust side alone.
fn everybody(deployment: &Deployment) -> [(&'static str, Habit); 6] {
    EVERYBODY.map(|(name, habit)| match (name, deployment.engine) {
        ("gus", "cache") => (name, Habit::Rust),
        _ => (name, habit),
    })
}

/// The commands' output, and what the people noticed.
async fn followed(
    headings: &[&str],
    python: &Path,
    deployment: impl FnOnce(&Path) -> Deployment,
) -> (String, Noticed) {
    let (mut site, deployment) = Site::new(python.to_owned(), deployment);
    site.deploy(&deployment).await;
    // Somebody who came long ago.
    site.project.manage(&[
        "shell",
        "-c",
        "from importlib import import_module\nfrom django.conf import settings\n\
         session = import_module(settings.SESSION_ENGINE).SessionStore()\n\
         session.set_expiry(-1000)\nsession['visits'] = 1\nsession.save()",
    ]);
    let people = People::arrive(&site, &everybody(&deployment));
    let place = place(&site, &deployment).await;
    let mut output = String::new();
    for heading in ["Settings, once"].iter().chain(headings) {
        for block in section("operations.md", heading) {
            output += &follow(&place, &block);
            people.go_on().await;
        }
    }
    (output, people.go_home().await)
}

/// Those who are logged out, and nothing else that anybody noticed.
fn only(logged_out: &[&'static str]) -> Noticed {
    Noticed { logged_out: logged_out.to_vec(), ..Noticed::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_sessions_and_deleting_some() {
    follow_all(&["Every day"], &PLACES, &["gus"], &["1 deleted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_user_is_logged_in() {
    follow_all(&["Where is this user logged in?"], &PLACES, &["hal"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning() {
    let headings = ["Where is this user logged in?", "Cleaning"];
    follow_all(&headings, &[Place::Sqlite, Place::Postgres], &["hal"], &["1 expired session removed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_a_user_out_everywhere() {
    follow_all(&["Log a user out everywhere"], &PLACES, &["gus"], &["1 session of user 7 revoked"]).await;
}

/// The site answers 503 meanwhile, and goes on when the server is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_for_a_while() {
    let mut server = servers::postgres::start().await;
    let url = servers::postgres::url(&server, "postgres");
    let (mut site, deployment) = Site::new(project::python(), |folder| Deployment {
        sessions_database: site::postgres_database(&url),
        store: url.clone(),
        ..site::sqlite(folder)
    });
    site.deploy(&deployment).await;
    let people = People::arrive(&site, &EVERYBODY);
    let place = place(&site, &deployment).await;
    let count = section("operations.md", "At three in the morning")
        .into_iter()
        .find(|block| block.starts_with("cloakroom count"))
        .unwrap();
    let count = format!("export CLOAKROOM_STORE=postgres://site:password@db.example/site\n{count}");
    for _ in 0..2 {
        server.send("KILL");
        let ran = place.run(&count);
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        server.send("start");
        server.wait_until(async || place.run(&count).status.success()).await;
        people.go_on().await;
    }
    assert_eq!(people.go_home().await, only(&[]));
}
