//! The statements, each prepared once on a connection.

use super::PostgresOptions;

/// Which statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    /// The rows under these keys: `$1`.
    Load,
    /// Inserts rows: keys `$1`, data `$2`, expiries `$3`. Returns the keys that were free.
    Create,
    /// Replaces rows that are what is expected and that nobody has locked: keys `$1`, data `$2`, expiries
    /// `$3`, expected data or null `$4`, new keys `$5`. Returns the old keys of those replaced.
    Update,
    /// Compares rows: keys `$1`, expected data or null `$2`. Returns the keys there are, and whether each
    /// holds what is expected.
    Compare,
    /// Removes the rows under the keys `$1` that nobody has locked. Returns their keys.
    Delete,
    /// As [`Query::Update`], for one row, and waits for its lock.
    UpdateAlone,
    /// As [`Query::Delete`], for one row, and waits for its lock.
    DeleteAlone,
    /// The key `$1`, if it is there.
    Exists,
    /// Removes up to `$2` rows that expired before `$1` and that nobody has locked.
    Clear,
    /// The rows after the key `$1` in the order of the keys, `$2` of them.
    List,
    /// How many rows expire after `$1`, and how many there are.
    Count,
}

/// How many statements there are.
pub(super) const COUNT: usize = Query::Count as usize + 1;

impl Query {
    /// The statement's text.
    pub(super) fn sql(self, options: &PostgresOptions) -> String {
        let table = options.quoted_table();
        let [key, data, expiry] = options.quoted_columns();
        match self {
            Query::Load => {
                format!("SELECT {key}, {data}, {expiry} FROM {table} WHERE {key} = ANY ($1::text[])")
            }
            Query::Create => format!(
                "INSERT INTO {table} ({key}, {data}, {expiry}) \
                 SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) \
                 ON CONFLICT ({key}) DO NOTHING RETURNING {key}"
            ),
            // The row's place (`ctid`) spares a second look into the index; a row that another transaction
            // replaced after this statement began has moved, is left out, and is then asked for alone.
            Query::Update => format!(
                "WITH input AS (SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], \
                     $5::text[]) AS input (session_key, session_data, expire_date, expected, new_key)), \
                 locked AS (SELECT stored.ctid AS place, input.* FROM {table} AS stored \
                     JOIN input ON stored.{key} = input.session_key \
                     WHERE input.expected IS NULL OR stored.{data} = input.expected \
                     FOR UPDATE OF stored SKIP LOCKED) \
                 UPDATE {table} AS stored SET {key} = locked.new_key, {data} = locked.session_data, \
                     {expiry} = locked.expire_date \
                 FROM locked WHERE stored.ctid = locked.place AND stored.{key} = locked.session_key \
                 RETURNING locked.session_key"
            ),
            Query::Compare => format!(
                "SELECT stored.{key}, (input.expected IS NULL OR stored.{data} = input.expected) IS TRUE \
                 FROM unnest($1::text[], $2::text[]) AS input (session_key, expected) \
                 JOIN {table} AS stored ON stored.{key} = input.session_key"
            ),
            Query::Delete => format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} \
                 WHERE {key} = ANY ($1::text[]) FOR UPDATE SKIP LOCKED) RETURNING {key}"
            ),
            Query::UpdateAlone => format!(
                "UPDATE {table} SET {key} = $5::text, {data} = $2::text, {expiry} = $3::timestamptz \
                 WHERE {key} = $1::text AND ($4::text IS NULL OR {data} = $4::text)"
            ),
            Query::DeleteAlone => format!("DELETE FROM {table} WHERE {key} = $1::text"),
            Query::Exists => format!("SELECT 1 FROM {table} WHERE {key} = $1::text"),
            Query::Clear => format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} \
                 WHERE {expiry} < $1::timestamptz LIMIT $2::bigint FOR UPDATE SKIP LOCKED)"
            ),
            Query::List => format!(
                "SELECT {key}, {data}, {expiry} FROM {table} WHERE {key} > $1::text \
                 ORDER BY {key} LIMIT $2::bigint"
            ),
            Query::Count => {
                format!("SELECT count(*) FILTER (WHERE {expiry} > $1::timestamptz), count(*) FROM {table}")
            }
        }
    }
}
