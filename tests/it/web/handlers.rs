//! Where sessions meet the rest of an axum site: routers, middleware, streams, panics, hang-ups.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use cloakroom::LazySession;
use tokio::sync::oneshot;

use super::*;

/// A value that one handler takes once.
type Once<T> = Arc<std::sync::Mutex<Option<T>>>;

fn once<T>(value: T) -> Once<T> {
    Arc::new(std::sync::Mutex::new(Some(value)))
}

fn take<T>(once: &Once<T>) -> T {
    once.lock().unwrap().take().unwrap()
}

#[tokio::test]
async fn a_handler_outside_of_the_layer_is_told_so() {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let inside = routes().layer(layer(&store, &clock, Settings::new("secret")));
    let address = serve(Router::new().nest("/inside", inside).route("/outside", get(read))).await;

    let mut browser = Browser::new();
    assert_eq!(browser.get(format!("{address}/inside/visit")).await.ok().body, "1");
    let reply = browser.get(format!("{address}/outside")).await;
    assert_eq!((reply.status, reply.body.as_str()), (500, "Your session cannot be read or saved."));
    let advice = Error::NoLayer.to_string();
    assert_eq!(
        advice,
        "no session on this request; add `SessionLayer` to the router, outside of this handler"
    );
}

#[tokio::test]
async fn nested_routers_and_middleware_share_the_requests_session() {
    async fn authentication(session: Session, request: Request, next: Next) -> Response {
        session.set("seen", "by the middleware").unwrap();
        next.run(request).await
    }
    async fn handler(session: Session) -> Result<String, Error> {
        session.modify::<String>("seen", |seen| seen.unwrap_or_default() + " and the handler")
    }
    let deep = Router::new().route("/handler", get(handler)).layer(from_fn(authentication));
    let site = Site::start(Router::new().nest("/a", Router::new().nest("/b", deep))).await;
    let reply = Browser::new().get(site.url("/a/b/handler")).await.ok();
    assert_eq!(reply.body, "by the middleware and the handler");
    assert_eq!(site.store.calls(), ["create"]);
}

#[tokio::test]
async fn a_stream_is_sent_after_the_session_was_saved() {
    let (release, released) = oneshot::channel::<&'static str>();
    let released = once(released);
    let stream = move |session: Session| async move {
        visit(session).await.unwrap();
        let text = take(&released);
        Body::from_stream(futures_util::stream::once(async move { text.await.map(Bytes::from) }))
    };
    let site = Site::start(Router::new().route("/stream", get(stream))).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(site.url("/stream")).send().await.unwrap();
    assert_eq!(site.store.calls(), ["create"], "the body has not begun");
    assert!(response.headers().contains_key("set-cookie"));
    release.send("the body").unwrap();
    assert_eq!(response.text().await.unwrap(), "the body");
}

#[tokio::test]
async fn t46_a_panic_leaves_the_session_as_it_was() {
    async fn panics(session: Session) {
        session.set("visits", 100).unwrap();
        auth::login(&session, USER).await.unwrap();
        panic!("on purpose, in a test");
    }
    let site = Site::start(routes().route("/panics", get(panics))).await;
    let mut browser = site.visitor().await;
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(site.url("/panics"));
    let cookie = format!("sessionid={}", browser.session_key().unwrap());
    assert!(request.header("cookie", cookie).send().await.is_err(), "the connection ends");
    assert_eq!(site.store.calls(), ["load"]);
    assert_eq!(browser.get(site.url("/visit")).await.ok().body, "2");
}

/// Tells when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

#[tokio::test]
async fn t46_a_client_that_hangs_up_leaves_the_session_as_it_was() {
    let (entered, has_entered) = oneshot::channel();
    let (left, has_left) = oneshot::channel();
    let signals = once((entered, Dropped(Some(left))));
    let endless = move |session: Session| async move {
        let (entered, _dropped) = take(&signals);
        session.set("visits", 100).unwrap();
        entered.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let site = Site::start(routes().route("/endless", get(endless))).await;
    let mut browser = site.visitor().await;
    let (mut other, url) = (browser.clone(), site.url("/endless"));
    let request = tokio::spawn(async move { other.get(url).await.status });
    has_entered.await.unwrap();
    request.abort();
    has_left.await.unwrap();
    assert_eq!(site.store.calls(), ["load"]);
    assert_eq!(browser.get(site.url("/visit")).await.ok().body, "2");
}

#[tokio::test]
async fn t01_a_slow_request_does_not_bring_back_a_session_that_logged_out() {
    let folder = tempfile::tempdir().unwrap();
    let options = cloakroom::SqliteStore::options(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let sqlite = options.open(&Settings::new("secret")).await.unwrap();
    let stores: [Arc<dyn SessionStore>; 2] = [Arc::new(MemoryStore::new()), Arc::new(sqlite)];
    for store in stores {
        for slow_path in ["/slow", "/slow_login"] {
            let gate = Arc::new(tokio::sync::Barrier::new(2));
            let waits = Arc::clone(&gate);
            let slow = move |login: bool| {
                let waits = Arc::clone(&waits);
                move |session: Session| async move {
                    visit(session.clone()).await?;
                    if login {
                        auth::login(&session, USER).await?;
                    }
                    waits.wait().await;
                    waits.wait().await;
                    Ok::<_, Error>(())
                }
            };
            let slow = Router::new().route("/slow", get(slow(false))).route("/slow_login", get(slow(true)));
            let site =
                Site::start_on(Arc::clone(&store), routes().merge(slow), Settings::new("secret")).await;
            let mut browser = site.visitor().await;
            let key = browser.session_key().unwrap().to_owned();
            let (mut other, url) = (browser.clone(), site.url(slow_path));
            let slow = tokio::spawn(async move { other.get(url).await });
            gate.wait().await;
            browser.get(site.url("/logout")).await.ok();
            gate.wait().await;
            let reply = slow.await.unwrap();
            assert_eq!((reply.status, reply.set_cookies().len()), (400, 0), "{store:?} {slow_path}");
            assert!(!site.store.has(&key).await, "{store:?} {slow_path}");
        }
    }
}

#[tokio::test]
async fn an_extension_is_the_same_session() {
    async fn handler(lazy: LazySession, session: Session) -> Result<String, Error> {
        lazy.load().await?.set("visits", 5)?;
        read(session).await
    }
    let site = Site::start(Router::new().route("/", get(handler))).await;
    assert_eq!(Browser::new().get(site.url("/")).await.ok().body, "5");
}
