//! The list of a user's logins, and "log out the others".

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Form;
use axum::extract::{ConnectInfo, RawQuery, Request, State};
use axum::http::header::USER_AGENT;
use axum::middleware::Next;
use axum::response::Response;
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::user_sessions::{Client, UserSession};
use cloakroom::{Clock, Error, LazySession, Session, SystemClock, auth};
use serde::Deserialize;

use super::Site;
use super::actions::Visitor;
use super::answer::devices_page;
use super::outcome::Done;
use super::view::in_words;

/// One session of the user, as the page shows it.
pub(super) struct Device {
    pub(super) id: String,
    pub(super) browser: String,
    pub(super) address: String,
    pub(super) first_seen: String,
    pub(super) last_seen: String,
    pub(super) is_current: bool,
}

/// Records the request's client, for the session's entry in the index.
pub(super) async fn note_client(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(session) = request.extensions().get::<LazySession>() {
        let user_agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
        session.set_client(Client::new(Some(&address.ip().to_string()), user_agent));
    }
    next.run(request).await
}

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
    session: Session,
) -> Result<Response, Error> {
    let message = query.as_deref().and_then(|query| query.strip_prefix("done=")).and_then(Done::named);
    let devices = devices(&session).await?;
    Ok(devices_page(&site, auth::user_id(&session)?.as_deref(), devices.as_deref(), message))
}

#[derive(Deserialize)]
pub(super) struct Revoke {
    id: String,
}

pub(super) async fn log_out_one(visitor: Visitor, Form(form): Form<Revoke>) -> Result<Response, Error> {
    let session = &visitor.session;
    let is_gone = match session.user_sessions().zip(auth::user_id(session)?) {
        Some((user_sessions, user)) => user_sessions.revoke(&user, &form.id).await?,
        None => false,
    };
    visitor.answer(Ok(if is_gone { Done::DeviceLoggedOut } else { Done::NoSuchDevice })).await
}

pub(super) async fn log_out_the_others(visitor: Visitor) -> Result<Response, Error> {
    let session = &visitor.session;
    let revoked = match session.user_sessions().zip(auth::user_id(session)?) {
        Some((user_sessions, user)) => user_sessions.revoke_others(&user, session).await?,
        None => 0,
    };
    visitor.answer(Ok(if revoked > 0 { Done::OthersLoggedOut } else { Done::NoOthers })).await
}

/// The devices of the logged-in user; `None` if the store keeps no index.
async fn devices(session: &Session) -> Result<Option<Vec<Device>>, Error> {
    let Some(user_sessions) = session.user_sessions() else { return Ok(None) };
    let Some(user) = auth::user_id(session)? else { return Ok(Some(Vec::new())) };
    let (listed, now) = (user_sessions.list(&user).await?, SystemClock.now());
    Ok(Some(listed.iter().map(|listed| Device::of(listed, session, now)).collect()))
}

impl Device {
    fn of(listed: &UserSession, session: &Session, now: DateTime<Utc>) -> Device {
        let ago = |time: DateTime<Utc>| match now - time {
            ago if ago.num_seconds() < 1 => "just now".to_owned(),
            ago => format!("{} ago", in_words(ago)),
        };
        Device {
            id: listed.id().to_string(),
            browser: listed.user_agent().map_or_else(|| "unknown".to_owned(), browser),
            address: listed.address().unwrap_or("unknown").to_owned(),
            first_seen: ago(listed.first_seen()),
            last_seen: ago(listed.last_seen()),
            is_current: listed.is_current(session),
        }
    }
}

/// A browser and its system in familiar words; otherwise the `User-Agent` itself.
fn browser(user_agent: &str) -> String {
    // Each also claims to be the ones after it.
    const BROWSERS: [(&str, &str); 7] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chromium"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let named = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ => user_agent.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::browser;

    #[test]
    fn browsers_by_the_names_that_people_know() {
        for (user_agent, name) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            ("curl/8.5.0", "curl"),
            ("robot", "robot"),
        ] {
            assert_eq!(browser(user_agent), name);
        }
    }
}
