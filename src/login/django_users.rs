//! Django's own users.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;

use super::auth::MODEL_BACKEND;
use super::credentials::CredentialSource;
use super::users::{AuthUser, Grants, UserSource};
use crate::site::error::StoreError;
use crate::store::user_model::{Grant, StoredUser, UserModelTables, Wanted};

pub use crate::store::user_model::{PermissionTables, UserModel};

/// The users of a Django project, in its own tables: a [`UserSource`] and a [`CredentialSource`].
///
/// 1. A look-up costs at most one statement. While one is in progress, the look-ups that arrive wait, and the next
///    statement answers them all. Each look-up ends within the time limit of the URL, 5 seconds by default.
/// 2. It writes the password field, when a hash is upgraded, and `last_login`. It never changes a schema.
/// 3. An id that no row can have is nobody's and no error.
/// 4. Names are compared by the database, as Django has it compare them. In MySQL and MariaDB that depends on the
///    column's collation, which mostly ignores case. Django's login form normalizes names to NFKC first; this does not.
/// 5. PostgreSQL gets up to 4 connections, MySQL and MariaDB up to 8. A broken connection is replaced.
///
/// Clones share the connections.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::auth::{AuthUser, CredentialSource, DjangoUsers, UserModel, UserSource};
///
/// # let connection = rusqlite::Connection::open(&path)?;
/// # connection.execute_batch("CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY, username varchar(150) NOT NULL, \
/// #     password varchar(128) NOT NULL, is_active bool NOT NULL, is_staff bool NOT NULL, is_superuser bool NOT NULL, \
/// #     last_login datetime, email varchar(254) NOT NULL);
/// #     INSERT INTO auth_user VALUES (7, 'ada', 'pbkdf2_sha256$...', 1, 1, 0, NULL, 'ada@example.com')")?;
/// // In the table is the user `ada` alone.
/// let mut model = UserModel::default();
/// model.extra = vec!["email".to_owned()];
/// let users = DjangoUsers::open(&format!("sqlite:{}", path.display()), model).await?;
/// let user = users.find("7").await?.unwrap();
/// assert_eq!((user.username(), user.get("email")), ("ada", Some("ada@example.com")));
/// assert!(user.is_staff() && !user.is_superuser());
/// assert!(users.find("8").await?.is_none() && users.find("nobody").await?.is_none());
/// assert_eq!(users.find_by_username("ada").await?.unwrap().id(), "7");
/// users.ping().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct DjangoUsers(Arc<UserModelTables>);

/// A user of a Django project.
#[derive(Clone)]
pub struct DjangoUser {
    stored: StoredUser,
    tables: Arc<UserModelTables>,
}

impl DjangoUsers {
    /// Opens the tables of a user model, in the database of a URL for [`connect`](crate::connect).
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("db.sqlite3");
    /// use cloakroom::StoreErrorKind;
    /// use cloakroom::auth::{DjangoUsers, UserModel};
    /// use cloakroom::store::create_table;
    ///
    /// // A database of sessions alone.
    /// let url = format!("sqlite:{}", path.display());
    /// create_table(&url, Default::default()).await?;
    /// let error = DjangoUsers::open(&url, UserModel::default()).await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// assert!(error.to_string().contains("auth_user"));
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`](crate::StoreErrorKind::Misconfigured) when the table or a column of the model
    /// is missing, or when the URL names no database; otherwise as [`connect`](crate::connect).
    pub async fn open(url: &str, model: UserModel) -> Result<DjangoUsers, StoreError> {
        Ok(DjangoUsers(Arc::new(UserModelTables::open(url, model).await?)))
    }

    /// Asks the users' table for no row, for a health check.
    ///
    /// # Errors
    /// When the database cannot be asked, or the table cannot be read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }

    fn user(&self, stored: StoredUser) -> DjangoUser {
        DjangoUser { stored, tables: Arc::clone(&self.0) }
    }
}

#[async_trait]
impl UserSource for DjangoUsers {
    type User = DjangoUser;

    async fn find(&self, id: &str) -> Result<Option<DjangoUser>, StoreError> {
        Ok(self.0.find(id).await?.map(|stored| self.user(stored)))
    }

    fn accepts_backend(&self, backend: &str) -> bool {
        match &self.0.model().backends[..] {
            [] => backend == MODEL_BACKEND,
            backends => backends.iter().any(|accepted| accepted == backend),
        }
    }

    /// All permissions for a superuser, and none for a user who is not active, as in Django.
    async fn grants(&self, user: &DjangoUser) -> Result<Grants, StoreError> {
        let mut grants = Grants::default();
        let wanted = match (user.is_active(), user.is_superuser()) {
            (false, _) => Wanted::Groups,
            (true, true) => Wanted::OfSuperuser,
            (true, false) => Wanted::OfUser,
        };
        for grant in self.0.grants(&user.stored.id, wanted).await?.iter() {
            match grant {
                Grant::Group(name) => grants.groups.insert(name.clone()),
                Grant::Permission(name) => grants.permissions.insert(name.clone()),
            };
        }
        Ok(grants)
    }
}

#[async_trait]
impl CredentialSource for DjangoUsers {
    async fn find_by_username(&self, username: &str) -> Result<Option<DjangoUser>, StoreError> {
        Ok(self.0.find_by_username(username).await?.map(|stored| self.user(stored)))
    }

    async fn set_password(&self, user: &DjangoUser, encoded: &str) -> Result<Option<DjangoUser>, StoreError> {
        let is_set = self.0.set_password(&user.stored, encoded).await?;
        Ok(is_set.then(|| self.user(StoredUser { password: encoded.to_owned(), ..user.stored.clone() })))
    }

    async fn record_login(&self, user: &DjangoUser) -> Result<(), StoreError> {
        self.0.record_login(&user.stored, Utc::now()).await
    }
}

impl DjangoUser {
    /// The name by which the user logs in.
    pub fn username(&self) -> &str {
        &self.stored.username
    }

    /// The names of the user's groups, sorted, if [`UserModel::reads_groups`] is set; otherwise none. Django's
    /// `user.groups`.
    pub fn groups(&self) -> &[String] {
        &self.stored.groups
    }

    /// The value of a column of [`UserModel::extra`], as the database writes it as text; `None` when it is null or not
    /// one of these columns.
    pub fn get(&self, column: &str) -> Option<&str> {
        let index = self.tables.model().extra.iter().position(|name| name == column)?;
        self.stored.extra.get(index)?.as_deref()
    }
}

impl AuthUser for DjangoUser {
    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.stored.id)
    }

    fn password(&self) -> &str {
        &self.stored.password
    }

    fn is_active(&self) -> bool {
        self.stored.is_active
    }

    fn is_staff(&self) -> bool {
        self.stored.is_staff
    }

    fn is_superuser(&self) -> bool {
        self.stored.is_superuser
    }
}

/// Shows the id alone: names are personal data.
impl fmt::Debug for DjangoUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DjangoUser").field("id", &self.stored.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for DjangoUsers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DjangoUsers").field("model", self.0.model()).finish_non_exhaustive()
    }
}
