//! The shop of `axum.rs` on actix-web. `docs/shop.md` explains it page by page.
//!
//!     SECRET_KEY="$(openssl rand -hex 32)" cargo run --example shop_actix --features actix,sqlite,passwords
//!
//! Log in at <http://127.0.0.1:3000> as `ada` or `gus`, with the password `open sesame`.

pub(crate) mod shop;

use std::collections::HashMap;
use std::net::TcpListener;
use std::pin::Pin;

use actix_web::dev::{Payload, Server};
use actix_web::web::{self, Data, Form, Html, Query, Redirect};
use actix_web::{App, Either, FromRequest, HttpRequest, HttpResponse, HttpServer};
use cloakroom::auth::{self, CurrentUser, LazyUser, Next};
use cloakroom::csrf::{Csrf, CsrfSettings};
use cloakroom::messages::{MessageSettings, Messages};
use cloakroom::{
    AuthTransform, CsrfTransform, Error, LoginRedirect, MessagesTransform, RequireTransform, Session,
    SessionWatcher, Settings, Site, WATCH_INTERVAL, spawn_watcher,
};
use futures_util::StreamExt;
use shop::{Choice, Credentials, Member, Members, View, Visit};

impl FromRequest for Visit {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = actix_web::Result<Visit>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let (session, user) = <(Session, LazyUser<Member>)>::extract(&request).await?;
            let (csrf, messages) = <(Csrf, Messages)>::extract(&request).await?;
            Ok(Visit { session, user: user.load().await?, csrf, messages })
        })
    }
}

async fn front(visit: Visit) -> Result<Html, Error> {
    visit.page(View::Front).await.map(Html::new)
}

async fn add(visit: Visit, choice: Form<Choice>) -> Result<Redirect, Error> {
    visit.add(choice.into_inner()).map(|()| Redirect::to("/").see_other())
}

async fn checkout(visit: Visit) -> Result<Html, Error> {
    visit.page(View::Checkout).await.map(Html::new)
}

async fn order(visit: Visit, user: CurrentUser<Member>) -> Result<Redirect, Error> {
    visit.order(&user).map(|()| Redirect::to("/").see_other())
}

async fn login_form(visit: Visit, mut query: Query<HashMap<String, Next>>) -> Result<Html, Error> {
    visit.page(View::Login(query.remove("next").unwrap_or_default())).await.map(Html::new)
}

async fn log_in(
    members: Data<Members>,
    visit: Visit,
    form: Form<Credentials>,
) -> Result<Either<Redirect, Html>, Error> {
    if visit.log_in(&members, &form).await? {
        return Ok(Either::Left(Redirect::to(form.next.or("/").to_owned()).see_other()));
    }
    Ok(Either::Right(Html::new(visit.page(View::Login(form.into_inner().next)).await?)))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    auth::logout(&session).await.map(|()| Redirect::to("/").see_other())
}

async fn log_out_others(visit: Visit, user: CurrentUser<Member>) -> Result<Redirect, Error> {
    visit.log_out_others(&user).await.map(|()| Redirect::to("/").see_other())
}

/// Closes when the session ends, wherever that happens.
async fn socket(
    session: Session,
    watcher: Data<SessionWatcher>,
    request: HttpRequest,
    body: web::Payload,
) -> actix_web::Result<HttpResponse> {
    let (response, socket, mut messages) = actix_ws::handle(&request, body)?;
    let mut end = watcher.watch(&session);
    actix_web::rt::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut end => return drop(socket.close(None).await),
                message = messages.next() => if !matches!(message, Some(Ok(_))) { return },
            }
        }
    });
    Ok(response)
}

/// Serves the shop at this address. What all workers share is made once, outside of the closure.
pub(crate) fn serve(
    site: &Site,
    members: Members,
    listener: TcpListener,
) -> Result<Server, Box<dyn std::error::Error>> {
    let watcher = Data::new(spawn_watcher(&site.middleware(), WATCH_INTERVAL)?);
    let auth = AuthTransform::new(members.clone());
    let messages = MessagesTransform::new(site.settings(), MessageSettings::default());
    let csrf = CsrfTransform::new(site.settings(), CsrfSettings::default())?;
    let sessions = site.transform().redirect_to_login(LoginRedirect::to("/login"));
    let server = HttpServer::new(move || {
        let for_members = web::scope("")
            .wrap(RequireTransform::login())
            .service(web::resource("/checkout").get(checkout).post(order))
            .route("/devices/log-out-others", web::post().to(log_out_others))
            .route("/socket", web::get().to(socket));
        // The last middleware is the outermost: that of the session is around all others.
        App::new()
            .app_data(Data::new(members.clone()))
            .app_data(watcher.clone())
            .route("/", web::get().to(front))
            .route("/cart", web::post().to(add))
            .service(web::resource("/login").get(login_form).post(log_in))
            .route("/logout", web::post().to(log_out))
            .service(for_members)
            .wrap(auth.clone())
            .wrap(messages.clone())
            .wrap(csrf.clone())
            .wrap(sessions.clone())
    });
    Ok(server.listen(listener)?.run())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let site = Site::connect_or_create("sqlite:shop.sqlite3", Settings::from_env()?).await?;
    let site = site.index_user_sessions().await?;
    let members = Members::with_password("open sesame").await?;
    Ok(serve(&site, members, TcpListener::bind("127.0.0.1:3000")?)?.await?)
}
