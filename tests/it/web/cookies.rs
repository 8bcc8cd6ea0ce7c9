//! The cookie that goes out, letter for letter as Django's.

use axum::response::AppendHeaders;
use cloakroom::{Expiry, SameSite};
use http::StatusCode;
use http::header::SET_COOKIE;

use super::*;

#[tokio::test]
async fn a_new_session_sends_djangos_cookie() {
    let site = Site::start(routes()).await;
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

#[tokio::test]
async fn the_settings_shape_the_cookie() {
    let mut settings = Settings::new("secret");
    settings.cookie_name = "__Host-ticket".to_owned();
    settings.cookie_domain = Some("example.com".to_owned());
    settings.cookie_path = "/shop".to_owned();
    settings.cookie_secure = true;
    settings.cookie_httponly = false;
    settings.cookie_samesite = Some(SameSite::Strict);
    settings.expire_at_browser_close = true;
    let site = Site::start_with(routes(), settings).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/visit")).await.ok();
    let key = &browser.cookies["__Host-ticket"];
    let attributes = "Domain=example.com; Path=/shop; SameSite=Strict; Secure";
    assert_eq!(reply.set_cookies(), [format!("__Host-ticket={key}; {attributes}")]);

    let reply = browser.get(site.url("/logout")).await.ok();
    let attributes = "Domain=example.com; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/shop; \
                      SameSite=Strict; Secure";
    assert_eq!(reply.set_cookies(), [format!("__Host-ticket=\"\"; {attributes}")]);
}

#[tokio::test]
async fn a_sessions_own_expiry_is_the_cookies() {
    let own = Router::new()
        .route("/short", get(|session: Session| async move { session.set_expiry(300) }))
        .route("/close", get(|session: Session| async move { session.set_expiry(Expiry::AtBrowserClose) }));
    let site = Site::start(routes().merge(own)).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/short")).await.ok();
    assert!(
        reply.set_cookies()[0].contains("; expires=Tue, 14 Nov 2023 22:18:20 GMT; HttpOnly; Max-Age=300;")
    );
    let reply = browser.get(site.url("/close")).await.ok();
    assert!(!reply.set_cookies()[0].contains("expires") && !reply.set_cookies()[0].contains("Max-Age"));
}

#[tokio::test]
async fn a_cookie_of_this_name_that_the_handler_set_is_replaced() {
    async fn handler(session: Session) -> Result<impl axum::response::IntoResponse, Error> {
        session.set("visits", 1)?;
        let cookies = ["theme=dark; Path=/", "sessionid=mine; Path=/", "sessionids=other; Path=/"];
        Ok(AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie))))
    }
    let site = Site::start(routes().route("/own", get(handler))).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/own")).await.ok();
    let cookies = reply.set_cookies();
    assert_eq!(cookies[..2], ["theme=dark; Path=/", "sessionids=other; Path=/"]);
    assert_eq!(cookies.len(), 3);
    assert!(site.store.has(browser.session_key().unwrap()).await);
}

#[tokio::test]
async fn of_two_cookies_of_one_name_the_last_counts() {
    let site = Site::start(routes()).await;
    let key = site.visitor().await.session_key().unwrap().to_owned();
    for (first, last, visits) in [("0".repeat(32), key.clone(), "1"), (key, "0".repeat(32), "none")] {
        let mut browser = Browser::new();
        browser.cookies.insert("a".to_owned(), format!("1; sessionid={first}; sessionid={last}"));
        assert_eq!(browser.get(site.url("/read")).await.body, visits);
    }
}

#[tokio::test]
async fn t43_server_errors_save_nothing_and_client_errors_do() {
    async fn handler(session: Session, axum::extract::Path(status): axum::extract::Path<u16>) -> StatusCode {
        visit(session).await.unwrap();
        StatusCode::from_u16(status).unwrap()
    }
    let site = Site::start(routes().route("/status/{status}", get(handler))).await;
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
#[tokio::test]
async fn t43_a_server_error_after_a_login_leaves_the_session_as_it_was() {
    let failing = Router::new().route(
        "/login500",
        get(|session: Session| async move {
            auth::login(&session, USER).await.unwrap();
            StatusCode::INTERNAL_SERVER_ERROR
        }),
    );
    let site = Site::start(routes().merge(failing)).await;
    let mut browser = site.visitor().await;
    let before = browser.session_key().map(str::to_owned);
    let reply = browser.get(site.url("/login500")).await;
    assert_eq!((reply.status, reply.set_cookies().len()), (500, 0));
    assert_eq!(browser.session_key(), before.as_deref());
    assert_eq!(browser.get(site.url("/read")).await.body, "1");
}
