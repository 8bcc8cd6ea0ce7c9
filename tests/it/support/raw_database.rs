//! A database beside the store: its rows as the server prints them.

use cloakroom::store::table::{MigrationRecord, TableCreation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each feature uses one")]
pub(crate) enum Kind {
    Postgres,
    Mariadb,
}

/// A connection to a database that no other test uses.
pub(crate) struct Raw {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    connection: Connection,
}

enum Connection {
    #[cfg(feature = "postgres")]
    Postgres(tokio_postgres::Client),
    #[cfg(feature = "mysql")]
    Mariadb(mysql_async::Conn),
}

impl Raw {
    /// The URL of a database for one test; to make one for each case would take long.
    pub(crate) async fn database(kind: Kind) -> String {
        match kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => crate::support::servers::postgres::database().await,
            #[cfg(feature = "mysql")]
            Kind::Mariadb => crate::support::servers::mariadb::database().await,
            #[allow(unreachable_patterns, reason = "only without a feature")]
            other => panic!("{other:?} is not compiled in"),
        }
    }

    /// Connects, and removes what an earlier case left.
    pub(crate) async fn new(kind: Kind, url: &str) -> Raw {
        let connection = match kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => Connection::Postgres(crate::support::servers::postgres::client(url).await),
            #[cfg(feature = "mysql")]
            Kind::Mariadb => Connection::Mariadb(crate::support::servers::mariadb::connection(url).await),
            #[allow(unreachable_patterns, reason = "only without a feature")]
            other => panic!("{other:?} is not compiled in"),
        };
        let mut raw = Raw { kind, url: url.to_owned(), connection };
        if kind == Kind::Postgres {
            raw.execute("SET TimeZone = 'UTC'").await;
        }
        raw.execute("DROP TABLE IF EXISTS django_session, django_migrations").await;
        raw
    }

    pub(crate) async fn create_table(&self, record: MigrationRecord) -> TableCreation {
        match self.connection {
            #[cfg(feature = "postgres")]
            Connection::Postgres(_) => {
                cloakroom::PostgresStore::options(&self.url).unwrap().create_table(record).await.unwrap()
            }
            #[cfg(feature = "mysql")]
            Connection::Mariadb(_) => {
                cloakroom::MysqlStore::options(&self.url).unwrap().create_table(record).await.unwrap()
            }
        }
    }

    pub(crate) async fn execute(&mut self, sql: &str) {
        self.rows(sql).await;
    }

    /// The first column.
    pub(crate) async fn column(&mut self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// Every row as text.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        match &mut self.connection {
            #[cfg(feature = "postgres")]
            Connection::Postgres(client) => {
                let messages = client.simple_query(sql).await.unwrap();
                let text = |row: &tokio_postgres::SimpleQueryRow| {
                    (0..row.len()).map(|index| row.get(index).unwrap_or("NULL").to_owned()).collect()
                };
                let rows = messages.iter().filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => Some(text(row)),
                    _ => None,
                });
                rows.collect()
            }
            #[cfg(feature = "mysql")]
            Connection::Mariadb(connection) => {
                use mysql_async::prelude::Queryable;
                let rows: Vec<mysql_async::Row> = connection.query(sql).await.unwrap();
                let text = |value| match value {
                    mysql_async::Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                    other => other.as_sql(true),
                };
                rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
            }
        }
    }
}
