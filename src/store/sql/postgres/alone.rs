//! A few connections for requests that cannot share a statement: rows locked by others, requests that the
//! server refused in a batch, and clearing.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::PostgresOptions;
use super::connection::Connection;
use super::error::{Failure, Task};
use super::writes::{Write, by_itself};

/// The number of locked rows that can be waited for concurrently.
const CONNECTIONS: usize = 4;

#[derive(Clone)]
pub(super) struct Alone(Arc<Shared>);

struct Shared {
    options: Arc<PostgresOptions>,
    free: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Alone {
    /// Connects only when needed.
    pub(super) fn new(options: Arc<PostgresOptions>) -> Alone {
        Alone(Arc::new(Shared { options, free: Semaphore::new(CONNECTIONS), idle: Mutex::default() }))
    }

    /// Runs one request in its own task and answers it.
    pub(super) fn spawn(&self, write: Write) {
        let alone = self.clone();
        tokio::spawn(async move {
            let work = async |connection: &mut Connection, options: &PostgresOptions| {
                match write.reply.is_closed() {
                    // Cancelled while it waited for a connection.
                    true => Err(Failure::Deadline),
                    false => by_itself(connection, options, &write).await,
                }
            };
            let outcome = alone.run(write.end, work).await;
            let _ = write.reply.send(outcome);
        });
    }

    /// Runs work that ends by `end`, on a connection that is then returned, and whose statements end by then too. When
    /// the caller is cancelled, the connection is closed.
    pub(super) async fn run<T>(
        &self,
        end: Instant,
        work: impl AsyncFnOnce(&mut Connection, &PostgresOptions) -> Task<T>,
    ) -> Task<T> {
        let limited = async |connection: &mut Connection, options: &PostgresOptions| {
            connection.limit(end.saturating_duration_since(Instant::now())).await?;
            work(connection, options).await
        };
        self.lend(end, limited).await
    }

    /// As [`run`](Self::run), in one round trip less: a statement that the caller gives up may go on for as long as
    /// any statement may.
    pub(super) async fn lend<T>(
        &self,
        end: Instant,
        work: impl AsyncFnOnce(&mut Connection, &PostgresOptions) -> Task<T>,
    ) -> Task<T> {
        let options = &*self.0.options;
        let worked = timeout_at(end, async {
            let _permit = self.0.free.acquire().await.map_err(|_| Failure::Closed)?;
            let idle = crate::site::lock::lock(&self.0.idle).pop();
            let mut connection = match idle {
                Some(connection) if !connection.is_over(options).await => connection,
                _ => Connection::open(options).await?,
            };
            let result = work(&mut connection, options).await;
            match &result {
                Err(failure) if failure.ends_connection() => connection.close(failure, options),
                _ => crate::site::lock::lock(&self.0.idle).push(connection),
            }
            result
        });
        worked.await.unwrap_or(Err(Failure::Deadline))
    }

    /// Closes the connections that nobody uses at the moment.
    pub(super) fn forget_idle(&self) {
        crate::site::lock::lock(&self.0.idle).clear();
    }
}
