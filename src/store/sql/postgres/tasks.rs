//! The tasks and connections that serve the requests of one Tokio runtime. They end with their runtime.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::PostgresOptions;
use super::alone::Alone;
use super::connection::Link;
use super::reads::{self, Read};
use super::writes::{self, Write};

pub(super) struct Tasks {
    pub(super) reads: mpsc::UnboundedSender<Read>,
    pub(super) writes: mpsc::UnboundedSender<Write>,
    pub(super) alone: Alone,
    /// The connection for the index of user sessions.
    pub(super) index: Mutex<Link>,
}

impl Tasks {
    /// Starts the tasks on the current runtime; they run until this is dropped.
    pub(super) fn start(options: &Arc<PostgresOptions>, reading: Link, writing: Link) -> Arc<Tasks> {
        let alone = Alone::new(Arc::clone(options));
        let (reads, read_requests) = mpsc::unbounded_channel();
        let (writes, write_requests) = mpsc::unbounded_channel();
        tokio::spawn(reads::serve(reading, Arc::clone(options), read_requests));
        tokio::spawn(writes::serve(writing, alone.clone(), Arc::clone(options), write_requests));
        let index = Link::unopened(Arc::clone(options)).into();
        Arc::new(Tasks { reads, writes, alone, index })
    }

    /// Connects on first use.
    pub(super) fn unopened(options: &Arc<PostgresOptions>) -> Arc<Tasks> {
        let link = || Link::unopened(Arc::clone(options));
        Tasks::start(options, link(), link())
    }
}
