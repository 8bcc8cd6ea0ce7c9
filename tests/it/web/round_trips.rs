//! What each kind of request costs the store.

use cloakroom::LazySession;

use super::*;

#[tokio::test]
async fn each_kind_of_request_makes_these_calls_and_no_others() {
    let more = Router::new()
        .route("/lazy", get(|_: LazySession| async {}))
        .route("/twice", get(|one: Session, _: Session| async move { visit(one).await }))
        .route(
            "/saved",
            get(|session: Session| async move {
                session.set("visits", 1)?;
                session.save().await
            }),
        )
        .route("/clear", get(|session: Session| async move { session.clear() }))
        .route("/cycle_key", get(|session: Session| async move { session.cycle_key() }));
    let site = Site::start(routes().merge(more)).await;

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

#[tokio::test]
async fn saving_every_request_costs_one_update_more() {
    let mut settings = Settings::new("secret");
    settings.save_every_request = true;
    let site = Site::start_with(routes(), settings).await;
    let mut browser = site.visitor().await;
    for path in ["/untouched", "/read", "/visit"] {
        let reply = browser.get(site.url(path)).await.ok();
        assert_eq!((site.store.calls(), reply.set_cookies().len()), (vec!["load", "update"], 1), "{path}");
    }
    Browser::new().get(site.url("/untouched")).await.ok();
    assert_eq!(site.store.calls(), [""; 0]);
}

#[tokio::test]
async fn a_request_that_lost_the_race_loads_and_saves_once_more() {
    let gate = Arc::new(tokio::sync::Barrier::new(2));
    let waits = Arc::clone(&gate);
    let slow = Router::new().route(
        "/slow",
        get(|session: Session| async move {
            session.set("slow", true)?;
            waits.wait().await;
            waits.wait().await;
            Ok::<_, Error>(())
        }),
    );
    let site = Site::start(routes().merge(slow)).await;
    let mut browser = site.visitor().await;
    let (mut other, url) = (browser.clone(), site.url("/slow"));
    let slow = tokio::spawn(async move { other.get(url).await.status });
    gate.wait().await;
    browser.get(site.url("/visit")).await.ok();
    gate.wait().await;
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(site.store.calls(), ["load", "load", "update", "update", "load", "update"]);
    assert_eq!(browser.get(site.url("/read")).await.body, "2", "the other change is there still");
}
