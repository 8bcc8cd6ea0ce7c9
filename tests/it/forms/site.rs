//! A site with the layers of forms, on each adapter.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use axum::extract::Query;
use axum::routing::get;
use axum::{Json as AxumJson, Router};
use cloakroom::messages::{Level, Message, MessageSettings, Messages};
use cloakroom::{
    Error, MessagesLayer, MessagesTransform, SessionLayer, SessionStore, SessionTransform, Settings,
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
    /// Where requests wait for each other before they answer.
    pub(super) gate: Arc<Barrier>,
}

impl Parts {
    pub(super) fn new(store: Arc<dyn SessionStore>, settings: Settings, messages: MessageSettings) -> Parts {
        Parts { store, settings, messages, gate: Arc::new(Barrier::new(1)) }
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

async fn on_axum(parts: Parts) -> String {
    let gate = Arc::clone(&parts.gate);
    let handler = move |messages: Messages, Query(form): Query<Form>| {
        let gate = Arc::clone(&gate);
        async move { AxumJson(page(&messages, &form, &gate).await) }
    };
    let router = Router::new()
        .route("/messages", get(handler))
        .layer(MessagesLayer::new(&parts.settings, parts.messages))
        .route("/outside", get(async |_: Messages| "unreachable"))
        .layer(SessionLayer::new(parts.store, parts.settings).unwrap());
    serve(router).await
}

async fn on_actix(parts: Parts) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, started) = tokio::sync::oneshot::channel();
    let sessions = SessionTransform::new(parts.store, parts.settings.clone()).unwrap();
    let messages = MessagesTransform::new(&parts.settings, parts.messages);
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
                App::new().service(inside).route("/outside", web::get().to(outside)).wrap(sessions.clone())
            };
            let server = HttpServer::new(application).workers(1).disable_signals().shutdown_timeout(1);
            let server = server.listen(listener).unwrap().run();
            send.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    Running { address, server: Some(started.await.unwrap()) }
}
