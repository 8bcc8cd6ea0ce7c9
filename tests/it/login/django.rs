//! One login for a Rust site and a real Django.

use cloakroom::SqliteStore;
use rusqlite::Connection;

use super::*;
use crate::support::django::{Django, Project, SECRET, USERNAME, credentials};

on_every_adapter!(a_login_counts_on_both_sides_and_ends_on_both);

async fn a_login_counts_on_both_sides_and_ends_on_both(on: Adapter) {
    let djangos = Django::installed();
    for django in &djangos {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db.sqlite3");
        let server = Project::with_user(*django, &database).serve();
        let settings = Settings::new(SECRET);
        let store = Arc::new(SqliteStore::at(&database).open(&settings).await.unwrap());
        let members = Members { database: Some(database.clone()), ..Members::default() };
        let parts = Parts { store, settings, members: Arc::new(members), hook: Hook::Default };
        let site = parts.serve(on).await;
        let change = |sql: &str| Connection::open(&database).unwrap().execute(sql, []).unwrap();
        let in_django = async |browser: &mut Browser| {
            let reply = browser.get(format!("{}/whoami", server.address)).await;
            reply.json()["user"].as_str().map(str::to_owned)
        };

        let mut browser = Browser::new();
        assert_eq!(browser.get(site.url("/whoami")).await.status, 401);
        browser.post(format!("{}/login", server.address), credentials()).await.ok();
        assert_eq!(browser.get(site.url("/whoami")).await.ok().body, USERNAME, "{django:?}");
        assert_eq!(
            browser.get(site.url("/staff")).await.ok().body,
            "welcome",
            "create-user makes a superuser"
        );
        assert_eq!(browser.get(site.url("/permission")).await.ok().body, "welcome");

        change("UPDATE auth_user SET is_active = 0");
        assert_eq!(browser.get(site.url("/whoami")).await.status, 401, "{django:?}: nor in Django");
        assert_eq!(in_django(&mut browser).await, None);
        change("UPDATE auth_user SET is_active = 1");
        assert_eq!(browser.get(site.url("/whoami")).await.ok().body, USERNAME);
        assert_eq!(in_django(&mut browser).await.as_deref(), Some(USERNAME));

        change("UPDATE auth_user SET password = 'another hash'");
        let reply = browser.get(site.url("/whoami")).await;
        assert_eq!((reply.status, browser.session_key()), (401, None), "{django:?}");
        let rows = "SELECT count(*) FROM django_session";
        let rows = || Connection::open(&database).unwrap().query_row(rows, [], |row| row.get::<_, u32>(0));
        assert_eq!(rows().unwrap(), 0);
    }
    println!("verified users: {}", Django::count_of(&djangos));
}
