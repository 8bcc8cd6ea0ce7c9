//! The statements, and their execution on a connection.
//!
//! MariaDB's usual collation finds `KEY`, `key` and `key ` in the same row. So keys are compared twice: once
//! with the collation, which uses the index, and once byte by byte. Stored data is compared only byte by
//! byte.

use std::time::Duration;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};

use super::error::{DUPLICATE, Failure, Task};
use super::{ColumnValue, DIALECT, MysqlOptions};
use crate::site::session_key::SessionKey;
use crate::store::contract::Touched;
use crate::store::outcome::WriteOutcome;
use crate::store::sql::dialect::Names;

/// How many keys one statement takes; the protocol's limit is 65,535 values.
const MOST_KEYS: usize = 10_000;

pub(super) struct Statements {
    load: String,
    create: String,
    key_taken: String,
    live: String,
    update: String,
    update_expected: String,
    touch: String,
    delete: String,
    delete_expired_one: String,
    select_expired: String,
    select_expired_from: String,
    delete_expired: String,
    list: String,
    count: String,
}

/// A stored row.
pub(super) struct Stored {
    /// `None` when the column is null.
    pub(super) session_data: Option<Vec<u8>>,
    /// `None` when the column is null or holds no valid time, such as `0000-00-00`.
    pub(super) expire_date: Option<NaiveDateTime>,
}

/// The new content of a row.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) session_data: String,
    pub(super) expire_date: NaiveDateTime,
    /// The extra columns.
    pub(super) extra: Vec<Value>,
}

impl Statements {
    pub(super) fn new(options: &MysqlOptions) -> Statements {
        let Names { table, key, data, expiry, extra } = options.names();
        // A cache's prefix may have letters that the table's character set writes otherwise; a session key has none.
        let exact_key = match options.cache {
            Some(_) => DIALECT.bytes(&key),
            None => format!("CAST({key} AS BINARY)"),
        };
        let this_key = format!("{key} = ? AND {exact_key} = CAST(? AS BINARY)");
        let columns: String = extra.iter().map(|name| format!(", {name}")).collect();
        let set: String = extra.iter().map(|name| format!(", {name} = ?")).collect();
        let set = format!("UPDATE {table} SET {key} = ?, {data} = ?, {expiry} = ?{set} WHERE {this_key}");
        let only_sessions = |word: &str| DIALECT.only_sessions(word, options.cache.as_ref(), &key);
        let expired = |and_from: &str| {
            format!(
                "SELECT {expiry}, {key} FROM {table} WHERE {expiry} < ?{and_from}{} ORDER BY {expiry} LIMIT ?",
                only_sessions("AND")
            )
        };
        Statements {
            load: format!("SELECT {data}, {expiry} FROM {table} WHERE {this_key}"),
            create: format!(
                "INSERT INTO {table} ({key}, {data}, {expiry}{columns}) VALUES (?, ?, ?{})",
                ", ?".repeat(extra.len())
            ),
            // As the index compares it, with the collation.
            key_taken: format!("SELECT 1 FROM {table} WHERE {key} = ?"),
            // Compared byte by byte by the caller.
            live: format!("SELECT {key} FROM {table} WHERE {expiry} > ? AND {key} IN "),
            update_expected: format!("{set} AND CAST({data} AS BINARY) = CAST(? AS BINARY)"),
            update: set,
            touch: format!(
                "UPDATE {table} SET {expiry} = ? WHERE {this_key} AND CAST({data} AS BINARY) = CAST(? AS BINARY)"
            ),
            delete: format!("DELETE FROM {table} WHERE {this_key}"),
            delete_expired_one: format!("DELETE FROM {table} WHERE {this_key} AND {expiry} <= ?"),
            select_expired: expired(""),
            select_expired_from: expired(&format!(" AND {expiry} >= ?")),
            delete_expired: format!(
                "DELETE FROM {table} WHERE {expiry} < ?{} AND {key} IN ",
                only_sessions("AND")
            ),
            list: format!(
                "SELECT {data}, {expiry}, {key} FROM {table} WHERE {key} > ?{} ORDER BY {key} LIMIT ?",
                only_sessions("AND")
            ),
            count: format!(
                "SELECT COUNT(CASE WHEN {expiry} > ? THEN 1 END), COUNT(*) FROM {table}{}",
                only_sessions("WHERE")
            ),
        }
    }
}

/// A unit of work on one connection. It owns its data, so that it can continue when the request that started
/// it is cancelled.
pub(super) trait Request: Send + Sync + 'static {
    type Answer: Send + 'static;
    /// Whether it only reads, so that running it twice is harmless.
    const READS: bool = false;
    /// Its time limit, if it differs from the store's deadline.
    const DEADLINE: Option<Duration> = None;

    /// The approximate size of its values in bytes, if they may be too large for the server.
    fn size(&self) -> usize {
        0
    }

    fn run(
        &self,
        statements: &Statements,
        connection: &mut Conn,
    ) -> impl Future<Output = Task<Self::Answer>> + Send;
}

/// Loads the row with a key.
pub(super) struct Load {
    pub(super) key: SessionKey,
}

impl Request for Load {
    type Answer = Option<Stored>;
    const READS: bool = true;

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<Option<Stored>> {
        let key = self.key.as_str();
        let found = connection.exec_first(statements.load.as_str(), (key, key)).await;
        let row: Option<Row> = match found.map_err(Failure::from) {
            Err(failure) if failure.means_absent() => None,
            row => row?,
        };
        Ok(row.map(|mut row| stored(&mut row)))
    }
}

/// Finds those of these keys whose rows expire after a time.
pub(super) struct Live {
    pub(super) keys: Vec<SessionKey>,
    pub(super) now: NaiveDateTime,
}

impl Request for Live {
    type Answer = Vec<SessionKey>;
    const READS: bool = true;

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<Vec<SessionKey>> {
        let mut live = Vec::new();
        for keys in self.keys.chunks(MOST_KEYS) {
            let statement = format!("{}({})", statements.live, vec!["?"; keys.len()].join(", "));
            let values =
                std::iter::once(to_value(self.now)).chain(keys.iter().map(|key| key.as_str().into()));
            let values = Params::Positional(values.collect());
            let rows: Vec<Vec<u8>> = match connection.exec(statement, values).await.map_err(Failure::from) {
                // One key is text that the column cannot be compared with.
                Err(failure) if failure.means_absent() => {
                    self.one_by_one(keys, statements, connection).await?
                }
                rows => rows?,
            };
            live.extend(rows.into_iter().filter_map(|key| String::from_utf8(key).ok()));
        }
        Ok(live.into_iter().map(SessionKey::from_trusted).collect())
    }
}

impl Live {
    async fn one_by_one(
        &self,
        keys: &[SessionKey],
        statements: &Statements,
        connection: &mut Conn,
    ) -> Task<Vec<Vec<u8>>> {
        let mut live = Vec::new();
        for key in keys {
            let row = Load { key: key.clone() }.run(statements, connection).await?;
            if row.is_some_and(|row| row.expire_date.is_some_and(|expire_date| expire_date > self.now)) {
                live.push(key.as_str().as_bytes().to_vec());
            }
        }
        Ok(live)
    }
}

/// The data and the expiry, which are a row's first columns.
fn stored(row: &mut Row) -> Stored {
    Stored {
        session_data: match row.take(0) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        },
        expire_date: row.take(1).and_then(|value| from_value(&value)),
    }
}

/// Inserts a row, unless its key is taken. With a time, as in Django's cache, it takes the place of a row that has
/// expired by then.
pub(super) struct Create {
    pub(super) key: SessionKey,
    pub(super) content: Content,
    pub(super) now: Option<NaiveDateTime>,
}

impl Request for Create {
    type Answer = WriteOutcome;

    fn size(&self) -> usize {
        self.content.size()
    }

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<WriteOutcome> {
        let outcome = self.insert(statements, connection).await?;
        let Some(now) = self.now.filter(|_| outcome == WriteOutcome::KeyTaken) else { return Ok(outcome) };
        let key = self.key.as_str();
        connection.exec_drop(statements.delete_expired_one.as_str(), (key, key, to_value(now))).await?;
        match connection.affected_rows() {
            0 => Ok(outcome),
            _ => self.insert(statements, connection).await,
        }
    }
}

impl Create {
    async fn insert(&self, statements: &Statements, connection: &mut Conn) -> Task<WriteOutcome> {
        let values = self.content.values(&self.key);
        let inserted = connection.exec_drop(statements.create.as_str(), Params::Positional(values)).await;
        match inserted.map_err(Failure::from) {
            Ok(()) => Ok(WriteOutcome::Done),
            Err(failure) => key_taken(failure, &self.key, statements, connection).await,
        }
    }
}

/// Replaces a row if it holds the expected data; the key may change or stay.
pub(super) struct Update {
    pub(super) key: SessionKey,
    pub(super) expected: Option<String>,
    pub(super) new_key: SessionKey,
    pub(super) content: Content,
}

impl Request for Update {
    type Answer = WriteOutcome;

    fn size(&self) -> usize {
        self.content.size() + self.expected.as_ref().map_or(0, String::len)
    }

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<WriteOutcome> {
        let key = self.key.as_str();
        let mut values = self.content.values(&self.new_key);
        values.extend([key.into(), key.into()]);
        values.extend(self.expected.as_deref().map(Value::from));
        let with = self.expected.is_some();
        let statement = if with { &statements.update_expected } else { &statements.update };
        let updated = connection.exec_drop(statement.as_str(), Params::Positional(values)).await;
        match updated.map_err(Failure::from) {
            Err(failure) if failure.means_absent() => return Ok(WriteOutcome::Missing),
            Err(failure) if self.new_key != self.key => {
                return key_taken(failure, &self.new_key, statements, connection).await;
            }
            updated => updated?,
        }
        if connection.affected_rows() > 0 {
            return Ok(WriteOutcome::Done);
        }
        let there = Load { key: self.key.clone() }.run(statements, connection).await?.is_some();
        Ok(if there { WriteOutcome::Changed } else { WriteOutcome::Missing })
    }
}

/// Gives a row another expiry, if it holds the expected data.
pub(super) struct Touch {
    pub(super) key: SessionKey,
    pub(super) expected: Option<String>,
    pub(super) expire_date: NaiveDateTime,
}

impl Request for Touch {
    type Answer = Touched;

    fn size(&self) -> usize {
        self.expected.as_ref().map_or(0, String::len)
    }

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<Touched> {
        let key = self.key.as_str();
        let values = (to_value(self.expire_date), key, key, self.expected.as_deref());
        match connection.exec_drop(statements.touch.as_str(), values).await.map_err(Failure::from) {
            Err(failure) if failure.means_absent() => return Ok(Touched::Stale),
            touched => touched?,
        }
        Ok(if connection.affected_rows() > 0 { Touched::Extended } else { Touched::Stale })
    }
}

impl Content {
    fn size(&self) -> usize {
        // In the protocol, other values take up to 13 bytes.
        let extra = self.extra.iter().map(|value| match value {
            Value::Bytes(bytes) => bytes.len() + 13,
            _ => 13,
        });
        self.session_data.len() + extra.sum::<usize>()
    }

    /// The row's new key and its other values, in the order of the statements.
    fn values(&self, key: &SessionKey) -> Vec<Value> {
        let mut values: Vec<Value> =
            vec![key.as_str().into(), self.session_data.as_str().into(), to_value(self.expire_date)];
        values.extend(self.extra.iter().cloned());
        values
    }
}

/// Whether a failed write means that the key is taken. A value in another unique column fails in the same
/// way.
async fn key_taken(
    failure: Failure,
    key: &SessionKey,
    statements: &Statements,
    connection: &mut Conn,
) -> Task<WriteOutcome> {
    if failure.is(DUPLICATE) {
        let found: Option<u8> = connection.exec_first(statements.key_taken.as_str(), (key.as_str(),)).await?;
        if found.is_some() {
            return Ok(WriteOutcome::KeyTaken);
        }
    }
    Err(failure)
}

/// Removes a row; returns whether there was one.
pub(super) struct Delete {
    pub(super) key: SessionKey,
}

impl Request for Delete {
    type Answer = bool;

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<bool> {
        let key = self.key.as_str();
        let deleted = connection.exec_drop(statements.delete.as_str(), (key, key)).await;
        match deleted.map_err(Failure::from) {
            Err(failure) if failure.means_absent() => return Ok(false),
            deleted => deleted?,
        }
        Ok(connection.affected_rows() > 0)
    }
}

/// Removes up to `batch` expired rows.
///
/// It finds them without locks and removes them in the order of their keys. A `DELETE` along the expiry's
/// index would lock rows in another order than saves do, and would also lock the gaps between them.
pub(super) struct Clear {
    pub(super) now: NaiveDateTime,
    /// The end of the previous batch: the index still has its removed rows, until no old transaction can see
    /// them.
    pub(super) from: Option<NaiveDateTime>,
    pub(super) batch: u32,
}

/// The rows that a batch found and removed.
#[derive(Default)]
pub(super) struct Cleared {
    pub(super) found: usize,
    pub(super) last: Option<NaiveDateTime>,
    pub(super) removed: u64,
}

impl Request for Clear {
    type Answer = Cleared;

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<Cleared> {
        let now = to_value(self.now);
        let statement =
            if self.from.is_some() { &statements.select_expired_from } else { &statements.select_expired };
        let mut values = vec![now.clone()];
        values.extend(self.from.map(to_value));
        values.push(self.batch.into());
        let rows: Vec<(Value, Vec<u8>)> =
            connection.exec(statement.as_str(), Params::Positional(values)).await?;
        let Some((last, _)) = rows.last() else { return Ok(Cleared::default()) };
        let (found, last) = (rows.len(), from_value(last));
        let mut keys: Vec<Vec<u8>> = rows.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        let marks = vec!["?"; found].join(", ");
        let mut values = vec![now];
        values.extend(keys.into_iter().map(Value::Bytes));
        let statement = format!("{}({marks})", statements.delete_expired);
        connection.exec_drop(statement, Params::Positional(values)).await?;
        Ok(Cleared { found, last, removed: connection.affected_rows() })
    }
}

impl From<ColumnValue> for Value {
    fn from(value: ColumnValue) -> Value {
        match value {
            ColumnValue::Null => Value::NULL,
            ColumnValue::Integer(number) => Value::Int(number),
            ColumnValue::Text(text) => Value::Bytes(text.into_bytes()),
        }
    }
}

/// Lists the rows after a key, in the order of the keys.
pub(super) struct List {
    pub(super) after: String,
    pub(super) limit: u64,
}

impl Request for List {
    type Answer = Vec<(String, Stored)>;
    const READS: bool = true;

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<Vec<(String, Stored)>> {
        let rows: Vec<Row> =
            connection.exec(statements.list.as_str(), (self.after.as_str(), self.limit)).await?;
        let with_key = |mut row: Row| {
            let key = match row.take(2) {
                Some(Value::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            };
            (key, stored(&mut row))
        };
        Ok(rows.into_iter().map(with_key).collect())
    }
}

/// Counts the rows that expire after a time, and all rows.
pub(super) struct Totals {
    pub(super) now: NaiveDateTime,
}

impl Request for Totals {
    type Answer = (i64, i64);
    const READS: bool = true;
    // It reads a whole index: no request waits for it, and millions of rows take time.
    const DEADLINE: Option<Duration> = Some(Duration::from_secs(10 * 60));

    async fn run(&self, statements: &Statements, connection: &mut Conn) -> Task<(i64, i64)> {
        let counted = connection.exec_first(statements.count.as_str(), (to_value(self.now),)).await?;
        Ok(counted.unwrap_or_default())
    }
}

/// The protocol's form of a wall clock time within Python's years.
pub(super) fn to_value(time: NaiveDateTime) -> Value {
    Value::Date(
        time.year().clamp(1, 9_999) as u16,
        time.month() as u8,
        time.day() as u8,
        time.hour() as u8,
        time.minute() as u8,
        time.second() as u8,
        time.nanosecond() / 1_000 % 1_000_000,
    )
}

pub(super) fn from_value(value: &Value) -> Option<NaiveDateTime> {
    let Value::Date(year, month, day, hour, minute, second, microsecond) = *value else { return None };
    NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())?.and_hms_micro_opt(
        hour.into(),
        minute.into(),
        second.into(),
        microsecond,
    )
}
