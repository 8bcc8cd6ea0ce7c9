//! Turns the outcome of a form into a response: a page, a redirect, or JSON for scripts.

use askama::Template;
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use cloakroom::{Error, Session};
use serde_json::json;

use super::Site;
use super::devices::Device;
use super::outcome::Done;
// The page's template matches on the enums.
use super::view::{ExpiryChoice, StoredText, View};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The reason for refusing a form, for the visitor.
pub(super) struct Problem(pub(super) String);

/// Answers a form: browsers are redirected to the page, scripts that accept JSON get the current session.
pub(super) async fn answer(
    site: &Site,
    session: &Session,
    headers: &HeaderMap,
    outcome: Result<Done, Problem>,
) -> Result<Response, Error> {
    match (wants_json(headers), outcome) {
        (true, Ok(done)) => json_document(site, session, Some(done)).await,
        (true, Err(problem)) => {
            Ok((StatusCode::BAD_REQUEST, Json(json!({ "error": problem.0 }))).into_response())
        }
        (false, Ok(done)) => Ok(Redirect::to(&done.location()).into_response()),
        (false, Err(problem)) => {
            page(site, session, StatusCode::BAD_REQUEST, Some(Err(problem.0.as_str()))).await
        }
    }
}

/// The front page, with a message about the outcome.
pub(super) async fn page(
    site: &Site,
    session: &Session,
    status: StatusCode,
    message: Option<Result<&str, &str>>,
) -> Result<Response, Error> {
    let view = View::of(site, session).await?;
    Ok(render(status, &FrontPage { view: &view, message, here: "counter" }))
}

/// The page's data, for scripts.
pub(super) async fn json_document(
    site: &Site,
    session: &Session,
    done: Option<Done>,
) -> Result<Response, Error> {
    let view = View::of(site, session).await?;
    let mut document = view.to_json();
    if let Some(done) = done {
        document.done = Some(done.name());
        document.message = Some(done.message());
    }
    Ok(Json(document).into_response())
}

/// A page with a single message.
pub(super) fn message_page(status: StatusCode, title: &str, message: &str) -> Response {
    render(status, &MessagePage { title, message, here: "" })
}

/// The page of the user's devices; without a list if the store keeps no index.
pub(super) fn devices_page(
    site: &Site,
    user_id: Option<&str>,
    devices: Option<&[Device]>,
    done: Option<Done>,
) -> Response {
    let hint = site.index_hint.as_deref().unwrap_or_default();
    let message = done.map(Done::message);
    let store_name = &site.store_name;
    render(StatusCode::OK, &DevicesPage { store_name, hint, user_id, devices, message, here: "devices" })
}

/// The page of the concurrent requests.
pub(super) fn race_page(store_name: &str) -> Response {
    render(StatusCode::OK, &RacePage { store_name, here: "race" })
}

pub(super) async fn not_found() -> Response {
    message_page(StatusCode::NOT_FOUND, "Nothing hangs here", "There is no such page in the cloakroom.")
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("pages/style.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], include_str!("pages/demo.js"))
}

pub(super) async fn race_script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], include_str!("pages/race.js"))
}

#[derive(Template)]
#[template(path = "front.html")]
struct FrontPage<'a> {
    view: &'a View,
    message: Option<Result<&'a str, &'a str>>,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    message: &'a str,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesPage<'a> {
    store_name: &'a str,
    hint: &'a str,
    user_id: Option<&'a str>,
    devices: Option<&'a [Device]>,
    message: Option<&'static str>,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "race.html")]
struct RacePage<'a> {
    store_name: &'a str,
    here: &'static str,
}

fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "page not rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page cannot be shown; the log says why.")
                .into_response()
        }
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("application/json"));
    headers.get_all(header::ACCEPT).iter().any(accepts)
}
