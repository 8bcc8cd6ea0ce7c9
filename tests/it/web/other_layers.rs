//! Middleware of others around the session layer and inside of it, and handlers that may stand outside of it.

use std::time::Duration;

use actix_web::middleware::{Compress, Logger};
use axum::Router;
use axum::routing::get;
use cloakroom::{LazySession, RequestHead, SessionLayer, SessionTransform, StoreErrorKind};
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use super::*;
use crate::support::browser::{Reply, serve};

/// Long enough to be worth compressing.
async fn long(session: Session) -> Result<String, Error> {
    Ok(format!("visit {}{}", visit(session).await?, " ".repeat(1_000)))
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(http::StatusCode::REQUEST_TIMEOUT, Duration::from_secs(60))
}

/// What a site answers to a visit, to one whose answer may be compressed, and to one that cannot be saved.
async fn check(name: &str, site: &str, store: &WatchedStore) {
    let mut browser = Browser::new();
    let reply = browser.get(format!("{site}/visit")).await.ok();
    assert_eq!((reply.body.trim_end(), reply.set_cookies().len()), ("visit 1", 1), "{name}");
    // Compression adds a field, or a header, of its own.
    let mut vary = reply.headers.get_all("vary").iter().flat_map(|vary| vary.to_str().unwrap().split(", "));
    assert!(vary.any(|field| field == "Cookie"), "{name}: {:?}", reply.headers);

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{site}/visit")).header("accept-encoding", "gzip").send();
    let compressed = request.await.unwrap();
    let is_compressed = compressed.headers().get("content-encoding").is_some_and(|coding| coding == "gzip");
    assert_eq!(is_compressed, name.contains("ompress"), "{name}");
    assert!(compressed.headers().contains_key("set-cookie"), "{name}");

    store.fail(Some(("update", StoreErrorKind::Unavailable)));
    let reply: Reply = browser.get(format!("{site}/visit")).await;
    assert_eq!(
        (reply.status, reply.body.as_str(), reply.set_cookies().len()),
        (503, "Your session cannot be reached at the moment. Please try again.", 0),
        "{name}"
    );
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8", "{name}");
    store.fail(None);
}

/// The session layer around another one, and inside of it, in one go and as two layers of the router.
macro_rules! around_and_inside {
    ($($name:literal: $layer:expr),+ $(,)?) => {$(
        let store = WatchedStore::new(Arc::new(MemoryStore::new()));
        let sessions = SessionLayer::new(Arc::clone(&store), Settings::new("secret")).unwrap();
        let routes = || Router::new().route("/visit", get(long));
        let sites = [
            routes().layer(ServiceBuilder::new().layer(sessions.clone()).layer($layer)),
            routes().layer(ServiceBuilder::new().layer($layer).layer(sessions.clone())),
            routes().layer($layer).layer(sessions.clone()),
            routes().layer(sessions.clone()).layer($layer),
        ];
        for site in sites {
            check($name, &serve(site).await, &store).await;
        }
    )+};
}

#[tokio::test]
async fn the_session_layer_stands_around_tower_https_layers_and_inside_of_them() {
    around_and_inside! {
        "CompressionLayer": CompressionLayer::new(),
        "TraceLayer": TraceLayer::new_for_http(),
        "RequestBodyLimitLayer": RequestBodyLimitLayer::new(1 << 20),
        "TimeoutLayer": timeout(),
    }
}

#[tokio::test]
async fn the_session_layer_stands_anywhere_in_a_pile_of_layers() {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let sessions = SessionLayer::new(Arc::clone(&store), Settings::new("secret")).unwrap();
    let own = sessions.clone().on_error(|_: &Error, _: &RequestHead<'_>| {
        let text = "Your session cannot be reached at the moment. Please try again.";
        let answer =
            http::Response::builder().status(503).header("content-type", "text/plain; charset=utf-8");
        answer.body(axum::body::Body::from(text)).unwrap()
    });
    let routes = || Router::new().route("/visit", get(long));
    let others = || {
        let others = ServiceBuilder::new().layer(TraceLayer::new_for_http());
        others.layer(RequestBodyLimitLayer::new(1 << 20)).layer(CompressionLayer::new()).layer(timeout())
    };
    let sites = [
        (
            "outermost, compressed",
            routes().layer(ServiceBuilder::new().layer(sessions.clone()).layer(others())),
        ),
        (
            "innermost, compressed",
            routes().layer(ServiceBuilder::new().layer(others()).layer(sessions.clone())),
        ),
        (
            "an answer of its own, compressed",
            routes().layer(ServiceBuilder::new().layer(own).layer(others())),
        ),
        (
            "twice, compressed",
            routes().layer(ServiceBuilder::new().layer(sessions.clone()).layer(others()).layer(sessions)),
        ),
    ];
    for (name, site) in sites {
        check(name, &serve(site).await, &store).await;
    }
}

#[actix_web::test]
async fn the_session_middleware_stands_around_actix_webs_own_and_inside_of_it() {
    use actix_web::{App, HttpServer, web};

    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let sessions = SessionTransform::new(Arc::clone(&store), Settings::new("secret")).unwrap();
    let (inside, around) = (sessions.clone(), sessions);
    let routes = || web::resource("/visit").to(long);
    let server = HttpServer::new(move || {
        App::new()
            .service(
                web::scope("/in")
                    .wrap(inside.clone())
                    .wrap(Compress::default())
                    .wrap(Logger::default())
                    .service(routes()),
            )
            .service(
                web::scope("/around")
                    .wrap(Logger::default())
                    .wrap(Compress::default())
                    .wrap(around.clone())
                    .service(routes()),
            )
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = server.workers(1).disable_signals().shutdown_timeout(1).listen(listener).unwrap().run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    for scope in ["in", "around"] {
        check(&format!("{scope} Compress"), &format!("{address}/{scope}"), &store).await;
    }
    handle.stop(false).await;
}

#[tokio::test]
async fn in_axum_an_optional_session_is_none_without_a_layer_and_an_error_when_it_cannot_be_loaded() {
    let loaded = |session: Option<Session>| async move {
        match session {
            Some(session) => read(session).await,
            None => Ok("no layer".to_owned()),
        }
    };
    let lazy =
        |session: Option<LazySession>| async move { if session.is_some() { "a layer" } else { "no layer" } };
    let routes = || Router::new().route("/loaded", get(loaded)).route("/lazy", get(lazy));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let sessions = SessionLayer::new(Arc::clone(&store), Settings::new("secret")).unwrap();
    let site = serve(Router::new().nest("/in", routes().layer(sessions)).merge(routes())).await;
    let mut browser = Browser::with_session("abcdefgh12345678abcdefgh12345678");
    for (path, body) in
        [("/loaded", "no layer"), ("/lazy", "no layer"), ("/in/loaded", "none"), ("/in/lazy", "a layer")]
    {
        assert_eq!(browser.clone().get(format!("{site}{path}")).await.ok().body, body, "{path}");
    }
    store.fail(Some(("load", StoreErrorKind::Unavailable)));
    let reply = browser.get(format!("{site}/in/loaded")).await;
    assert_eq!(
        (reply.status, reply.set_cookies().len()),
        (503, 0),
        "a store that fails is not a session that is absent"
    );
    assert_eq!(browser.get(format!("{site}/in/lazy")).await.ok().body, "a layer");
}
