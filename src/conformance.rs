//! What every [`SessionStore`] must do, as one list of checks that runs against a real one.
//!
//! The stores of this crate pass it against their real servers; a store of your own should too:
//!
//! ```
//! use std::sync::Arc;
//! use cloakroom::{MemoryStore, SessionStore, conformance};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
//! for check in conformance::CHECKS {
//!     check.run(&store).await.unwrap_or_else(|failure| panic!("{failure}"));
//! }
//! # });
//! ```
//!
//! Each check makes keys of its own, so the store may hold other sessions; only the checks of
//! `clear_expired` want no other process to clear at the same time.

mod checks;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use checks::CHECKS;

use crate::error::Error;
use crate::store::SessionStore;

/// One check: its name, and what it does.
#[derive(Clone, Copy)]
pub struct Check {
    name: &'static str,
    run: fn(Arc<dyn SessionStore>) -> CheckFuture,
}

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>>;

/// A check that a store did not pass.
#[derive(Debug)]
pub struct Failure {
    check: &'static str,
    problem: Problem,
}

/// What was found.
#[derive(Debug)]
enum Problem {
    /// Something else than the contract says.
    Violated(String),
    /// An error where the contract allows none.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Problem::Failed(error.into())
    }
}

impl Check {
    /// The check's name, which tells what must hold.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the check.
    ///
    /// # Errors
    /// [`Failure`] tells which check failed and how.
    pub async fn run(&self, store: &Arc<dyn SessionStore>) -> Result<(), Failure> {
        (self.run)(Arc::clone(store)).await.map_err(|problem| Failure { check: self.name, problem })
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Violated(what) => write!(formatter, "{}: {what}", self.check),
            Problem::Failed(error) => write!(formatter, "{}: unexpected error: {error}", self.check),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Violated(_) => None,
            Problem::Failed(error) => Some(error),
        }
    }
}
