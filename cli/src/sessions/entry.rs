//! A session as the commands show and count it.

use cloakroom::chrono::{DateTime, SecondsFormat, Utc};
use cloakroom::store::{Listed, Loaded, StoreScheme, StoreUrl};
use serde::Serialize;

use crate::output::lines::{complain, note};
use crate::site::SiteOptions;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Live,
    Expired,
    NotGenuine,
    Unreadable,
}

/// The format of a session's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Signed text of Django 3.1 and later.
    Modern,
    /// Signed text of earlier releases.
    Legacy,
    /// An entry of a cache: a pickle, or JSON.
    Cache,
}

/// A session's data for output, as one JSON object or one line.
#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_key: Option<String>,
    pub(crate) state: State,
    pub(crate) format: Option<Format>,
    pub(crate) user: Option<String>,
    pub(crate) expire_date: Option<String>,
    /// Why it, or its user's id, cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Entry {
    pub(crate) fn new(listed: &Listed, now: DateTime<Utc>, with_key: bool) -> Entry {
        let (loaded, user) = (listed.session.as_ref(), listed.user_id());
        Entry {
            id: listed.session_key.public_id(),
            session_key: with_key.then(|| listed.session_key.as_str().to_owned()),
            state: State::of(listed, now),
            format: loaded.ok().map(Format::of),
            user: user.as_ref().ok().cloned().flatten(),
            expire_date: listed.expire_date.map(time),
            error: match loaded {
                Err(error) => Some(error.to_string()),
                // A session that is not genuine has no user, and its state shows that.
                Ok(loaded) => user.err().filter(|_| loaded.is_genuine()).map(|error| error.to_string()),
            },
        }
    }

    /// The line for people.
    pub(crate) fn line(&self) -> String {
        let user = match &self.user {
            Some(user) => format!("user {user}"),
            None if self.state == State::Live && self.error.is_some() => "user ?".to_owned(),
            None => "-".to_owned(),
        };
        let expires = self.expire_date.as_deref().unwrap_or("-");
        let key = self.session_key.as_ref().map(|key| format!("  {key}")).unwrap_or_default();
        format!("{}  {:<11}  {expires:<20}  {user}{key}", self.id, self.state.name())
    }
}

impl State {
    pub(crate) fn of(listed: &Listed, now: DateTime<Utc>) -> State {
        match &listed.session {
            _ if listed.is_expired(now) => State::Expired,
            Err(_) => State::Unreadable,
            Ok(loaded) if !loaded.is_genuine() => State::NotGenuine,
            Ok(_) => State::Live,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Expired => "expired",
            State::NotGenuine => "not genuine",
            State::Unreadable => "unreadable",
        }
    }
}

impl Format {
    /// Detects the format: only modern text has colons, and only text stores keep ASCII that is not JSON.
    pub(crate) fn of(loaded: &Loaded) -> Format {
        let Some(stored) = loaded.version.as_bytes() else { return Format::Cache };
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_.:\n".contains(byte);
        match stored {
            stored if !stored.iter().all(is_base64) => Format::Cache,
            stored if stored.contains(&b':') => Format::Modern,
            // A pickle in base64. Legacy text begins with the digits of a hash.
            stored if stored.starts_with(b"gA") => Format::Cache,
            _ => Format::Legacy,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Modern => "modern",
            Format::Legacy => "legacy",
            Format::Cache => "cache",
        }
    }
}

/// Hints where to look when a store has no sessions at all.
pub(crate) fn hint_at_nothing(url: &StoreUrl, options: &SiteOptions) {
    let place = if url.is_cache() {
        "the site's cache may have another key prefix, version or key function (?key_prefix=…&version=…), or the sessions \
         are on another server or database number"
    } else if url.scheme() == Some(StoreScheme::File) {
        "the session files may be in another folder (SESSION_FILE_PATH), or begin with another --cookie-name"
    } else {
        "the sessions may be in another database, or SESSION_ENGINE keeps them elsewhere"
    };
    let ask = if options.settings.from_django.is_some() {
        ""
    } else {
        "; --from-django MANAGE.PY takes all that from the project"
    };
    note(&format!("if there should be sessions: {place}{ask}"));
}

/// Whether a live session's user is unknown, so that it could be any user's.
pub(crate) fn may_be_anybodys(listed: &Listed, now: DateTime<Utc>) -> bool {
    !listed.is_expired(now) && listed.user_id().is_err()
}

/// Reports how many sessions could be the user's and were skipped; returns false when there are none.
pub(crate) fn complain_of_unread(unread: u64) -> bool {
    if unread > 0 {
        complain(&format!(
            "{unread} sessions could not be read, and may be this user's; `cloakroom check` and `cloakroom list` tell why"
        ));
    }
    unread > 0
}

pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
