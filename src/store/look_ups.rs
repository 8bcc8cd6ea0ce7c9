//! Look-ups that share statements: while one statement is in progress, arriving look-ups wait, and the next statement
//! answers them all. A single look-up goes at once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::per_runtime::PerRuntime;
use crate::site::error::StoreError;

/// The most look-ups that one statement answers.
pub(super) const MOST: usize = 512;

/// A statement that answers several look-ups.
#[async_trait]
pub(super) trait Statement: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Send + Sync;
    type Answer: Clone + Send;

    /// Returns what was found for each of these different keys, of which there is at least one.
    async fn run(&self, keys: Vec<Self::Key>) -> Result<HashMap<Self::Key, Self::Answer>, StoreError>;

    /// How long a look-up may take, with the time that it waits.
    fn limit(&self) -> Duration;

    /// The error for a look-up that took longer.
    fn too_late(&self) -> StoreError;
}

/// The look-ups of one statement.
pub(super) struct LookUps<S: Statement> {
    statement: Arc<S>,
    queues: PerRuntime<Queue<S>>,
}

type Queue<S> = mpsc::UnboundedSender<LookUp<S>>;

struct LookUp<S: Statement> {
    key: S::Key,
    reply: oneshot::Sender<Result<Option<S::Answer>, StoreError>>,
}

impl<S: Statement> LookUps<S> {
    pub(super) fn new(statement: Arc<S>) -> LookUps<S> {
        LookUps { statement, queues: PerRuntime::new() }
    }

    pub(super) async fn find(&self, key: S::Key) -> Result<Option<S::Answer>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let look_up = LookUp { key, reply };
        let start = || serving(&self.statement);
        self.queues.with(start, |queue| {
            if let Err(mpsc::error::SendError(look_up)) = queue.send(look_up) {
                // A driver panicked. The next statement may be well.
                *queue = start();
                let _ = queue.send(look_up);
            }
        });
        match timeout(self.statement.limit(), answer).await {
            Ok(Ok(answer)) => answer,
            _ => Err(self.statement.too_late()),
        }
    }
}

fn serving<S: Statement>(statement: &Arc<S>) -> Queue<S> {
    let (queue, look_ups) = mpsc::unbounded_channel();
    tokio::spawn(serve(Arc::clone(statement), look_ups));
    queue
}

/// Serves look-ups until the last who could ask is gone.
async fn serve<S: Statement>(statement: Arc<S>, mut look_ups: mpsc::UnboundedReceiver<LookUp<S>>) {
    let mut batch = Vec::new();
    while look_ups.recv_many(&mut batch, MOST).await > 0 {
        // Cancelled look-ups are dropped.
        batch.retain(|look_up| !look_up.reply.is_closed());
        let keys: HashSet<S::Key> = batch.iter().map(|look_up| look_up.key.clone()).collect();
        if keys.is_empty() {
            continue;
        }
        let found = statement.run(keys.into_iter().collect()).await;
        for LookUp { key, reply } in batch.drain(..) {
            let answer = found.as_ref().map(|found| found.get(&key).cloned()).map_err(StoreError::clone);
            let _ = reply.send(answer);
        }
    }
}

#[cfg(test)]
mod tests;
