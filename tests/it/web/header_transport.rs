//! Clients without cookies: the session key in a header.

use cloakroom::Transport;

use super::*;
use crate::support::browser::Reply;

on_every_adapter!(
    a_client_without_cookies_keeps_its_session_in_a_header,
    keys_from_a_header_are_checked_as_those_from_cookies,
);

async fn site(on: Adapter) -> Site {
    let mut settings = Settings::new("secret");
    settings.transport = Transport::Header("X-Session-Token".to_owned());
    Site::start_with(on, pages(), settings).await
}

async fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = reqwest::Client::builder().no_proxy().build().unwrap().get(site.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(reply.set_cookies().len(), 0, "{path}");
    reply
}

async fn a_client_without_cookies_keeps_its_session_in_a_header(on: Adapter) {
    let site = site(on).await;
    let reply = get(&site, "/visit", &[]).await.ok();
    let token = reply.headers["x-session-token"].to_str().unwrap().to_owned();
    assert_eq!((token.len(), reply.vary()), (32, Some("X-Session-Token")));
    assert_eq!(reply.headers["cache-control"], "no-store", "whatever the settings");

    let header = ("x-session-token", token.as_str());
    let reply = get(&site, "/read", &[header]).await.ok();
    assert_eq!((reply.body.as_str(), reply.vary()), ("1", Some("X-Session-Token")));
    assert!(!reply.headers.contains_key("x-session-token"), "given again only when it is saved");
    let untouched = get(&site, "/untouched", &[header]).await.ok();
    assert_eq!((untouched.vary(), untouched.headers.contains_key("x-session-token")), (None, false));

    // Cookies are not looked at.
    let cookie = format!("sessionid={token}");
    assert_eq!(get(&site, "/read", &[("cookie", &cookie)]).await.ok().body, "none");

    let reply = get(&site, "/login", &[header]).await.ok();
    let new = reply.headers["x-session-token"].to_str().unwrap().to_owned();
    assert_ne!(new, token, "a login changes the key");
    assert!(!site.store.has(&token).await);
    let header = ("x-session-token", new.as_str());
    assert_eq!(get(&site, "/visit", &[header]).await.ok().body, "2");
    let reply = get(&site, "/logout", &[header]).await.ok();
    assert_eq!(
        (&reply.headers["x-session-token"], reply.vary()),
        (&"".parse().unwrap(), Some("X-Session-Token"))
    );
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(get(&site, "/read", &[header]).await.ok().body, "none");
}

async fn keys_from_a_header_are_checked_as_those_from_cookies(on: Adapter) {
    let site = site(on).await;
    let reply = get(&site, "/visit", &[]).await.ok();
    let token = reply.headers["x-session-token"].to_str().unwrap().to_owned();
    site.store.calls();
    let (upper, joined) = (token.to_uppercase(), format!("{token}, {token}"));
    let cookie_like = format!("sessionid={token}");
    for bad in ["", "short", "../../etc/passwd", &"k".repeat(41), &upper, &joined, &cookie_like] {
        let reply = get(&site, "/read", &[("x-session-token", bad)]).await.ok();
        assert_eq!((reply.body.as_str(), site.store.calls()), ("none", vec![]), "{bad:?}");
        assert_eq!(reply.headers["x-session-token"], "", "{bad:?}: the client is to forget it");
    }
    let twice = [("x-session-token", token.as_str()); 2];
    assert_eq!(get(&site, "/read", &twice).await.ok().body, "none", "of two, neither");
    assert_eq!(site.store.calls(), [""; 0]);

    let unknown = "unknown0unknown0unknown0unknown0";
    let reply = get(&site, "/visit", &[("x-session-token", unknown)]).await.ok();
    assert_ne!(reply.headers["x-session-token"], unknown, "a client's key is never adopted");
}
