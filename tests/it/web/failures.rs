//! A store that fails is a 5xx, and nobody loses a cookie over it.

use cloakroom::{ConcurrentChanges, LazySession, StoreErrorKind};

use super::*;

const UNAVAILABLE: StoreErrorKind = StoreErrorKind::Unavailable;

#[tokio::test]
async fn t08_a_store_that_fails_is_a_5xx_without_a_cookie() {
    let cases = [
        ("/read", "load", UNAVAILABLE, 503),
        ("/visit", "load", UNAVAILABLE, 503),
        ("/logout", "load", UNAVAILABLE, 503),
        ("/read", "load", StoreErrorKind::Misconfigured, 500),
        ("/read", "load", StoreErrorKind::Unreadable, 500),
        ("/visit", "update", UNAVAILABLE, 503),
        ("/visit", "update", StoreErrorKind::Refused, 500),
        ("/login", "rotate", UNAVAILABLE, 503),
        ("/logout", "delete", UNAVAILABLE, 503),
    ];
    let site = Site::start(routes()).await;
    for (path, call, kind, status) in cases {
        let mut browser = site.visitor().await;
        site.store.fail(Some((call, kind)));
        let reply = browser.get(site.url(path)).await;
        assert_eq!((reply.status, reply.set_cookies().len()), (status, 0), "{path}, {call}, {kind:?}");
        if matches!(call, "update" | "rotate") {
            assert!(
                reply.body.starts_with("Your session cannot be"),
                "{path}: what the handler said is not so"
            );
            assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8", "{path}");
            assert_eq!(reply.vary(), Some("Cookie"), "{path}");
        }
        assert!(!reply.body.contains("down"), "what went wrong inside is for the log");
        site.store.fail(None);
        assert_eq!(browser.get(site.url("/read")).await.ok().body, "1", "{path}: the session is there still");
    }

    site.store.fail(Some(("create", UNAVAILABLE)));
    let reply = Browser::new().get(site.url("/visit")).await;
    assert_eq!((reply.status, reply.set_cookies().len()), (503, 0));
    site.store.calls();
    assert_eq!(Browser::new().get(site.url("/untouched")).await.status, 200, "pages without sessions go on");
    println!("{0} of {0} failing calls end in a 5xx that keeps the cookie", cases.len() + 1);
}

/// A handler that answers 200 although it could not load.
#[tokio::test]
async fn t08_a_handler_that_swallows_the_error_costs_nobody_a_cookie() {
    let swallows = get(|lazy: LazySession| async move {
        assert!(lazy.load().await.is_err());
        "fine"
    });
    for save_every_request in [false, true] {
        let mut settings = Settings::new("secret");
        settings.save_every_request = save_every_request;
        let site = Site::start_with(routes().route("/swallows", swallows.clone()), settings).await;
        let mut browser = site.visitor().await;
        site.store.fail(Some(("load", UNAVAILABLE)));
        let reply = browser.get(site.url("/swallows")).await;
        assert_eq!(reply.status, if save_every_request { 503 } else { 200 });
        assert_eq!(reply.set_cookies().len(), 0);
        site.store.fail(None);
        assert_eq!(browser.get(site.url("/read")).await.ok().body, "1");
    }
}

#[tokio::test]
async fn a_conflict_is_refused_where_the_settings_say_so() {
    let gate = Arc::new(tokio::sync::Barrier::new(2));
    let waits = Arc::clone(&gate);
    let slow = get(|session: Session| async move {
        session.set("slow", true)?;
        waits.wait().await;
        waits.wait().await;
        Ok::<_, Error>(())
    });
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = ConcurrentChanges::Reject;
    let site = Site::start_with(routes().route("/slow", slow), settings).await;
    let mut browser = site.visitor().await;
    let (mut other, url) = (browser.clone(), site.url("/slow"));
    let slow = tokio::spawn(async move { other.get(url).await });
    gate.wait().await;
    browser.get(site.url("/visit")).await.ok();
    gate.wait().await;
    let reply = slow.await.unwrap();
    assert_eq!((reply.status, reply.set_cookies().len()), (409, 0));
    assert_eq!(browser.get(site.url("/read")).await.body, "2");
}

#[tokio::test]
async fn a_wrong_type_in_the_session_is_a_500_that_changes_nothing() {
    let wrong = get(|session: Session| async move {
        session.set("other", 1)?;
        session.get::<Vec<String>>("visits").map(drop)
    });
    let site = Site::start(routes().route("/wrong", wrong)).await;
    let mut browser = site.visitor().await;
    assert_eq!(browser.get(site.url("/wrong")).await.status, 500);
    assert_eq!(site.store.calls(), ["load"]);
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "1");
}
