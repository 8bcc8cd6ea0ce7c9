//! What a real browser makes of the demo's cookie and pages.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::browser::Demo;
use crate::support::chromium::Chromium;

/// Seconds until a moment that the browser keeps.
fn seconds_until(expiry: i64) -> i64 {
    expiry - i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Chooses when the session ends, as a visitor does.
fn choose_expiry(chromium: &Chromium, choice: &str) {
    chromium.click(&format!("input[name=expiry][value={choice}]"));
    chromium.click("#expiry button");
    chromium.wait_until_says(".message", "new end");
}

#[test]
fn the_browser_keeps_the_cookie_as_it_was_told() {
    let demo = Demo::start("memory:", &[]);
    let chromium = Chromium::start();
    // A host with others below it.
    let address = demo.address.replace("127.0.0.1", "site.localhost");
    chromium.go(&address);
    let cookie = chromium.cookie("sessionid").unwrap();
    assert_eq!((cookie.domain.as_str(), cookie.path.as_str()), ("site.localhost", "/"));
    assert_eq!((cookie.http_only, cookie.secure, cookie.same_site.as_str()), (true, false, "Lax"));
    let left = seconds_until(cookie.expiry.unwrap());
    assert!((1_209_500..=1_209_600).contains(&left), "{left}");
    assert_eq!(chromium.run("return document.cookie"), "", "no script reads it");

    choose_expiry(&chromium, "five-minutes");
    let left = seconds_until(chromium.cookie("sessionid").unwrap().expiry.unwrap());
    assert!((200..=300).contains(&left), "{left}");
    choose_expiry(&chromium, "browser-close");
    assert_eq!(chromium.cookie("sessionid").unwrap().expiry, None);
    let session_key = chromium.cookie("sessionid").unwrap().value;

    // This host's alone: neither a host below it nor the same machine under another name is told it.
    for other in ["below.site.localhost", "127.0.0.1"] {
        chromium.go(&address.replace("site.localhost", other));
        assert_eq!(chromium.text(".count").unwrap(), "1", "{other}");
        assert_ne!(chromium.cookie("sessionid").unwrap().value, session_key);
    }
    chromium.go(&address);
    assert_eq!(chromium.cookie("sessionid").unwrap().value, session_key);
}

#[test]
fn from_login_to_logout_and_back() {
    let demo = Demo::start("memory:", &[]);
    let chromium = Chromium::start();
    chromium.go(&demo.address);
    chromium.fill("#key", "secret");
    chromium.fill("#value", "of Ada alone");
    chromium.click(".put button");
    chromium.wait_until_says("#pockets", "of Ada alone");
    let before = chromium.cookie("sessionid").unwrap().value;
    chromium.click("form[action='/login'] button");
    chromium.wait_until_says("#door", "Ada is logged in");
    let logged_in = chromium.cookie("sessionid").unwrap();
    assert_ne!(logged_in.value, before, "a new key at login");
    chromium.wait_until_says("#pockets", "of Ada alone");

    chromium.click("form[action='/logout'] button");
    chromium.wait_until_says("main", "Your coat is handed back");
    assert!(chromium.cookie("sessionid").is_none(), "the browser keeps no cookie");
    // What the browser shows is asked for again, and not what was on the screen.
    chromium.back();
    chromium.wait_until_says("#door", "Nobody is logged in");
    let page = chromium.text("body").unwrap();
    assert!(!page.contains("of Ada alone") && !page.contains(&logged_in.value), "{page}");

    // A copy of the cookie opens nothing.
    let mut thief = demo.browser();
    thief.cookie = Some(format!("sessionid={}", logged_in.value));
    assert!(thief.session()["row"].is_null());
}

#[test]
fn a_session_that_ends_with_the_browser_ends_with_it() {
    let demo = Demo::start("memory:", &[]);
    let mut chromium = Chromium::start();
    chromium.go(&demo.address);
    let stays = chromium.cookie("sessionid").unwrap().value;
    chromium.restart();
    chromium.go(&demo.address);
    assert_eq!(chromium.cookie("sessionid").unwrap().value, stays, "kept with its date");
    assert_eq!(chromium.text(".count").unwrap(), "2");

    choose_expiry(&chromium, "browser-close");
    chromium.restart();
    chromium.go(&demo.address);
    assert_eq!(chromium.text(".count").unwrap(), "1", "a new visitor");
    assert_ne!(chromium.cookie("sessionid").unwrap().value, stays);
}

/// The numbers of one row of the race: sent, keys, counter, lost.
fn arrived(chromium: &Chromium, way: &str) -> Vec<u32> {
    let numbers = ["sent", "keys", "counted", "lost"];
    let number = |class| chromium.text(&format!("[data-way={way}] .{class}")).unwrap().parse().unwrap();
    numbers.into_iter().map(number).collect()
}

#[test]
fn of_two_tabs_at_once_nothing_is_lost() {
    let demo = Demo::start("memory:", &[]);
    let chromium = Chromium::start();
    let address = format!("{}/race", demo.address);
    chromium.go(&address);
    chromium.wait_until_finds("#send:enabled");
    let (second, first) = chromium.new_tab();
    chromium.go(&address);
    chromium.wait_until_finds("#send:enabled");
    // A click does not wait for what it starts.
    chromium.click("#send");
    chromium.go_to_tab(&first);
    chromium.click("#send");
    for tab in [&first, &second] {
        chromium.go_to_tab(tab);
        chromium.wait_until_says("#result", "Sent 50 requests each way.");
    }
    chromium.go(&address);
    chromium.wait_until_finds("#send:enabled");
    assert_eq!(arrived(&chromium, "merge"), [100, 100, 100, 0]);
    let [sent, keys, counter, lost] = arrived(&chromium, "last-write-wins")[..] else { unreachable!() };
    assert!(sent == 100 && keys < 100 && counter < 100 && lost == sent - keys, "{keys} {counter} {lost}");

    chromium.click("#clear");
    chromium.wait_until_says("#result", "Started anew.");
    assert_eq!(arrived(&chromium, "merge"), [0, 0, 0, 0]);
}

#[test]
fn the_others_are_logged_out_and_this_one_stays() {
    let demo = Demo::start("memory:", &[]);
    let mut other = demo.browser();
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    other.post("/login", &[], &[("User-Agent", firefox)]);
    assert_eq!(other.session()["logged_in_as"], "1");
    let chromium = Chromium::start();
    chromium.go(&format!("{}/devices", demo.address));
    chromium.wait_until_says("main", "Nobody is logged in with this browser");
    chromium.click("form[action='/login'] button");
    chromium.wait_until_says("#door", "Ada is logged in");
    chromium.click("nav a[href='/devices']");
    chromium.wait_until_says(".devices", "Firefox on Linux");
    let current = chromium.text(".devices .current").unwrap();
    assert!(current.contains("Chromium on Linux") && current.contains("127.0.0.1"), "{current}");
    chromium.click("#others");
    chromium.wait_until_says(".message", "Logged out everywhere but here");
    chromium.wait_until_says("main", "logged in with 1 browser");
    assert!(other.session()["row"].is_null(), "its session is gone");

    // One alone, by its own button.
    let mut third = demo.browser();
    third.post("/login", &[], &[("User-Agent", firefox)]);
    chromium.go(&format!("{}/devices", demo.address));
    chromium.click("form[action='/devices/revoke'] button");
    chromium.wait_until_says(".message", "Logged out there");
    assert!(third.session()["row"].is_null());
    chromium.go(&demo.address);
    chromium.wait_until_says("#door", "Ada is logged in");
}
