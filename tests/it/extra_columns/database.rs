//! The three databases, as far as these tests need them.

use std::path::PathBuf;
use std::sync::Arc;

use cloakroom::store::table::{ColumnValue, Columns, ExtraColumn};
use cloakroom::{SessionKey, SessionStore, Settings, SqliteStore, StoreError};
use rusqlite::Connection;
use rusqlite::types::Value;

pub(super) enum Database {
    Sqlite(PathBuf, #[allow(dead_code, reason = "removed when dropped")] tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Postgres(String),
    #[cfg(feature = "mysql")]
    Mariadb(String),
}

impl Database {
    pub(super) async fn sqlite() -> Database {
        let folder = tempfile::tempdir().unwrap();
        Database::Sqlite(folder.path().join("db.sqlite3"), folder)
    }

    #[cfg(feature = "postgres")]
    pub(super) async fn postgres() -> Database {
        Database::Postgres(crate::support::servers::postgres::database().await)
    }

    #[cfg(feature = "mysql")]
    pub(super) async fn mariadb() -> Database {
        Database::Mariadb(crate::support::servers::mariadb::database().await)
    }

    pub(super) fn quoted(&self, name: &str) -> String {
        match self {
            #[cfg(feature = "mysql")]
            Database::Mariadb(_) => format!("`{}`", name.replace('`', "``")),
            _ => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// Runs a statement; `DATETIME` in it is the type that Django gives `expire_date`.
    pub(super) async fn execute(&self, sql: &str) {
        match self {
            Database::Sqlite(path, _) => Connection::open(path).unwrap().execute_batch(sql).unwrap(),
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => {
                let sql = sql.replace("DATETIME", "timestamptz");
                crate::support::servers::postgres::client(url).await.batch_execute(&sql).await.unwrap();
            }
            #[cfg(feature = "mysql")]
            Database::Mariadb(url) => {
                use mysql_async::prelude::Queryable;
                let sql = sql.replace("DATETIME", "datetime(6)");
                crate::support::servers::mariadb::connection(url).await.query_drop(sql).await.unwrap();
            }
        }
    }

    /// What a query for one column gives for this key, which is put behind it.
    pub(super) async fn value(&self, sql: &str, session_key: &SessionKey) -> ColumnValue {
        let sql = format!("{sql}'{}'", session_key.as_str());
        match self {
            Database::Sqlite(path, _) => {
                let connection = Connection::open(path).unwrap();
                match connection.query_row(&sql, [], |row| row.get(0)).unwrap() {
                    Value::Null => ColumnValue::Null,
                    Value::Integer(number) => number.into(),
                    Value::Text(text) => text.into(),
                    other => panic!("{other:?}"),
                }
            }
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => {
                let row =
                    crate::support::servers::postgres::client(url).await.query_one(&sql, &[]).await.unwrap();
                if let Ok(number) = row.try_get::<_, Option<i32>>(0) {
                    return number.map(i64::from).into();
                }
                match row.try_get::<_, Option<i64>>(0) {
                    Ok(number) => number.into(),
                    Err(_) => row.get::<_, Option<String>>(0).into(),
                }
            }
            #[cfg(feature = "mysql")]
            Database::Mariadb(url) => {
                use mysql_async::Value;
                use mysql_async::prelude::Queryable;
                let mut connection = crate::support::servers::mariadb::connection(url).await;
                match connection.exec_first::<Value, _, _>(sql, ()).await.unwrap().unwrap() {
                    Value::NULL => ColumnValue::Null,
                    Value::Int(number) => number.into(),
                    Value::Bytes(text) => String::from_utf8(text).unwrap().into(),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    pub(super) async fn open(
        &self,
        table: &str,
        columns: Columns,
        extra_columns: Vec<ExtraColumn>,
    ) -> Result<Arc<dyn SessionStore>, StoreError> {
        let settings = Settings::new(crate::support::django::SECRET);
        macro_rules! open {
            ($options:expr) => {{
                let mut options = $options;
                options.table = table.to_owned();
                options.columns = columns;
                options.extra_columns = extra_columns;
                Ok(Arc::new(options.open(&settings).await?))
            }};
        }
        match self {
            Database::Sqlite(path, _) => open!(SqliteStore::at(path)),
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => open!(cloakroom::PostgresStore::options(url)?),
            #[cfg(feature = "mysql")]
            Database::Mariadb(url) => open!(cloakroom::MysqlStore::options(url)?),
        }
    }
}
