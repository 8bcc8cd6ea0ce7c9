//! Which secret the sessions and logins depend on.

use cloakroom::store::Listed;
use cloakroom::{SessionCodec, Settings};
use serde::Serialize;

use crate::sessions::logins::{Login, counted};
use crate::sessions::until::Until;
use crate::site::Sources;

#[derive(Default, Serialize)]
pub(super) struct Secrets {
    secrets: Vec<Use>,
    logins_unknown: u64,
    logins_ending: u64,
    #[serde(skip)]
    unknown_until: Until,
    #[serde(skip)]
    codec: Option<SessionCodec>,
}

/// The sessions and logins that depend on one secret.
#[derive(Serialize)]
struct Use {
    name: String,
    source: String,
    /// The number of live sessions signed with it.
    sessions: u64,
    /// The number of logins with a hash from it; `None` when logins were not checked.
    logins: Option<u64>,
    until: Option<String>,
    may_go: Option<bool>,
    #[serde(skip)]
    ends: Until,
}

impl Secrets {
    pub(super) fn new(settings: &Settings, sources: &Sources, with_logins: bool) -> Secrets {
        let usage = |name: String, source: &String| Use {
            name,
            source: source.clone(),
            sessions: 0,
            logins: with_logins.then_some(0),
            until: None,
            may_go: None,
            ends: Until::default(),
        };
        let fallbacks = sources.fallbacks.iter().enumerate();
        let fallbacks = fallbacks.map(|(index, source)| usage(format!("fallback {}", index + 1), source));
        let current = std::iter::once(usage("secret".to_owned(), &sources.secret));
        Secrets {
            secrets: current.chain(fallbacks).collect(),
            codec: Some(SessionCodec::new(settings)),
            ..Secrets::default()
        }
    }

    /// Adds readable sessions, with their logins if those were checked.
    pub(super) fn add(&mut self, live: &[&Listed], logins: &[Login]) {
        for (index, listed) in live.iter().enumerate() {
            let signed_by =
                self.codec.as_ref().zip(listed.session.as_ref().ok()).and_then(|(codec, loaded)| {
                    codec.signed_by(str::from_utf8(loaded.version.as_bytes()?).ok()?)
                });
            if let Some(used) = signed_by.and_then(|secret| self.secrets.get_mut(secret)) {
                used.sessions += 1;
                used.ends.add(listed.expire_date);
            }
            match logins.get(index) {
                Some(Login::Under { secret, .. }) => {
                    if let Some(used) = self.secrets.get_mut(*secret) {
                        used.logins = used.logins.map(|count| count + 1);
                        used.ends.add(listed.expire_date);
                    }
                }
                Some(Login::Unknown) => {
                    self.logins_unknown += 1;
                    self.unknown_until.add(listed.expire_date);
                }
                Some(Login::NoSecret | Login::UserGone) => self.logins_ending += 1,
                Some(Login::Nobody | Login::WithoutHash) | None => {}
            }
        }
    }

    pub(super) fn logins_unknown(&self) -> u64 {
        self.logins_unknown
    }

    /// Decides for each fallback whether it can be removed. `is_all` when every session was read.
    pub(super) fn judge(&mut self, is_all: bool) {
        let is_all = is_all && self.logins_unknown == 0;
        for (index, used) in self.secrets.iter_mut().enumerate() {
            used.until = used.ends.shown();
            let depend = used.sessions + used.logins.unwrap_or_default();
            used.may_go = match (index, depend) {
                (0, _) => None,
                (_, 1..) => Some(false),
                (_, 0) => is_all.then_some(true),
            };
        }
    }

    /// The lines for people; none when there is only one secret and logins were not checked.
    pub(super) fn lines(&self) -> Vec<String> {
        let with_logins = self.secrets.iter().any(|used| used.logins.is_some());
        if self.secrets.len() < 2 && !with_logins {
            return Vec::new();
        }
        let mut lines: Vec<String> = self.secrets.iter().map(|used| self.line(used)).collect();
        if self.logins_unknown > 0 {
            lines.push(format!("{:>9} logins of users who cannot be read", self.logins_unknown));
        }
        if self.logins_ending > 0 {
            lines.push(format!(
                "{:>9} logins end anyway: the user's password was changed, or the user is gone",
                self.logins_ending
            ));
        }
        lines
    }

    fn line(&self, used: &Use) -> String {
        let logins = used.logins.unwrap_or_default();
        let counts = |logins: u64| match used.logins {
            Some(_) => format!("{}, {}", counted(used.sessions, "session"), counted(logins, "login")),
            None => counted(used.sessions, "session"),
        };
        let until = |until: Until| until.shown().map(|until| format!(", until {until}")).unwrap_or_default();
        let Use { name, source, .. } = used;
        let verified = counts(logins);
        match used.may_go {
            None if name == "secret" => format!("the secret ({source}): {verified}"),
            Some(true) => format!("{name} ({source}): {verified}. May it go? yes"),
            Some(false) => format!("{name} ({source}): may it go? no: {verified}{}", until(used.ends)),
            None => format!(
                "{name} ({source}): {verified}. May it go? unknown: {}{}",
                if self.logins_unknown > 0 {
                    "there are logins of users who cannot be read"
                } else {
                    "not all was read"
                },
                until(self.unknown_until)
            ),
        }
    }
}
