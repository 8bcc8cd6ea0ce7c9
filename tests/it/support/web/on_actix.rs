//! Serves a site with actix-web.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServerHandle, ServiceRequest};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::web::{Payload, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Route, web};
use cloakroom::{LazySession, MemoryStore, Session, SessionTransform, Settings};
use futures_util::StreamExt;

use super::site::{Answer, Body, Call, Layer, Page, Pages};

/// A server that stops when it is dropped.
pub(super) struct Server(ServerHandle);

impl Drop for Server {
    fn drop(&mut self) {
        // The command is sent by the call itself; nobody waits for what comes of it.
        drop(self.0.stop(false));
    }
}

/// Serves from a thread of its own, as actix-web has its own runtime.
pub(super) async fn serve(pages: Pages) -> (String, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, started) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let application = move || {
                let pages = pages.clone();
                App::new().configure(|config| scope(config, "", pages))
            };
            let server = HttpServer::new(application).workers(1).disable_signals().shutdown_timeout(1);
            let server = server.listen(listener).unwrap().run();
            send.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    (address, Server(started.await.unwrap()))
}

fn scope(config: &mut ServiceConfig, prefix: &str, pages: Pages) {
    let Pages { pages, nested, before, layers } = pages;
    let inside = move |config: &mut ServiceConfig| {
        for (prefix, nested) in nested {
            scope(config, prefix, nested);
        }
        for (path, page) in pages {
            config.route(&path, route(page));
        }
    };
    let before = from_fn(move |mut request: ServiceRequest, next: Next<BoxBody>| {
        let before = before.clone();
        async move {
            if let Some(before) = before {
                let session = request.extract::<Session>().await?;
                if let Err(status) = before(session).await {
                    let status = StatusCode::from_u16(status).unwrap();
                    return Err(InternalError::new("gave up", status).into());
                }
            }
            next.call(request).await
        }
    });
    assert!(layers.len() <= 2, "this runner has room for two layers");
    let mut layers = layers.into_iter().map(sessions);
    let (inner, outer) = (layers.next(), layers.next());
    config.service(
        web::scope(prefix).configure(inside).wrap(before).wrap(condition(inner)).wrap(condition(outer)),
    );
}

fn condition(sessions: Option<SessionTransform>) -> Condition<SessionTransform> {
    let is_there = sessions.is_some();
    let unused = || SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("unused")).unwrap();
    Condition::new(is_there, sessions.unwrap_or_else(unused))
}

fn sessions(layer: Layer) -> SessionTransform {
    let sessions = SessionTransform::from(layer.middleware);
    match layer.on_error {
        None => sessions,
        Some(on_error) => sessions.on_error(move |error, request| response(on_error(error, request))),
    }
}

fn route(page: Page) -> Route {
    match page {
        Page::Plain(run) => web::route().to(move |request: HttpRequest, payload: Payload| {
            let answer = run((), call(&request, payload));
            async move { response(answer.await) }
        }),
        Page::Lazy(run) => {
            web::route().to(move |lazy: LazySession, request: HttpRequest, payload: Payload| {
                let answer = run(lazy, call(&request, payload));
                async move { answer.await.map(response) }
            })
        }
        Page::Loaded(run) => web::route().to(
            move |lazy: LazySession, session: Session, request: HttpRequest, payload: Payload| {
                let answer = run((lazy, session), call(&request, payload));
                async move { answer.await.map(response) }
            },
        ),
    }
}

fn call(request: &HttpRequest, mut payload: Payload) -> Call {
    let (send, body) = tokio::sync::mpsc::channel(1);
    actix_web::rt::spawn(async move {
        while let Some(Ok(piece)) = payload.next().await {
            if send.send(piece.to_vec()).await.is_err() {
                break;
            }
        }
    });
    Call { path: request.path().to_owned(), body }
}

fn response(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap();
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        response.append_header((name, value));
    }
    match answer.body {
        Body::Text(text) => response.body(text),
        Body::Stream(pieces) => response.streaming(super::stream_of(pieces)),
    }
}
