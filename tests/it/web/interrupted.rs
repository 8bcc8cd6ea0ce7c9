//! What the user gets whose session was deleted while a request changed it, and other answers to failing saves.

use cloakroom::middleware::status_of;
use cloakroom::{ConcurrentChanges, InterruptedSession, RequestHead, StoreErrorKind};

use super::*;

on_every_adapter!(
    an_interrupted_request_is_a_400_as_in_django,
    an_interrupted_request_may_go_on_anonymously,
    the_application_answers_a_failing_save_its_own_way,
);

/// A site with `/slow`, which waits at the gate with a changed session.
async fn site(on: Adapter, settings: Settings, options: impl FnOnce(Layer) -> Layer) -> (Site, Gate) {
    let (page, gate) = slow(|session| session.set("slow", true));
    let store = Arc::new(MemoryStore::new());
    (Site::start_layered(on, store, pages().page("/slow", page), settings, options).await, gate)
}

async fn an_interrupted_request_is_a_400_as_in_django(on: Adapter) {
    let (site, gate) = site(on, Settings::new("secret"), |layer| layer).await;
    let mut browser = site.visitor().await;
    let key = browser.session_key().unwrap().to_owned();
    let reply = slow_while(&site, &gate, &mut browser, "/logout").await;
    assert_eq!((reply.status, reply.set_cookies().len(), reply.vary()), (400, 0, Some("Cookie")));
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.body, "Your session ended while this page was being made. Please reload it.");
    assert!(!site.store.has(&key).await);
}

async fn an_interrupted_request_may_go_on_anonymously(on: Adapter) {
    let mut settings = Settings::new("secret");
    settings.interrupted = InterruptedSession::ContinueAnonymously;
    let (site, gate) = site(on, settings, |layer| layer).await;
    let mut browser = site.visitor().await;
    let key = browser.session_key().unwrap().to_owned();
    let reply = slow_while(&site, &gate, &mut browser, "/logout").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "the handler's own"));
    assert_eq!(reply.vary(), Some("Cookie"));
    assert_eq!(reply.set_cookies().len(), 1);
    assert!(reply.set_cookies()[0].starts_with("sessionid=\"\"; expires="), "{:?}", reply.set_cookies());
    assert!(!site.store.has(&key).await, "nobody comes back");
    assert!(!site.store.calls().contains(&"create"), "nor does a new session take its place");

    // Other failures are failures still.
    let mut browser = site.visitor().await;
    site.store.fail(Some(("update", StoreErrorKind::Unavailable)));
    let reply = browser.get(site.url("/visit")).await;
    assert_eq!((reply.status, reply.set_cookies().len()), (503, 0));
}

async fn the_application_answers_a_failing_save_its_own_way(on: Adapter) {
    fn own(error: &Error, _: &RequestHead<'_>) -> Answer {
        let answer = match error {
            Error::Interrupted => Answer::status(303).header("location", "/login"),
            other => Answer { status: status_of(other), ..Answer::from("<p>sorry</p>") },
        };
        answer.header("vary", "Accept").header("x-of", "the application")
    }
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = ConcurrentChanges::Reject;
    let (site, gate) = site(on, settings, |layer| layer.on_error(own)).await;

    let mut browser = site.visitor().await;
    let interrupted = slow_while(&site, &gate, &mut browser, "/logout").await;
    assert_eq!((interrupted.status, &interrupted.headers["location"]), (303, &"/login".parse().unwrap()));
    let mut browser = site.visitor().await;
    let conflict = slow_while(&site, &gate, &mut browser, "/visit").await;
    assert_eq!((conflict.status, conflict.body.as_str()), (409, "<p>sorry</p>"));
    site.store.fail(Some(("update", StoreErrorKind::Unavailable)));
    let unavailable = browser.get(site.url("/visit")).await;
    assert_eq!((unavailable.status, unavailable.body.as_str()), (503, "<p>sorry</p>"));
    for reply in [interrupted, conflict, unavailable] {
        assert_eq!(reply.headers["x-of"], "the application");
        assert_eq!((reply.vary(), reply.set_cookies().len()), (Some("Accept, Cookie"), 0));
    }
}
