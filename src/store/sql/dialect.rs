//! The differences between the databases in the SQL of the two tables.

use super::table::{Columns, ExtraColumn, index_name};

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
