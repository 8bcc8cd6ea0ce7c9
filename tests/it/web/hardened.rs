//! `Settings::hardened()` and its parts.

use cloakroom::chrono::TimeDelta;
use cloakroom::{SESSION_STARTED_KEY, SettingsError};

use super::*;
use crate::support::browser::Reply;

on_every_adapter!(
    the_hardened_cookie_has_every_attribute_and_so_has_its_removal,
    a_partitioned_cookie_is_removed_as_one,
    of_two_cookies_of_one_name_the_hardened_profile_takes_none,
    a_session_ends_after_its_absolute_age_however_active_it_is,
    a_login_begins_the_absolute_age_again_and_clear_does_not,
    a_session_that_django_made_begins_when_it_is_first_seen,
);

const NAME: &str = "__Host-sessionid";

async fn hardened(on: Adapter, change: impl FnOnce(&mut Settings)) -> Site {
    let mut settings = Settings::hardened("secret");
    change(&mut settings);
    let clear = |session: Session, _| async move {
        session.clear();
        session.set("visits", 50)
    };
    Site::start_with(on, pages().page("/clear", loaded(clear)), settings).await
}

/// Asks with exactly these cookies.
async fn get_with(site: &Site, path: &str, cookies: &str) -> Reply {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Reply::of(client.get(site.url(path)).header("cookie", cookies).send().await.unwrap()).await
}

async fn the_hardened_cookie_has_every_attribute_and_so_has_its_removal(on: Adapter) {
    let site = hardened(on, |_| {}).await;
    let mut browser = Browser::new();
    let reply = browser.get(site.url("/visit")).await.ok();
    let key = &browser.cookies[NAME];
    let attributes =
        "expires=Wed, 15 Nov 2023 22:13:20 GMT; HttpOnly; Max-Age=86400; Path=/; SameSite=Lax; Secure";
    assert_eq!(reply.set_cookies(), [format!("{NAME}={key}; {attributes}")]);
    assert_eq!(reply.headers["cache-control"], "no-store");
    let read = browser.get(site.url("/read")).await.ok();
    assert!(!read.headers.contains_key("cache-control"), "only where a cookie is set");

    let reply = browser.get(site.url("/logout")).await.ok();
    let attributes =
        "expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Max-Age=0; Path=/; SameSite=Lax; Secure";
    assert_eq!(reply.set_cookies(), [format!("{NAME}=\"\"; {attributes}")]);
    assert_eq!(reply.headers["cache-control"], "no-store");
}

async fn a_partitioned_cookie_is_removed_as_one(on: Adapter) {
    let site = hardened(on, |settings| settings.cookie_partitioned = true).await;
    let mut browser = Browser::new();
    for path in ["/visit", "/logout"] {
        let reply = browser.get(site.url(path)).await.ok();
        let cookie = reply.set_cookies()[0].to_owned();
        assert!(cookie.contains("; Partitioned; Path=/; SameSite=Lax; Secure"), "{path}: {cookie}");
    }
}

async fn of_two_cookies_of_one_name_the_hardened_profile_takes_none(on: Adapter) {
    let site = hardened(on, |_| {}).await;
    let mut browser = Browser::new();
    browser.get(site.url("/visit")).await.ok();
    let key = browser.cookies[NAME].clone();
    site.store.calls();
    let planted = "0".repeat(32);
    for cookies in [
        format!("{NAME}={key}; {NAME}={planted}"),
        format!("{NAME}={planted}; a=b; {NAME}={key}"),
        format!("{NAME}={key}; {NAME}={key}"),
        format!("{NAME}=; {NAME}={key}"),
    ] {
        for path in ["/untouched", "/read", "/logout"] {
            let reply = get_with(&site, path, &cookies).await.ok();
            assert_eq!((site.store.calls(), reply.set_cookies().len()), (vec![], 0), "{path}: {cookies}");
        }
        assert_eq!(get_with(&site, "/read", &cookies).await.body, "none");
        // What is written starts a session of its own, and neither of the two is touched.
        let reply = get_with(&site, "/visit", &cookies).await.ok();
        assert_eq!((site.store.calls(), reply.body.as_str()), (vec!["create"], "1"), "{cookies}");
    }
    assert_eq!(browser.get(site.url("/read")).await.body, "1", "alone, the cookie is good");
}

async fn a_session_ends_after_its_absolute_age_however_active_it_is(on: Adapter) {
    let site = hardened(on, |settings| settings.absolute_lifetime = Some(TimeDelta::hours(60))).await;
    let mut browser = Browser::new();
    browser.get(site.url("/visit")).await.ok();
    let first = browser.clone();
    for (hours, max_age) in [(20, 86_400), (40, 72_000), (59, 3_600)] {
        site.clock.set(at(hours));
        let reply = browser.get(site.url("/visit")).await.ok();
        let expected = format!("Max-Age={max_age};");
        assert!(reply.set_cookies()[0].contains(&expected), "{hours} h: {:?}", reply.set_cookies());
    }
    site.clock.set(at(60) - TimeDelta::seconds(1));
    assert_eq!(browser.get(site.url("/read")).await.body, "4");
    site.store.calls();
    site.clock.set(at(60));
    let reply = browser.get(site.url("/read")).await.ok();
    assert_eq!((reply.body.as_str(), reply.set_cookies().len()), ("none", 1), "the cookie goes");
    assert_eq!(site.store.calls(), ["load"]);

    // The key is not taken up by what comes then.
    let mut browser = first;
    let reply = browser.get(site.url("/visit")).await.ok();
    assert_eq!(reply.body, "1");
    assert_eq!(site.store.calls(), ["load", "create"]);
}

async fn a_login_begins_the_absolute_age_again_and_clear_does_not(on: Adapter) {
    let site = hardened(on, |settings| settings.absolute_lifetime = Some(TimeDelta::hours(30))).await;
    let (mut anonymous, mut user) = (Browser::new(), Browser::new());
    for browser in [&mut anonymous, &mut user] {
        browser.get(site.url("/visit")).await.ok();
    }
    site.clock.set(at(20));
    anonymous.get(site.url("/clear")).await.ok();
    user.get(site.url("/login")).await.ok();
    site.clock.set(at(30));
    assert_eq!(anonymous.get(site.url("/read")).await.body, "none");
    assert_eq!(user.get(site.url("/read")).await.body, "1");
    // Logging in once more under the same key counts too.
    user.get(site.url("/login")).await.ok();
    site.clock.set(at(50));
    assert_eq!(user.get(site.url("/read")).await.body, "1");
    site.clock.set(at(60));
    assert_eq!(user.get(site.url("/read")).await.body, "none");
}

/// Here it is checked what the session says, whatever Django has written as the row's end.
async fn a_session_that_django_made_begins_when_it_is_first_seen(on: Adapter) {
    let memory: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let mut settings = Settings::new("secret");
    // As Django, it knows of no absolute age.
    let djangos = SessionMiddleware::new(Arc::clone(&memory), settings.clone()).unwrap();
    let djangos = djangos.with_clock(Arc::new(ManualClock::at_unix_seconds(NOW)));
    let made = djangos.begin([]).load().await.unwrap();
    made.set("visits", 7).unwrap();
    made.save().await.unwrap();
    assert!(!made.contains_key(SESSION_STARTED_KEY));
    let key = made.session_key().unwrap().as_str().to_owned();

    settings.absolute_lifetime = Some(TimeDelta::days(1));
    let site = Site::start_on(on, memory, pages(), settings).await;
    let mut browser = Browser::with_session(&key);
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "7");
    assert_eq!(site.store.calls(), ["load", "update"], "the beginning is written once");
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "7");
    assert_eq!(site.store.calls(), ["load"]);

    // Django writes once more, for two weeks as ever; the beginning has come along.
    let cookie = format!("sessionid={key}");
    let again = djangos.begin([cookie.as_bytes()]).load().await.unwrap();
    again.set("visits", 8).unwrap();
    again.save().await.unwrap();
    site.clock.set(at(24) - TimeDelta::seconds(1));
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "8");
    site.clock.set(at(24));
    assert_eq!(browser.get(site.url("/read")).await.ok().body, "none");
}

fn at(hours: i64) -> cloakroom::chrono::DateTime<cloakroom::chrono::Utc> {
    cloakroom::chrono::DateTime::from_timestamp(NOW, 0).unwrap() + TimeDelta::hours(hours)
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let mut settings = Settings::hardened("secret");
    settings.cookie_secure = false;
    let expected = "setting `cookie_secure`: browsers refuse a cookie whose name begins with `__Secure-`, \
                    `__Host-` or `__Http-` and that is not `Secure`; set it, or take another `cookie_name`";
    let memory = || Arc::new(MemoryStore::new());
    let refused: [SettingsError; 3] = [
        SessionMiddleware::new(memory(), settings.clone()).unwrap_err(),
        cloakroom::SessionLayer::new(memory(), settings.clone()).unwrap_err(),
        cloakroom::SessionTransform::new(memory(), settings.clone()).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.to_string(), expected);
    }
    // A command that only clears needs no cookie to be right, but an age.
    assert!(cloakroom::connect("memory:", &settings).await.is_ok());
    settings.cookie_age = TimeDelta::zero();
    let error = cloakroom::connect("memory:", &settings).await.unwrap_err();
    assert_eq!(error.kind(), cloakroom::StoreErrorKind::Misconfigured);
    assert_eq!(
        error.to_string(),
        "session store: setting `cookie_age`: a session would end before it begins; set a second or more"
    );
}
