//! Turns: of the requests of this process that save one stored session, one writes and the others wait.
//!
//! Compare-and-swap alone keeps all changes, but 1,000 requests with one cookie then load and write up to a hundred
//! times each. A request that waits does not load: the one before leaves behind what is stored now. Requests that only
//! change data are saved together, in one write ([`Group`]). A change of key has a turn of its own.
//!
//! Turns save work and decide nothing. A request that leaves its turn in whatever way, by an error, a panic or because
//! its client is gone, passes it on. What a turn begins from is compared with the store like everything else.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};

use cloakroom_formats::SessionData;
use tokio::sync::oneshot;

use super::group::{Group, Rider};
use crate::site::session_key::SessionKey;
use crate::store::loaded::Version;

/// Sessions that are saved at the same time rarely meet on one of these locks.
const SHARDS: usize = 16;
/// How many requests share one write. While a thread does their changes again, it serves nobody else.
const MAX_TOGETHER: usize = 128;
/// Room for this many sessions is kept when nobody saves.
const KEPT: usize = 64;

/// The queues of all sessions that are being saved. A session that nobody saves takes no room.
pub(crate) struct Queues {
    shards: [Mutex<HashMap<SessionKey, VecDeque<Waiting>>>; SHARDS],
    hasher: RandomState,
}

/// Somebody who waits for a turn.
pub(super) struct Waiting {
    /// The changes to be saved together with others; none for a save that needs a turn of its own.
    pub(super) rider: Option<Rider>,
    pub(super) called: oneshot::Sender<Call>,
}

/// The turn, as a waiting request gets it.
pub(super) enum Call {
    /// For the request that is called.
    Alone(Turn),
    /// For the request that is called and others.
    Together(Arc<Group>),
}

/// The turn to save one session. Dropping it passes it on.
pub(super) struct Turn {
    queues: Arc<Queues>,
    session_key: SessionKey,
    stored: Option<Stored>,
    is_over: bool,
}

/// A session as it was just written.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) data: SessionData,
    pub(super) version: Version,
}

impl Queues {
    pub(crate) fn new() -> Arc<Queues> {
        Arc::new(Queues { shards: Default::default(), hasher: RandomState::new() })
    }

    fn shard(&self, session_key: &SessionKey) -> &Mutex<HashMap<SessionKey, VecDeque<Waiting>>> {
        &self.shards[(self.hasher.hash_one(session_key) % SHARDS as u64) as usize]
    }

    /// The turn, if nobody else has it.
    pub(super) fn begin(self: &Arc<Self>, session_key: &SessionKey) -> Option<Turn> {
        match crate::site::lock::lock(self.shard(session_key)).entry(session_key.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(VecDeque::new());
                Some(self.turn(session_key.clone(), None))
            }
        }
    }

    /// Waits behind the others, or gives the turn if they are done meanwhile.
    pub(super) fn wait(self: &Arc<Self>, session_key: &SessionKey, waiting: Waiting) -> Option<Turn> {
        match crate::site::lock::lock(self.shard(session_key)).entry(session_key.clone()) {
            Entry::Occupied(mut queue) => {
                queue.get_mut().push_back(waiting);
                return None;
            }
            Entry::Vacant(vacant) => vacant.insert(VecDeque::new()),
        };
        Some(self.turn(session_key.clone(), None))
    }

    fn turn(self: &Arc<Self>, session_key: SessionKey, stored: Option<Stored>) -> Turn {
        Turn { queues: Arc::clone(self), session_key, stored, is_over: false }
    }

    /// Calls the next; forgets the session where there is none.
    fn pass_on(self: &Arc<Self>, session_key: &SessionKey, stored: impl FnOnce() -> Option<Stored>) {
        // Changes of those who are gone are the application's to drop, and so are dropped outside of the lock.
        let mut gone = Vec::new();
        let next = {
            let mut shard = crate::site::lock::lock(self.shard(session_key));
            let next = shard.get_mut(session_key).and_then(|queue| next_of(queue, &mut gone));
            if next.is_none() {
                shard.remove(session_key);
                if shard.is_empty() && shard.capacity() > KEPT {
                    *shard = HashMap::new();
                }
            }
            next
        };
        let Some(next) = next else { return };
        let turn = self.turn(session_key.clone(), stored());
        match next {
            // Whoever is gone since gives the turn back, and dropping it calls the next.
            Next::Alone(waiting) => drop(waiting.called.send(Call::Alone(turn))),
            Next::Together(riders, called) => {
                let group = Group::new(turn, riders);
                for called in called {
                    let _ = called.send(Call::Together(Arc::clone(&group)));
                }
            }
        }
    }
}

enum Next {
    Alone(Waiting),
    Together(Vec<Rider>, Vec<oneshot::Sender<Call>>),
}

/// Those at the head of a queue who can be called together.
fn next_of(queue: &mut VecDeque<Waiting>, gone: &mut Vec<Waiting>) -> Option<Next> {
    let (mut riders, mut called) = (Vec::new(), Vec::new());
    while riders.len() < MAX_TOGETHER
        && let Some(waiting) = queue.pop_front()
    {
        match waiting {
            waiting if waiting.called.is_closed() => gone.push(waiting),
            Waiting { rider: Some(rider), called: caller } => {
                riders.push(rider);
                called.push(caller);
            }
            alone if riders.is_empty() => return Some(Next::Alone(alone)),
            alone => {
                queue.push_front(alone);
                break;
            }
        }
    }
    (!riders.is_empty()).then_some(Next::Together(riders, called))
}

impl Turn {
    pub(super) fn session_key(&self) -> &SessionKey {
        &self.session_key
    }

    /// The session as the writer before has left it in the store.
    pub(super) fn stored(&mut self) -> Option<Stored> {
        self.stored.take()
    }

    /// Passes the turn on, with what is stored now.
    pub(super) fn end(mut self, stored: impl FnOnce() -> Stored) {
        self.is_over = true;
        self.queues.pass_on(&self.session_key, || Some(stored()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.queues.pass_on(&self.session_key, || None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> (Waiting, oneshot::Receiver<Call>) {
        let (called, call) = oneshot::channel();
        (Waiting { rider: None, called }, call)
    }

    #[test]
    fn turns_go_round_and_nothing_stays_behind() {
        let (queues, session_key) = (Queues::new(), SessionKey::from_trusted("abcdefgh"));
        let first = queues.begin(&session_key).unwrap();
        assert!(queues.begin(&session_key).is_none());
        let (second, mut second_call) = waiting();
        let (third, third_call) = waiting();
        let (fourth, mut fourth_call) = waiting();
        for waiting in [second, third, fourth] {
            assert!(queues.wait(&session_key, waiting).is_none());
        }
        drop(third_call);
        drop(first);
        let Ok(Call::Alone(turn)) = second_call.try_recv() else { panic!("it is the second's turn") };
        assert!(fourth_call.try_recv().is_err(), "one at a time");
        drop(turn);
        // Called, and gone before it noticed.
        drop(fourth_call);
        assert!(queues.shards.iter().all(|shard| crate::site::lock::lock(shard).is_empty()));
        let (again, _call) = waiting();
        assert!(queues.wait(&session_key, again).is_some(), "the queue is empty");
    }

    #[test]
    fn room_for_many_is_given_back() {
        let queues = Queues::new();
        let begin = |number: usize| queues.begin(&SessionKey::from_trusted(format!("key{number:05}")));
        let turns: Vec<_> = (0..50 * SHARDS * KEPT).map(begin).collect();
        assert!(turns.iter().all(Option::is_some));
        drop(turns);
        for shard in &queues.shards {
            assert!(crate::site::lock::lock(shard).capacity() <= KEPT);
        }
    }
}
