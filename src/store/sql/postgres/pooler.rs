//! Whether a connection pooler stands between the store and the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::PostgresOptions;

/// Whether a connection pooler, such as PgBouncer, stands between the store and PostgreSQL. In a URL: `pooler`.
///
/// A pooler lends the server's connections to one client after the other. Behind one the store leaves nothing on
/// them: see the [module](super).
///
/// ```
/// use cloakroom::PostgresStore;
/// use cloakroom::store::postgres::Pooler;
///
/// let options = PostgresStore::options("postgres://site@pool.example:6432/site?pooler=yes")?;
/// assert_eq!(options.pooler, Pooler::Yes);
/// assert_eq!(PostgresStore::options("postgres://site@db.example/site")?.pooler, Pooler::Detect);
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// The first connection finds out: its startup packet has settings that a pooler refuses or withholds.
    #[default]
    Detect,
    /// There is one. Nothing is tried that it would refuse.
    Yes,
    /// There is none, and one that answers is an error.
    No,
}

/// Whether a pooler was found, shared by the connections of one store.
#[derive(Clone, Default)]
pub(super) struct Found(Arc<AtomicBool>);

impl PostgresOptions {
    pub(super) fn is_pooled(&self) -> bool {
        self.pooler == Pooler::Yes
            || (self.pooler == Pooler::Detect && self.found_pooler.0.load(Ordering::Relaxed))
    }

    /// Remembers that a pooler answered; returns whether that is new.
    pub(super) fn notice_pooler(&self) -> bool {
        !self.found_pooler.0.swap(true, Ordering::Relaxed)
    }
}
