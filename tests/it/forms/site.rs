//! A site with the layers of forms, on each adapter.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query};
use axum::routing::{any, get, post, put};
use axum::{Json as AxumJson, Router};
use cloakroom::csrf::{Csrf, CsrfSettings};
use cloakroom::messages::{Level, Message, MessageSettings, Messages};
use cloakroom::{
    CsrfLayer, CsrfTransform, Error, MessagesLayer, MessagesTransform, Session, SessionLayer, SessionStore,
    SessionTransform, Settings, Value, auth,
};
use serde_json::{Value as Json, json};
use tokio::sync::Barrier;

use crate::support::browser::serve;
use crate::support::web::Adapter;

/// What a site is made of.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) settings: Settings,
    pub(super) messages: MessageSettings,
    pub(super) csrf: Option<CsrfSettings>,
    /// Where requests wait for each other before they answer.
    pub(super) gate: Arc<Barrier>,
}

impl Parts {
    pub(super) fn new(store: Arc<dyn SessionStore>, settings: Settings, messages: MessageSettings) -> Parts {
        Parts { store, settings, messages, csrf: None, gate: Arc::new(Barrier::new(1)) }
    }

    pub(super) async fn serve(self, on: Adapter) -> Running {
        match on {
            Adapter::Axum => Running { address: on_axum(self).await, server: None },
            Adapter::Actix => on_actix(self).await,
        }
    }
}

/// A site that listens.
pub(super) struct Running {
    address: String,
    server: Option<ServerHandle>,
}

impl Running {
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            drop(server.stop(false));
        }
    }
}

type Form = HashMap<String, String>;

/// Adds the message that the query describes, and answers with what it was asked for.
async fn page(messages: &Messages, form: &Form, gate: &Barrier) -> Json {
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let read = if field("do") == "read" { messages.read() } else { Vec::new() };
    if let Some(text) = form.get("text") {
        let level = Level::from(field("level").parse().unwrap_or(25));
        let message =
            if field("safe") == "1" { Message::safe(level, text) } else { Message::new(level, text) };
        messages.add(message.with_extra_tags(field("tags")));
    }
    let shown = if field("do") == "peek" { messages.peek() } else { read };
    gate.wait().await;
    shown.iter().map(|message| json!([message.tags(), message.text(), message.is_safe()])).collect()
}

/// Logs in, and answers with a new token.
async fn log_in(session: &Session, csrf: &Csrf) -> Result<String, Error> {
    auth::login(session, auth::User { id: "1", password: "hash", backend: auth::MODEL_BACKEND }).await?;
    csrf.token()
}

/// Stores any value as the session's secret.
fn put_token(session: &Session, json: &str) {
    match Value::from_json(json) {
        Ok(value) => session.set_value("_csrftoken", value),
        Err(_) => session.set_value("something else", Value::from_json("1").unwrap()),
    }
}

/// Django's `fail_silently`.
async fn silent(messages: Option<Messages>) -> &'static str {
    if messages.is_none() { "no messages here" } else { "there are some" }
}

async fn on_axum(parts: Parts) -> String {
    let gate = Arc::clone(&parts.gate);
    let handler = move |messages: Messages, Query(form): Query<Form>| {
        let gate = Arc::clone(&gate);
        async move { AxumJson(page(&messages, &form, &gate).await) }
    };
    let csrf = CsrfLayer::new(&parts.settings, parts.csrf.unwrap_or_default()).unwrap();
    let router = Router::new()
        .route("/csrf", get(async |csrf: Csrf| csrf.token()).fallback(async |body: Bytes| body))
        .route("/csrf/login", post(async |session: Session, csrf: Csrf| log_in(&session, &csrf).await))
        .route("/csrf/logout", post(async |session: Session| auth::logout(&session).await))
        .route("/csrf/other", any(async || "other"))
        .layer(csrf)
        .layer(DefaultBodyLimit::disable())
        .route("/messages", get(handler))
        .layer(MessagesLayer::new(&parts.settings, parts.messages))
        .route("/outside", get(async |_: Messages| "unreachable"))
        .route("/outside/silent", get(silent))
        .route("/outside/put", put(async |session: Session, body: String| put_token(&session, &body)))
        .layer(SessionLayer::new(parts.store, parts.settings).unwrap());
    serve(router).await
}

async fn on_actix(parts: Parts) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, started) = tokio::sync::oneshot::channel();
    let sessions = SessionTransform::new(parts.store, parts.settings.clone()).unwrap();
    let messages = MessagesTransform::new(&parts.settings, parts.messages);
    let csrf = CsrfTransform::new(&parts.settings, parts.csrf.unwrap_or_default()).unwrap();
    let gate = parts.gate;
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let application = move || {
                let gate = Arc::clone(&gate);
                let handler = move |messages: Messages, form: web::Query<Form>| {
                    let gate = Arc::clone(&gate);
                    async move { HttpResponse::Ok().json(page(&messages, &form, &gate).await) }
                };
                let inside = web::resource("/messages").route(web::get().to(handler)).wrap(messages.clone());
                let outside = async |messages: Result<Messages, Error>| messages.map(|_| "unreachable");
                let guarded = web::scope("/csrf")
                    .route(
                        "/login",
                        web::post().to(async |session: Session, csrf: Csrf| log_in(&session, &csrf).await),
                    )
                    .route(
                        "/logout",
                        web::post().to(async |session: Session| auth::logout(&session).await.map(|()| "")),
                    )
                    .route("/other", web::route().to(async || "other"))
                    .route("", web::get().to(async |csrf: Csrf| csrf.token()))
                    .route("", web::route().to(async |body: web::Bytes| body))
                    .wrap(csrf.clone());
                let put = async |session: Session, body: String| {
                    put_token(&session, &body);
                    ""
                };
                App::new()
                    .app_data(web::PayloadConfig::new(10 << 20))
                    .service(inside)
                    .service(guarded)
                    .route("/outside", web::get().to(outside))
                    .route("/outside/silent", web::get().to(silent))
                    .route("/outside/put", web::put().to(put))
                    .wrap(sessions.clone())
            };
            let server = HttpServer::new(application).workers(1).disable_signals().shutdown_timeout(1);
            let server = server.listen(listener).unwrap().run();
            send.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    Running { address, server: Some(started.await.unwrap()) }
}
