//! What a request did to its session, to be done again on top of what another request saved meanwhile.

use std::sync::Arc;

use cloakroom_formats::private::{Text, unescape_key};
use cloakroom_formats::{Kind, SessionData, Value, ValueError};

use super::SESSION_STARTED_KEY;
use crate::site::error::Error;

/// Computes a value from the one that is there.
pub(super) type Replay = Arc<dyn Fn(Option<&Value>) -> Result<Value, ValueError> + Send + Sync>;

/// One change. The keys are escaped, and share their text with the data.
#[derive(Clone)]
pub(super) enum Change {
    Set(Text, Value),
    /// Set where there was nothing; another request's value stays.
    SetDefault(Text, Value),
    Remove(Text),
    /// Computed from the value that was there: what came out here, and how to compute it again.
    Modify(Text, Value, Replay),
    Clear,
}

impl Change {
    /// Does the change for the first time.
    pub(super) fn apply(&self, data: &mut SessionData) {
        match self {
            Change::Set(key, value) | Change::SetDefault(key, value) | Change::Modify(key, value, _) => {
                data.insert_escaped(key.clone(), value.clone());
            }
            Change::Remove(key) => {
                data.remove_escaped(key.as_str());
            }
            Change::Clear => {
                let started = data.get(SESSION_STARTED_KEY).cloned();
                data.clear();
                if let Some(started) = started {
                    data.insert(SESSION_STARTED_KEY, started);
                }
            }
        }
    }

    /// Does the change again on other data.
    fn replay(&self, data: &mut SessionData) -> Result<(), Error> {
        match self {
            // As when it was done first, a null is no value.
            Change::SetDefault(key, _)
                if data.get_escaped(key.as_str()).is_some_and(|value| value.kind() != Kind::None) => {}
            Change::Modify(key, _, modify) => {
                let value = modify(data.get_escaped(key.as_str()))
                    .map_err(|source| Error::Value { key: unescape_key(key.as_str()), source })?;
                data.insert_escaped(key.clone(), value);
            }
            other => other.apply(data),
        }
        Ok(())
    }
}

/// The changes in their order. Dropping them runs the application's code, as closures may hold anything.
#[derive(Clone, Default)]
pub(super) struct Changes(Vec<Change>);

impl Changes {
    /// Adds a change; gives those that it makes pointless, to be dropped where nothing is locked.
    #[must_use]
    pub(super) fn push(&mut self, change: Change) -> Changes {
        let pointless = match &change {
            Change::Clear => std::mem::take(&mut self.0),
            Change::Set(key, _) => self.0.extract_if(.., |earlier| earlier.key() == Some(key)).collect(),
            _ => Vec::new(),
        };
        self.0.push(change);
        Changes(pointless)
    }

    /// Puts changes in front that were made before these.
    pub(super) fn prepend(&mut self, mut earlier: Changes) {
        earlier.0.append(&mut self.0);
        self.0 = earlier.0;
    }

    /// Puts changes behind these; tells how many there were before.
    pub(super) fn append(&mut self, mut later: Changes) -> usize {
        let before = self.0.len();
        self.0.append(&mut later.0);
        before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn replay(&self, data: &mut SessionData) -> Result<(), Error> {
        self.replay_from(0, data)
    }

    /// Does those changes again that come after the first so many.
    pub(super) fn replay_from(&self, first: usize, data: &mut SessionData) -> Result<(), Error> {
        self.0[first..].iter().try_for_each(|change| change.replay(data))
    }
}

impl Change {
    /// Whether it is about the value under this key.
    pub(super) fn concerns(&self, key: &Text) -> bool {
        self.key().is_none_or(|own| own == key)
    }

    fn key(&self) -> Option<&Text> {
        match self {
            Change::Set(key, _)
            | Change::SetDefault(key, _)
            | Change::Remove(key)
            | Change::Modify(key, ..) => Some(key),
            Change::Clear => None,
        }
    }
}
