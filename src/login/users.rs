//! The users of an application, as the login needs them.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;

use crate::site::error::StoreError;

/// A user of the application, for the login. Django's `AbstractBaseUser`.
///
/// ```
/// use std::borrow::Cow;
/// use cloakroom::auth::AuthUser;
///
/// #[derive(Clone)]
/// struct Member {
///     id: i64,
///     password: String,
/// }
///
/// impl AuthUser for Member {
///     fn id(&self) -> Cow<'_, str> {
///         self.id.to_string().into()
///     }
///
///     fn password(&self) -> &str {
///         &self.password
///     }
/// }
///
/// let member = Member { id: 7, password: "pbkdf2_sha256$...".to_owned() };
/// assert_eq!(member.id(), "7");
/// assert!(member.is_active(), "unless the application says otherwise");
/// ```
pub trait AuthUser: Clone + Send + Sync + 'static {
    /// The primary key as text, as the session keeps it.
    fn id(&self) -> Cow<'_, str>;

    /// The password field: the encoded hash, as in `auth_user.password`. When it changes, logins end.
    fn password(&self) -> &str;

    /// Whether the user may be logged in. Django's `is_active`. Default: true.
    fn is_active(&self) -> bool {
        true
    }

    /// Whether the user may use Django's admin. Django's `is_staff`. Default: false.
    fn is_staff(&self) -> bool {
        false
    }

    /// Whether the user has all permissions. Django's `is_superuser`. Default: false.
    fn is_superuser(&self) -> bool {
        false
    }
}

/// The source of an application's users: a database, a service, a map. Django's authentication back end.
#[async_trait]
pub trait UserSource: Send + Sync + 'static {
    /// The application's own type of a user.
    type User: AuthUser;

    /// Returns the user with this id, as the session keeps it; `None` if there is no such user, also when no
    /// user can have such an id. Django's `get_user`.
    ///
    /// # Errors
    /// When the source cannot be asked. It is never "no such user".
    async fn find(&self, id: &str) -> Result<Option<Self::User>, StoreError>;

    /// Whether a login by this back end counts: `BACKEND_SESSION_KEY` in the session is one of Django's
    /// `AUTHENTICATION_BACKENDS`. Default: Django's `ModelBackend`.
    fn accepts_backend(&self, backend: &str) -> bool {
        backend == super::auth::MODEL_BACKEND
    }

    /// Returns the names of the user's groups and the user's permissions, such as `shop.add_order`: direct ones
    /// and those of the groups. It is asked once a request, and only where a handler requires one; not for a
    /// superuser, who has all. Default: none.
    ///
    /// # Errors
    /// When the source cannot be asked.
    async fn grants(&self, user: &Self::User) -> Result<Grants, StoreError> {
        let _ = user;
        Ok(Grants::default())
    }
}

/// A source that several owners share.
#[async_trait]
impl<S: UserSource + ?Sized> UserSource for Arc<S> {
    type User = S::User;

    async fn find(&self, id: &str) -> Result<Option<S::User>, StoreError> {
        (**self).find(id).await
    }

    fn accepts_backend(&self, backend: &str) -> bool {
        (**self).accepts_backend(backend)
    }

    async fn grants(&self, user: &S::User) -> Result<Grants, StoreError> {
        (**self).grants(user).await
    }
}

/// The groups and permissions of a user.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Grants {
    /// The names of the groups.
    pub groups: std::collections::HashSet<String>,
    /// The permissions as `app_label.codename`, such as `shop.add_order`. Django's `get_all_permissions`.
    pub permissions: std::collections::HashSet<String>,
}
