//! What the user gets whose session was deleted while a request changed it, and other answers to failing saves.

use axum::body::Body;
use axum::response::Response;
use cloakroom::middleware::status_of;
use cloakroom::{ConcurrentChanges, ErrorResponse, InterruptedSession, StoreErrorKind};

use super::*;
use crate::browser::Reply;

/// Where a slow request and the test meet.
type Gate = Arc<tokio::sync::Barrier>;

/// A site with `/slow`, which waits at the gate with a changed session.
async fn site<E: ErrorResponse<Body>>(
    settings: Settings,
    layer: impl FnOnce(SessionLayer) -> SessionLayer<E>,
) -> (Site, Gate) {
    let gate = Arc::new(tokio::sync::Barrier::new(2));
    let waits = Arc::clone(&gate);
    let slow = get(move |session: Session| async move {
        session.set("slow", true)?;
        waits.wait().await;
        waits.wait().await;
        Ok::<_, Error>("the handler's own")
    });
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let layer = layer(super::layer(&store, &clock, settings));
    let address = serve(routes().route("/slow", slow).layer(layer)).await;
    (Site { address, store, clock }, gate)
}

/// The reply to `/slow` while which the same browser asks for another page.
async fn slow_while(site: &Site, gate: &Gate, browser: &mut Browser, path: &str) -> Reply {
    let (mut other, url) = (browser.clone(), site.url("/slow"));
    let slow = tokio::spawn(async move { other.get(url).await });
    gate.wait().await;
    browser.get(site.url(path)).await.ok();
    gate.wait().await;
    slow.await.unwrap()
}

#[tokio::test]
async fn an_interrupted_request_is_a_400_as_in_django() {
    let (site, gate) = site(Settings::new("secret"), |layer| layer).await;
    let mut browser = site.visitor().await;
    let key = browser.session_key().unwrap().to_owned();
    let reply = slow_while(&site, &gate, &mut browser, "/logout").await;
    assert_eq!((reply.status, reply.set_cookies().len(), reply.vary()), (400, 0, Some("Cookie")));
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.body, "Your session ended while this page was being made. Please reload it.");
    assert!(!site.store.has(&key).await);
}

#[tokio::test]
async fn an_interrupted_request_may_go_on_anonymously() {
    let mut settings = Settings::new("secret");
    settings.interrupted = InterruptedSession::ContinueAnonymously;
    let (site, gate) = site(settings, |layer| layer).await;
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

#[tokio::test]
async fn the_application_answers_a_failing_save_its_own_way() {
    fn own(error: &Error) -> Response {
        let response = Response::builder().header("vary", "Accept").header("x-of", "the application");
        match error {
            Error::Interrupted => {
                response.status(303).header("location", "/login").body(Body::empty()).unwrap()
            }
            other => response.status(status_of(other)).body(Body::from("<p>sorry</p>")).unwrap(),
        }
    }
    let mut settings = Settings::new("secret");
    settings.concurrent_changes = ConcurrentChanges::Reject;
    let (site, gate) = site(settings, |layer| layer.on_error(own)).await;

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
