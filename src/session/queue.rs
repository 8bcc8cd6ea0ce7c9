//! Turns: of this process's requests that save the same stored session, one writes and the others wait.
//!
//! Compare-and-swap alone keeps all changes, but then 1,000 requests with one cookie load and write up to a
//! hundred times each. A waiting request does not load: the previous one leaves the stored data behind.
//! Requests that only change data are saved together, in one write ([`Group`]). A change of key has a turn of
//! its own.
//!
//! Turns save work and decide nothing. A request that leaves its turn in any way, by an error, a panic or
//! because its client disconnected, passes it on. The data at the start of a turn is compared with the store
//! like all other data.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard};

use cloakroom_formats::SessionData;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tokio::sync::oneshot;

use super::group::{Group, Rider};
use crate::site::lock::lock;
use crate::site::session_key::SessionKey;
use crate::store::loaded::Version;

/// Sessions saved at the same time rarely share one of these locks.
const SHARDS: usize = 16;
/// The maximum number of requests in one write. While a thread replays their changes, it serves nobody else.
const MAX_TOGETHER: usize = 128;
/// The capacity for sessions that is kept while nothing is being saved.
const KEPT: usize = 64;

/// The queues of all sessions that are being saved. A session that nobody is saving takes no space.
pub(crate) struct Queues {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

type Shard = HashTable<Queue>;

/// The requests that wait to save one session, while another saves it.
struct Queue {
    session_key: SessionKey,
    waiting: VecDeque<Waiting>,
}

/// A request that waits for a turn.
pub(super) struct Waiting {
    /// The changes to save together with others; `None` for a save that needs its own turn.
    pub(super) rider: Option<Rider>,
    pub(super) called: oneshot::Sender<Call>,
}

/// The turn, as a waiting request receives it.
pub(super) enum Call {
    /// For the called request alone.
    Alone(Turn),
    /// For the called request and others.
    Together(Arc<Group>),
}

/// The turn to save one session. Dropping it passes it on.
pub(super) struct Turn {
    queues: Arc<Queues>,
    session_key: SessionKey,
    /// The key's hash.
    hash: u64,
    stored: Option<Stored>,
    is_over: bool,
}

/// A session as it was last written.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) data: SessionData,
    pub(super) version: Version,
}

impl Queues {
    pub(crate) fn new() -> Arc<Queues> {
        Arc::new(Queues { shards: Default::default(), hasher: RandomState::new() })
    }

    fn hash(&self, session_key: &SessionKey) -> u64 {
        self.hasher.hash_one(session_key)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // A table finds a place by the lowest bits.
        lock(&self.shards[(hash >> 40) as usize % SHARDS])
    }

    /// The session's queue, or the place for one.
    fn entry<'a>(&self, shard: &'a mut Shard, session_key: &SessionKey, hash: u64) -> Entry<'a, Queue> {
        let is_its = |queue: &Queue| queue.session_key == *session_key;
        shard.entry(hash, is_its, |queue| self.hash(&queue.session_key))
    }

    /// Takes the turn, if nobody else has it.
    pub(super) fn begin(self: &Arc<Self>, session_key: &SessionKey) -> Option<Turn> {
        let hash = self.hash(session_key);
        match self.entry(&mut self.shard(hash), session_key, hash) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(Queue::of(session_key));
                Some(self.turn(session_key, hash, None))
            }
        }
    }

    /// Waits behind the others, or returns the turn if they have finished meanwhile.
    pub(super) fn wait(self: &Arc<Self>, session_key: &SessionKey, waiting: Waiting) -> Option<Turn> {
        let hash = self.hash(session_key);
        match self.entry(&mut self.shard(hash), session_key, hash) {
            Entry::Occupied(mut queue) => {
                queue.get_mut().waiting.push_back(waiting);
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Queue::of(session_key));
                Some(self.turn(session_key, hash, None))
            }
        }
    }

    fn turn(self: &Arc<Self>, session_key: &SessionKey, hash: u64, stored: Option<Stored>) -> Turn {
        let (queues, session_key) = (Arc::clone(self), session_key.clone());
        Turn { queues, session_key, hash, stored, is_over: false }
    }

    /// Calls the next request; forgets the session if there is none.
    fn pass_on(
        self: &Arc<Self>,
        session_key: &SessionKey,
        hash: u64,
        stored: impl FnOnce() -> Option<Stored>,
    ) {
        // The application's closures in the changes of disconnected requests must be dropped outside of the
        // lock.
        let mut gone = Vec::new();
        let next = {
            let mut shard = self.shard(hash);
            let Entry::Occupied(mut queue) = self.entry(&mut shard, session_key, hash) else { return };
            let next = next_of(&mut queue.get_mut().waiting, &mut gone);
            if next.is_none() {
                queue.remove();
                if shard.is_empty() && shard.capacity() > KEPT {
                    *shard = HashTable::new();
                }
            }
            next
        };
        let Some(next) = next else { return };
        let turn = self.turn(session_key, hash, stored());
        match next {
            // A request that has disconnected since returns the turn, and dropping it calls the next.
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

impl Queue {
    fn of(session_key: &SessionKey) -> Queue {
        Queue { session_key: session_key.clone(), waiting: VecDeque::new() }
    }
}

enum Next {
    Alone(Waiting),
    Together(Vec<Rider>, Vec<oneshot::Sender<Call>>),
}

/// Takes requests from the head of a queue that can be called together.
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

    /// The session as the previous writer left it in the store.
    pub(super) fn stored(&mut self) -> Option<Stored> {
        self.stored.take()
    }

    /// Passes the turn on, with the data that is now stored.
    pub(super) fn end(mut self, stored: impl FnOnce() -> Stored) {
        self.is_over = true;
        self.queues.pass_on(&self.session_key, self.hash, || Some(stored()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.queues.pass_on(&self.session_key, self.hash, || None);
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
        // Called, and disconnected before noticing it.
        drop(fourth_call);
        assert!(queues.shards.iter().all(|shard| lock(shard).is_empty()));
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
            assert!(lock(shard).capacity() <= KEPT);
        }
    }
}
