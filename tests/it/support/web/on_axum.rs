//! Serves a site with axum.

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use cloakroom::{Error, LazySession, RequestHead, Session, SessionLayer};
use futures_util::StreamExt;

use super::site::{Answer, Body, Call, Page, Pages};

pub(super) fn router(pages: Pages) -> Router {
    let mut router = Router::new();
    for (path, page) in pages.pages {
        router = router.route(&path, method_router(page));
    }
    for (prefix, nested) in pages.nested {
        router = router.nest(prefix, self::router(nested));
    }
    if let Some(before) = pages.before {
        router = router.layer(from_fn(move |session: Session, request: Request, next: Next| {
            let before = before(session);
            async move {
                match before.await {
                    Ok(()) => next.run(request).await,
                    Err(status) => response(Answer::status(status)),
                }
            }
        }));
    }
    for layer in pages.layers {
        let sessions = SessionLayer::from(layer.middleware);
        router = match layer.on_error {
            None => router.layer(sessions),
            Some(on_error) => {
                router.layer(sessions.on_error(move |error: &Error, request: &RequestHead<'_>| {
                    response(on_error(error, request))
                }))
            }
        };
    }
    router
}

fn method_router(page: Page) -> MethodRouter {
    match page {
        Page::Plain(run) => any(move |request: Request| {
            let answer = run((), call(request));
            async move { response(answer.await) }
        }),
        Page::Lazy(run) => any(move |lazy: LazySession, request: Request| {
            let answer = run(lazy, call(request));
            async move { answer.await.map_or_else(IntoResponse::into_response, response) }
        }),
        Page::Loaded(run) => any(move |lazy: LazySession, session: Session, request: Request| {
            let answer = run((lazy, session), call(request));
            async move { answer.await.map_or_else(IntoResponse::into_response, response) }
        }),
    }
}

fn call(request: Request) -> Call {
    let path = request.uri().path().to_owned();
    let (send, body) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut pieces = request.into_body().into_data_stream();
        while let Some(Ok(piece)) = pieces.next().await {
            if send.send(piece.to_vec()).await.is_err() {
                break;
            }
        }
    });
    Call { path, body }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = match answer.body {
        Body::Text(text) => AxumBody::from(text),
        Body::Stream(pieces) => AxumBody::from_stream(super::stream_of(pieces)),
    };
    response.body(body).unwrap()
}
