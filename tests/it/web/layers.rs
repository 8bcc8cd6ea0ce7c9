//! Several session layers on one site.

use super::*;

on_every_adapter!(two_layers_side_by_side_keep_their_sessions_apart, two_layers_around_one_page_both_save);

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
