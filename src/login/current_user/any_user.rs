//! A request's user, whatever the application's type.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Inner, LazyUser};
use crate::login::requirement::Requirement;
use crate::login::users::AuthUser;
use crate::site::error::Error;

/// A request's user for layers that require something, and do not know the application's type.
#[derive(Clone)]
pub(crate) struct AnyUser(Arc<dyn Required>);

#[async_trait]
trait Required: Send + Sync {
    async fn require(&self, requirement: &Requirement) -> Result<(), Error>;
}

#[async_trait]
impl<U: AuthUser> Required for Inner<U> {
    async fn require(&self, requirement: &Requirement) -> Result<(), Error> {
        self.load().await?.ok_or(Error::NotLoggedIn)?.require(requirement).await
    }
}

impl AnyUser {
    /// The error of a handler or a layer without the layer of the login.
    pub(crate) const MISSING: Error =
        Error::LayerMissing { argument: "CurrentUser", layer: "AuthLayer` (tower, axum) or `AuthTransform" };

    pub(crate) fn of<U: AuthUser>(user: &LazyUser<U>) -> AnyUser {
        AnyUser(Arc::clone(&user.inner) as Arc<dyn Required>)
    }

    pub(crate) async fn require(&self, requirement: &Requirement) -> Result<(), Error> {
        self.0.require(requirement).await
    }
}
