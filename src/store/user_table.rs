//! Reads password fields from the table of Django's users.

use std::collections::HashMap;
use std::fmt;

use super::sql::users::Passwords;
use super::tables::database;
use super::url::StoreUrl;
use crate::site::error::StoreError;

/// Reads the password field of users by their ids, many in one statement. It never writes.
///
/// [`session_auth_hash`](crate::auth::session_auth_hash) needs the field. The table must have the columns
/// `id` and `password`, as `auth_user` and the table of a custom user model that inherits `AbstractUser`
/// have. For other models, ask Django.
pub struct UserTable(Box<dyn Passwords>);

impl UserTable {
    /// Django's own users table.
    pub const DJANGO_TABLE: &'static str = "auth_user";

    /// Opens the table of this name, in the database of a URL for [`connect`](crate::connect). A PostgreSQL
    /// table may be preceded by its schema: `shop.users`.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("db.sqlite3");
    /// use cloakroom::StoreErrorKind;
    /// use cloakroom::auth::UserTable;
    /// use cloakroom::store::create_table;
    ///
    /// // A database of sessions alone.
    /// let url = format!("sqlite:{}", path.display());
    /// create_table(&url, Default::default()).await?;
    /// let error = UserTable::open(&url, UserTable::DJANGO_TABLE).await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    /// assert!(error.to_string().contains("auth_user"));
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`](crate::StoreErrorKind::Misconfigured) when there is no such table or it
    /// lacks a column, or when the URL names no database; otherwise as [`connect`](crate::connect).
    pub async fn open(url: &str, table: &str) -> Result<UserTable, StoreError> {
        Ok(UserTable(database(&StoreUrl::from(url))?.users(table).await?))
    }

    /// Returns the password fields of these users by their ids, in one statement. A missing user is left out.
    ///
    /// An id is text, as in the session. The result uses the requested spelling: a UUID with hyphens, even if
    /// the database stores it without.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("db.sqlite3");
    /// use cloakroom::auth::UserTable;
    ///
    /// # let connection = rusqlite::Connection::open(&path).unwrap();
    /// # let table = "CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY, password varchar(128) NOT NULL)";
    /// # connection.execute_batch(table).unwrap();
    /// # connection.execute_batch("INSERT INTO auth_user VALUES (7, 'pbkdf2_sha256$...')").unwrap();
    /// // In the table is user 7 alone.
    /// let users = UserTable::open(&format!("sqlite:{}", path.display()), UserTable::DJANGO_TABLE).await?;
    /// let passwords = users.passwords(&["7", "8", "nobody"]).await?;
    /// assert_eq!((passwords.len(), passwords["7"].as_str()), (1, "pbkdf2_sha256$..."));
    /// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be reached or does not answer.
    pub async fn passwords(&self, ids: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        // A text that no database can store is no user's id.
        let asked = ids.iter().filter(|id| !id.contains('\0'));
        let mut asked: Vec<String> =
            asked.flat_map(|id| [Some((*id).to_owned()), without_hyphens(id)]).flatten().collect();
        asked.sort_unstable();
        asked.dedup();
        let found: HashMap<String, String> = self.0.of(&asked).await?.into_iter().collect();
        let password = |id: &str| found.get(id).or_else(|| found.get(&without_hyphens(id)?)).cloned();
        Ok(ids.iter().filter_map(|id| Some(((*id).to_owned(), password(id)?))).collect())
    }
}

/// The digits of a UUID with hyphens, as Django stores it where the database has no type for it.
fn without_hyphens(id: &str) -> Option<String> {
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then(|| id.replace('-', ""))
}

impl fmt::Debug for UserTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserTable(..)")
    }
}
