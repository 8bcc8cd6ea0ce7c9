//! The requirements of routes for their users, independent of any web framework.

use crate::login::auth::Requirement;
use crate::login::current_user::AnyUser;
use crate::site::error::Error;
use crate::site::path_list;

/// A requirement, and the paths without it.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) requirement: Requirement,
    pub(crate) exempt: Vec<String>,
}

impl Guard {
    pub(crate) fn new(requirement: Requirement) -> Guard {
        Guard { requirement, exempt: Vec::new() }
    }

    pub(crate) fn is_exempt(&self, path: &str) -> bool {
        path_list::has(&self.exempt, path)
    }

    pub(crate) async fn check(&self, user: Option<AnyUser>) -> Result<(), Error> {
        user.ok_or(AnyUser::MISSING)?.require(&self.requirement).await
    }
}
