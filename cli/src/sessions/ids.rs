//! Public ids: the first digits of the SHA-256 of a session's key, by which commands, logs and traces name a session.
//! A public id does not open the session.

use cloakroom::user_sessions::UserSessionId;
use cloakroom::{Clock, SessionKey, SessionStore, SystemClock};

use crate::ending::usage;
use crate::interrupted::asked_to_stop;
use crate::sessions::walk::Walk;

/// The options' explanation of ids.
pub(crate) const HELP: &str = "An id is the beginning of the SHA-256 of the session's key: the 12 digits in list, logs and \
    traces, or fewer if they are unique, but at least 4. Finding it reads all sessions.";

/// The minimum number of digits of an id.
const LEAST: usize = 4;
/// How many sessions of an ambiguous id are listed.
const NAMED: usize = 5;

/// The digits given by an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicId(String);

impl std::str::FromStr for PublicId {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicId, String> {
        let digits = text.to_ascii_lowercase();
        if digits.len() < LEAST || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!(
                "a session's id has 12 digits of 0 to 9 and a to f, such as 3f9a0c61b2d4, of which the first {LEAST} or \
                 more are enough"
            ));
        }
        Ok(PublicId(digits))
    }
}

impl PublicId {
    /// Whether this is the beginning of the session's id.
    pub(crate) fn is_of(&self, session_key: &SessionKey) -> bool {
        self.begins(UserSessionId::of(session_key).as_str())
    }

    /// Whether this is a prefix of a longer id.
    pub(crate) fn begins(&self, id: &str) -> bool {
        id.starts_with(&self.0) || self.0.starts_with(id)
    }
}

/// The sessions with some ids.
#[derive(Default)]
pub(crate) struct Found {
    /// The keys of the sessions, each once.
    pub(crate) keys: Vec<SessionKey>,
    /// The ids without a session.
    pub(crate) missing: Vec<PublicId>,
}

/// Finds the sessions with these ids. An ambiguous id is a usage error.
pub(crate) async fn find(store: &dyn SessionStore, ids: &[PublicId]) -> anyhow::Result<Found> {
    let mut found: Vec<Vec<SessionKey>> = vec![Vec::new(); ids.len()];
    let mut walk = Walk::begin(store, SystemClock.now(), "looked at").await?;
    while let Some(page) = walk.next().await? {
        for listed in page {
            for (id, keys) in ids.iter().zip(&mut found) {
                // A store may list a session twice.
                if id.is_of(&listed.session_key) && !keys.contains(&listed.session_key) {
                    keys.push(listed.session_key.clone());
                }
            }
        }
    }
    drop(walk);
    if asked_to_stop().is_some() {
        // Another session may have the same id.
        return Ok(Found::default());
    }
    let mut missing = Vec::new();
    for (id, keys) in ids.iter().zip(&found) {
        match keys.as_slice() {
            [] => missing.push(id.clone()),
            [_] => {}
            several => {
                let mut named: Vec<String> = several.iter().map(SessionKey::public_id).collect();
                named.sort();
                named.truncate(NAMED);
                return Err(usage(format!(
                    "{} sessions have an id that begins with {}: {}; give more digits. Nothing was changed",
                    several.len(),
                    id.0,
                    named.join(", ")
                )));
            }
        }
    }
    let mut keys: Vec<SessionKey> = Vec::new();
    for key in found.into_iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(Found { keys, missing })
}

impl std::fmt::Display for PublicId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_beginnings() {
        let session_key = SessionKey::from_trusted("abcdefgh12345678");
        let id = session_key.public_id();
        for digits in [&id[..4], &id, &id.to_uppercase()] {
            assert!(digits.parse::<PublicId>().is_ok_and(|id| id.is_of(&session_key)), "{digits}");
        }
        let other = if id.starts_with('0') { "1111" } else { "0000" };
        assert!(other.parse::<PublicId>().is_ok_and(|id| !id.is_of(&session_key)));
        for wrong in ["", "3f9", "3f9g", "abcdefgh12345678"] {
            assert!(wrong.parse::<PublicId>().is_err(), "{wrong}");
        }
    }
}
