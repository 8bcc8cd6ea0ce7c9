//! A store that fails is a 5xx, and nobody loses a cookie over it.

use cloakroom::{ConcurrentChanges, StoreErrorKind};

use super::*;

const UNAVAILABLE: StoreErrorKind = StoreErrorKind::Unavailable;

on_every_adapter!(
    a_store_that_fails_is_a_5xx_without_a_cookie,
    a_handler_that_swallows_the_error_costs_nobody_a_cookie,
    a_conflict_is_refused_where_the_settings_say_so,
    a_wrong_type_in_the_session_is_a_500_that_changes_nothing,
);

async fn a_store_that_fails_is_a_5xx_without_a_cookie(on: Adapter) {
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
    let site = Site::start(on, pages()).await;
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
async fn a_handler_that_swallows_the_error_costs_nobody_a_cookie(on: Adapter) {
    let swallows = lazy(|lazy, _| async move {
        assert!(lazy.load().await.is_err());
        Ok("fine")
    });
    for save_every_request in [false, true] {
        let mut settings = Settings::new("secret");
        settings.save_every_request = save_every_request;
        let site = Site::start_with(on, pages().page("/swallows", swallows.clone()), settings).await;
        let mut browser = site.visitor().await;
        site.store.fail(Some(("load", UNAVAILABLE)));
        let reply = browser.get(site.url("/swallows")).await;
        assert_eq!(reply.status, if save_every_request { 503 } else { 200 });
        assert_eq!(reply.set_cookies().len(), 0);
        site.store.fail(None);
        assert_eq!(browser.get(site.url("/read")).await.ok().body, "1");
    }
}

async fn a_conflict_is_refused_where_the_settings_say_so(on: Adapter) {
    let (page, gate) = slow(|session| session.set("slow", true));
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = ConcurrentChanges::Reject;
    let site = Site::start_with(on, pages().page("/slow", page), settings).await;
    let mut browser = site.visitor().await;
    let reply = slow_while(&site, &gate, &mut browser, "/visit").await;
    assert_eq!((reply.status, reply.set_cookies().len()), (409, 0));
    assert_eq!(browser.get(site.url("/read")).await.body, "2");
}

async fn a_wrong_type_in_the_session_is_a_500_that_changes_nothing(on: Adapter) {
    let wrong = loaded(|session, _| async move {
        session.set("other", 1)?;
        session.get::<Vec<String>>("visits").map(drop)
    });
    let site = Site::start(on, pages().page("/wrong", wrong)).await;
    let mut browser = site.visitor().await;
    assert_eq!(browser.get(site.url("/wrong")).await.status, 500);
    assert_eq!(site.store.calls(), ["load"]);
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "1");
}
