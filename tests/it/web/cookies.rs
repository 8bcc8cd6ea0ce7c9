//! The cookie that goes out, letter for letter as Django's.

use cloakroom::{Expiry, SameSite};

use super::*;

on_every_adapter!(
    a_new_session_sends_djangos_cookie,
    the_settings_shape_the_cookie,
    a_sessions_own_expiry_is_the_cookies,
    a_cookie_of_this_name_that_the_handler_set_is_replaced,
    what_else_the_handler_set_stays,
    responses_without_a_body_carry_the_cookie,
    of_two_cookies_of_one_name_the_last_counts,
    server_errors_save_nothing_and_client_errors_do,
    a_server_error_after_a_login_leaves_the_session_as_it_was,
    a_signed_cookie_is_refused_where_a_browser_would_drop_it,
);

async fn a_new_session_sends_djangos_cookie(on: Adapter) {
    let site = Site::start(on, pages()).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/visit")).await.ok();
    let key = browser.session_key().unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(
        reply.set_cookies(),
        [format!(
            "sessionid={key}; expires=Tue, 28 Nov 2023 22:13:20 GMT; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax"
        )]
    );
}

async fn the_settings_shape_the_cookie(on: Adapter) {
    let mut settings = Settings::new("secret");
    settings.cookie_name = "ticket".to_owned();
    settings.cookie_domain = Some("example.com".to_owned());
    settings.cookie_path = "/shop".to_owned();
    settings.cookie_secure = true;
    settings.cookie_httponly = false;
    settings.cookie_samesite = Some(SameSite::Strict);
    settings.expire_at_browser_close = true;
    let site = Site::start_with(on, pages(), settings).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/visit")).await.ok();
    let key = &browser.cookies["ticket"];
    let attributes = "Domain=example.com; Path=/shop; SameSite=Strict; Secure";
    assert_eq!(reply.set_cookies(), [format!("ticket={key}; {attributes}")]);

    let reply = browser.get(site.url("/logout")).await.ok();
    let attributes = "Domain=example.com; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/shop; \
                      SameSite=Strict";
    assert_eq!(reply.set_cookies(), [format!("ticket=\"\"; {attributes}")]);
}

async fn a_sessions_own_expiry_is_the_cookies(on: Adapter) {
    let own = pages()
        .page("/short", loaded(|session, _| async move { session.set_expiry(300) }))
        .page("/close", loaded(|session, _| async move { session.set_expiry(Expiry::AtBrowserClose) }));
    let site = Site::start(on, own).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/short")).await.ok();
    assert!(
        reply.set_cookies()[0].contains("; expires=Tue, 14 Nov 2023 22:18:20 GMT; HttpOnly; Max-Age=300;")
    );
    let reply = browser.get(site.url("/close")).await.ok();
    assert!(!reply.set_cookies()[0].contains("expires") && !reply.set_cookies()[0].contains("Max-Age"));
}

async fn a_cookie_of_this_name_that_the_handler_set_is_replaced(on: Adapter) {
    let own = loaded(|session, _| async move {
        session.set("visits", 1)?;
        let cookies = ["theme=dark; Path=/", "sessionid=mine; Path=/", "sessionids=other; Path=/"];
        Ok(cookies.into_iter().fold(Answer::from(()), |answer, cookie| answer.header("set-cookie", cookie)))
    });
    let site = Site::start(on, pages().page("/own", own)).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/own")).await.ok();
    let cookies = reply.set_cookies();
    assert_eq!(cookies[..2], ["theme=dark; Path=/", "sessionids=other; Path=/"]);
    assert_eq!(cookies.len(), 3);
    assert!(site.store.has(browser.session_key().unwrap()).await);
}

async fn of_two_cookies_of_one_name_the_last_counts(on: Adapter) {
    let site = Site::start(on, pages()).await;
    let key = site.visitor().await.session_key().unwrap().to_owned();
    for (first, last, visits) in [("0".repeat(32), key.clone(), "1"), (key, "0".repeat(32), "none")] {
        let mut browser = Browser::new();
        browser.cookies.insert("a".to_owned(), format!("1; sessionid={first}; sessionid={last}"));
        assert_eq!(browser.get(site.url("/read")).await.body, visits);
    }
}

async fn server_errors_save_nothing_and_client_errors_do(on: Adapter) {
    let mut site = pages();
    for status in [500, 503, 404, 302] {
        let page = move |session, _| async move { visit(session).await.map(|_| Answer::status(status)) };
        site = site.page(format!("/status/{status}"), loaded(page));
    }
    let site = Site::start(on, site).await;
    for (status, calls) in
        [(500, ["load"].as_slice()), (503, &["load"]), (404, &["load", "update"]), (302, &["load", "update"])]
    {
        let mut browser = site.visitor().await;
        let reply = browser.get(site.url(&format!("/status/{status}"))).await;
        assert_eq!(reply.status, status);
        assert_eq!(site.store.calls(), calls, "{status}");
        assert_eq!(reply.set_cookies().len(), calls.len() - 1, "{status}");
        assert_eq!(browser.get(site.url("/read")).await.body, calls.len().to_string(), "{status}");
    }
}

/// Django sends the error with the cookie of a key that its `cycle_key` has made already, or of none.
async fn a_server_error_after_a_login_leaves_the_session_as_it_was(on: Adapter) {
    let failing = loaded(|session, _| async move {
        auth::login(&session, USER).await?;
        Ok(Answer::status(500))
    });
    let site = Site::start(on, pages().page("/login500", failing)).await;
    let mut browser = site.visitor().await;
    let before = browser.session_key().map(str::to_owned);
    let reply = browser.get(site.url("/login500")).await;
    assert_eq!((reply.status, reply.set_cookies().len()), (500, 0));
    assert_eq!(browser.session_key(), before.as_deref());
    assert_eq!(browser.get(site.url("/read")).await.body, "1");
}

async fn what_else_the_handler_set_stays(on: Adapter) {
    let own = loaded(|session, _| async move {
        session.set("visits", 1)?;
        let answer = Answer::from("the body").header("set-cookie", "theme=dark; Path=/").header("x-own", "1");
        Ok(answer.header("cache-control", "max-age=60").header("x-own", "2"))
    });
    let site = Site::start(on, pages().page("/own", own)).await;
    let reply = Browser::new().get(site.url("/own")).await.ok();
    assert_eq!((reply.body.as_str(), reply.headers.get_all("x-own").iter().count()), ("the body", 2));
    assert_eq!((reply.set_cookies()[0], reply.set_cookies().len()), ("theme=dark; Path=/", 2));
    assert_eq!(reply.headers["cache-control"], "max-age=60");
}

async fn responses_without_a_body_carry_the_cookie(on: Adapter) {
    let mut site = pages();
    for status in [204, 304] {
        let page = move |session, _| async move { visit(session).await.map(|_| Answer::status(status)) };
        site = site.page(format!("/{status}"), loaded(page));
    }
    let site = Site::start(on, site).await;
    for (method, path, status) in [("HEAD", "/visit", 200), ("GET", "/204", 204), ("GET", "/304", 304)] {
        let mut browser = Browser::new();
        let reply = browser.request(method, site.url(path)).await;
        assert_eq!((reply.status, reply.body.as_str(), reply.vary()), (status, "", Some("Cookie")), "{path}");
        assert_eq!(reply.set_cookies().len(), 1, "{path}");
        assert_eq!(browser.get(site.url("/read")).await.ok().body, "1", "{path}");
        let untouched = browser.request(method, site.url("/untouched")).await;
        assert_eq!((untouched.vary(), untouched.set_cookies().len()), (None, 0), "{method}");
    }
}

/// Browsers drop a cookie whose name and value are longer than 4,096 bytes together, and say nothing.
async fn a_signed_cookie_is_refused_where_a_browser_would_drop_it(on: Adapter) {
    let grow = |session: Session, call: Call| async move {
        let length: usize = call.path.trim_start_matches("/grow/").parse().unwrap();
        session.set("text", "x".repeat(length))
    };
    for name in ["sessionid", "a-cookie-with-quite-a-long-name-which-counts-too"] {
        let mut settings = Settings::new("secret");
        settings.cookie_name = name.to_owned();
        settings.compression = cloakroom::signing::Compression::Never;
        let length = |session: Session, _| async move {
            Ok(session.get::<String>("text")?.unwrap_or_default().len().to_string())
        };
        let mut site = Pages::new().page("/length", loaded(length));
        // Three more bytes of text are four of base64.
        let lengths: Vec<usize> = (2_900..3_060).step_by(3).collect();
        for length in &lengths {
            site = site.page(format!("/grow/{length}"), loaded(grow));
        }
        let store = Arc::new(cloakroom::SignedCookieStore::new(&settings));
        let site = Site::start_on(on, store, site, settings).await;
        let (mut browser, mut kept, mut refused) = (Browser::new(), (0, 0), 0);
        for length in lengths {
            let reply = browser.get(site.url(&format!("/grow/{length}"))).await;
            if reply.status == 200 {
                assert_eq!(refused, 0, "{length}");
                kept = (length, name.len() + browser.cookies[name].len());
            } else {
                assert_eq!((reply.status, reply.set_cookies().len()), (500, 0), "{length}");
                assert_eq!(browser.get(site.url("/length")).await.ok().body, kept.0.to_string());
                refused += 1;
            }
        }
        assert!(refused > 0 && (4_093..=4_096).contains(&kept.1), "{name}: {kept:?}, {refused} refused");
    }
}
