//! Remembers recent moves of sessions to another key, so that a logout that comes too late for one key finds
//! the next.

use std::collections::VecDeque;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};

use crate::site::session_key::SessionKey;

/// Longer than a request runs that has loaded a session before it moved.
const KEPT: TimeDelta = TimeDelta::minutes(10);
/// The number of moves that are remembered; beyond it the oldest are dropped.
const REMEMBERED: usize = 10_000;

/// Moves are few, and looked up only when a logout finds nothing, so a list is enough.
#[derive(Default)]
pub(crate) struct Moves(Mutex<VecDeque<Move>>);

struct Move {
    from: SessionKey,
    to: SessionKey,
    at: DateTime<Utc>,
}

impl Moves {
    /// Notes that a session is about to move.
    pub(super) fn note(&self, from: &SessionKey, to: &SessionKey, now: DateTime<Utc>) {
        let moved = Move { from: from.clone(), to: to.clone(), at: now };
        let mut moves = crate::site::lock::lock(&self.0);
        // `abs`, in case the clock was set back.
        let is_old = |moved: &Move| (now - moved.at).abs() > KEPT;
        while moves.len() >= REMEMBERED || moves.front().is_some_and(is_old) {
            moves.pop_front();
        }
        moves.push_back(moved);
    }

    /// Forgets a move that did not happen.
    pub(super) fn forget(&self, from: &SessionKey, to: &SessionKey) {
        let mut moves = crate::site::lock::lock(&self.0);
        if let Some(position) = moves.iter().rposition(|moved| moved.from == *from && moved.to == *to) {
            moves.remove(position);
        }
    }

    /// The keys to which a session may have moved from this key. Several requests may have tried to move it.
    pub(super) fn of(&self, from: &SessionKey) -> Vec<SessionKey> {
        let moves = crate::site::lock::lock(&self.0);
        moves.iter().filter(|moved| moved.from == *from).map(|moved| moved.to.clone()).collect()
    }

    /// The key from which a session moved to this key.
    pub(super) fn before(&self, to: &SessionKey) -> Option<SessionKey> {
        let moves = crate::site::lock::lock(&self.0);
        moves.iter().rfind(|moved| moved.to == *to).map(|moved| moved.from.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> SessionKey {
        SessionKey::from_trusted(format!("key{number:05}"))
    }

    #[test]
    fn moves_are_found_for_a_while_and_take_bounded_memory() {
        let (moves, now) = (Moves::default(), Utc::now());
        moves.note(&key(1), &key(2), now);
        moves.note(&key(1), &key(3), now);
        assert_eq!(moves.of(&key(1)), [key(2), key(3)]);
        assert_eq!((moves.before(&key(3)), moves.before(&key(1))), (Some(key(1)), None));
        moves.forget(&key(1), &key(3));
        assert_eq!(moves.of(&key(1)), [key(2)]);
        moves.note(&key(4), &key(5), now + KEPT);
        assert_eq!(moves.of(&key(1)), [key(2)]);
        moves.note(&key(6), &key(7), now + KEPT + TimeDelta::seconds(1));
        assert!(moves.of(&key(1)).is_empty(), "too long ago");
        for number in 0..REMEMBERED + 10 {
            moves.note(&key(number), &key(number + 1), now);
        }
        assert_eq!(crate::site::lock::lock(&moves.0).len(), REMEMBERED);
        assert!(moves.of(&key(9)).is_empty());
        assert_eq!(moves.of(&key(10)), [key(11)]);
    }
}
