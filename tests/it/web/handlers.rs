//! Where sessions meet the rest of a site: scopes, other middleware, panics, slow requests.

use super::*;

on_every_adapter!(
    a_handler_outside_of_the_layer_is_told_so,
    nested_scopes_and_middleware_share_the_requests_session,
    both_extractors_are_the_same_session,
    what_middleware_answers_instead_of_the_handler_is_saved_too,
    a_panic_leaves_the_session_as_it_was,
    a_slow_request_does_not_bring_back_a_session_that_logged_out,
);

async fn a_handler_outside_of_the_layer_is_told_so(on: Adapter) {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let inside = pages().layer(middleware(&store, &clock, Settings::new("secret")));
    let outside = loaded(|session, _| read(session));
    let site = on.serve(Pages::new().nest("/inside", inside).page("/outside", outside)).await;

    let mut browser = Browser::new();
    assert_eq!(browser.get(site.url("/inside/visit")).await.ok().body, "1");
    let reply = browser.get(site.url("/outside")).await;
    let advice = Error::NoLayer.to_string();
    assert_eq!((reply.status, &reply.body), (500, &advice), "in a debug build");
    assert_eq!(
        advice,
        "no session on this request; put `SessionLayer` (tower, axum) or `SessionTransform` (actix-web) around \
         this handler"
    );
}

async fn nested_scopes_and_middleware_share_the_requests_session(on: Adapter) {
    let handler = |session: Session, _| async move {
        session.modify::<String>("seen", |seen| seen.unwrap_or_default() + " and the handler")
    };
    let deep = Pages::new()
        .page("/handler", loaded(handler))
        .before(|session| async move { session.set("seen", "by the middleware").map_err(|_| 500) });
    let site = Site::start(on, Pages::new().nest("/a", Pages::new().nest("/b", deep))).await;
    let reply = Browser::new().get(site.url("/a/b/handler")).await.ok();
    assert_eq!(reply.body, "by the middleware and the handler");
    assert_eq!(site.store.calls(), ["create"]);
}

async fn both_extractors_are_the_same_session(on: Adapter) {
    let page = both(|lazy, session, _| async move {
        lazy.load().await?.set("visits", 5)?;
        read(session).await
    });
    let site = Site::start(on, Pages::new().page("/page", page)).await;
    assert_eq!(Browser::new().get(site.url("/page")).await.ok().body, "5");
}

async fn what_middleware_answers_instead_of_the_handler_is_saved_too(on: Adapter) {
    for (status, saves) in [(403, true), (503, false)] {
        let guarded = pages().before(move |session| async move {
            session.set("visits", 9).unwrap();
            Err(status)
        });
        let site = Site::start(on, Pages::new().nest("/guarded", guarded).nest("/open", pages())).await;
        let mut browser = Browser::new();
        let reply = browser.get(site.url("/guarded/read")).await;
        assert_eq!((reply.status, reply.vary()), (status, Some("Cookie")));
        assert_eq!(reply.set_cookies().len(), usize::from(saves), "{status}");
        let expected = if saves { "9" } else { "none" };
        assert_eq!(browser.get(site.url("/open/read")).await.ok().body, expected, "{status}");

        site.store.fail(Some(("load", cloakroom::StoreErrorKind::Unavailable)));
        let reply = Browser::with_session(&"k".repeat(32)).get(site.url("/guarded/read")).await;
        assert_eq!((reply.status, reply.set_cookies().len()), (503, 0), "middleware's extractor fails alike");
    }
}

async fn a_panic_leaves_the_session_as_it_was(on: Adapter) {
    let panics = loaded(|session, call| async move {
        session.set("visits", 100)?;
        auth::login(&session, USER).await?;
        assert_ne!(call.path, "/panics", "on purpose, in a test");
        Ok(())
    });
    let site = Site::start(on, pages().page("/panics", panics)).await;
    let mut browser = site.visitor().await;
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(site.url("/panics"));
    let cookie = format!("sessionid={}", browser.session_key().unwrap());
    assert!(request.header("cookie", cookie).send().await.is_err(), "the connection ends");
    assert_eq!(site.store.calls(), ["load"]);
    assert_eq!(browser.get(site.url("/visit")).await.ok().body, "2");
}

async fn a_slow_request_does_not_bring_back_a_session_that_logged_out(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let options = cloakroom::SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let sqlite = options.open(&Settings::new("secret")).await.unwrap();
    let stores: [Arc<dyn SessionStore>; 2] = [Arc::new(MemoryStore::new()), Arc::new(sqlite)];
    for store in stores {
        for logs_in in [false, true] {
            let (page, gate) = slow(move |session| {
                session.set("visits", 2)?;
                if logs_in { session.cycle_key() } else { Ok(()) }
            });
            let pages = pages().page("/slow", page);
            let site = Site::start_on(on, Arc::clone(&store), pages, Settings::new("secret")).await;
            let mut browser = site.visitor().await;
            let key = browser.session_key().unwrap().to_owned();
            let reply = slow_while(&site, &gate, &mut browser, "/logout").await;
            assert_eq!((reply.status, reply.set_cookies().len()), (400, 0), "{store:?} {logs_in}");
            assert!(!site.store.has(&key).await, "{store:?} {logs_in}");
        }
    }
}
