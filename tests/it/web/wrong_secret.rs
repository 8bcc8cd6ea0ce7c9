//! A secret that is wrong while the site runs: on one of its servers, or for a while on all. Nobody loses the cookie of a
//! session that is still stored.

use cloakroom::chrono::{DateTime, TimeDelta};
use cloakroom::store::Record;
use cloakroom::{InterruptedSession, SecretCheck, SessionData, SessionKey, Transport, UserSessions, connect};

use super::*;
use crate::support::browser::Reply;

on_every_adapter!(
    looking_at_a_page_costs_nobody_the_session,
    writing_makes_a_new_session_and_leaves_the_stored_one,
    a_client_with_a_header_keeps_its_key,
    signed_cookies_are_left_in_the_browser,
    a_session_that_was_signed_again_meanwhile_is_neither_overwritten_nor_ended,
);

const RIGHT: &str = "the site's secret";
const WRONG: &str = "another secret";

fn all_pages() -> Pages {
    let user = |session: Session, _| async move {
        let is_user = auth::verify_user(&session, USER).await?;
        Ok::<_, Error>(format!("{is_user} {}", read(session).await?))
    };
    let clear = |session: Session, _| async move {
        session.clear();
        Ok("")
    };
    pages().page("/user", loaded(user)).page("/clear", loaded(clear))
}

/// A server of the site, with this secret.
async fn server(on: Adapter, url: &str, secret: &str, change: impl Fn(&mut Settings)) -> Site {
    let mut settings = Settings::new(secret);
    change(&mut settings);
    settings.secret_check = SecretCheck::Skip;
    let store = connect(url, &settings).await.unwrap();
    Site::start_on(on, store, all_pages(), settings).await
}

async fn stores(folder: &std::path::Path) -> Vec<(&'static str, String)> {
    let stores = crate::support::stores::shared_by_processes(folder).await;
    let mut stores: Vec<_> = stores.into_iter().filter(|(_, url)| !url.contains("redis")).collect();
    stores.retain(|(name, _)| !matches!(*name, "memcached" | "filecache"));
    let sqlite = folder.join("behind.sqlite3").display().to_string();
    cloakroom::store::create_table(&format!("sqlite:{sqlite}"), Default::default()).await.unwrap();
    // Each server has a cache of its own, so that the other one reads the row.
    stores.push(("cached_db", format!("cached_db:sqlite:{sqlite}|memory:")));
    stores
}

/// Three people with a session, of whom two are logged in.
async fn people(site: &Site) -> [Browser; 3] {
    let mut people = [site.visitor().await, site.visitor().await, site.visitor().await];
    for person in &mut people[1..] {
        person.get(site.url("/login")).await.ok();
    }
    people
}

async fn looking_at_a_page_costs_nobody_the_session(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let every_request = |settings: &mut Settings| settings.save_every_request = true;
    let absolute_lifetime = |settings: &mut Settings| settings.absolute_lifetime = Some(TimeDelta::days(3));
    let hardened = |settings: &mut Settings| {
        let secret = settings.secret_key.clone();
        *settings = Settings::hardened("");
        settings.secret_key = secret;
        settings.cookie_name = "sessionid".to_owned();
        settings.save_every_request = true;
        settings.interrupted = InterruptedSession::ContinueAnonymously;
    };
    let plain = |_: &mut Settings| {};
    type Change<'a> = &'a (dyn Fn(&mut Settings) + Sync);
    let variants: [(&str, Change<'_>); 4] = [
        ("defaults", &plain),
        ("every request", &every_request),
        ("absolute age", &absolute_lifetime),
        ("hardened", &hardened),
    ];
    for (name, url) in stores(folder.path()).await {
        for (variant, change) in variants {
            let right = server(on, &url, RIGHT, change).await;
            let wrong = server(on, &url, WRONG, change).await;
            let mut people = people(&right).await;
            for (person, is_user) in people.iter_mut().zip([false, true, true]) {
                let case = format!("{name}, {variant}");
                let before = person.cookies.clone();
                for path in ["/untouched", "/read", "/user", "/read", "/nowhere"] {
                    let reply = person.get(wrong.url(path)).await;
                    assert_eq!(reply.set_cookies(), [""; 0], "{case}: {path}");
                    assert!(!["1", "true"].iter().any(|seen| reply.body.contains(seen)), "{case}: {path}");
                }
                assert!(wrong.store.calls().iter().all(|call| *call == "load"), "{case}: nothing is written");
                assert_eq!(person.cookies, before, "{case}");
                let reply = person.get(right.url("/user")).await.ok();
                assert_eq!(reply.body, format!("{is_user} 1"), "{case}: the right secret is back");
            }
        }
    }
}

async fn writing_makes_a_new_session_and_leaves_the_stored_one(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    for (name, url) in stores(folder.path()).await {
        let right = server(on, &url, RIGHT, |_| {}).await;
        let wrong = server(on, &url, WRONG, |_| {}).await;
        let [_, ada, _] = people(&right).await;
        for (path, has_cookie) in [("/visit", true), ("/login", true), ("/clear", true), ("/logout", false)] {
            let mut browser = ada.clone();
            browser.get(wrong.url(path)).await.ok();
            assert_ne!(browser.session_key(), ada.session_key(), "{name}: {path}");
            assert_eq!(browser.session_key().is_some(), has_cookie, "{name}: {path}");
            let reply = ada.clone().get(right.url("/user")).await.ok();
            assert_eq!(reply.body, "true 1", "{name}: {path} leaves what is stored");
        }
    }
}

async fn a_client_with_a_header_keeps_its_key(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let url = stores(folder.path()).await.remove(0).1;
    for every_request in [false, true] {
        let change = move |settings: &mut Settings| {
            settings.transport = Transport::Header("X-Session-Token".to_owned());
            settings.save_every_request = every_request;
        };
        let right = server(on, &url, RIGHT, change).await;
        let wrong = server(on, &url, WRONG, change).await;
        let ask = async |site: &Site, path: &str, token: &str| {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.get(site.url(path)).header("x-session-token", token);
            Reply::of(request.send().await.unwrap()).await.ok()
        };
        let token = ask(&right, "/visit", "").await.headers["x-session-token"].to_str().unwrap().to_owned();
        for path in ["/untouched", "/read", "/user"] {
            let reply = ask(&wrong, path, &token).await;
            assert!(!reply.headers.contains_key("x-session-token"), "{path}, {every_request}");
        }
        assert_eq!(ask(&right, "/read", &token).await.body, "1");
    }
}

/// The cookie is the session: what deletes it, deletes that.
async fn signed_cookies_are_left_in_the_browser(on: Adapter) {
    for every_request in [false, true] {
        let change = move |settings: &mut Settings| settings.save_every_request = every_request;
        let right = server(on, "cookie:", RIGHT, change).await;
        let wrong = server(on, "cookie:", WRONG, change).await;
        let [_, mut ada, _] = people(&right).await;
        for path in ["/untouched", "/read", "/user"] {
            assert_eq!(ada.get(wrong.url(path)).await.set_cookies(), [""; 0], "{path}, {every_request}");
        }
        assert_eq!(ada.get(right.url("/user")).await.ok().body, "true 1", "{every_request}");
        ada.get(wrong.url("/logout")).await.ok();
        assert_eq!(ada.session_key(), None, "a logout is one");
    }
}

/// Another server signs a session again while a request of this one changes it.
async fn a_session_that_was_signed_again_meanwhile_is_neither_overwritten_nor_ended(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    for (name, url) in stores(folder.path()).await {
        let mut settings = Settings::new(RIGHT);
        settings.interrupted = InterruptedSession::ContinueAnonymously;
        settings.secret_check = SecretCheck::Skip;
        let store = connect(&url, &settings).await.unwrap();
        let (page, gate) = slow(|session| session.set("visits", 2));
        let right = Site::start_on(on, store, all_pages().page("/slow", page), settings.clone()).await;
        let mut ada = right.visitor().await;
        let session_key = SessionKey::from_trusted(ada.session_key().unwrap());

        let (mut browser, slow_url) = (ada.clone(), right.url("/slow"));
        let waits = tokio::spawn(async move { browser.get(slow_url).await });
        gate.wait().await;
        settings.secret_key = WRONG.into();
        let other = connect(&url, &settings).await.unwrap();
        let data = SessionData::from_json(r#"{"visits":7}"#).unwrap();
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
        other.update(&session_key, None, record).await.unwrap();
        gate.wait().await;
        let reply = waits.await.unwrap();
        assert_eq!((reply.status, reply.set_cookies().len()), (500, 0), "{name}: {}", reply.body);
        let stored = other.load(&session_key, now).await.unwrap().unwrap();
        assert_eq!(
            (stored.is_genuine(), stored.data().unwrap().clone()),
            (true, data),
            "{name}: it was overwritten"
        );
        let reply = ada.get(right.url("/read")).await;
        assert_eq!((reply.body.as_str(), reply.set_cookies().len()), ("none", 0), "{name}");
    }
}

/// With an index, each request looks whether there is something to note.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_user_sessions_makes_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let url = stores(folder.path()).await.remove(0).1;
    cloakroom::store::create_user_session_table(&url).await.unwrap();
    let start = async |on: Adapter, secret: &str| {
        let mut settings = Settings::new(secret);
        settings.secret_check = SecretCheck::Skip;
        let user_sessions = UserSessions::connect(&url, &settings).await.unwrap();
        let of_layer = user_sessions.clone();
        let site = Site::start_layered(on, user_sessions.store(), all_pages(), settings, move |layer| {
            Layer { middleware: layer.middleware.with_user_sessions(of_layer), ..layer }
        });
        (site.await, user_sessions)
    };
    for on in [Adapter::Axum, Adapter::Actix] {
        let (right, index) = start(on, RIGHT).await;
        let (wrong, _) = start(on, WRONG).await;
        let [_, mut ada, _] = people(&right).await;
        let listed = index.list("7").await.unwrap().len();
        for path in ["/untouched", "/read", "/user"] {
            assert_eq!(ada.get(wrong.url(path)).await.set_cookies(), [""; 0], "{on:?} {path}");
        }
        assert_eq!(ada.get(right.url("/user")).await.ok().body, "true 1", "{on:?}");
        assert_eq!(index.list("7").await.unwrap().len(), listed, "{on:?}");
    }
}
