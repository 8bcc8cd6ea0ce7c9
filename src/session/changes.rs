//! Records a request's changes, to replay them on data that another request saved meanwhile.

use std::sync::Arc;

use cloakroom_formats::private::{Text, unescape_key};
use cloakroom_formats::{Kind, SessionData, Value, ValueError};

use super::SESSION_STARTED_KEY;
use crate::site::error::Error;

/// Computes a value from the current one; `None` is no value.
pub(super) type Replay = Arc<dyn Fn(Option<&Value>) -> Result<Option<Value>, NotReplayed> + Send + Sync>;

/// Why a value could not be computed again.
pub(super) enum NotReplayed {
    /// The current value is of another type, or the new one cannot be stored.
    Value(ValueError),
    /// The application's closure refuses the current value.
    Refused,
}

/// One change. Keys are escaped, and share their text with the data.
#[derive(Clone)]
pub(super) enum Change {
    Set(Text, Value),
    /// Sets a missing key; another request's value stays.
    SetDefault(Text, Value),
    Remove(Text),
    /// Removes this value; another request's value stays.
    Discard(Text, Value),
    /// Computed from the previous value: the result, and the function to compute it again.
    Modify(Text, Option<Value>, Replay),
    Clear,
}

impl Change {
    /// Makes the change for the first time.
    pub(super) fn apply(&self, data: &mut SessionData) {
        match self {
            Change::Set(key, value)
            | Change::SetDefault(key, value)
            | Change::Modify(key, Some(value), _) => {
                data.insert_escaped(key.clone(), value.clone());
            }
            Change::Remove(key) | Change::Discard(key, _) | Change::Modify(key, None, _) => {
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

    /// Makes the change again on other data.
    fn replay(&self, data: &mut SessionData) -> Result<(), Error> {
        match self {
            // A null is no value, as when the change was first made.
            Change::SetDefault(key, _)
                if data.get_escaped(key.as_str()).is_some_and(|value| value.kind() != Kind::None) => {}
            Change::Discard(key, value) if data.get_escaped(key.as_str()) != Some(value) => {}
            Change::Modify(key, _, modify) => {
                let value = modify(data.get_escaped(key.as_str())).map_err(|error| match error {
                    NotReplayed::Value(source) => Error::Value { key: unescape_key(key.as_str()), source },
                    NotReplayed::Refused => Error::Conflict { attempts: 1 },
                })?;
                Change::Modify(key.clone(), value, Arc::clone(modify)).apply(data);
            }
            other => other.apply(data),
        }
        Ok(())
    }
}

/// The changes in order. Dropping them runs application code, because closures may hold anything.
#[derive(Clone, Default)]
pub(super) struct Changes(Vec<Change>);

impl Changes {
    /// Adds a change. Returns the changes that it makes pointless, to be dropped outside of any lock.
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

    /// Inserts earlier changes at the front.
    pub(super) fn prepend(&mut self, mut earlier: Changes) {
        earlier.0.append(&mut self.0);
        self.0 = earlier.0;
    }

    /// Appends later changes; returns how many there were before.
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

    /// Replays the changes after the first `first` ones.
    pub(super) fn replay_from(&self, first: usize, data: &mut SessionData) -> Result<(), Error> {
        self.0[first..].iter().try_for_each(|change| change.replay(data))
    }
}

impl Change {
    /// Whether the change affects the value under this key.
    pub(super) fn concerns(&self, key: &Text) -> bool {
        self.key().is_none_or(|own| own == key)
    }

    fn key(&self) -> Option<&Text> {
        match self {
            Change::Set(key, _)
            | Change::SetDefault(key, _)
            | Change::Remove(key)
            | Change::Discard(key, _)
            | Change::Modify(key, ..) => Some(key),
            Change::Clear => None,
        }
    }
}
