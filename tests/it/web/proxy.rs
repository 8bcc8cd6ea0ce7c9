//! A real shared cache in front of the site, which keeps pages for all users.

use super::*;

on_every_adapter!(t12_behind_a_shared_cache_nobody_gets_anothers_page_or_cookie);

/// What a shared cache may keep: the application thought only of the page's content.
fn kept(text: impl Into<Answer>) -> Answer {
    text.into().header("cache-control", "public, max-age=600")
}

async fn t12_behind_a_shared_cache_nobody_gets_anothers_page_or_cookie(on: Adapter) {
    let pages = pages()
        .page("/kept/visit", loaded(|session, _| async move { visit(session).await.map(kept) }))
        .page("/kept/read", loaded(|session, _| async move { read(session).await.map(kept) }))
        .page("/kept/public", plain(|_| async { kept("the same for all") }));
    let site = Site::start(on, pages).await;
    let port = site.served.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let cache = crate::servers::nginx::before(port).await;
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", cache.port);
    let had = |reply: &crate::browser::Reply| reply.headers["x-cache"] == "HIT";

    // Each gets a cookie of its own, from a page that may be kept.
    let (mut ada, mut bob) = (Browser::new(), Browser::new());
    for (browser, visits) in [(&mut ada, 1), (&mut bob, 2)] {
        for visit in 1..=visits {
            let reply = browser.get(url("/kept/visit")).await.ok();
            assert_eq!((reply.body, reply.headers["x-cache"].to_str().unwrap()), (visit.to_string(), "MISS"));
        }
    }
    assert_ne!(ada.session_key(), bob.session_key());

    // And its own page, which the cache does keep.
    let mut pages = 0;
    for in_cache in [false, true, true] {
        for (browser, visits) in [(&mut ada, "1"), (&mut bob, "2"), (&mut Browser::new(), "none")] {
            let reply = browser.get(url("/kept/read")).await.ok();
            assert_eq!((reply.body.as_str(), had(&reply)), (visits, in_cache));
            assert_eq!(reply.set_cookies().len(), 0);
            pages += 1;
        }
    }
    // What does not look at the session is one page for all.
    for (browser, in_cache) in [(&mut ada, false), (&mut bob, true)] {
        let reply = browser.get(url("/kept/public")).await.ok();
        assert_eq!((reply.body.as_str(), had(&reply), reply.vary()), ("the same for all", in_cache, None));
    }
    println!("t12: {pages} of {pages} pages through nginx's cache were the user's own");
}
