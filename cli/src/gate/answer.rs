//! The answer to a proxy: a status and headers.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::identity::Identity;
use super::kind::Kind;

/// An answer. A proxy lets the request pass on 200 alone, and overwrites these headers of the request then.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// For a person who sees it; empty for 200.
    pub(crate) body: &'static str,
}

pub(crate) const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
pub(crate) const USER_NAME: HeaderName = HeaderName::from_static("x-user-name");
pub(crate) const USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");
pub(crate) const USER_GROUPS: HeaderName = HeaderName::from_static("x-user-groups");
pub(crate) const USER_STAFF: HeaderName = HeaderName::from_static("x-user-staff");
pub(crate) const USER_SUPERUSER: HeaderName = HeaderName::from_static("x-user-superuser");
pub(crate) const USER_ASSERTION: HeaderName = HeaderName::from_static("x-user-assertion");
const LOGIN_LOCATION: HeaderName = HeaderName::from_static("x-login-location");

/// The headers of each 2xx, also where they are empty: a proxy that copies them then overwrites what a client sent.
pub(crate) const IDENTITY_HEADERS: [HeaderName; 7] =
    [USER_ID, USER_NAME, USER_EMAIL, USER_GROUPS, USER_STAFF, USER_SUPERUSER, USER_ASSERTION];

const EMPTY: HeaderValue = HeaderValue::from_static("");
const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// All that is not printable ASCII, and `%` itself.
const QUOTED: &AsciiSet = &CONTROLS.add(b'%');
const QUOTED_IN_LIST: &AsciiSet = &QUOTED.add(b',');

impl Answer {
    /// No login helps.
    pub(crate) fn forbidden() -> Answer {
        Answer::bare(StatusCode::FORBIDDEN, "Forbidden.\n")
    }

    fn bare(status: StatusCode, body: &'static str) -> Answer {
        Answer { status, headers: vec![NO_STORE], body }
    }

    /// The store does not answer.
    pub(crate) fn unavailable() -> Answer {
        Answer::bare(StatusCode::SERVICE_UNAVAILABLE, "The login cannot be checked at the moment.\n")
    }

    /// The request passes, and nobody is logged in.
    pub(crate) fn allowed_to_anyone() -> Answer {
        let headers = IDENTITY_HEADERS.into_iter().map(|name| (name, EMPTY)).chain([NO_STORE]).collect();
        Answer { status: StatusCode::OK, headers, body: "" }
    }

    /// The request passes, as this user's.
    pub(crate) fn allowed(user: &Identity, assertion: String) -> Answer {
        let groups: Vec<_> = user.groups.iter().map(|group| quoted(group, QUOTED_IN_LIST)).collect();
        let flag = |is_set| HeaderValue::from_static(if is_set { "true" } else { "false" });
        let headers = vec![
            (USER_ID, value(quoted(&user.id, QUOTED))),
            (USER_NAME, value(quoted(&user.username, QUOTED))),
            (USER_EMAIL, value(quoted(&user.email, QUOTED))),
            (USER_GROUPS, value(groups.join(",").into())),
            (USER_STAFF, flag(user.is_staff)),
            (USER_SUPERUSER, flag(user.is_superuser)),
            (USER_ASSERTION, value(assertion.into())),
            NO_STORE,
        ];
        Answer { status: StatusCode::OK, headers, body: "" }
    }

    /// Nobody is logged in; with a location, a person is led to the login page.
    pub(crate) fn log_in(kind: Kind, location: Option<String>) -> Answer {
        let passes = kind.passes_redirects();
        let status = if passes && location.is_some() { StatusCode::FOUND } else { StatusCode::UNAUTHORIZED };
        let mut answer = Answer::bare(status, "Log in first.\n");
        if let Some(location) = location {
            answer.headers.push((if passes { LOCATION } else { LOGIN_LOCATION }, value(location.into())));
        }
        answer
    }
}

/// Percent-encodes UTF-8. Spaces at the ends are encoded too: programs cut them off, which makes another value.
fn quoted<'a>(text: &'a str, set: &'static AsciiSet) -> Cow<'a, str> {
    let quoted = Cow::from(utf8_percent_encode(text, set));
    let inside = quoted.trim_matches(' ');
    if inside.len() == quoted.len() {
        return quoted;
    }
    let spaces = |count| "%20".repeat(count);
    let before = quoted.len() - quoted.trim_start_matches(' ').len();
    let after = if inside.is_empty() { 0 } else { quoted.len() - before - inside.len() };
    Cow::Owned(format!("{}{inside}{}", spaces(before), spaces(after)))
}

/// All these values are printable ASCII.
fn value(text: Cow<'_, str>) -> HeaderValue {
    match text {
        Cow::Borrowed(text) => HeaderValue::from_str(text).unwrap_or(EMPTY),
        Cow::Owned(text) => HeaderValue::try_from(text).unwrap_or(EMPTY),
    }
}

#[cfg(test)]
mod tests;
