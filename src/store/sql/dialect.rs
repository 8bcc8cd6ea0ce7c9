//! The differences between the databases in the SQL of the two tables.

use super::row_format;
use super::table::{Columns, ExtraColumn, index_name};
use crate::store::cache::CacheFormat;

/// One kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "mysql")]
    Mysql,
}

/// The quoted names in the SQL of a session table.
pub(super) struct Names {
    pub(super) table: String,
    pub(super) key: String,
    pub(super) data: String,
    pub(super) expiry: String,
    pub(super) extra: Vec<String>,
}

impl Dialect {
    /// Quotes a name.
    pub(super) fn quoted(self, name: &str) -> String {
        let quote = match self {
            #[cfg(feature = "mysql")]
            Dialect::Mysql => '`',
            #[allow(unreachable_patterns)] // Where MySQL alone is compiled in.
            _ => '"',
        };
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    pub(super) fn names(self, table: &str, columns: &Columns, extra: &[ExtraColumn]) -> Names {
        Names {
            table: self.quoted(table),
            key: self.quoted(&columns.session_key),
            data: self.quoted(&columns.session_data),
            expiry: self.quoted(&columns.expire_date),
            extra: extra.iter().map(|column| self.quoted(column.name())).collect(),
        }
    }

    /// The condition that a row is a session's and no other entry's of the same table, behind `WHERE` or `AND`; empty
    /// for a table of sessions alone. It is decided byte by byte.
    pub(super) fn only_sessions(self, word: &str, cache: Option<&CacheFormat>, key: &str) -> String {
        let Some(cache) = cache else { return String::new() };
        // Nothing lists or clears without a prefix.
        let Some((prefix, other)) = row_format::prefix(cache) else { return format!(" {word} 1 = 0") };
        let begin = self.begins_with(key, &prefix);
        let other = other.map(|other| {
            let (first, length) = (prefix.chars().count() + 1, other.len());
            format!(
                " AND {} <> {}",
                self.bytes(&format!("substr({key}, {first}, {length})")),
                self.text_as_bytes(other)
            )
        });
        format!(" {word} {begin}{}", other.unwrap_or_default())
    }

    /// The condition that a name begins with this text, with an index if the collation allows.
    fn begins_with(self, column: &str, text: &str) -> String {
        let start = self.bytes(&format!("substr({column}, 1, {})", text.chars().count()));
        let exact = format!("{start} = {}", self.text_as_bytes(text));
        match self {
            // Its keys are in the order of their bytes.
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => match text_after(text) {
                Some(end) => format!("{column} < {} AND {exact}", self.text_as_bytes(&end)),
                None => exact,
            },
            // The order of its keys is the database's own, in which those of a prefix may lie apart.
            #[cfg(feature = "postgres")]
            Dialect::Postgres => exact,
            #[cfg(feature = "mysql")]
            Dialect::Mysql => {
                let pattern: String = text
                    .chars()
                    .flat_map(|found| match found {
                        '%' | '_' | '|' => vec!['|', found],
                        other => vec![other],
                    })
                    .collect();
                format!("{column} LIKE _utf8mb4 X'{}' ESCAPE '|' AND {exact}", hex(&(pattern + "%")))
            }
        }
    }

    /// An expression whose comparison is one of bytes.
    pub(super) fn bytes(self, text: &str) -> String {
        match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => text.to_owned(),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!("{text} COLLATE \"C\""),
            #[cfg(feature = "mysql")]
            Dialect::Mysql => format!("CAST(CONVERT({text} USING utf8mb4) AS BINARY)"),
        }
    }

    /// This text, to compare with [`bytes`](Dialect::bytes).
    fn text_as_bytes(self, text: &str) -> String {
        match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => format!("CAST(X'{}' AS TEXT)", hex(text)),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            #[cfg(feature = "mysql")]
            Dialect::Mysql => format!("X'{}'", hex(text)),
        }
    }

    /// The table of Django's `DatabaseCache`, as `manage.py createcachetable` creates it.
    pub(super) fn cache_table(self, table: &str, columns: &Columns) -> String {
        let Names { table: quoted_table, key, data, expiry, .. } = self.names(table, columns, &[]);
        let index = self.quoted(&format!("{table}_{}", columns.expire_date));
        let (time, ..) = self.types();
        match self {
            // In one statement, because MySQL cannot undo the first of two when the second fails.
            #[cfg(feature = "mysql")]
            Dialect::Mysql => format!(
                "CREATE TABLE {quoted_table} ({key} varchar(255) NOT NULL PRIMARY KEY, {data} longtext NOT NULL, \
                 {expiry} {time} NOT NULL, KEY {index} ({expiry}))"
            ),
            #[allow(unreachable_patterns)] // Where MySQL alone is compiled in.
            _ => format!(
                "CREATE TABLE {quoted_table} ({key} varchar(255) NOT NULL PRIMARY KEY, {data} text NOT NULL, \
                 {expiry} {time} NOT NULL);\n\
                 CREATE INDEX {index} ON {quoted_table} ({expiry});"
            ),
        }
    }

    /// The session table as Django's migration `sessions.0001_initial` creates it: the output of
    /// `sqlmigrate`.
    pub(super) fn session_table(self, table: &str, columns: &Columns) -> String {
        let Names { table: quoted_table, key, data, expiry, .. } = self.names(table, columns, &[]);
        let index =
            |column: &str, suffix: &str| self.quoted(&index_name(table, column, suffix, self.longest_name()));
        let expiry_index = index(&columns.expire_date, "");
        match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => format!(
                "CREATE TABLE {quoted_table} ({key} varchar(40) NOT NULL PRIMARY KEY, \
                 {data} text NOT NULL, {expiry} datetime NOT NULL);\n\
                 CREATE INDEX {expiry_index} ON {quoted_table} ({expiry});"
            ),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => format!(
                "CREATE TABLE {quoted_table} ({key} varchar(40) NOT NULL PRIMARY KEY, {data} text NOT NULL, \
                 {expiry} timestamp with time zone NOT NULL);\n\
                 CREATE INDEX {like_index} ON {quoted_table} ({key} varchar_pattern_ops);\n\
                 CREATE INDEX {expiry_index} ON {quoted_table} ({expiry});\n",
                like_index = index(&columns.session_key, "_like"),
            ),
            // Django's two statements in one, because MySQL cannot undo the first when the second fails.
            #[cfg(feature = "mysql")]
            Dialect::Mysql => format!(
                "CREATE TABLE {quoted_table} ({key} varchar(40) NOT NULL PRIMARY KEY, {data} longtext NOT NULL, \
                 {expiry} datetime(6) NOT NULL, KEY {expiry_index} ({expiry}))"
            ),
        }
    }

    /// The table of the index of user sessions.
    pub(super) fn user_session_table(self, table: &str) -> String {
        let (time, collation, suffix) = self.types();
        let table = self.quoted(table);
        let [user, key, first, last, address, agent] =
            ["user_id", "session_key", "first_seen", "last_seen", "address", "user_agent"]
                .map(|name| self.quoted(name));
        format!(
            "CREATE TABLE {table} ({user} varchar(255){collation} NOT NULL, {key} varchar(40){collation} NOT NULL, \
             {first} {time} NOT NULL, {last} {time} NOT NULL, {address} varchar(64){collation}, \
             {agent} varchar(255){collation}, PRIMARY KEY ({user}, {key})){suffix}"
        )
    }

    /// The type of a time, the suffix of a text type, and the end of a table.
    fn types(self) -> (&'static str, &'static str, &'static str) {
        match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => ("datetime", "", " WITHOUT ROWID"),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => ("timestamp with time zone", "", ""),
            #[cfg(feature = "mysql")]
            Dialect::Mysql => ("datetime(6)", " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", ""),
        }
    }

    /// The maximum length of a name.
    fn longest_name(self) -> usize {
        match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => 200,
            // PostgreSQL cuts longer names.
            #[cfg(feature = "postgres")]
            Dialect::Postgres => 63,
            // MySQL refuses longer names.
            #[cfg(feature = "mysql")]
            Dialect::Mysql => 64,
        }
    }

    /// Django's table of migrations.
    pub(super) fn migration_table(self) -> String {
        let id = match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => "integer NOT NULL PRIMARY KEY AUTOINCREMENT",
            #[cfg(feature = "postgres")]
            Dialect::Postgres => "bigint NOT NULL PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY",
            #[cfg(feature = "mysql")]
            Dialect::Mysql => "bigint AUTO_INCREMENT NOT NULL PRIMARY KEY",
        };
        let [table, id_name, app, name, applied] =
            ["django_migrations", "id", "app", "name", "applied"].map(|name| self.quoted(name));
        let (time, ..) = self.types();
        format!(
            "CREATE TABLE IF NOT EXISTS {table} ({id_name} {id}, {app} varchar(255) NOT NULL, \
             {name} varchar(255) NOT NULL, {applied} {time} NOT NULL)"
        )
    }

    /// Records the migration, unless it is already recorded. Its one parameter is the current time.
    pub(super) fn note_migration(self) -> String {
        let (parameter, from) = match self {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => ("?1", ""),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => ("$1", ""),
            #[cfg(feature = "mysql")]
            Dialect::Mysql => ("?", " FROM DUAL"),
        };
        format!(
            "INSERT INTO django_migrations (app, name, applied) SELECT 'sessions', '0001_initial', {parameter}{from} \
             WHERE NOT EXISTS (SELECT 1 FROM django_migrations WHERE app = 'sessions' AND name = '0001_initial')"
        )
    }
}

/// The first text after all those that begin with this one, in the order of the code points.
#[cfg(feature = "sqlite")]
fn text_after(text: &str) -> Option<String> {
    let last = text.chars().next_back()?;
    let next = if last == '\u{d7ff}' { '\u{e000}' } else { char::from_u32(u32::from(last) + 1)? };
    Some(format!("{}{next}", &text[..text.len() - last.len_utf8()]))
}

#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn hex(text: &str) -> String {
    cloakroom_formats::private::hex(text.as_bytes())
}
