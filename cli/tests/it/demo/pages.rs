//! What a visitor can do.

use serde_json::{Value, json};

use crate::support::browser::{Browser, Demo};

fn key_of(session: &Value) -> String {
    session["ticket"]["session_key"].as_str().unwrap().to_owned()
}

#[test]
fn a_visitor_gets_a_ticket_and_puts_things_in() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    assert_eq!(browser.session()["ticket"], Value::Null, "looking makes no session");
    assert!(browser.cookie.is_none());

    let first = browser.get("/");
    let set_cookie = first.set_cookie.unwrap();
    assert!(set_cookie.starts_with("sessionid=") && set_cookie.contains("HttpOnly"), "{set_cookie}");
    assert!(set_cookie.contains("Max-Age=1209600") && set_cookie.contains("SameSite=Lax"), "{set_cookie}");
    browser.get("/");
    assert_eq!(browser.script("/visit", &[])["visits"], 3);

    // JSON is taken as such, everything else as text.
    browser.script("/put", &[("key", "hats"), ("value", "[1, {\"a\": null}]")]);
    browser.script("/put", &[("key", "scarf"), ("value", "red")]);
    let session = browser.script("/put", &[("key", "odd"), ("value", "NaN")]);
    let expected = json!({ "visits": 3, "hats": [1, { "a": null }], "scarf": "red", "odd": "NaN" });
    assert_eq!((&session["data"], &session["done"]), (&expected, &json!("put")));
    assert_eq!(browser.session()["data"], expected, "and it stays");

    assert_eq!(browser.script("/remove", &[("key", "hats")])["done"], "removed");
    assert_eq!(browser.script("/remove", &[("key", "hats")])["done"], "not-there");
    assert_eq!(browser.session()["data"].get("hats"), None);
}

#[test]
fn forms_lead_back_to_the_page_without_a_script() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    browser.get("/");
    let put = browser.post("/put", &[("key", "scarf"), ("value", "red")], &[]);
    assert_eq!(put.status, 303);
    let location = put.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(location, "/?done=put#pockets");
    let page = browser.get(location.split('#').next().unwrap());
    assert!(page.body.contains("Put into the coat") && page.body.contains("scarf"), "{}", page.body);

    let key = key_of(&browser.session());
    assert!(page.body.contains(&key), "the page shows the ticket");
    let refused = browser.post("/put", &[("key", "_auth_user_id"), ("value", "7")], &[]);
    assert!(refused.status == 400 && refused.body.contains("underscore"), "{}", refused.body);
}

#[test]
fn login_changes_the_ticket_and_the_old_one_is_dead() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    browser.get("/");
    let old = browser.cookie.clone();
    let session = browser.script("/login", &[]);
    assert_eq!((&session["logged_in_as"], &session["visits"]), (&json!("1"), &json!(1)));
    assert_ne!(browser.cookie, old);
    assert_eq!(session["data"]["_auth_user_backend"], "django.contrib.auth.backends.ModelBackend");
    dead(&demo, old);

    let again = browser.script("/login", &[]);
    assert_eq!(again["done"], "logged-in-already");
    assert_eq!(key_of(&again), key_of(&session), "as in Django");

    let before = browser.cookie.clone();
    let rotated = browser.script("/rotate", &[]);
    assert_ne!(key_of(&rotated), key_of(&session));
    assert_eq!(rotated["data"], again["data"]);
    dead(&demo, before);

    let last = browser.cookie.clone();
    let out = browser.post("/logout", &[], &[]);
    assert_eq!((out.status, out.headers["location"].to_str().unwrap()), (303, "/bye"));
    assert!(out.set_cookie.unwrap().contains("Max-Age=0"));
    assert!(browser.cookie.is_none());
    dead(&demo, last);
    assert!(browser.get("/bye").set_cookie.is_none(), "saying goodbye makes no session");
}

/// Nobody gets anything for this ticket.
fn dead(demo: &Demo, cookie: Option<String>) {
    let mut thief = demo.browser();
    thief.cookie = cookie;
    assert_eq!(thief.session()["row"], Value::Null);
}

#[test]
fn the_session_ends_when_it_is_told_to() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    browser.get("/");
    let mut set = |form: &[(&str, &str)]| -> (Value, String) {
        let got = browser.post("/expiry", form, &[("Accept", "application/json")]);
        assert_eq!(got.status, 200, "{}", got.body);
        (serde_json::from_str(&got.body).unwrap(), got.set_cookie.unwrap())
    };
    let about = |session: &Value, seconds: i64| {
        let left = session["row"]["expires_in_seconds"].as_i64().unwrap();
        assert!((seconds - 30..=seconds).contains(&left), "{left}, not {seconds}");
    };
    let (session, cookie) = set(&[("expiry", "five-minutes")]);
    about(&session, 300);
    assert!(cookie.contains("Max-Age=300"), "{cookie}");
    let (session, cookie) = set(&[("expiry", "browser-close")]);
    about(&session, 1_209_600);
    assert!(!cookie.contains("Max-Age") && session["ticket"]["max_age"].is_null(), "{cookie}");
    let (session, _) = set(&[("expiry", "date"), ("date", "2999-12-31T23:59")]);
    assert_eq!(session["row"]["expire_date"], "2999-12-31T23:59:00Z");
    let (session, cookie) = set(&[("expiry", "default"), ("date", "")]);
    about(&session, 1_209_600);
    assert!(cookie.contains("Max-Age=1209600"), "{cookie}");
    for wrong in [
        [("expiry", "date"), ("date", "1999-01-01")],
        [("expiry", "date"), ("date", "x")],
        [("expiry", "x"), ("date", "")],
    ] {
        let got = browser.post("/expiry", &wrong, &[("Accept", "application/json")]);
        assert!(got.status == 400 && got.body.contains("error"), "{}", got.body);
    }
}

#[test]
fn the_test_cookie_tells_who_keeps_cookies() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    assert_eq!(browser.script("/test-cookie/set", &[])["done"], "test-cookie-set");
    assert_eq!(browser.script("/test-cookie/check", &[])["done"], "test-cookie-worked");
    assert_eq!(browser.script("/test-cookie/delete", &[])["done"], "test-cookie-deleted");
    assert_eq!(browser.script("/test-cookie/check", &[])["done"], "test-cookie-missing");

    let mut forgetful = demo.browser();
    forgetful.script("/test-cookie/set", &[]);
    forgetful.cookie = None;
    assert_eq!(forgetful.script("/test-cookie/check", &[])["done"], "test-cookie-missing");
}

#[test]
fn forms_from_other_sites_do_nothing() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    browser.get("/");
    let form = [("key", "coat"), ("value", "stolen")];
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let refused = browser.post("/put", &form, &[("Origin", origin)]);
        assert_eq!((refused.status, refused.set_cookie), (403, None), "{origin}");
    }
    assert_eq!(browser.post("/logout", &[], &[("Sec-Fetch-Site", "cross-site")]).status, 403);
    assert_eq!(browser.session()["data"], json!({ "visits": 1 }));
    let own = demo.address.clone();
    assert_eq!(browser.post("/put", &form, &[("Origin", &own)]).status, 303);
}

#[test]
fn what_visitors_write_stays_text() {
    let demo = Demo::start("memory:", &[]);
    let mut browser = demo.browser();
    let nasty = "\"><script>alert(1)</script>&{{ view }}";
    browser.script("/put", &[("key", nasty), ("value", nasty)]);
    browser.script("/put", &[("key", "json"), ("value", "{\"<script>\": \"<img src=x onerror=alert(1)>\"}")]);
    let page = browser.get("/");
    assert_eq!(page.body.matches("<script").count(), 1, "the page's own only");
    assert!(!page.body.contains("<img") && page.body.contains("&#60;script&#62;"), "{}", page.body);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    // And what the framework would stumble over is not counted on.
    browser.script("/put", &[("key", "visits"), ("value", "many")]);
    assert_eq!(browser.get("/").status, 200);
    let refused = browser.post("/visit", &[], &[("Accept", "application/json")]);
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[test]
fn nothing_comes_from_the_network() {
    let demo = Demo::start("memory:", &[]);
    let mut browser: Browser<'_> = demo.browser();
    for path in ["/", "/bye", "/devices", "/race", "/style.css", "/demo.js", "/race.js", "/nowhere"] {
        let got = browser.get(path);
        assert_eq!(got.status, if path == "/nowhere" { 404 } else { 200 });
        let addresses = got.body.matches("//").count() - got.body.matches("http://www.w3.org/").count();
        let comments = got.body.lines().filter(|line| line.trim_start().starts_with("//")).count();
        assert_eq!(addresses, comments, "{path}: {}", got.body);
    }
}
