//! The handlers: each applies a form to the session, as your own site would.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cloakroom::chrono::Utc;
use cloakroom::{Error, Expiry, Moment, Session, TimeZone, Value, auth};
use serde::Deserialize;

use super::Site;
use super::answer::{Problem, answer, json_document, message_page, page};
use super::outcome::Done;

/// The user who logs in here. `password` is the content of the password field in a database; the session
/// keeps a hash of it, so that a new password ends the login.
const ADA: auth::User<'static> =
    auth::User { id: "1", password: "pbkdf2_sha256$demo$ada", backend: auth::MODEL_BACKEND };

const VISITS: &str = "visits";

/// The shorter expiry that the page offers.
const FIVE_MINUTES: i64 = 300;

type Shared = State<Arc<Site>>;

/// The sender of a form: the session to change, and the kind of answer.
pub(super) struct Visitor {
    site: Arc<Site>,
    pub(super) session: Session,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<Site>> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Error> {
        let session = Session::from_request_parts(parts, site).await?;
        Ok(Visitor { site: Arc::clone(site), session, headers: parts.headers.clone() })
    }
}

impl Visitor {
    pub(super) async fn answer(&self, outcome: Result<Done, Problem>) -> Result<Response, Error> {
        answer(&self.site, &self.session, &self.headers, outcome).await
    }
}

pub(super) async fn front_door(
    State(site): Shared,
    RawQuery(query): RawQuery,
    session: Session,
) -> Result<Response, Error> {
    count_visit(&session)?;
    let done = query.as_deref().and_then(|query| query.strip_prefix("done=")).and_then(Done::named);
    page(&site, &session, StatusCode::OK, done.map(|done| Ok(done.message()))).await
}

pub(super) async fn session_json(State(site): Shared, session: Session) -> Result<Response, Error> {
    json_document(&site, &session, None).await
}

pub(super) async fn bye() -> Response {
    message_page(
        StatusCode::OK,
        "Your coat is handed back",
        "The session's row is gone from the store, and the browser was told to forget the ticket. \
         Anyone who still has a copy of the ticket finds nothing.",
    )
}

pub(super) async fn visit(visitor: Visitor) -> Result<Response, Error> {
    let outcome = if count_visit(&visitor.session)? {
        Ok(Done::Counted)
    } else {
        Err(Problem("`visits` holds a value that cannot be incremented; remove it to start again.".into()))
    };
    visitor.answer(outcome).await
}

#[derive(Deserialize)]
pub(super) struct Put {
    key: String,
    value: String,
}

pub(super) async fn put(visitor: Visitor, Form(form): Form<Put>) -> Result<Response, Error> {
    let outcome = match check_key(&form.key) {
        Err(problem) => Err(problem),
        Ok(key) => {
            visitor.session.set_value(key, json_or_text(&form.value)?);
            Ok(Done::Put)
        }
    };
    visitor.answer(outcome).await
}

#[derive(Deserialize)]
pub(super) struct Remove {
    key: String,
}

pub(super) async fn remove(visitor: Visitor, Form(form): Form<Remove>) -> Result<Response, Error> {
    let done = if visitor.session.remove(&form.key) { Done::Removed } else { Done::NotThere };
    visitor.answer(Ok(done)).await
}

pub(super) async fn login(visitor: Visitor) -> Result<Response, Error> {
    let before = visitor.session.session_key();
    auth::login(&visitor.session, ADA).await?;
    let done = if before.is_some() && visitor.session.session_key() == before {
        Done::LoggedInAlready
    } else {
        Done::LoggedIn
    };
    visitor.answer(Ok(done)).await
}

pub(super) async fn rotate(visitor: Visitor) -> Result<Response, Error> {
    visitor.session.cycle_key()?;
    visitor.answer(Ok(Done::Rotated)).await
}

pub(super) async fn logout(visitor: Visitor) -> Result<Response, Error> {
    auth::logout(&visitor.session).await?;
    visitor.answer(Ok(Done::LoggedOut)).await
}

#[derive(Deserialize)]
pub(super) struct ExpiryForm {
    /// `default`, `five-minutes`, `browser-close` or `date`.
    expiry: String,
    /// For `date`: ISO 8601, in UTC unless it says otherwise.
    #[serde(default)]
    date: String,
}

pub(super) async fn expiry(visitor: Visitor, Form(form): Form<ExpiryForm>) -> Result<Response, Error> {
    let expiry = match form.expiry.as_str() {
        "default" => Ok(Expiry::Default),
        "five-minutes" => Ok(Expiry::Seconds(FIVE_MINUTES)),
        "browser-close" => Ok(Expiry::AtBrowserClose),
        "date" => future_date(&form.date),
        _ => Err(Problem("`expiry` is default, five-minutes, browser-close or date.".into())),
    };
    let outcome = match expiry {
        Err(problem) => Err(problem),
        Ok(expiry) => {
            visitor.session.set_expiry(expiry)?;
            // Setting the default again is not a change of data, but the visitor asked for a new term.
            visitor.session.set_modified(true);
            Ok(Done::ExpirySet)
        }
    };
    visitor.answer(outcome).await
}

pub(super) async fn set_test_cookie(visitor: Visitor) -> Result<Response, Error> {
    visitor.session.set_test_cookie()?;
    visitor.answer(Ok(Done::TestCookieSet)).await
}

pub(super) async fn check_test_cookie(visitor: Visitor) -> Result<Response, Error> {
    let done =
        if visitor.session.test_cookie_worked() { Done::TestCookieWorked } else { Done::TestCookieMissing };
    visitor.answer(Ok(done)).await
}

pub(super) async fn delete_test_cookie(visitor: Visitor) -> Result<Response, Error> {
    let done =
        if visitor.session.delete_test_cookie() { Done::TestCookieDeleted } else { Done::TestCookieMissing };
    visitor.answer(Ok(done)).await
}

/// Counts the visit, unless the value under that key is not a number; returns whether it did.
fn count_visit(session: &Session) -> Result<bool, Error> {
    match session.modify::<u64>(VISITS, |visits| visits.unwrap_or(0).saturating_add(1)) {
        Ok(_) => Ok(true),
        Err(Error::Value { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Refuses keys that begin with `_`, which are the framework's: with a wrong `_session_expiry` the session
/// could not even be saved.
fn check_key(key: &str) -> Result<&str, Problem> {
    match key.trim() {
        "" => Err(Problem("A key needs a name.".into())),
        key if key.starts_with('_') => {
            Err(Problem("Keys that begin with an underscore belong to the framework; take another.".into()))
        }
        key if key.chars().count() > 100 => {
            Err(Problem("That key is longer than 100 characters; take a shorter one.".into()))
        }
        key => Ok(key),
    }
}

/// Guesses the intended value: `7` and `{"a":1}` are JSON, `blue` is text.
fn json_or_text(text: &str) -> Result<Value, Error> {
    // Strict JSON: NaN in a form is meant as text.
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        && let Ok(value) = Value::from_json(text)
    {
        return Ok(value);
    }
    Value::serialize(text).map_err(|source| Error::Value { key: "value".to_owned(), source })
}

fn future_date(text: &str) -> Result<Expiry, Problem> {
    let wrong = || Problem("That is not a date and time; write it as 2030-12-31T23:59.".into());
    let moment = match Moment::from_isoformat(text.trim()).ok_or_else(wrong)? {
        Moment::Aware(moment) => moment,
        Moment::Naive(wall_clock) => TimeZone::NaiveUtc.from_wall_clock(wall_clock).fixed_offset(),
    };
    if moment.to_utc() <= Utc::now() {
        return Err(Problem("That date is in the past. Choose a later one.".into()));
    }
    Ok(Expiry::At(moment))
}
