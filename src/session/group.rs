//! Saves the changes of several requests in one write.
//!
//! The write belongs to no single request: all requests with changes in it wait for it, and any of them that
//! is still there drives it. So a client that disconnects neither loses the others' changes nor causes them
//! to be made twice. Rejected: a separate task for the write, which needs a runtime that outlives all waiting
//! requests.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use cloakroom_formats::SessionData;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

use super::changes::Changes;
use super::queue::{Stored, Turn};
use super::save::{Attempt, Redo, Saved};
use super::{Origin, Session};
use crate::site::error::{Error, StoreError, StoreErrorKind};

/// One request of a group.
pub(super) struct Rider {
    pub(super) session: Session,
    pub(super) changes: Changes,
    /// The end of its waiting time.
    pub(super) end: Instant,
    /// Closed when the request is gone.
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The outcome of the save for one rider.
pub(super) struct Answer {
    pub(super) writes: u32,
    pub(super) outcome: Result<Saved, Failure>,
}

pub(super) enum Failure {
    Error(Error),
    /// The request's own closure panicked, in another request's task.
    Panic(Box<dyn Any + Send>),
}

/// A write in progress for several requests.
pub(super) struct Group {
    work: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Group {
    pub(super) fn new(turn: Turn, riders: Vec<Rider>) -> Arc<Group> {
        Arc::new(Group { work: Mutex::new(Some(Box::pin(save_together(turn, riders)))) })
    }

    /// Waits for the answer, and drives the write while nobody else does.
    pub(super) async fn ride(&self, mut answer: oneshot::Receiver<Answer>) -> Answer {
        let mut moving = pin!(self.move_on());
        let mut is_moving = true;
        let answer = std::future::poll_fn(|context| {
            if let Poll::Ready(answer) = Pin::new(&mut answer).poll(context) {
                return Poll::Ready(answer);
            }
            if is_moving && moving.as_mut().poll(context).is_ready() {
                is_moving = false;
                return Pin::new(&mut answer).poll(context);
            }
            Poll::Pending
        });
        answer.await.unwrap_or_else(|_| {
            let message = "the write of several requests was broken off by a panic of the store; try again";
            let error = StoreError::new("", StoreErrorKind::Unavailable, message);
            Answer { writes: 1, outcome: Err(Failure::Error(error.into())) }
        })
    }

    async fn move_on(&self) {
        let mut work = self.work.lock().await;
        let Some(under_way) = work.as_mut() else { return };
        let ended = std::future::poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| under_way.as_mut().poll(context)));
            match polled {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        let ended = ended.await;
        // The write is never polled again; the waiting requests get no answer.
        *work = None;
        drop(work);
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
    }
}

/// Saves the riders' changes in order, and tells each the outcome. After the last write ends nothing awaits,
/// so that the driving request does not leave before it passes the turn on.
async fn save_together(mut turn: Turn, riders: Vec<Rider>) {
    let session_key = turn.session_key().clone();
    let mut stored = turn.stored();
    let (mut batches, mut answers) = (vec![riders], Vec::new());
    while let Some(riders) = batches.pop() {
        let Some(session) = riders.first().map(|first| first.session.clone()) else { continue };
        let mut attempt = Attempt {
            origin: Origin::New,
            session_key: Some(session_key.clone()),
            data: SessionData::new(),
            end: riders.iter().map(|rider| rider.end).max().unwrap_or_else(Instant::now),
            changes: riders,
            writes: 0,
        };
        let begun = match stored.clone() {
            Some(Stored { data, version }) => {
                attempt.origin = Origin::Stored(session_key.clone(), version);
                session.redo(&mut attempt, data)
            }
            None => session.rebase(&mut attempt, session_key.clone()).await,
        };
        let outcome = match begun {
            Ok(()) => session.save_with_retries(&mut attempt).await,
            Err(error) => Err(error),
        };
        let (writes, riders) = (attempt.writes, attempt.changes);
        match outcome {
            // The store may refuse one request's change: retry them one by one, so that the others still
            // succeed.
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Refused && riders.len() > 1 => {
                batches.extend(riders.into_iter().rev().map(|rider| vec![rider]));
            }
            outcome => {
                if let Ok(saved) = &outcome {
                    stored = Some(Stored { data: saved.data.clone(), version: saved.version.clone() });
                }
                answers.extend(riders.into_iter().map(|rider| (rider, writes, outcome.clone())));
            }
        }
    }
    match stored {
        Some(stored) => turn.end(|| stored),
        None => drop(turn),
    }
    for (rider, writes, outcome) in answers {
        let _ = rider.answer.send(Answer { writes, outcome: outcome.map_err(Failure::Error) });
    }
}

impl Redo for Vec<Rider> {
    /// Leaves out riders that are gone, and those whose change fails, who are told why.
    fn redo(&mut self, session: &Session, data: SessionData, writes: u32) -> Result<SessionData, Error> {
        let (mut data, now) = (data, session.now());
        for rider in std::mem::take(self) {
            if rider.answer.is_closed() {
                continue;
            }
            let mut changed = data.clone();
            let redone = catch_unwind(AssertUnwindSafe(|| {
                rider.changes.replay(&mut changed)?;
                session.expire_date(&changed, now).map(|_| ())
            }));
            let failure = match redone {
                Ok(Ok(())) => {
                    data = changed;
                    self.push(rider);
                    continue;
                }
                Ok(Err(error)) => Failure::Error(error),
                Err(panic) => Failure::Panic(panic),
            };
            let _ = rider.answer.send(Answer { writes, outcome: Err(failure) });
        }
        // Nobody is left to be told.
        if self.is_empty() { Err(Error::Interrupted) } else { Ok(data) }
    }
}
