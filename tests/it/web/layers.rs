//! Several session layers on one site.

use cloakroom::{StoreErrorKind, Transport};

use super::*;

on_every_adapter!(
    two_layers_side_by_side_keep_their_sessions_apart,
    two_layers_around_one_page_both_save,
    layers_of_one_cookie_and_store_are_as_one_layer,
    layers_of_one_cookie_find_each_other_across_a_layer_of_another,
    the_outermost_layer_of_a_cookie_answers_a_failing_save,
    two_layers_of_one_cookie_with_different_stores_are_an_error,
);

/// Another layer, with a cookie and a store of its own.
fn second(clock: &Arc<ManualClock>) -> (SessionMiddleware, Arc<WatchedStore>) {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let mut settings = Settings::new("another secret");
    settings.cookie_name = "second".to_owned();
    (middleware(&store, clock, settings), store)
}

async fn two_layers_side_by_side_keep_their_sessions_apart(on: Adapter) {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let first = middleware(&store, &clock, Settings::new("secret"));
    let (second, _) = second(&clock);
    let site = Pages::new().nest("/shop", pages().layer(first)).nest("/admin", pages().layer(second));
    let site = on.serve(site).await;

    let mut browser = Browser::new();
    for path in ["/shop/visit", "/shop/visit", "/admin/visit", "/shop/visit", "/admin/login"] {
        browser.get(site.url(path)).await.ok();
    }
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["second", "sessionid"]);
    assert_eq!(browser.get(site.url("/shop/read")).await.body, "3");
    assert_eq!(browser.get(site.url("/admin/read")).await.body, "1");
    browser.get(site.url("/admin/logout")).await.ok();
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["sessionid"]);
    assert_eq!(browser.get(site.url("/shop/read")).await.body, "3");
}

/// The page sees the inner layer's session; middleware between the two sees the outer one's.
async fn two_layers_around_one_page_both_save(on: Adapter) {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let outer = middleware(&store, &clock, Settings::new("secret"));
    let (inner, inner_store) = second(&clock);
    let pages = Pages::new().nest("/in", pages().layer(inner)).before(|session| async move {
        session.modify::<u32>("seen", |seen| seen.unwrap_or(0) + 1).map(drop).map_err(|_| 500)
    });
    let site = on.serve(pages.layer(outer)).await;

    let mut browser = Browser::new();
    let reply = browser.get(site.url("/in/visit")).await.ok();
    assert_eq!((reply.body.as_str(), reply.vary(), reply.set_cookies().len()), ("1", Some("Cookie"), 2));
    assert_eq!((store.calls(), inner_store.calls()), (vec!["create"], vec!["create"]));
    let reply = browser.get(site.url("/in/untouched")).await.ok();
    assert_eq!(reply.set_cookies().len(), 1, "the outer one's");
    assert_eq!((store.calls(), inner_store.calls()), (vec!["load", "update"], vec![]));
}

/// What a page's request came to: status, body, `Vary`, cookies that were set, and calls of the store.
type Outcome = (u16, String, Option<String>, usize, Vec<&'static str>);

/// How many layers there are, around a page and around the guard.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layers {
    One,
    /// The same on the inside again.
    Twice,
    /// Another one of the same settings and store on the inside.
    Alike,
}

/// A visit, logins, a logout and errors, below a guard that looks at the session, changes it or leaves it alone.
async fn outcomes(on: Adapter, settings: &Settings, guard: &'static str, layers: Layers) -> Vec<Outcome> {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let outer = middleware(&store, &clock, settings.clone());
    let failing = |session, _| async move { visit(session).await.map(|_| Answer::status(500)) };
    let pages = pages().page("/fails", loaded(failing));
    let pages = match layers {
        Layers::One => pages,
        Layers::Twice => pages.layer(outer.clone()),
        Layers::Alike => pages.layer(middleware(&store, &clock, settings.clone())),
    };
    let pages = Pages::new().nest("/in", pages).before(move |session| async move {
        match guard {
            "reads" => session.get::<u32>("seen").map(drop).map_err(|_| 500),
            "changes" => {
                session.modify::<u32>("seen", |seen| seen.unwrap_or(0) + 1).map(drop).map_err(|_| 500)
            }
            _ => Ok(()),
        }
    });
    let site = on.serve(pages.layer(outer)).await;
    let mut browser = Browser::new();
    let mut outcomes = Vec::new();
    for path in
        ["untouched", "visit", "read", "login", "visit", "fails", "login", "logout", "visit", "untouched"]
    {
        let reply = browser.get(site.url(&format!("/in/{path}"))).await;
        let vary = reply.vary().map(str::to_owned);
        outcomes.push((reply.status, reply.body.clone(), vary, reply.set_cookies().len(), store.calls()));
    }
    outcomes
}

async fn layers_of_one_cookie_and_store_are_as_one_layer(on: Adapter) {
    for save_every_request in [false, true] {
        let mut settings = Settings::new("secret");
        settings.save_every_request = save_every_request;
        for guard in ["leaves", "reads", "changes"] {
            let one = outcomes(on, &settings, guard, Layers::One).await;
            assert_eq!(one[3].0, 200, "a login");
            for layers in [Layers::Twice, Layers::Alike] {
                let found = outcomes(on, &settings, guard, layers).await;
                assert_eq!(
                    found, one,
                    "{layers:?}, a guard that {guard}, save_every_request: {save_every_request}"
                );
            }
        }
    }
}

async fn layers_of_one_cookie_find_each_other_across_a_layer_of_another(on: Adapter) {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let first = middleware(&store, &clock, Settings::new("secret"));
    let (second, second_store) = second(&clock);
    let see = |session: Session| async move {
        session.modify::<u32>("seen", |seen| seen.unwrap_or(0) + 1).map(drop).map_err(|_| 500)
    };
    // From the outside: first, second, first, second. Middleware inside of each pair sees the second one's session.
    let inside = Pages::new().nest("/in", pages().before(see).layer(second.clone()).layer(first.clone()));
    let site = on.serve(inside.before(see).layer(second).layer(first)).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/in/visit")).await.ok();
    assert_eq!((reply.body.as_str(), reply.set_cookies().len()), ("1", 1));
    assert_eq!((store.calls(), second_store.calls()), (vec![], vec!["create"]));
    let reply = browser.get(site.url("/in/visit")).await.ok();
    assert_eq!((reply.body.as_str(), reply.set_cookies().len()), ("2", 1));
    assert_eq!((store.calls(), second_store.calls()), (vec![], vec!["load", "update"]));
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["second"]);
}

async fn the_outermost_layer_of_a_cookie_answers_a_failing_save(on: Adapter) {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let layer = middleware(&store, &clock, Settings::new("secret"));
    let answer = |text: &'static str| {
        Layer::from(layer.clone()).on_error(move |_, _| Answer { status: 503, ..Answer::from(text) })
    };
    let refused = loaded(|_, _| async { Err::<(), _>(Error::NotLoggedIn) });
    let pages = Pages::new().nest("/in", pages().page("/refused", refused).layer(answer("the inner one")));
    let site = on.serve(pages.layer(answer("the outer one"))).await;
    store.fail(Some(("create", StoreErrorKind::Unavailable)));
    let reply = Browser::new().get(site.url("/in/visit")).await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "the outer one"));
    assert_eq!((reply.vary(), reply.set_cookies().len(), store.calls()), (Some("Cookie"), 0, vec!["create"]));
    let reply = Browser::new().get(site.url("/in/refused")).await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "the outer one"), "an error of a page too");
}

async fn two_layers_of_one_cookie_with_different_stores_are_an_error(on: Adapter) {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    for transport in [Transport::Cookie, Transport::Header("X-Session-Token".to_owned())] {
        let mut settings = Settings::new("secret");
        settings.transport = transport.clone();
        let stores = [(); 2].map(|()| WatchedStore::new(Arc::new(MemoryStore::new())));
        let [inner, outer] = stores.each_ref().map(|store| middleware(store, &clock, settings.clone()));
        let told = Arc::new(std::sync::Mutex::new(String::new()));
        let tell = Arc::clone(&told);
        let inner = Layer::from(inner).on_error(move |error, _| {
            *tell.lock().unwrap() = error.to_string();
            Answer { status: 500, ..Answer::from("set up wrongly") }
        });
        let site = on.serve(Pages::new().nest("/in", pages().layer(inner)).layer(outer)).await;
        for path in ["/in/untouched", "/in/visit"] {
            let reply = Browser::new().get(site.url(path)).await;
            assert_eq!((reply.status, reply.body.as_str()), (500, "set up wrongly"), "{path}");
            assert_eq!(reply.set_cookies().len(), 0, "{path}");
        }
        let name = if transport == Transport::Cookie {
            "the cookie `sessionid`"
        } else {
            "the header `X-Session-Token`"
        };
        let expected = format!(
            "two session layers of {name} around one handler, each with a store or an index of user sessions of its \
             own; make the layer once and give each router a clone, or give one another name"
        );
        assert_eq!(*told.lock().unwrap(), expected);
        for store in &stores {
            assert_eq!(store.calls(), [""; 0], "no handler has run");
        }
    }
}
