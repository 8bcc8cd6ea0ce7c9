//! Signed cookies: each method of the session has on the browser's cookie the effect that it has in Django.

use super::*;
use crate::support::axum_site::Users;
use crate::support::back_end::BackEnd;

/// The methods that a handler calls, one after the other.
const STEPS: [&[&str]; 21] = [
    &[],
    &["get"],
    &["save"],
    &["flush"],
    &["delete"],
    &["clear"],
    &["cycle_key"],
    &["create"],
    &["set", "delete"],
    &["set", "flush"],
    &["delete", "set"],
    &["flush", "set"],
    &["clear", "set"],
    &["delete", "save"],
    &["save", "delete"],
    &["delete", "delete"],
    &["create", "set"],
    &["delete", "get"],
    &["delete", "fail"],
    &["flush", "fail"],
    &["save", "fail"],
];

/// What became of the browser's cookie: left alone, set or deleted; and whom and what both sites see then.
type Effect = (u16, &'static str, Vec<(Option<String>, String)>);

#[tokio::test(flavor = "multi_thread")]
async fn on_signed_cookies_each_method_has_djangos_effect_on_the_cookie() {
    let (mut all, mut failed) = (0, Vec::new());
    for django in Django::installed() {
        let folder = tempfile::tempdir().unwrap();
        let back_end = BackEnd::signed_cookies(folder.path()).await;
        let server = back_end.project(django, folder.path()).serve();
        let user = Browser::new().get(format!("{}/account", server.address)).await.json();
        let users = Users::One(serde_json::from_value(user).unwrap());
        let settings = Settings::new(SECRET);
        let store = cloakroom::connect(&back_end.url, &settings).await.unwrap();
        let sites = [server.address.clone(), axum_site::start_on(store, users, settings).await];
        let mut user = Browser::new();
        user.post(format!("{}/login", sites[0]), credentials()).await.ok();
        user.post(format!("{}/put", sites[0]), r#"{"cart":[3,5]}"#).await.ok();
        for (name, browser) in [("nobody", Browser::new()), ("a user", user)] {
            for steps in STEPS {
                let mut effects = Vec::new();
                for site in &sites {
                    effects.push(effect(&sites, site, browser.clone(), steps).await);
                }
                all += 1;
                if effects[0] != effects[1] {
                    failed.push(format!(
                        "{django:?}, {name}, {steps:?}:\n  Django {:?}\n  here   {:?}",
                        effects[0], effects[1]
                    ));
                }
            }
        }
    }
    println!("{} of {all} calls have Django's effect on the cookie", all - failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn effect(sites: &[String; 2], site: &str, mut browser: Browser, steps: &[&str]) -> Effect {
    let reply = browser.post(format!("{site}/steps"), json!(steps)).await;
    let cookie = match reply.set_cookies()[..] {
        [] => "left alone",
        [cookie] if cookie.starts_with("sessionid=\"\";") => "deleted",
        [_] => "set",
        _ => "set twice",
    };
    let mut seen = Vec::new();
    for site in sites {
        seen.push(whoami(&mut browser.clone(), format!("{site}/whoami")).await);
    }
    (reply.status, cookie, seen)
}
