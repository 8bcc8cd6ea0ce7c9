//! Every error of a session is answered in one place.

use cloakroom::{ConcurrentChanges, StoreError};

use super::*;
use crate::support::watched_store::WatchedStore;

on_every_adapter!(
    every_error_reaches_the_function,
    the_default_answers_in_plain_text,
    a_failing_store_reaches_the_function,
    a_page_without_a_user_leads_to_the_login,
    an_api_gets_a_status_and_a_page_the_login,
);

async fn call(browser: &mut Browser, site: &Running, path: &str, accept: &str) -> Reply {
    browser.call("GET", site.url(path), &[("x-agent", "tester"), ("accept", accept)], "").await
}

/// Whether the layers in between see the response: not if saving fails, nor do those of actix-web see the error of a
/// middleware.
fn passes_layers(on: Adapter, path: &str) -> bool {
    path != "/interrupted" && (path != "/middleware" || on == Adapter::Axum)
}

async fn every_error_reaches_the_function(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Json).await;
    let mut logged_in = Browser::new();
    logged_in.get(site.url("/login?id=7")).await.ok();
    let cases = [
        (None, "/whoami?page=2", 401, "NotLoggedIn"),
        (None, "/guarded", 401, "NotLoggedIn"),
        (None, "/middleware", 401, "NotLoggedIn"),
        (None, "/scope/inside", 401, "NotLoggedIn"),
        (None, "/failing", 500, "Value"),
        (None, "/own", 500, "Value"),
        (None, "/interrupted", 400, "Interrupted"),
        (None, "/without", 500, "LayerMissing { argument: \"CurrentUser\""),
        (None, "/without/guard", 500, "LayerMissing { argument: \"CurrentUser\""),
        (None, "/without/messages", 500, "LayerMissing { argument: \"Messages\""),
        (Some(&logged_in), "/staff?a=b", 403, "Forbidden"),
        (Some(&logged_in), "/handler", 403, "Forbidden"),
        (None, "/said", 403, "Forbidden"),
    ];
    for (browser, path, status, error) in cases {
        let mut browser = browser.cloned().unwrap_or_else(Browser::new);
        let reply = call(&mut browser, &site, path, "*/*").await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        let wanted = format!("GET {path} tester {status} {error}");
        assert!(reply.body.starts_with(&wanted), "{path}: {}", reply.body);
        let types: Vec<_> = reply.headers.get_all("content-type").iter().collect();
        assert_eq!(types, ["application/json"], "{path}");
        let has_others = reply.headers.contains_key("x-between");
        assert_eq!(has_others, passes_layers(on, path), "{path}: what layers add stays");
    }
    let said = call(&mut Browser::new(), &site, "/said", "*/*").await;
    assert!(said.set_cookies()[0].starts_with("messages="), "the message waits: {:?}", said.set_cookies());
    let refused = call(&mut Browser::new(), &site, "/whoami", "*/*").await;
    assert_eq!(refused.vary(), Some("Cookie"), "a cache must not keep it for who is logged in");

    let own = Browser::new().get(site.url("/own?other=1")).await;
    assert_eq!((own.status, own.body.as_str()), (418, "own"), "what is no error of a session stays");
    assert_eq!(Browser::new().get(site.url("/untouched")).await.ok().body, "untouched");
    println!("{} errors reach the function", cases.len());
}

async fn the_default_answers_in_plain_text(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Default).await;
    let mut logged_in = Browser::new();
    logged_in.get(site.url("/login?id=7")).await.ok();
    let layer = "no CurrentUser on this request; put `AuthLayer` (tower, axum) or `AuthTransform` around this \
                 handler, inside the session layer";
    for (browser, path, status, body) in [
        (None, "/whoami", 401, "Please log in."),
        (None, "/guarded", 401, "Please log in."),
        (Some(&logged_in), "/staff", 403, "You may not see this page."),
        (None, "/failing", 500, "Your session cannot be read or saved."),
        (None, "/interrupted", 400, "Your session ended while this page was being made. Please reload it."),
        // In a debug build.
        (None, "/without", 500, layer),
        (None, "/without/guard", 500, layer),
    ] {
        let mut browser = browser.cloned().unwrap_or_else(Browser::new);
        let reply = call(&mut browser, &site, path, "text/html").await;
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{path}");
        assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8", "{path}");
    }
}

/// Loading, saving, and a conflict; the source of the users too.
async fn a_failing_store_reaches_the_function(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = ConcurrentChanges::Reject;
    let (members_of, hook) = (Arc::clone(&members), Hook::Json);
    let site = Parts { store: store.clone(), settings, members: members_of, hook }.serve(on).await;
    let mut browser = Browser::new();
    browser.get(site.url("/login?id=7")).await.ok();
    let cases = [
        ("/whoami", "load", 503),
        ("/guarded", "load", 503),
        ("/visit", "load", 503),
        ("/visit", "update", 503),
    ];
    for (path, call, status) in cases {
        store.fail(Some((call, StoreErrorKind::Unavailable)));
        let reply = browser.get(site.url(path)).await;
        assert_eq!((reply.status, reply.set_cookies().len()), (status, 0), "{path}, {call}");
        assert!(reply.body.starts_with(&format!("GET {path}  {status} Store")), "{}", reply.body);
        store.fail(None);
    }
    members.fail(Some("find"));
    for path in ["/whoami", "/maybe", "/option", "/guarded"] {
        let reply = browser.get(site.url(path)).await;
        assert_eq!((reply.status, reply.set_cookies().len()), (503, 0), "{path}: not the same as nobody");
        let error = StoreError::new("members", StoreErrorKind::Unavailable, "the source is down");
        assert_eq!(reply.body, format!("GET {path}  503 Store({error:?})"));
    }
    members.fail(None);
    assert_eq!(browser.get(site.url("/whoami")).await.ok().body, "Ada", "the login goes on");
}

async fn a_page_without_a_user_leads_to_the_login(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Login).await;
    for path in ["/whoami", "/guarded", "/scope/inside", "/middleware"] {
        let reply = call(&mut Browser::new(), &site, &format!("{path}?page=2&a=%20b"), "*/*").await;
        let wanted = format!("/login?next={path}%3Fpage%3D2%26a%3D%2520b");
        assert_eq!((reply.status, location(&reply)), (302, wanted.as_str()));
        assert_eq!((reply.body.as_str(), reply.vary()), ("", Some("Cookie")));
        assert_eq!(reply.headers.contains_key("x-between"), passes_layers(on, path));
    }
    let reply = Browser::new().get(site.url("/failing")).await;
    let text = "Your session cannot be read or saved.";
    assert_eq!((reply.status, reply.body.as_str()), (500, text), "all else is as by default");

    // The whole way: to the login page and back, by a checked URL.
    for (next, target) in [
        ("%2Fwhoami%3Fpage%3D2", "/whoami?page=2"),
        ("%2F%2Fevil.example", "/home"),
        ("https%3A%2F%2Fevil.example%2F", "/home"),
        ("%2F%09%2Fevil.example", "/home"),
        ("%2Fa%0D%0ASet-Cookie%3A+x%3Dy", "/a%0D%0ASet-Cookie:%20x=y"),
        ("", "/home"),
    ] {
        let mut browser = Browser::new();
        let reply = browser.post_form(site.url("/form"), &format!("id=7&next={next}")).await;
        assert_eq!((reply.status, location(&reply)), (303, target), "{next}");
        assert_eq!(browser.get(site.url("/whoami")).await.ok().body, "Ada");
    }
    let without = Browser::new().post_form(site.url("/form"), "id=7").await;
    assert_eq!((without.status, location(&without)), (303, "/home"));
}

async fn an_api_gets_a_status_and_a_page_the_login(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Both).await;
    for (accept, status) in [
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", 302),
        ("TEXT/HTML", 302),
        ("*/*", 401),
        ("application/json, text/plain, */*", 401),
        ("text/html-fragment", 401),
    ] {
        for path in ["/whoami", "/guarded"] {
            let reply = call(&mut Browser::new(), &site, path, accept).await;
            assert_eq!(reply.status, status, "{accept}, {path}");
            if status == 401 {
                assert_eq!(reply.body, format!("GET {path} tester 401 NotLoggedIn"));
            }
        }
    }
    let reply = call(&mut Browser::new(), &site, "/failing", "text/html").await;
    assert!(reply.body.starts_with("GET /failing tester 500 Value"), "{}", reply.body);
}
