//! Reads password fields from the table of Django's users.

use std::collections::HashMap;
use std::fmt;

use super::sql::table::ColumnValue;
use super::sql::users::Users;
use super::tables::database;
use super::url::StoreUrl;
use crate::site::error::StoreError;

/// Reads the password field of users by their ids, many in one statement. It never writes.
///
/// [`session_auth_hash`](crate::auth::session_auth_hash) needs the field. The table must have the columns
/// `id` and `password`, as `auth_user` and the table of a custom user model that inherits `AbstractUser`
/// have. For other models, ask Django.
pub struct UserTable(Users);

const ID: &str = "id";
const PASSWORD: &str = "password";

/// The number of ids in one statement.
const VALUES: usize = 10_000;

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
        Ok(UserTable(database(&StoreUrl::from(url))?.users(table, &[ID, PASSWORD]).await?))
    }

    /// Returns the password fields of these users by their ids, in one statement for each 10,000. A missing user is left out.
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
        let UserTable(users) = self;
        let stored: Vec<Option<ColumnValue>> = ids.iter().map(|id| users.stored_id(ID, id)).collect();
        let asked: Vec<&ColumnValue> = stored.iter().flatten().collect();
        let mut found = HashMap::new();
        let mut parts: Vec<&[&ColumnValue]> = asked.chunks(VALUES).collect();
        while let Some(asked) = parts.pop() {
            let values = users.among(ID, asked.iter().map(|id| (*id).clone()).collect());
            let [id, password] = [ID, PASSWORD].map(|column| users.quoted(column));
            let sql = format!(
                "SELECT {}, {} FROM {} WHERE {}",
                users.text(&id),
                users.text(&password),
                users.table,
                users.is_among(&id, 1, values.len(), ID)
            );
            let Some(rows) = users.connection.rows(sql, values).await? else {
                // One id is no user's, and hides the others. Alone, it is not found.
                if asked.len() > 1 {
                    let (left, right) = asked.split_at(asked.len() / 2);
                    parts.extend([left, right]);
                }
                continue;
            };
            for row in rows {
                let [id, password] = row.try_into().unwrap_or_default();
                if let Some(id) = id.and_then(|id| users.stored_id(ID, &id)) {
                    found.insert(shown(&id), password.unwrap_or_default());
                }
            }
        }
        let password = |id: &ColumnValue| found.get(&shown(id)).cloned();
        let found = ids.iter().zip(&stored);
        Ok(found.filter_map(|(id, stored)| Some(((*id).to_owned(), password(stored.as_ref()?)?))).collect())
    }
}

/// One text for each id.
fn shown(id: &ColumnValue) -> String {
    match id {
        ColumnValue::Integer(number) => number.to_string(),
        ColumnValue::Text(text) => text.clone(),
        ColumnValue::Null => String::new(),
    }
}

impl fmt::Debug for UserTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserTable(..)")
    }
}
