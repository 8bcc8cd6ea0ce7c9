//! The logged-in user's id as an argument of a handler.

use axum::Router;
use axum::routing::get;
use cloakroom::auth::UserId;
use cloakroom::{MemoryStore, Session, SessionLayer, Settings, auth};
use std::sync::Arc;

use crate::support::browser::{Browser, serve};

async fn log_in(session: Session, id: &'static str) -> Result<(), cloakroom::Error> {
    auth::login(&session, auth::User { id, password: "hash", backend: auth::MODEL_BACKEND }).await
}

#[tokio::test]
async fn a_handler_that_names_the_user_lets_nobody_else_in() {
    let routes = Router::new()
        .route("/number", get(|UserId(id): UserId<i64>| async move { format!("{}", id + 1) }))
        .route("/text", get(|id: UserId| async move { id.0 }))
        .route("/maybe", get(|id: Option<UserId<i64>>| async move { format!("{:?}", id.map(|id| *id)) }))
        .route("/login/7", get(|session| log_in(session, "7")))
        .route("/login/uuid", get(|session| log_in(session, "0190b4c2-3f0e")));
    let layer = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret")).unwrap();
    let site = serve(routes.layer(layer)).await;
    let url = |path: &str| format!("{site}{path}");

    let mut browser = Browser::new();
    let refused = browser.get(url("/number")).await;
    assert_eq!((refused.status, refused.body.as_str()), (401, "Please log in."));
    assert_eq!(refused.vary(), Some("Cookie"), "a cache must not keep it for who is logged in");
    assert_eq!(browser.get(url("/text")).await.status, 401);
    assert_eq!(browser.get(url("/maybe")).await.ok().body, "None");

    browser.get(url("/login/7")).await.ok();
    assert_eq!(browser.get(url("/number")).await.ok().body, "8");
    assert_eq!(browser.get(url("/text")).await.ok().body, "7");
    assert_eq!(browser.get(url("/maybe")).await.ok().body, "Some(7)");

    browser.get(url("/login/uuid")).await.ok();
    assert_eq!(browser.get(url("/text")).await.ok().body, "0190b4c2-3f0e");
    for path in ["/number", "/maybe"] {
        assert_eq!(browser.get(url(path)).await.status, 500, "no number, and not nobody");
    }
}
