//! A shop on axum. `docs/shop.md` explains it page by page.
//!
//!     SECRET_KEY="$(openssl rand -hex 32)" cargo run --example shop --features sqlite,passwords
//!
//! Log in at <http://127.0.0.1:3000> as `ada` or `gus`, with the password `open sesame`.

pub(crate) mod shop;

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Form, FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::response::{Html, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use cloakroom::auth::{self, CurrentUser, Next};
use cloakroom::csrf::{Csrf, CsrfSettings};
use cloakroom::messages::{MessageSettings, Messages};
use cloakroom::{
    AuthLayer, CsrfLayer, Error, LoginRedirect, MessagesLayer, RequireLayer, Session, SessionWatcher,
    Settings, Site, WATCH_INTERVAL, spawn_watcher,
};
use shop::{Choice, Credentials, Member, Members, View, Visit};

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Visit, Error> {
        Ok(Visit {
            session: Session::from_request_parts(parts, state).await?,
            user: Option::<CurrentUser<Member>>::from_request_parts(parts, state).await?,
            csrf: Csrf::from_request_parts(parts, state).await?,
            messages: Messages::from_request_parts(parts, state).await?,
        })
    }
}

async fn front(visit: Visit) -> Result<Html<String>, Error> {
    visit.page(View::Front).await.map(Html)
}

async fn add(visit: Visit, Form(choice): Form<Choice>) -> Result<Redirect, Error> {
    visit.add(choice).map(|()| Redirect::to("/"))
}

async fn checkout(visit: Visit) -> Result<Html<String>, Error> {
    visit.page(View::Checkout).await.map(Html)
}

async fn order(visit: Visit, user: CurrentUser<Member>) -> Result<Redirect, Error> {
    visit.order(&user).map(|()| Redirect::to("/"))
}

async fn login_form(
    visit: Visit,
    Query(mut query): Query<HashMap<String, Next>>,
) -> Result<Html<String>, Error> {
    visit.page(View::Login(query.remove("next").unwrap_or_default())).await.map(Html)
}

async fn log_in(
    State((members, _)): State<(Members, SessionWatcher)>,
    visit: Visit,
    Form(form): Form<Credentials>,
) -> Result<Result<Redirect, Html<String>>, Error> {
    if visit.log_in(&members, &form).await? {
        return Ok(Ok(Redirect::to(form.next.or("/"))));
    }
    Ok(Err(Html(visit.page(View::Login(form.next)).await?)))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    auth::logout(&session).await.map(|()| Redirect::to("/"))
}

async fn log_out_others(visit: Visit, user: CurrentUser<Member>) -> Result<Redirect, Error> {
    visit.log_out_others(&user).await.map(|()| Redirect::to("/"))
}

/// Closes when the session ends, wherever that happens.
async fn socket(
    session: Session,
    State((_, watcher)): State<(Members, SessionWatcher)>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mut end = watcher.watch(&session);
    upgrade.on_upgrade(async move |mut socket| {
        loop {
            tokio::select! {
                _ = &mut end => return drop(socket.send(Message::Close(None)).await),
                message = socket.recv() => if !matches!(message, Some(Ok(_))) { return },
            }
        }
    })
}

pub(crate) fn app(site: &Site, members: Members) -> Result<Router, Box<dyn std::error::Error>> {
    let watcher = spawn_watcher(&site.middleware(), WATCH_INTERVAL)?;
    let for_members = Router::new()
        .route("/checkout", get(checkout).post(order))
        .route("/devices/log-out-others", post(log_out_others))
        .route("/socket", get(socket))
        .layer(RequireLayer::login());
    // The last layer is the outermost: that of the session is around all others.
    Ok(Router::new()
        .route("/", get(front))
        .route("/cart", post(add))
        .route("/login", get(login_form).post(log_in))
        .route("/logout", post(log_out))
        .merge(for_members)
        .layer(AuthLayer::new(members.clone()))
        .layer(MessagesLayer::new(site.settings(), MessageSettings::default()))
        .layer(CsrfLayer::new(site.settings(), CsrfSettings::default())?)
        .layer(site.layer().redirect_to_login(LoginRedirect::to("/login")))
        .with_state((members, watcher)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let site = Site::connect_or_create("sqlite:shop.sqlite3", Settings::from_env()?).await?;
    let site = site.index_user_sessions().await?;
    let app = app(&site, Members::with_password("open sesame").await?)?;
    Ok(serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}
