//! A table of users in a database: what the databases share.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use super::dialect::Dialect;
use super::table::ColumnValue;
use crate::site::error::{StoreError, StoreErrorKind};

/// Runs statements about users within the time limit of the store's URL.
#[async_trait]
pub(crate) trait UserConnection: Send + Sync {
    /// Runs a statement that only reads; it may run twice. Each column is text or null. `None` when a value has
    /// characters that its column cannot hold: then no row has that value, and nothing is known of the others.
    async fn rows(&self, sql: String, values: Vec<ColumnValue>) -> Result<Option<Vec<UserRow>>, StoreError>;

    /// Runs a statement that changes rows; returns how many it found.
    async fn change(&self, sql: String, values: Vec<ColumnValue>) -> Result<u64, StoreError>;

    /// The time limit of the store's URL.
    fn limit(&self) -> Duration;

    /// The error for no answer within the limit.
    fn too_late(&self) -> StoreError;
}

/// The columns of a row.
pub(crate) type UserRow = Vec<Option<String>>;

/// A table of users in an open database.
pub(crate) struct Users {
    pub(in crate::store) connection: Box<dyn UserConnection>,
    dialect: Dialect,
    /// Quoted, with its schema, if one was given.
    pub(in crate::store) table: String,
    /// The columns' types, by the columns' names.
    types: HashMap<String, String>,
}

/// How a column of ids keeps them.
enum Ids {
    Number,
    /// With hyphens.
    Uuid,
    /// `char(32)`: Django's UUIDs where the database has no type for them.
    UuidDigits,
    Text,
}

/// The properties of the table that a database tells when it is opened.
pub(super) struct Described {
    pub(super) store: &'static str,
    pub(super) place: String,
    /// As the caller named it.
    pub(super) table: String,
    pub(super) types: HashMap<String, String>,
}

impl Described {
    /// Fails when the table or one of the columns is missing.
    pub(super) fn require(&self, columns: &[&str]) -> Result<(), StoreError> {
        if columns.iter().all(|column| self.types.contains_key(*column)) {
            return Ok(());
        }
        let (last, others) = columns.split_last().map_or(("", columns), |(last, others)| (*last, others));
        let Described { place, table, .. } = self;
        let message = format!(
            "{place}: no table {table} with the columns {} and {last}; name the table of the project's user model \
             (its `_meta.db_table`), or the database that has it",
            others.join(", ")
        );
        Err(StoreError::new(self.store, StoreErrorKind::Misconfigured, message))
    }

    /// The error for a statement whose table or column is missing, as the database names it.
    pub(super) fn missing(store: &'static str, place: &str, said: &str) -> StoreError {
        let message = format!(
            "{place}: {said}; `UserModel` must name the tables and columns of the project's user model as the database has \
             them"
        );
        StoreError::new(store, StoreErrorKind::Misconfigured, message)
    }
}

impl Users {
    pub(super) fn new(connection: Box<dyn UserConnection>, dialect: Dialect, described: Described) -> Users {
        let Described { table, types, .. } = described;
        let mut users = Users { connection, dialect, table: String::new(), types };
        users.table = users.quoted_table(&table);
        users
    }

    /// Quotes the name of a table; in PostgreSQL, its schema may precede it.
    pub(in crate::store) fn quoted_table(&self, table: &str) -> String {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => {
                let parts: Vec<String> = table.split('.').map(|part| self.quoted(part)).collect();
                parts.join(".")
            }
            #[allow(unreachable_patterns)] // Where PostgreSQL alone is compiled in.
            _ => self.quoted(table),
        }
    }

    pub(in crate::store) fn quoted(&self, name: &str) -> String {
        self.dialect.quoted(name)
    }

    /// A quoted column as text.
    pub(in crate::store) fn text(&self, column: &str) -> String {
        match self.dialect {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => format!("CAST({column} AS TEXT)"),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!("{column}::text"),
            // In one character set and collation, for a `UNION`.
            #[cfg(feature = "mysql")]
            Dialect::Mysql => format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)"),
        }
    }

    /// An expression whose comparison is one of bytes.
    pub(in crate::store) fn bytes(&self, text: &str) -> String {
        self.dialect.bytes(text)
    }

    /// The values that [`is_among`](Users::is_among) compares these ids with. Their number takes few forms, so that the
    /// databases know the statements already: one array, or a power of two.
    pub(in crate::store) fn among(&self, column: &str, mut ids: Vec<ColumnValue>) -> Vec<ColumnValue> {
        if self.has_arrays(column) {
            let ids: Vec<String> = ids.into_iter().map(text_of).collect();
            return vec![ColumnValue::Text(format!("{{{}}}", ids.join(",")))];
        }
        if let Some(last) = ids.last().cloned() {
            ids.resize(ids.len().next_power_of_two(), last);
        }
        ids
    }

    /// Whether a column of this type is one of so many values of [`among`](Users::among), of which this is the first.
    pub(in crate::store) fn is_among(
        &self,
        quoted: &str,
        first: usize,
        count: usize,
        column: &str,
    ) -> String {
        if self.has_arrays(column) {
            return format!("{quoted} = ANY({}[])", self.place(first, column));
        }
        let places: Vec<String> = (first..first + count).map(|number| self.place(number, column)).collect();
        format!("{quoted} IN ({})", places.join(", "))
    }

    /// Whether ids of this column are compared with an array: numbers and UUIDs need no quoting in its text.
    fn has_arrays(&self, column: &str) -> bool {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => matches!(self.ids(column), Ids::Number | Ids::Uuid),
            #[allow(unreachable_patterns)] // Where PostgreSQL alone is compiled in.
            _ => {
                let _ = column;
                false
            }
        }
    }

    /// Whether equal ids of this column are the same text. Otherwise its collation may find one by another.
    pub(in crate::store) fn has_exact_ids(&self, column: &str) -> bool {
        !matches!(self.ids(column), Ids::Text)
    }

    /// The place of a statement's value of this number, from 1 on, to compare with or store in a column.
    pub(in crate::store) fn place(&self, number: usize, column: &str) -> String {
        match self.dialect {
            // Its parameters are all texts here.
            #[cfg(feature = "postgres")]
            Dialect::Postgres => {
                let of_column = self.types.get(column).map_or("text", String::as_str);
                let wanted = if is_number(of_column) { "bigint" } else { of_column };
                format!("${number}::text::{wanted}")
            }
            #[allow(unreachable_patterns)] // Where PostgreSQL alone is compiled in.
            _ => {
                let _ = (number, column);
                "?".to_owned()
            }
        }
    }

    /// Whether the column keeps moments with their offset from UTC.
    pub(in crate::store) fn has_offset(&self, column: &str) -> bool {
        self.types.get(column).is_some_and(|found| found == "timestamp with time zone")
    }

    fn ids(&self, column: &str) -> Ids {
        match self.types.get(column).map(|found| found.to_ascii_lowercase()).as_deref() {
            Some(number) if is_number(number) => Ids::Number,
            Some("uuid") => Ids::Uuid,
            Some("char(32)") => Ids::UuidDigits,
            _ => Ids::Text,
        }
    }

    /// An id as this column keeps it; `None` when no row can have it.
    pub(in crate::store) fn stored_id(&self, column: &str, id: &str) -> Option<ColumnValue> {
        // A text that no database can store is no user's id.
        if id.contains('\0') {
            return None;
        }
        let text = match (self.ids(column), uuid_digits(id)) {
            (Ids::Number, _) => return id.parse().ok().map(ColumnValue::Integer),
            (Ids::Uuid, digits) => digits.map(|digits| with_hyphens(&digits))?,
            (Ids::UuidDigits, Some(digits)) => digits,
            (Ids::UuidDigits | Ids::Text, _) => id.to_owned(),
        };
        Some(ColumnValue::Text(text))
    }

    /// An id of this column as Django's session has it.
    pub(in crate::store) fn shown_id(&self, column: &str, stored: String) -> String {
        match self.ids(column) {
            Ids::UuidDigits => uuid_digits(&stored).map_or(stored, |digits| with_hyphens(&digits)),
            _ => stored,
        }
    }
}

/// A number, or the text of a UUID.
fn text_of(id: ColumnValue) -> String {
    match id {
        ColumnValue::Integer(number) => number.to_string(),
        ColumnValue::Text(text) => text,
        ColumnValue::Null => String::new(),
    }
}

/// Whether this is a type of whole numbers, in any of the databases.
fn is_number(found: &str) -> bool {
    let word = found.split(['(', ' ']).next().unwrap_or_default().to_ascii_lowercase();
    matches!(word.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint")
}

/// The 32 digits of a UUID that is written with hyphens or without.
fn uuid_digits(id: &str) -> Option<String> {
    let has_hyphens = id.len() == 36 && [8, 13, 18, 23].iter().all(|index| id.as_bytes()[*index] == b'-');
    let digits = if has_hyphens { id.replace('-', "") } else { id.to_owned() };
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_uuid.then(|| digits.to_ascii_lowercase())
}

fn with_hyphens(digits: &str) -> String {
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::{is_number, uuid_digits, with_hyphens};

    #[test]
    fn uuids_are_told_from_other_texts() {
        const UUID: &str = "9f1c0a52-7d3e-4b61-8c2f-0123456789ab";
        let digits = UUID.replace('-', "");
        for text in [UUID, &digits, &UUID.to_uppercase()] {
            assert_eq!(uuid_digits(text).as_ref(), Some(&digits));
        }
        assert_eq!(with_hyphens(&digits), UUID);
        for other in [
            "",
            "7",
            &digits[1..],
            &format!("{UUID}-"),
            &UUID.replace('9', "g"),
            &"é".repeat(18),
            &"-".repeat(36),
        ] {
            assert_eq!(uuid_digits(other), None, "{other}");
        }
    }

    #[test]
    fn types_of_numbers() {
        for found in ["integer", "bigint", "INTEGER", "bigint(20) unsigned", "int(11)", "integer unsigned"] {
            assert!(is_number(found), "{found}");
        }
        for found in ["", "interval", "point", "character varying", "char(32)", "uuid"] {
            assert!(!is_number(found), "{found}");
        }
    }
}
