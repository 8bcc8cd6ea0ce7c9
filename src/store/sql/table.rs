//! The code that the SQL stores share about Django's table.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod batch_size;
pub(super) mod problem;

use std::fmt;
use std::sync::Arc;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use chrono::{DateTime, Utc};
use cloakroom_formats::SessionData;
use md5::{Digest, Md5};

use crate::store::loaded::Version;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) use batch_size::BatchSize;

/// The outcome of `create_table`.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// use cloakroom::store::table::{TableCreation, MigrationRecord};
/// use cloakroom::SqliteStore;
///
/// let made = SqliteStore::at(&path).create_table(MigrationRecord::IfDjango).await?;
/// assert_eq!(made, TableCreation::Created);
/// # Ok::<(), cloakroom::StoreError>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the table was there or was not")]
pub enum TableCreation {
    /// The table was created.
    Created,
    /// The table existed, and was left as it is.
    AlreadyThere,
}

/// Whether to record the migration in `django_migrations`, where Django looks up which migrations to run.
///
/// ```
/// use cloakroom::store::table::MigrationRecord;
///
/// let record = MigrationRecord::default();
/// assert_eq!(record, MigrationRecord::IfDjango);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationRecord {
    /// If that table exists: then the database is a Django site's.
    #[default]
    IfDjango,
    /// Always; the table is created if missing. For a Django site that will be set up later.
    Always,
}

/// The table of Django's own model, `Session`; creating only this one is a migration that Django knows.
pub(super) const DJANGO_TABLE: &str = "django_session";

/// The table of the index of user sessions.
pub(super) const USER_SESSION_TABLE: &str = "cloakroom_user_session";

/// Its columns. The first two are the primary key, in the order that finds a user's entries.
pub(super) const USER_SESSION_COLUMNS: &str =
    "user_id, session_key, first_seen, last_seen, address, user_agent";

/// The names of the table's columns: Django's, unless the site has its own session model.
///
/// ```
/// use cloakroom::store::table::Columns;
///
/// let columns = Columns { session_key: "token".to_owned(), ..Columns::default() };
/// assert_eq!(columns.session_data, "session_data");
/// assert_eq!(columns.expire_date, "expire_date");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers write it as a literal")]
pub struct Columns {
    /// The primary key: `session_key`.
    pub session_key: String,
    /// The signed text: `session_data`.
    pub session_data: String,
    /// The session's expiry: `expire_date`.
    pub expire_date: String,
}

impl Default for Columns {
    fn default() -> Self {
        Columns {
            session_key: "session_key".to_owned(),
            session_data: "session_data".to_owned(),
            expire_date: "expire_date".to_owned(),
        }
    }
}

/// A column that the application fills from the session, as Django's custom session models do in
/// `create_model_instance`. Each save computes it again; clearing and loading ignore it.
///
/// ```
/// use cloakroom::SessionData;
/// use cloakroom::store::table::{ColumnValue, ExtraColumn};
///
/// // Django's documented example: which account the session belongs to.
/// let account_id = ExtraColumn::new("account_id", |data: &SessionData| {
///     data.read::<String>("_auth_user_id").ok().flatten().and_then(|id| id.parse::<i64>().ok())
/// });
/// let data = SessionData::from_json(r#"{"_auth_user_id":"7"}"#)?;
/// assert_eq!(account_id.value(&data), ColumnValue::Integer(7));
/// assert_eq!(account_id.value(&SessionData::new()), ColumnValue::Null);
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
#[derive(Clone)]
pub struct ExtraColumn {
    name: String,
    value: Arc<dyn Fn(&SessionData) -> ColumnValue + Send + Sync>,
}

impl ExtraColumn {
    /// Creates a column with this name and value: an `i64`, a text, a [`ColumnValue`], or an `Option` of one.
    ///
    /// ```
    /// use cloakroom::SessionData;
    /// use cloakroom::store::table::{ColumnValue, ExtraColumn};
    ///
    /// let theme = ExtraColumn::new("theme", |data| data.read::<String>("theme").ok().flatten());
    /// assert_eq!(theme.name(), "theme");
    /// let data = SessionData::from_json(r#"{"theme":"dark"}"#)?;
    /// assert_eq!(theme.value(&data), ColumnValue::Text("dark".to_owned()));
    /// # Ok::<(), cloakroom::ValueError>(())
    /// ```
    pub fn new<V: Into<ColumnValue>>(
        name: impl Into<String>,
        value: impl Fn(&SessionData) -> V + Send + Sync + 'static,
    ) -> ExtraColumn {
        ExtraColumn { name: name.into(), value: Arc::new(move |data| value(data).into()) }
    }

    /// The column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column's value for a session with this data.
    pub fn value(&self, data: &SessionData) -> ColumnValue {
        (self.value)(data)
    }
}

impl fmt::Debug for ExtraColumn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ExtraColumn").field(&self.name).finish()
    }
}

/// The value of an [`ExtraColumn`].
///
/// ```
/// use cloakroom::store::table::ColumnValue;
///
/// assert_eq!(ColumnValue::from(7), ColumnValue::Integer(7));
/// assert_eq!(ColumnValue::from("dark"), ColumnValue::Text("dark".to_owned()));
/// assert_eq!(ColumnValue::from(None::<i64>), ColumnValue::Null);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColumnValue {
    /// Null: Django's `None`, for columns with `null=True`.
    Null,
    /// A whole number, for `IntegerField` and similar fields.
    Integer(i64),
    /// A text, for `CharField` and similar fields.
    Text(String),
}

#[cfg(feature = "postgres")]
impl ColumnValue {
    /// Converts it to text, which any column's type accepts; `None` for null.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            ColumnValue::Null => None,
            ColumnValue::Integer(number) => Some(number.to_string()),
            ColumnValue::Text(text) => Some(text),
        }
    }
}

impl From<i64> for ColumnValue {
    fn from(number: i64) -> Self {
        ColumnValue::Integer(number)
    }
}

impl From<String> for ColumnValue {
    fn from(text: String) -> Self {
        ColumnValue::Text(text)
    }
}

impl From<&str> for ColumnValue {
    fn from(text: &str) -> Self {
        ColumnValue::Text(text.to_owned())
    }
}

impl<V: Into<ColumnValue>> From<Option<V>> for ColumnValue {
    fn from(value: Option<V>) -> Self {
        value.map_or(ColumnValue::Null, Into::into)
    }
}

/// Django's name for an index on one column: table, column, and 8 digits of the MD5 of both
/// (`BaseDatabaseSchemaEditor._create_index_name`), cut to what the database allows.
pub(super) fn index_name(table: &str, column: &str, suffix: &str, max_length: usize) -> String {
    let digest = Md5::new().chain_update(table).chain_update(column).finalize();
    let mut ending = format!("{}{suffix}", cloakroom_formats::private::hex(&digest[..4]));
    let name = format!("{table}_{column}_{ending}");
    if name.chars().count() <= max_length {
        return name;
    }
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    if ending.len() * 3 > max_length {
        ending = cut(&ending, max_length / 3);
    }
    let other = (max_length - ending.len()) / 2 - 1;
    let name = format!("{}_{}_{ending}", cut(table, other), cut(column, other));
    // A name that begins with an underscore or a digit gets a D, as in Django.
    if name.starts_with(|first: char| first == '_' || first.is_numeric()) {
        return format!("D{}", cut(&name, name.chars().count() - 1));
    }
    name
}

/// The stored text to compare with, if any.
pub(super) fn expected_text(expected: Option<&Version>) -> Option<String> {
    // Another store's version, or one that is not text, never equals a stored text.
    let text = |bytes| str::from_utf8(bytes).unwrap_or("\u{fffd}").to_owned();
    expected.map(|version| text(version.as_bytes().unwrap_or(b"\xff")))
}

/// Whether Python can read this time: the years 1 to 9999. Django fails on a row with another time.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn python_reads(time: DateTime<Utc>) -> bool {
    use chrono::Datelike;
    (1..=9_999).contains(&time.year())
}

#[cfg(test)]
mod tests {
    use super::{Version, expected_text, index_name};

    #[test]
    fn another_stores_version_is_never_what_is_stored() {
        assert_eq!(expected_text(None), None, "nothing is compared");
        let expected = |version| expected_text(Some(&version));
        assert_eq!(expected(Version::from_bytes(*b"e30:1rZ")).as_deref(), Some("e30:1rZ"));
        for other in [Version::from_number(7), Version::from_bytes(*b"e30:\xff")] {
            assert_eq!(expected(other).as_deref(), Some("\u{fffd}"));
        }
    }

    #[test]
    fn indexes_are_named_as_django_names_them() {
        assert_eq!(
            index_name("django_session", "expire_date", "", 200),
            "django_session_expire_date_a5c62663"
        );
        assert_eq!(
            index_name("django_session", "session_key", "_like", 63),
            "django_session_session_key_c0390e0f_like"
        );
    }

    #[test]
    fn long_names_are_cut() {
        let name = index_name(&"t".repeat(60), "expire_date", "_like", 63);
        assert!(name.starts_with(&format!("{}_expire_date_", "t".repeat(24))), "{name}");
        assert!(name.ends_with("_like") && name.len() <= 63, "{name}");
        assert!(index_name(&format!("_{}", "t".repeat(60)), "expire_date", "", 63).starts_with("D_t"));
    }
}
