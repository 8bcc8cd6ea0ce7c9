//! Which key signs, and when keys come and go. Pure: the times of the keys and of the clock decide.

use std::sync::Arc;
use std::time::Duration;

use super::key::SigningKey;

/// When keys replace each other, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// From one key to the next.
    pub(crate) rotate: u32,
    /// From a key's publication to its first signature.
    pub(crate) publish_ahead: u32,
    /// How long an assertion is valid.
    pub(crate) lifetime: u32,
}

/// These functions take keys from the oldest to the newest.
impl Schedule {
    /// The newest key that has been published for long enough. Where there is none, as at the beginning or with a clock
    /// that was set back, the oldest.
    pub(crate) fn signing<'a>(&self, keys: &'a [Arc<SigningKey>], now: i64) -> Option<&'a Arc<SigningKey>> {
        keys.iter().rev().find(|key| self.signs_from(key) <= now).or(keys.first())
    }

    pub(crate) fn needs_key(&self, keys: &[Arc<SigningKey>], now: i64) -> bool {
        keys.last().is_none_or(|newest| newest.created.saturating_add(self.rotate.into()) <= now)
    }

    /// How many of the oldest keys are no longer needed: their last assertions have expired. Clocks of back ends and of
    /// other gates may be as far behind as keys are published ahead.
    pub(crate) fn retired(&self, keys: &[Arc<SigningKey>], now: i64) -> usize {
        let after = i64::from(self.lifetime) + i64::from(self.publish_ahead);
        let is_retired =
            |successor: &Arc<SigningKey>| self.signs_from(successor).saturating_add(after) <= now;
        keys.iter().skip(1).take_while(|successor| is_retired(successor)).count()
    }

    /// How often the folder is read again: another gate's new key is read well before it signs.
    pub(crate) fn reading_interval(&self) -> Duration {
        Duration::from_secs((self.publish_ahead / 4).clamp(1, 60).into())
    }

    fn signs_from(&self, key: &SigningKey) -> i64 {
        key.created.saturating_add(self.publish_ahead.into())
    }
}
