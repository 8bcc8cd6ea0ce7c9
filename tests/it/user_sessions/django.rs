//! Sessions that a live Django made are found and ended.

use std::ops::ControlFlow;

use cloakroom::chrono::Utc;
use cloakroom::{Settings, UserSessions};

use super::sqlite_url;
use crate::support::browser::Browser;
use crate::support::django::credentials;
use crate::support::django::{Django, Project, SECRET};

#[tokio::test(flavor = "multi_thread")]
async fn logins_of_a_live_django_are_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::with_user(Django::V5_2, &folder.path().join("db.sqlite3"));
    let django = project.serve();
    let url = |path: &str| format!("{}{path}", django.address);
    let mut browsers = [Browser::new(), Browser::new(), Browser::new()];
    for browser in &mut browsers {
        browser.post(url("/login"), credentials()).await.ok();
    }
    let store = sqlite_url(folder.path());
    cloakroom::store::create_user_session_table(&store).await.unwrap();
    let settings = Settings::new(SECRET);
    let user_sessions = UserSessions::connect(&store, &settings).await.unwrap();
    assert!(user_sessions.list("1").await.unwrap().is_empty());

    let rebuilt = user_sessions.rebuild(&settings, &mut |_| ControlFlow::Continue(())).await.unwrap();
    assert_eq!((rebuilt.sessions, rebuilt.logged_in, rebuilt.unread), (3, 3, 0));
    let listed = user_sessions.list("1").await.unwrap();
    assert_eq!(listed.len(), 3);
    let age = Utc::now() - listed[0].last_seen();
    assert!((0..60).contains(&age.num_seconds()), "the time of the login, from the session's end: {age}");

    assert!(user_sessions.revoke("1", listed[0].id().as_str()).await.unwrap());
    let mut logged_in = 0;
    for browser in &mut browsers {
        logged_in += u32::from(browser.get(url("/whoami")).await.json()["user"].is_string());
    }
    assert_eq!(logged_in, 2);
    // Django logs one out; the index hears of it when it looks.
    let mut browser = browsers.iter().find(|browser| browser.session_key().is_some()).unwrap().clone();
    browser.get(url("/logout")).await.ok();
    assert_eq!(user_sessions.list("1").await.unwrap().len(), 1);
    user_sessions.revoke_all("1").await.unwrap();
    for browser in &mut browsers {
        assert!(browser.get(url("/whoami")).await.json()["user"].is_null());
    }
}
