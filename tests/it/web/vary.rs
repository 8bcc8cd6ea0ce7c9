//! `Vary: Cookie`, which keeps caches from giving one user's page to another.

use super::*;

on_every_adapter!(
    each_look_at_the_data_varies_on_the_cookie,
    what_the_handler_varies_on_stays,
    a_cookie_that_is_sent_or_deleted_varies_too,
    a_lazy_session_varies_only_when_it_is_loaded_and_looked_at,
);

/// Takes what came out of a look; only the look counts.
fn see<T>(_: T) {}

async fn each_look_at_the_data_varies_on_the_cookie(on: Adapter) {
    type Look = fn(&Session);
    let looks: [(&str, bool, Look); 22] = [
        ("nothing", false, |_| {}),
        ("session_key", false, |session| see(session.session_key())),
        ("is_empty", false, |session| see(session.is_empty())),
        ("modified", false, |session| see(session.modified())),
        ("get", true, |session| see(session.get::<u32>("visits"))),
        ("get a missing key", true, |session| see(session.get::<u32>("missing"))),
        ("get a wrong type", true, |session| see(session.get::<String>("visits"))),
        ("get_value", true, |session| see(session.get_value("visits"))),
        ("contains_key", true, |session| see(session.contains_key("missing"))),
        ("len", true, |session| see(session.len())),
        ("keys", true, |session| see(session.keys())),
        ("values", true, |session| see(session.values())),
        ("items", true, |session| see(session.items())),
        ("data", true, |session| see(session.data())),
        ("remove a missing key", true, |session| see(session.remove("missing"))),
        ("pop a missing key", true, |session| see(session.pop::<u32>("missing"))),
        ("set_default that is there", true, |session| see(session.set_default::<u32>("visits", 5))),
        ("test_cookie_worked", true, |session| see(session.test_cookie_worked())),
        ("get_expiry_age", true, |session| see(session.get_expiry_age())),
        ("get_expiry_date", true, |session| see(session.get_expiry_date())),
        ("get_expire_at_browser_close", true, |session| see(session.get_expire_at_browser_close())),
        ("set", true, |session| see(session.set("visits", 1))),
    ];
    let mut site = pages();
    for (number, (_, _, look)) in looks.into_iter().enumerate() {
        let page = loaded(move |session, _| async move {
            look(&session);
            Ok(())
        });
        site = site.page(format!("/{number}"), page);
    }
    let site = Site::start(on, site).await;
    for (number, (name, varies, _)) in looks.into_iter().enumerate() {
        for mut browser in [site.visitor().await, Browser::new()] {
            let reply = browser.get(site.url(&format!("/{number}"))).await.ok();
            assert_eq!(reply.vary(), varies.then_some("Cookie"), "{name}");
        }
    }
    println!("{0} of {0} ways to look at a session set Vary as they should", looks.len());
}

async fn what_the_handler_varies_on_stays(on: Adapter) {
    let cases: [(&'static [&'static str], &str); 7] = [
        (&[], "Cookie"),
        (&["Accept"], "Accept, Cookie"),
        (&["Accept", "Accept-Language, Origin"], "Accept, Accept-Language, Origin, Cookie"),
        (&["accept,COOKIE"], "accept, COOKIE"),
        (&["*"], "*"),
        (&["Accept, *"], "*"),
        (&["Accept", "*"], "*"),
    ];
    for (set, expected) in cases {
        let page = loaded(move |session, _| async move {
            session.keys();
            Ok(set.iter().fold(Answer::from(()), |answer, value| answer.header("Vary", *value)))
        });
        let site = Site::start(on, Pages::new().page("/page", page)).await;
        assert_eq!(Browser::new().get(site.url("/page")).await.ok().vary(), Some(expected), "{set:?}");
    }
}

async fn a_cookie_that_is_sent_or_deleted_varies_too(on: Adapter) {
    let mut settings = Settings::new("secret");
    settings.save_every_request = true;
    let site = Site::start_with(on, pages(), settings).await;
    let mut browser = site.visitor().await;
    assert_eq!(browser.get(site.url("/untouched")).await.vary(), Some("Cookie"), "each request is saved");
    let deleted = Browser::with_session("short").get(site.url("/untouched")).await;
    assert_eq!((deleted.vary(), deleted.set_cookies().len()), (Some("Cookie"), 1));
}

async fn a_lazy_session_varies_only_when_it_is_loaded_and_looked_at(on: Adapter) {
    let site = pages().page("/ignored", lazy(|_, _| async { Ok(()) })).page(
        "/looked",
        lazy(|session, _| async move { session.load().await.map(|session| see(session.len())) }),
    );
    let site = Site::start(on, site).await;
    let mut browser = site.visitor().await;
    assert_eq!(browser.get(site.url("/ignored")).await.vary(), None);
    assert_eq!(browser.get(site.url("/looked")).await.vary(), Some("Cookie"));
}
