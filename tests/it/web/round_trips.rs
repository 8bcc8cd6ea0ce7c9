//! What each kind of request costs the store.

use cloakroom::LazySession;

use super::*;

on_every_adapter!(
    each_kind_of_request_makes_these_calls_and_no_others,
    saving_every_request_costs_one_update_more,
    a_request_that_lost_the_race_loads_and_saves_once_more,
);

async fn each_kind_of_request_makes_these_calls_and_no_others(on: Adapter) {
    let twice = |lazy: LazySession, _, _| async move { visit(lazy.load().await?).await };
    let saved = |session: Session, _| async move {
        session.set("visits", 1)?;
        session.save().await
    };
    let clear = |session: Session, _| async move {
        session.clear();
        Ok(())
    };
    let more = pages()
        .page("/lazy", lazy(|_, _| async { Ok(()) }))
        .page("/twice", both(twice))
        .page("/saved", loaded(saved))
        .page("/clear", loaded(clear))
        .page("/cycle_key", loaded(|session, _| async move { session.cycle_key() }));
    let site = Site::start(on, more).await;

    let known: [(&str, &[&str]); 9] = [
        ("/untouched", &[]),
        ("/lazy", &[]),
        ("/read", &["load"]),
        ("/visit", &["load", "update"]),
        ("/twice", &["load", "update"]),
        ("/saved", &["load", "update"]),
        ("/clear", &["load", "update"]),
        ("/login", &["load", "rotate"]),
        ("/logout", &["load", "delete"]),
    ];
    for (path, calls) in known {
        let mut browser = site.visitor().await;
        browser.get(site.url(path)).await.ok();
        assert_eq!(site.store.calls(), calls, "{path} with a session");
    }

    let new: [(&str, &[&str]); 9] = [
        ("/untouched", &[]),
        ("/lazy", &[]),
        ("/read", &[]),
        ("/visit", &["create"]),
        ("/twice", &["create"]),
        ("/saved", &["create"]),
        ("/cycle_key", &["create"]),
        ("/login", &["create"]),
        ("/logout", &[]),
    ];
    for (path, calls) in new {
        Browser::new().get(site.url(path)).await.ok();
        assert_eq!(site.store.calls(), calls, "{path} without a session");
    }

    let unknown: [(&str, &[&str]); 5] = [
        ("/untouched", &[]),
        ("/read", &["load"]),
        ("/visit", &["load", "create"]),
        ("/login", &["load", "create"]),
        ("/logout", &["load"]),
    ];
    for (path, calls) in unknown {
        let mut browser = Browser::with_session("unknown0unknown0unknown0unknown0");
        browser.get(site.url(path)).await.ok();
        assert_eq!(site.store.calls(), calls, "{path} with an unknown key");
        assert_ne!(
            browser.session_key(),
            Some("unknown0unknown0unknown0unknown0").filter(|_| path != "/untouched")
        );
    }
    println!(
        "{0} of {0} kinds of request cost the store what they should",
        known.len() + new.len() + unknown.len()
    );
}

async fn saving_every_request_costs_one_update_more(on: Adapter) {
    let mut settings = Settings::new("secret");
    settings.save_every_request = true;
    let site = Site::start_with(on, pages(), settings).await;
    let mut browser = site.visitor().await;
    for path in ["/untouched", "/read", "/visit"] {
        let reply = browser.get(site.url(path)).await.ok();
        assert_eq!((site.store.calls(), reply.set_cookies().len()), (vec!["load", "update"], 1), "{path}");
    }
    Browser::new().get(site.url("/untouched")).await.ok();
    assert_eq!(site.store.calls(), [""; 0]);
}

async fn a_request_that_lost_the_race_loads_and_saves_once_more(on: Adapter) {
    let (page, gate) = slow(|session| session.set("slow", true));
    let site = Site::start(on, pages().page("/slow", page)).await;
    let mut browser = site.visitor().await;
    assert_eq!(slow_while(&site, &gate, &mut browser, "/visit").await.status, 200);
    assert_eq!(site.store.calls(), ["load", "load", "update", "update", "load", "update"]);
    assert_eq!(browser.get(site.url("/read")).await.body, "2", "the other change is there still");
}
