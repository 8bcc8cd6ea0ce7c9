//! The index of user sessions, in its own table, whose texts are compared byte by byte.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};
use tokio::time::timeout;

use super::connections::connect;
use super::error::{Failure, TABLE_EXISTS, Task};
use super::statements::{Request, Statements, from_value, to_value};
use super::{DIALECT, MysqlOptions, MysqlStore, quoted};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listing, Paged, Pages, end_of};
use crate::store::sql::table::{TableCreation, USER_SESSION_COLUMNS};
use crate::store::user_session_index::{Client, Entry, UserSessionIndex};

impl MysqlOptions {
    /// Creates the table for the [index of user sessions](crate::user_sessions). An existing table stays as
    /// it is.
    ///
    /// # Errors
    /// When the server cannot be reached or the user may not create tables.
    pub async fn create_user_session_table(&self) -> Result<TableCreation, StoreError> {
        let create = async {
            let mut connection = connect(self).await?;
            let definition = DIALECT.user_session_table(&self.user_session_table);
            let created = match connection.query_drop(definition).await.map_err(Failure::from) {
                Err(failure) if failure.is(TABLE_EXISTS) => TableCreation::AlreadyThere,
                result => result.map(|()| TableCreation::Created)?,
            };
            connection.disconnect().await?;
            Ok(created)
        };
        let result = timeout(self.timeout, create).await.unwrap_or(Err(Failure::Deadline));
        result.map_err(|failure| failure.explain(&self.of_user_sessions()))
    }

    /// These options, for messages about the index.
    fn of_user_sessions(&self) -> MysqlOptions {
        MysqlOptions { table: self.user_session_table.clone(), cache: None, ..self.clone() }
    }
}

/// Reads entries.
struct Select {
    sql: String,
    values: Vec<Value>,
}

impl Request for Select {
    type Answer = Vec<Entry>;
    const READS: bool = true;

    async fn run(&self, _: &Statements, connection: &mut Conn) -> Task<Vec<Entry>> {
        let rows: Vec<Row> =
            connection.exec(self.sql.as_str(), Params::Positional(self.values.clone())).await?;
        rows.into_iter().map(entry).collect()
    }
}

/// Changes entries.
struct Change {
    sql: String,
    values: Vec<Value>,
}

impl Request for Change {
    type Answer = ();

    async fn run(&self, _: &Statements, connection: &mut Conn) -> Task<()> {
        Ok(connection.exec_drop(self.sql.as_str(), Params::Positional(self.values.clone())).await?)
    }
}

impl MysqlStore {
    async fn ask_index<R: Request>(&self, request: R) -> Result<R::Answer, StoreError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let answer = tokio::spawn(async move { shared.connections.run(&shared.statements, &request).await });
        let answer = answer.await.unwrap_or(Err(Failure::Stopped));
        answer.map_err(|failure| failure.explain(&self.shared.options.of_user_sessions()))
    }

    async fn select(&self, condition: &str, values: Vec<Value>) -> Result<Vec<Entry>, StoreError> {
        let table = quoted(&self.shared.options.user_session_table);
        let sql = format!("SELECT {USER_SESSION_COLUMNS} FROM {table} WHERE {condition}");
        self.ask_index(Select { sql, values }).await
    }
}

#[async_trait]
impl UserSessionIndex for MysqlStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.select("user_id = ''", Vec::new()).await.map(drop)
    }

    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError> {
        let table = quoted(&self.shared.options.user_session_table);
        // MySQL calls `VALUES(…)` deprecated, but both MySQL and MariaDB accept it.
        let sql = format!(
            "INSERT INTO {table} ({USER_SESSION_COLUMNS}) \
             SELECT ?, ?, COALESCE(old.first_seen, ?), ?, COALESCE(?, old.address), COALESCE(?, old.user_agent) \
             FROM (SELECT 1) AS one LEFT JOIN {table} AS old ON old.user_id = ? AND old.session_key = ? \
             ON DUPLICATE KEY UPDATE last_seen = GREATEST({table}.last_seen, VALUES(last_seen)), \
                 address = COALESCE(VALUES(address), {table}.address), \
                 user_agent = COALESCE(VALUES(user_agent), {table}.user_agent)"
        );
        let mut values = values(entry);
        let moved_from = moved_from.map(|session_key| session_key.as_str());
        values.extend([entry.user_id.as_str().into(), moved_from.into()]);
        self.ask_index(Change { sql, values }).await
    }

    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let table = quoted(&self.shared.options.user_session_table);
        let rows = vec!["(?, ?, ?, ?, ?, ?)"; entries.len()].join(", ");
        let sql = format!(
            "INSERT INTO {table} ({USER_SESSION_COLUMNS}) VALUES {rows} ON DUPLICATE KEY UPDATE user_id = {table}.user_id"
        );
        self.ask_index(Change { sql, values: entries.iter().flat_map(values).collect() }).await
    }

    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError> {
        self.select("user_id = ?", vec![user_id.into()]).await
    }

    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError> {
        let table = quoted(&self.shared.options.user_session_table);
        let places = vec!["(user_id = ? AND session_key = ?)"; entries.len()].join(" OR ");
        let sql = format!("DELETE FROM {table} WHERE {places}");
        let values = entries.iter().flat_map(|(user_id, key)| [(*user_id).into(), key.as_str().into()]);
        self.ask_index(Change { sql, values: values.collect() }).await
    }

    fn entries(&self) -> Box<dyn Listing<Entry> + '_> {
        Box::new(Pages::<_, Entry>::of(self))
    }
}

#[async_trait]
impl Paged<Entry> for MysqlStore {
    type Place = (String, SessionKey);

    async fn page(
        &self,
        after: Option<&(String, SessionKey)>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Entry>, Option<(String, SessionKey)>), StoreError> {
        let after = after.cloned();
        let (user_id, session_key) = after.unwrap_or_else(|| (String::new(), SessionKey::from_trusted("")));
        // Not a row comparison: for that, MariaDB reads the table from its beginning.
        let condition =
            "user_id > ? OR (user_id = ? AND session_key > ?) ORDER BY user_id, session_key LIMIT ?";
        let user = user_id.as_str();
        let values = vec![user.into(), user.into(), session_key.as_str().into(), (limit as u64).into()];
        let page = self.select(condition, values).await?;
        let end = end_of(&page, limit, Entry::place);
        Ok((page, end))
    }
}

/// In the order of the columns.
fn values(entry: &Entry) -> Vec<Value> {
    vec![
        entry.user_id.as_str().into(),
        entry.session_key.as_str().into(),
        to_value(entry.first_seen.naive_utc()),
        to_value(entry.last_seen.naive_utc()),
        entry.client.address().into(),
        entry.client.user_agent().into(),
    ]
}

fn entry(row: Row) -> Task<Entry> {
    let text = |column: usize| match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    };
    let time = |column: usize| -> DateTime<Utc> {
        row.as_ref(column).and_then(from_value).map(|time| time.and_utc()).unwrap_or_default()
    };
    Ok(Entry {
        user_id: text(0).ok_or(Failure::NotText)?,
        session_key: SessionKey::from_trusted(text(1).ok_or(Failure::NotText)?),
        first_seen: time(2),
        last_seen: time(3),
        client: Client::new(text(4).as_deref(), text(5).as_deref()),
    })
}
