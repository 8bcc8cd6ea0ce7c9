//! What a request did to its session, to be done again on top of what another request saved meanwhile.

use std::sync::Arc;

use super::STARTED_KEY;
use crate::error::Error;
use crate::session_data::SessionData;
use crate::value::{Text, Value, ValueError, unescape_key};

type Replay = Arc<dyn Fn(Option<&Value>) -> Result<Value, ValueError> + Send + Sync>;

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
                let started = data.get(STARTED_KEY).cloned();
                data.clear();
                if let Some(started) = started {
                    data.insert(STARTED_KEY, started);
                }
            }
        }
    }

    /// Does the change again on other data.
    fn replay(&self, data: &mut SessionData) -> Result<(), Error> {
        match self {
            Change::SetDefault(key, _) if data.get_escaped(key.as_str()).is_some() => {}
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

/// The changes in their order.
#[derive(Clone, Default)]
pub(super) struct Changes(Vec<Change>);

impl Changes {
    /// Adds a change; those that it makes pointless go.
    pub(super) fn push(&mut self, change: Change) {
        match &change {
            Change::Clear => self.0.clear(),
            Change::Set(key, _) => self.0.retain(|earlier| earlier.key() != Some(key)),
            _ => {}
        }
        self.0.push(change);
    }

    /// Puts changes in front that were made before these.
    pub(super) fn prepend(&mut self, mut earlier: Changes) {
        earlier.0.append(&mut self.0);
        self.0 = earlier.0;
    }

    pub(super) fn replay(&self, data: &mut SessionData) -> Result<(), Error> {
        self.0.iter().try_for_each(|change| change.replay(data))
    }
}

impl Change {
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
