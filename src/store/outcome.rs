//! The outcome of a write to a row or an entry, and of the store's call by it.

use crate::store::contract::{Created, Rotated, Updated};
use crate::store::loaded::Version;

/// The outcome of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    Done,
    /// There is no such row.
    Missing,
    /// The row no longer has the expected data.
    Changed,
    /// Another row has the new key.
    KeyTaken,
}

impl WriteOutcome {
    /// For a write that creates a row, every other outcome means that the key is taken.
    pub(super) fn created(self, version: Version) -> Created {
        match self {
            WriteOutcome::Done => Created::Created(version),
            WriteOutcome::Missing | WriteOutcome::Changed | WriteOutcome::KeyTaken => Created::KeyTaken,
        }
    }

    pub(super) fn updated(self, version: Version) -> Updated {
        match self {
            WriteOutcome::Done => Updated::Updated(version),
            WriteOutcome::Missing => Updated::Missing,
            WriteOutcome::Changed | WriteOutcome::KeyTaken => Updated::Changed,
        }
    }

    pub(super) fn rotated(self, version: Version) -> Rotated {
        match self {
            WriteOutcome::Done => Rotated::Rotated(version),
            WriteOutcome::Missing => Rotated::Missing,
            WriteOutcome::Changed => Rotated::Changed,
            WriteOutcome::KeyTaken => Rotated::KeyTaken,
        }
    }
}
