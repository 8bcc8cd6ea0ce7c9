//! The requirements for every [`SessionStore`], as a list of checks that run against a real one.
//!
//! The stores of this crate pass it against their real servers; a store of your own should too:
//!
//! ```
//! use std::sync::Arc;
//! use cloakroom::{MemoryStore, SessionStore, conformance};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
//! let summary = conformance::run(&store, &[]).await?;
//! assert_eq!(summary.passed(), conformance::CHECKS.len());
//! # Ok::<(), conformance::Nonconforming>(()) }).unwrap();
//! ```
//!
//! Each check creates its own keys, so the store may contain other sessions. Only the checks of
//! `clear_expired` require that no other process clears at the same time.

mod checks;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::site::error::Error;
use crate::store::contract::SessionStore;

pub use checks::CHECKS;

/// One check: its name, and its function.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionStore, conformance};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
/// for check in conformance::CHECKS {
///     assert!(check.run(&store).await.is_ok(), "{}", check.name());
/// }
/// # });
/// ```
#[derive(Clone, Copy)]
pub struct Check {
    name: &'static str,
    run: fn(Arc<dyn SessionStore>) -> CheckFuture,
}

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>>;

/// Runs every check. A store that differs on purpose declares it: the check's name, and the reason.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionStore, conformance};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
/// // The memory store needs no exception; who declares one all the same is told.
/// let declared = [("an_unknown_key_is_absent", "a reason")];
/// let problems = conformance::run(&store, &declared).await.unwrap_err();
/// assert!(problems.to_string().contains("passed, though it is declared"));
/// # });
/// ```
///
/// # Errors
/// When an undeclared check fails, a declared one passes, or a name matches no check.
pub async fn run<'a>(
    store: &Arc<dyn SessionStore>,
    declared: &[(&'a str, &'a str)],
) -> Result<Summary<'a>, Nonconforming> {
    let unknown = declared.iter().filter(|(name, _)| CHECKS.iter().all(|check| check.name != *name));
    let mut problems: Vec<_> = unknown.map(|(name, _)| format!("{name}: declared, but no check")).collect();
    let mut summary = Summary { passed: 0, differences: Vec::new() };
    for check in CHECKS {
        let difference = declared.iter().find(|(name, _)| check.name == *name);
        match (check.run(store).await, difference) {
            (Ok(()), None) => summary.passed += 1,
            (Err(_), Some(difference)) => summary.differences.push(*difference),
            (Err(failure), None) => problems.push(failure.to_string()),
            (Ok(()), Some((name, _))) => {
                problems.push(format!("{name}: passed, though it is declared as a difference"));
            }
        }
    }
    if problems.is_empty() { Ok(summary) } else { Err(Nonconforming { problems }) }
}

/// The result for a conforming store, in words: `22 of 23 conformance checks passed`, and a line for each
/// declared difference.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionStore, conformance};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
/// let summary = conformance::run(&store, &[]).await?;
/// assert!(summary.differences().is_empty());
/// assert!(summary.to_string().ends_with("conformance checks passed"));
/// # Ok::<(), conformance::Nonconforming>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    passed: usize,
    differences: Vec<(&'a str, &'a str)>,
}

impl<'a> Summary<'a> {
    /// The number of passed checks.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// The declared differences, each with its reason.
    pub fn differences(&self) -> &[(&'a str, &'a str)] {
        &self.differences
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} conformance checks passed", self.passed, CHECKS.len())?;
        for (name, reason) in &self.differences {
            write!(formatter, "\n  declared difference: {name}: {reason}")?;
        }
        Ok(())
    }
}

/// The result for a store that matches neither the contract nor its declaration: the problems, line by line.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, SessionStore, conformance};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
/// let problems = conformance::run(&store, &[("no_such_check", "a reason")]).await.unwrap_err();
/// assert_eq!(problems.to_string(), "no_such_check: declared, but no check");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Nonconforming {
    problems: Vec<String>,
}

impl fmt::Display for Nonconforming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for Nonconforming {}

/// A check that a store did not pass.
#[derive(Debug)]
pub struct Failure {
    check: &'static str,
    problem: Problem,
}

/// The finding.
#[derive(Debug)]
enum Problem {
    /// A violation of the contract.
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
    /// The check's name, which states the requirement.
    ///
    /// ```
    /// use cloakroom::conformance::CHECKS;
    ///
    /// assert_eq!(CHECKS[0].name(), "an_unknown_key_is_absent");
    /// ```
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
