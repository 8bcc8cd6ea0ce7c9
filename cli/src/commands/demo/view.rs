//! The contents of a page: the ticket in the browser, and the coat in the store.

use cloakroom::chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use cloakroom::{Clock, EXPIRY_KEY, Error, Kind, Session, SystemClock, TEST_COOKIE_NAME, auth};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Site;
use super::json_tokens::{Token, tokens};

/// The data of the front page and of its JSON form.
pub(super) struct View {
    pub(super) store_name: String,
    /// The count, or another value under that key.
    pub(super) visits: Option<String>,
    pub(super) ticket: Option<Ticket>,
    pub(super) coat: Option<Coat>,
    /// The keys that the visitor set.
    pub(super) pockets: Vec<Pocket>,
    /// The keys that login, expiry and test cookie set.
    pub(super) framework_keys: Vec<String>,
    pub(super) user_id: Option<String>,
    pub(super) expiry: ExpiryChoice,
    pub(super) test_cookie: bool,
    data_json: String,
}

/// The session key and cookie in the browser.
pub(super) struct Ticket {
    pub(super) cookie_name: String,
    pub(super) session_key: String,
    /// How many seconds the browser keeps it; `None`: until the browser closes.
    pub(super) max_age: Option<i64>,
    pub(super) attributes: Vec<(&'static str, String)>,
}

/// The row in the store.
pub(super) struct Coat {
    pub(super) text: StoredText,
    pub(super) tokens: Vec<Token>,
    pub(super) end: Option<End>,
}

/// The row's text, parsed for the page.
pub(super) enum StoredText {
    /// Modern signed text: payload, time and signature.
    Signed { payload: String, timestamp: String, signature: String, compressed: bool },
    /// Any other text, as far as it can be shown.
    Other(String),
    /// The store keeps no text; a database would keep this one.
    WouldBe(String),
}

/// The row's expiry.
pub(super) struct End {
    pub(super) iso: String,
    pub(super) unix_milliseconds: i64,
    pub(super) now_unix_milliseconds: i64,
    pub(super) in_words: String,
}

/// One key of the session.
pub(super) struct Pocket {
    pub(super) key: String,
    pub(super) value: String,
    /// Its Python type.
    pub(super) kind: &'static str,
}

/// The page's expiry choice that matches the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExpiryChoice {
    Default,
    FiveMinutes,
    BrowserClose,
    /// A date, formatted for the form's field.
    Date(String),
    /// None of them.
    Other,
}

impl View {
    /// Saves the changes, so that there is a row to show, and reads it back from the store.
    pub(super) async fn of(site: &Site, session: &Session) -> Result<View, Error> {
        if session.modified() && !session.is_empty() {
            session.save().await?;
        }
        let now = SystemClock.now();
        let session_key = session.session_key();
        let loaded = match &session_key {
            Some(session_key) => site.store.load(session_key, now).await?,
            None => None,
        };
        let data = loaded.as_ref().and_then(|loaded| loaded.data().cloned()).unwrap_or_default();
        let coat = loaded.map(|loaded| Coat {
            text: match loaded.version.as_bytes() {
                Some(bytes) => StoredText::of(bytes),
                None => StoredText::WouldBe(
                    site.codec.encode(&data, now).unwrap_or_else(|error| error.to_string()),
                ),
            },
            tokens: tokens(&data.to_json()),
            end: loaded.expire_date.map(|end| End::of(end, now)),
        });
        let is_framework = |key: &str| key.starts_with('_') || key == TEST_COOKIE_NAME;
        let (framework, own): (Vec<_>, Vec<_>) = data.iter().partition(|(key, _)| is_framework(key));
        Ok(View {
            store_name: site.store_name.clone(),
            visits: data.get("visits").map(|value| value.json().to_owned()),
            ticket: session_key.map(|key| Ticket::of(session, key.as_str())).transpose()?,
            coat,
            pockets: own.into_iter().map(|(key, value)| Pocket::of(key, value)).collect(),
            framework_keys: framework.into_iter().map(|(key, _)| key).collect(),
            user_id: auth::user_id(session)?,
            expiry: ExpiryChoice::of(session),
            test_cookie: session.contains_key(TEST_COOKIE_NAME),
            data_json: data.to_json(),
        })
    }

    /// The same data for scripts.
    pub(super) fn to_json(&self) -> Document<'_> {
        let end = self.coat.as_ref().and_then(|coat| coat.end.as_ref());
        Document {
            done: None,
            message: None,
            visits: raw(self.visits.as_deref()),
            logged_in_as: self.user_id.as_deref(),
            ticket: self.ticket.as_ref().map(|ticket| TicketDocument {
                cookie_name: &ticket.cookie_name,
                session_key: &ticket.session_key,
                max_age: ticket.max_age,
            }),
            row: self.coat.as_ref().map(|coat| RowDocument {
                session_data: coat.text.whole(),
                expire_date: end.map(|end| end.iso.as_str()),
                expires_in_seconds: end
                    .map(|end| (end.unix_milliseconds - end.now_unix_milliseconds).div_euclid(1_000)),
            }),
            data: raw(Some(&self.data_json)),
            data_text: &self.data_json,
        }
    }
}

/// The body of `/session.json`.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) done: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'static str>,
    visits: Option<Box<RawValue>>,
    logged_in_as: Option<&'a str>,
    ticket: Option<TicketDocument<'a>>,
    row: Option<RowDocument<'a>>,
    /// The session; null if it contains values of Python's JSON alone, such as NaN.
    data: Option<Box<RawValue>>,
    /// The session's JSON text as stored.
    data_text: &'a str,
}

#[derive(Serialize)]
struct TicketDocument<'a> {
    cookie_name: &'a str,
    session_key: &'a str,
    /// Null: until the browser closes.
    max_age: Option<i64>,
}

#[derive(Serialize)]
struct RowDocument<'a> {
    session_data: String,
    expire_date: Option<&'a str>,
    expires_in_seconds: Option<i64>,
}

/// Embeds JSON text in other JSON, if it is valid for all parsers.
fn raw(json: Option<&str>) -> Option<Box<RawValue>> {
    json.and_then(|json| RawValue::from_string(json.to_owned()).ok())
}

impl Ticket {
    fn of(session: &Session, session_key: &str) -> Result<Ticket, Error> {
        let settings = session.settings();
        let at_browser_close = session.get_expire_at_browser_close();
        let max_age = if at_browser_close { None } else { Some(session.get_expiry_age()?.whole_seconds()) };
        let kept = match max_age {
            None => "until the browser closes".to_owned(),
            Some(seconds) => format!("{seconds} seconds ({})", in_words(TimeDelta::seconds(seconds))),
        };
        let mut attributes = vec![("Max-Age", kept), ("Path", settings.cookie_path.clone())];
        if settings.cookie_httponly {
            attributes.push(("HttpOnly", "no script on the page can read it".to_owned()));
        }
        if let Some(same_site) = settings.cookie_samesite {
            attributes
                .push(("SameSite", format!("{}: not sent with other sites' forms", same_site.as_str())));
        }
        if !settings.cookie_secure {
            attributes
                .push(("Secure", "not set, as this demo speaks plain HTTP; set it on your site".to_owned()));
        }
        Ok(Ticket {
            cookie_name: settings.cookie_name.clone(),
            session_key: session_key.to_owned(),
            max_age,
            attributes,
        })
    }

    /// The key in groups of four, like the numbers on tickets.
    pub(super) fn groups(&self) -> Vec<String> {
        let characters: Vec<char> = self.session_key.chars().collect();
        characters.chunks(4).map(|group| group.iter().collect()).collect()
    }
}

impl StoredText {
    fn of(bytes: &[u8]) -> StoredText {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return StoredText::Other(bytes.escape_ascii().to_string());
        };
        match text.rsplitn(3, ':').collect::<Vec<_>>()[..] {
            [signature, timestamp, payload] if !payload.is_empty() => StoredText::Signed {
                payload: payload.to_owned(),
                timestamp: timestamp.to_owned(),
                signature: signature.to_owned(),
                compressed: payload.starts_with('.'),
            },
            _ => StoredText::Other(text.to_owned()),
        }
    }

    fn whole(&self) -> String {
        match self {
            StoredText::Signed { payload, timestamp, signature, .. } => {
                format!("{payload}:{timestamp}:{signature}")
            }
            StoredText::Other(text) | StoredText::WouldBe(text) => text.clone(),
        }
    }
}

impl End {
    fn of(end: DateTime<Utc>, now: DateTime<Utc>) -> End {
        End {
            iso: end.to_rfc3339_opts(SecondsFormat::Secs, true),
            unix_milliseconds: end.timestamp_millis(),
            now_unix_milliseconds: now.timestamp_millis(),
            in_words: in_words(end - now),
        }
    }
}

impl Pocket {
    fn of(key: String, value: &cloakroom::Value) -> Pocket {
        Pocket { key, value: value.json().to_owned(), kind: value.kind().python_name() }
    }
}

impl ExpiryChoice {
    fn of(session: &Session) -> ExpiryChoice {
        let Some(value) = session.get_value(EXPIRY_KEY) else { return ExpiryChoice::Default };
        match (value.json(), session.get_expiry_date()) {
            ("0", _) => ExpiryChoice::BrowserClose,
            ("300", _) => ExpiryChoice::FiveMinutes,
            (_, Ok(date)) if value.kind() == Kind::Str => match date.to_utc(session.settings().time_zone) {
                Ok(date) => ExpiryChoice::Date(date.format("%Y-%m-%dT%H:%M").to_string()),
                Err(_) => ExpiryChoice::Other,
            },
            _ => ExpiryChoice::Other,
        }
    }

    pub(super) fn date(&self) -> &str {
        match self {
            ExpiryChoice::Date(date) => date,
            _ => "",
        }
    }
}

/// A duration in its two largest units.
pub(super) fn in_words(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, name) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 || (length == 1 && parts.is_empty()) {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_in_words() {
        for (seconds, words) in [
            (1_209_600, "14 days"),
            (90_061, "1 day 1 hour"),
            (299, "4 minutes 59 seconds"),
            (0, "0 seconds"),
        ] {
            assert_eq!(in_words(TimeDelta::seconds(seconds)), words);
        }
    }
}
