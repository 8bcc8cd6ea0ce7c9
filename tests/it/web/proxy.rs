//! A real shared cache in front of the site, which keeps pages for all users.

use cloakroom::Transport;

use super::*;
use crate::support::browser::Reply;

on_every_adapter!(
    behind_a_shared_cache_nobody_gets_anothers_page_or_cookie,
    behind_a_shared_cache_each_client_without_cookies_gets_a_key_of_its_own,
    a_response_that_no_cache_may_store_tells_none_of_them_to,
);

/// What a shared cache may keep: the application thought only of the page's content.
fn kept(text: impl Into<Answer>) -> Answer {
    text.into().header("cache-control", "public, max-age=600")
}

async fn behind_a_shared_cache_nobody_gets_anothers_page_or_cookie(on: Adapter) {
    let pages = pages()
        .page("/kept/visit", loaded(|session, _| async move { visit(session).await.map(kept) }))
        .page("/kept/read", loaded(|session, _| async move { read(session).await.map(kept) }))
        .page("/kept/public", plain(|_| async { kept("the same for all") }));
    let site = Site::start(on, pages).await;
    let port = site.served.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let cache = crate::support::servers::nginx::before(port).await;
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", cache.port);
    let had = |reply: &crate::support::browser::Reply| reply.headers["x-cache"] == "HIT";

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

/// `Vary` keeps no two clients apart that send no such header.
async fn behind_a_shared_cache_each_client_without_cookies_gets_a_key_of_its_own(on: Adapter) {
    let visits = |more: &'static [(&str, &str)]| {
        loaded(move |session, _| async move {
            let answer = visit(session).await.map(kept)?;
            Ok(more.iter().fold(answer, |answer, (name, value)| answer.header(name, *value)))
        })
    };
    let pages = pages()
        .page("/kept", visits(&[]))
        // What nginx and others heed more than `Cache-Control`.
        .page("/told", visits(&[("x-accel-expires", "600"), ("expires", "Thu, 01 Jan 2099 00:00:00 GMT")]))
        .page("/logout/kept", loaded(|session, _| async move { auth::logout(&session).await.map(kept) }));
    let mut settings = Settings::new("secret");
    settings.transport = Transport::Header("X-Session-Token".to_owned());
    let site = Site::start_with(on, pages, settings).await;
    let port = site.served.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let cache = crate::support::servers::nginx::before(port).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str, token: Option<&str>| {
        let mut request = client.get(format!("http://127.0.0.1:{}{path}", cache.port));
        if let Some(token) = token {
            request = request.header("x-session-token", token);
        }
        Reply::of(request.send().await.unwrap()).await.ok()
    };
    for path in ["/kept", "/told"] {
        let mut tokens = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let reply = get(path, None).await;
            assert_eq!(
                (reply.body.as_str(), &reply.headers["x-cache"]),
                ("1", &"MISS".parse().unwrap()),
                "{path}"
            );
            tokens.insert(reply.headers["x-session-token"].to_str().unwrap().to_owned());
        }
        assert_eq!(tokens.len(), 3, "{path}: each client has a key of its own");
    }
    // Nor is a page kept that tells a client to forget its key.
    for _ in 0..2 {
        let reply = get("/logout/kept", Some("unknown0unknown0unknown0unknown0")).await;
        assert_eq!(
            (&reply.headers["x-session-token"], &reply.headers["x-cache"]),
            (&"".parse().unwrap(), &"MISS".parse().unwrap())
        );
    }
}

/// Headers that some caches heed in place of `Cache-Control`.
async fn a_response_that_no_cache_may_store_tells_none_of_them_to(on: Adapter) {
    const TOLD: [&str; 4] =
        ["cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "x-accel-expires"];
    let told = loaded(|session, _| async move {
        let answer = visit(session).await.map(kept)?;
        Ok(TOLD.into_iter().fold(answer, |answer, name| answer.header(name, "max-age=600")))
    });
    let mut settings = Settings::new("secret");
    for send_no_store in [true, false] {
        settings.send_no_store = send_no_store;
        let site = Site::start_with(on, Pages::new().page("/told", told.clone()), settings.clone()).await;
        let reply = Browser::new().get(site.url("/told")).await.ok();
        assert_eq!(reply.headers["cache-control"] == "no-store", send_no_store);
        for name in TOLD {
            assert_eq!(reply.headers.contains_key(name), !send_no_store, "{name}");
        }
    }
}
