//! Users that log in with a name and a password.

use async_trait::async_trait;

#[cfg(feature = "passwords")]
use super::passwords::PasswordHasher;
#[cfg(feature = "passwords")]
use super::users::AuthUser;
use super::users::UserSource;
#[cfg(feature = "passwords")]
use crate::site::error::Error;
use crate::site::error::StoreError;

/// A [`UserSource`] whose users log in with a name and a password, for `auth::authenticate`.
/// [`DjangoUsers`](crate::auth::DjangoUsers) is one for Django's tables.
///
/// ```
/// use std::borrow::Cow;
/// use std::sync::Mutex;
/// use cloakroom::auth::{AuthUser, CredentialSource, UserSource};
/// use cloakroom::{StoreError, async_trait};
///
/// #[derive(Clone)]
/// struct Admin {
///     password: String,
/// }
///
/// impl AuthUser for Admin {
///     fn id(&self) -> Cow<'_, str> {
///         "admin".into()
///     }
///
///     fn password(&self) -> &str {
///         &self.password
///     }
/// }
///
/// /// A service with one user.
/// struct OneAdmin(Mutex<Admin>);
///
/// #[async_trait]
/// impl UserSource for OneAdmin {
///     type User = Admin;
///
///     async fn find(&self, id: &str) -> Result<Option<Admin>, StoreError> {
///         Ok((id == "admin").then(|| self.0.lock().unwrap().clone()))
///     }
/// }
///
/// #[async_trait]
/// impl CredentialSource for OneAdmin {
///     async fn find_by_username(&self, username: &str) -> Result<Option<Admin>, StoreError> {
///         self.find(username).await
///     }
///
///     async fn set_password(&self, user: &Admin, encoded: &str) -> Result<Option<Admin>, StoreError> {
///         let mut admin = self.0.lock().unwrap();
///         if admin.password != user.password {
///             return Ok(None);
///         }
///         admin.password = encoded.to_owned();
///         Ok(Some(admin.clone()))
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let admins = OneAdmin(Mutex::new(Admin { password: "pbkdf2_sha256$old".to_owned() }));
/// let admin = admins.find_by_username("admin").await?.unwrap();
/// let changed = admins.set_password(&admin, "pbkdf2_sha256$new").await?.unwrap();
/// assert_eq!(changed.password(), "pbkdf2_sha256$new");
/// assert!(admins.set_password(&admin, "pbkdf2_sha256$other").await?.is_none(), "changed meanwhile");
/// # Ok::<(), StoreError>(()) }).unwrap();
/// ```
#[async_trait]
pub trait CredentialSource: UserSource {
    /// Returns the user with this name, active or not; `None` if there is no such user. Django's
    /// `get_by_natural_key`.
    ///
    /// # Errors
    /// When the source cannot be asked. It is never "no such user".
    async fn find_by_username(&self, username: &str) -> Result<Option<Self::User>, StoreError>;

    /// Replaces the user's password field, if it still is what `user` has, in one step. Returns the user with the new
    /// field; `None` when the field was changed meanwhile or the user is gone.
    ///
    /// # Errors
    /// When the source cannot be asked. The field may have been replaced or not.
    async fn set_password(&self, user: &Self::User, encoded: &str) -> Result<Option<Self::User>, StoreError>;

    /// Notes that the user has just logged in. Django's `update_last_login`. Links for resetting the password that were
    /// sent before become void. Call it after [`auth::login`](crate::auth::login). Default: nothing.
    ///
    /// # Errors
    /// When the source cannot be asked.
    async fn record_login(&self, user: &Self::User) -> Result<(), StoreError> {
        let _ = user;
        Ok(())
    }
}

/// How often a field is looked at again that changes between reading and upgrading it.
#[cfg(feature = "passwords")]
const TRIES: usize = 3;

/// Returns the user with this name and password; `None` if the name, the password or the user's state does not allow
/// it, without saying which. Django's `authenticate` with its `ModelBackend`.
///
/// 1. A name that nobody has takes the time of a wrong password. So does a user who is not active. A field of another
///    algorithm than the hasher's takes its own time, as in Django.
/// 2. After a right password, an old field is upgraded: see
///    [`PasswordHasher`](crate::auth::PasswordHasher). The returned user has the new field, so that
///    [`auth::login`](crate::auth::login) keeps its hash. A failed upgrade is logged, and the login goes on.
/// 3. A password that is changed meanwhile is never overwritten, and then the old one is wrong.
///
/// It sets no limit on attempts, as Django does not.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::auth::{self, AuthUser, DjangoUsers, PasswordAlgorithm, PasswordHasher, UserModel};
///
/// let hasher = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000 })?;
/// # let encoded = hasher.encode("secret").await?;
/// # let connection = rusqlite::Connection::open(&path)?;
/// # connection.execute_batch("CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY, username varchar(150) NOT NULL, \
/// #     password varchar(128) NOT NULL, is_active bool NOT NULL, is_staff bool NOT NULL, is_superuser bool NOT NULL, \
/// #     last_login datetime)")?;
/// # connection.execute("INSERT INTO auth_user VALUES (7, 'ada', ?1, 1, 0, 0, NULL)", [encoded])?;
/// // In the table is the user `ada` alone.
/// let users = DjangoUsers::open(&format!("sqlite:{}", path.display()), UserModel::default()).await?;
/// let user = auth::authenticate(&users, &hasher, "ada", "secret").await?;
/// assert_eq!(user.map(|user| user.id().into_owned()).as_deref(), Some("7"));
/// assert!(auth::authenticate(&users, &hasher, "ada", "wrong").await?.is_none());
/// assert!(auth::authenticate(&users, &hasher, "bob", "secret").await?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
/// When the source cannot be asked, or the operating system gives no random bytes.
#[cfg(feature = "passwords")]
pub async fn authenticate<Source: CredentialSource>(
    source: &Source,
    hasher: &PasswordHasher,
    username: &str,
    password: &str,
) -> Result<Option<Source::User>, Error> {
    let Some(mut user) = source.find_by_username(username).await? else {
        hasher.encode(password).await?;
        return Ok(None);
    };
    for tries_left in (0..TRIES).rev() {
        let verified = hasher.verify(password, user.password()).await;
        if !verified.matches {
            return Ok(None);
        }
        if !verified.must_update || tries_left == 0 {
            break;
        }
        let encoded = hasher.encode(password).await?;
        match source.set_password(&user, &encoded).await {
            Ok(Some(upgraded)) => {
                user = upgraded;
                break;
            }
            // Upgraded by another login, or changed. The field is compared again.
            Ok(None) => match source.find(&user.id()).await? {
                Some(changed) => user = changed,
                None => return Ok(None),
            },
            Err(error) => {
                tracing::warn!(user = %user.id(), %error, "a password field was not upgraded; the next login tries again");
                break;
            }
        }
    }
    Ok(Some(user).filter(AuthUser::is_active))
}
