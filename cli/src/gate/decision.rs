//! The decision about a request.

use std::sync::Arc;

use super::identity::Identity;

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It passes, with the user's identity if one is logged in.
    Allowed,
    /// Nobody is logged in.
    LoginRequired,
    /// No login helps.
    Forbidden(Reason),
    /// The store does not answer.
    Unavailable,
}

/// Why a request is refused whoever makes it, or because of who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No rule is about it, or the rule lets nobody pass.
    NoRule,
    /// The user does not meet the rule's requirement.
    Requirement,
    /// The path's readings fall under different rules, or are too many.
    Ambiguous,
    /// The question is not one.
    Malformed,
}

/// The decision, and what it was made by.
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// The rule's place in the file, from 1.
    pub(crate) rule: Option<usize>,
    /// The user, if the decision needed one and somebody is logged in.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Decided {
    pub(crate) fn without_user(decision: Decision, rule: Option<usize>) -> Decided {
        Decided { decision, rule, identity: None }
    }

    pub(crate) fn malformed() -> Decided {
        Decided::without_user(Decision::Forbidden(Reason::Malformed), None)
    }
}
