//! The statements, each prepared once on a connection.

use tokio_postgres::types::{ToSql, Type};

use super::super::table::USER_SESSION_COLUMNS;
use super::pooled::Parameter;
use super::{DIALECT, PostgresOptions, quoted};
use crate::store::sql::dialect::Names;

/// The statements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    /// Loads the rows with these keys: `$1`.
    Load,
    /// Inserts rows: keys `$1`, data `$2`, expiries `$3`, extra columns from `$4` on. Returns the keys that were
    /// free.
    Create,
    /// Replaces unlocked rows that hold the expected data: keys `$1`, data `$2`, expiries `$3`, expected data
    /// or null `$4`, new keys `$5`, extra columns from `$6` on. Returns the old keys of the replaced rows.
    Update,
    /// Compares rows: keys `$1`, expected data or null `$2`. Returns the existing keys, and whether each row
    /// holds the expected data.
    Compare,
    /// Removes the unlocked rows with the keys `$1`. Returns their keys.
    Delete,
    /// [`Query::Update`] for one row: parameters without arrays cost the server less. It leaves out a row that
    /// somebody has locked, or had locked, since it was written.
    UpdateOne,
    /// The same, but waits for the row's lock.
    UpdateAlone,
    /// [`Query::Delete`] for one row, waiting for its lock.
    DeleteAlone,
    /// Removes the row with the key `$1`, if it expired at `$2` or before.
    DeleteExpired,
    /// Gives the row with the key `$1` and the data `$2` the expiry `$3`.
    Touch,
    /// Returns the key `$1`, if it exists.
    Exists,
    /// Returns those of the keys `$1` whose rows expire after `$2`.
    Live,
    /// Removes up to `$2` unlocked rows that expired before `$1`, but not before `$3`. Returns how many it
    /// found, the last one's expiry, from which to continue, and how many it removed.
    Clear,
    /// The same in storage order, after the place `$3` and before the place `$4`. Returns how many it found,
    /// the place of the last one, and how many it removed.
    Sweep,
    /// The number of pages of the table `$1`, or 0 if it cannot be swept: it has partitions, or the server is
    /// older than 14, which would read the whole table for each batch.
    Pages,
    /// The planner's estimate of the number of rows that expired before `$1`.
    Estimate,
    /// The rows after the key `$1` in the order of the keys, `$2` of them.
    List,
    /// Counts the rows that expire after `$1`, and all rows.
    Count,
    /// Puts an entry into the index of user sessions: user `$1`, key `$2`, first and last seen `$3`, `$4`,
    /// address `$5`, user agent `$6`, the key that it moved from or null `$7`.
    IndexPut,
    /// Adds missing entries: the same parameters as arrays.
    IndexFill,
    /// The entries of the user `$1`.
    IndexOfUser,
    /// Removes the entries of the users `$1` and keys `$2`.
    IndexRemove,
    /// The entries after the user `$1` and key `$2`, `$3` of them.
    IndexPage,
}

/// The number of statements.
pub(super) const COUNT: usize = Query::IndexPage as usize + 1;

impl Query {
    /// The parameters with their types, which are those of the casts in the statement's text.
    pub(super) fn typed<'a>(
        self,
        options: &PostgresOptions,
        parameters: &[&'a (dyn ToSql + Sync)],
    ) -> Vec<Parameter<'a>> {
        parameters.iter().copied().zip(self.types(options)).collect()
    }

    fn types(self, options: &PostgresOptions) -> Vec<Type> {
        const TEXT: Type = Type::TEXT;
        const TEXTS: Type = Type::TEXT_ARRAY;
        const TIME: Type = Type::TIMESTAMPTZ;
        const TIMES: Type = Type::TIMESTAMPTZ_ARRAY;
        const NUMBER: Type = Type::INT8;
        let (types, extra): (&[Type], _) = match self {
            Query::Load | Query::Delete => (&[TEXTS], None),
            Query::Create => (&[TEXTS, TEXTS, TIMES], Some(TEXTS)),
            Query::Update => (&[TEXTS, TEXTS, TIMES, TEXTS, TEXTS], Some(TEXTS)),
            Query::UpdateOne | Query::UpdateAlone => (&[TEXT, TEXT, TIME, TEXT, TEXT], Some(TEXT)),
            Query::Compare | Query::IndexRemove => (&[TEXTS, TEXTS], None),
            Query::DeleteAlone | Query::Exists | Query::Pages | Query::IndexOfUser => (&[TEXT], None),
            Query::DeleteExpired => (&[TEXT, TIME], None),
            Query::Live => (&[TEXTS, TIME], None),
            Query::Touch => (&[TEXT, TEXT, TIME], None),
            Query::Clear => (&[TIME, NUMBER, TIME], None),
            Query::Sweep => (&[TIME, NUMBER, TEXT, TEXT], None),
            Query::Estimate | Query::Count => (&[TIME], None),
            Query::List => (&[TEXT, NUMBER], None),
            Query::IndexPut => (&[TEXT, TEXT, TIME, TIME, TEXT, TEXT, TEXT], None),
            Query::IndexFill => (&[TEXTS, TEXTS, TIMES, TIMES, TEXTS, TEXTS], None),
            Query::IndexPage => (&[TEXT, TEXT, NUMBER], None),
        };
        let extra = extra.into_iter().flat_map(|extra| vec![extra; options.extra_columns.len()]);
        types.iter().cloned().chain(extra).collect()
    }

    /// The statement's text.
    pub(super) fn sql(self, options: &PostgresOptions) -> String {
        let Names { table, key, data, expiry, .. } = options.names();
        let only_sessions = |word: &str| DIALECT.only_sessions(word, options.cache.as_ref(), &key);
        let index = options.quoted_table(&options.user_session_table);
        match self {
            Query::Load => {
                format!("SELECT {key}, {data}, {expiry} FROM {table} WHERE {key} = ANY ($1::text[])")
            }
            Query::Create => {
                let Extra { columns, arrays, names, values, .. } = Extra::of(options, 4);
                format!(
                    "INSERT INTO {table} ({key}, {data}, {expiry}{columns}) \
                     SELECT input.session_key, input.session_data, input.expire_date{values} \
                     FROM unnest($1::text[], $2::text[], $3::timestamptz[]{arrays}) \
                         AS input (session_key, session_data, expire_date{names}) \
                     ON CONFLICT ({key}) DO NOTHING RETURNING {key}"
                )
            }
            // The row's place (`ctid`) avoids a second index lookup. A row that another transaction replaced
            // after this statement began has moved; it is left out, and then asked for alone.
            Query::Update => {
                let Extra { arrays, names, set, .. } = Extra::of(options, 6);
                format!(
                    "WITH input AS (SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], \
                         $5::text[]{arrays}) \
                         AS input (session_key, session_data, expire_date, expected, new_key{names})), \
                     locked AS (SELECT stored.ctid AS place, input.* FROM {table} AS stored \
                         JOIN input ON stored.{key} = input.session_key \
                         WHERE input.expected IS NULL OR stored.{data} = input.expected \
                         FOR UPDATE OF stored SKIP LOCKED) \
                     UPDATE {table} AS stored SET {key} = locked.new_key, {data} = locked.session_data, \
                         {expiry} = locked.expire_date{set} \
                     FROM locked WHERE stored.ctid = locked.place AND stored.{key} = locked.session_key \
                     RETURNING locked.session_key"
                )
            }
            Query::Compare => format!(
                "SELECT stored.{key}, (input.expected IS NULL OR stored.{data} = input.expected) IS TRUE \
                 FROM unnest($1::text[], $2::text[]) AS input (session_key, expected) \
                 JOIN {table} AS stored ON stored.{key} = input.session_key"
            ),
            Query::Delete => format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} \
                 WHERE {key} = ANY ($1::text[]) FOR UPDATE SKIP LOCKED) RETURNING {key}"
            ),
            Query::UpdateOne | Query::UpdateAlone => {
                let set_alone = Extra::of(options, 6).set_alone;
                let expected = format!("{key} = $1::text AND ($4::text IS NULL OR {data} = $4::text)");
                // A row that nobody has locked since it was written. `SKIP LOCKED` would look at the row a second time.
                let unlocked = match self {
                    Query::UpdateAlone => "",
                    _ => " AND (xmax = 0 OR xmax = xmin)",
                };
                format!(
                    "UPDATE {table} SET {key} = $5::text, {data} = $2::text, {expiry} = $3::timestamptz{set_alone} \
                     WHERE {expected}{unlocked} RETURNING $1::text"
                )
            }
            Query::DeleteAlone => format!("DELETE FROM {table} WHERE {key} = $1::text"),
            Query::DeleteExpired => format!(
                "DELETE FROM {table} WHERE {key} = $1::text AND {expiry} <= $2::timestamptz RETURNING 1"
            ),
            Query::Touch => format!(
                "UPDATE {table} SET {expiry} = $3::timestamptz WHERE {key} = $1::text AND {data} = $2::text \
                 RETURNING 1"
            ),
            Query::Exists => format!("SELECT 1 FROM {table} WHERE {key} = $1::text"),
            Query::Live => format!(
                "SELECT {key} FROM {table} WHERE {key} = ANY ($1::text[]) AND {expiry} > $2::timestamptz"
            ),
            // Starts where the last batch ended: the index still contains the removed rows until it is
            // vacuumed, and that waits for every old transaction. After a crash of the server the last
            // removals are simply repeated, so the commit need not wait for the disk. In a table with
            // partitions `ctid` alone would also find rows in other partitions.
            Query::Clear => format!(
                "WITH locked AS (SELECT ctid AS place, {key} AS session_key, {expiry} AS expire_date FROM {table} \
                     WHERE {expiry} < $1::timestamptz AND {expiry} >= $3::timestamptz{sessions} \
                     ORDER BY {expiry} LIMIT $2::bigint FOR UPDATE SKIP LOCKED), \
                 removed AS (DELETE FROM {table} AS stored USING locked \
                     WHERE stored.ctid = locked.place AND stored.{key} = locked.session_key \
                     RETURNING stored.{key}) \
                 SELECT (SELECT count(*) FROM locked), (SELECT max(expire_date) FROM locked), count(*), \
                     set_config('synchronous_commit', 'off', true) FROM removed",
                sessions = only_sessions("AND")
            ),
            // `IS TRUE` keeps the planner from using the expiry's index, and an array from joining row by
            // row.
            Query::Sweep => format!(
                "WITH locked AS MATERIALIZED (SELECT count(*) AS rows, max(place)::text AS last, \
                         array_agg(place) AS places \
                     FROM (SELECT ctid AS place FROM {table} \
                         WHERE ctid > $3::text::tid AND ctid < $4::text::tid \
                             AND ({expiry} < $1::timestamptz) IS TRUE{sessions} \
                         LIMIT $2::bigint FOR UPDATE SKIP LOCKED) AS expired), \
                 removed AS (DELETE FROM {table} WHERE ctid = ANY ((SELECT places FROM locked)::tid[]) \
                     AND ({expiry} < $1::timestamptz) IS TRUE{sessions} RETURNING 1) \
                 SELECT (SELECT rows FROM locked), (SELECT last FROM locked), count(*), \
                     set_config('synchronous_commit', 'off', true) FROM removed",
                sessions = only_sessions("AND")
            ),
            Query::Pages => {
                "SELECT CASE WHEN relkind = 'r' AND current_setting('server_version_num')::int >= 140000 \
                     THEN pg_relation_size(oid) / current_setting('block_size')::bigint ELSE 0 END \
                 FROM pg_class WHERE oid = $1::text::regclass"
                    .to_owned()
            }
            Query::Estimate => format!(
                "EXPLAIN SELECT 1 FROM {table} WHERE {expiry} < $1::timestamptz{}",
                only_sessions("AND")
            ),
            Query::List => format!(
                "SELECT {key}, {data}, {expiry} FROM {table} WHERE {key} > $1::text{} \
                 ORDER BY {key} LIMIT $2::bigint",
                only_sessions("AND")
            ),
            Query::IndexPut => format!(
                "INSERT INTO {index} AS entry ({USER_SESSION_COLUMNS}) \
                 SELECT $1::text, $2::text, coalesce(old.first_seen, $3::timestamptz), $4::timestamptz, \
                     coalesce($5::text, old.address), coalesce($6::text, old.user_agent) \
                 FROM (SELECT 1) AS one LEFT JOIN {index} AS old \
                     ON old.user_id = $1::text AND old.session_key = $7::text \
                 ON CONFLICT (user_id, session_key) DO UPDATE SET \
                     last_seen = greatest(entry.last_seen, excluded.last_seen), \
                     address = coalesce(excluded.address, entry.address), \
                     user_agent = coalesce(excluded.user_agent, entry.user_agent)"
            ),
            Query::IndexFill => format!(
                "INSERT INTO {index} ({USER_SESSION_COLUMNS}) \
                 SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], \
                     $6::text[]) ON CONFLICT (user_id, session_key) DO NOTHING"
            ),
            Query::IndexOfUser => {
                format!("SELECT {USER_SESSION_COLUMNS} FROM {index} WHERE user_id = $1::text")
            }
            Query::IndexRemove => format!(
                "DELETE FROM {index} AS entry USING unnest($1::text[], $2::text[]) AS gone (user_id, session_key) \
                 WHERE entry.user_id = gone.user_id AND entry.session_key = gone.session_key"
            ),
            Query::IndexPage => format!(
                "SELECT {USER_SESSION_COLUMNS} FROM {index} WHERE (user_id, session_key) > ($1::text, $2::text) \
                 ORDER BY user_id, session_key LIMIT $3::bigint"
            ),
            Query::Count => format!(
                "SELECT count(*) FILTER (WHERE {expiry} > $1::timestamptz), count(*) FROM {table}{}",
                only_sessions("WHERE")
            ),
        }
    }
}

/// The extra columns' parts of the statements, each with its leading commas. Values are sent as text, and the
/// column's own type parses them.
#[derive(Default)]
struct Extra {
    /// The column list of the table.
    columns: String,
    /// The parameters.
    arrays: String,
    /// The names in the input.
    names: String,
    /// The values from the input.
    values: String,
    /// The assignments of the statement for many rows, and of that for one.
    set: String,
    set_alone: String,
}

impl Extra {
    /// Builds the parts, with parameters from this number on.
    fn of(options: &PostgresOptions, first: usize) -> Extra {
        let mut extra = Extra::default();
        for (index, column) in options.extra_columns.iter().enumerate() {
            let (column, number) = (quoted(column.name()), first + index);
            let cast = options.extra_types.get(index).map(String::as_str).unwrap_or("text");
            extra.columns += &format!(", {column}");
            extra.arrays += &format!(", ${number}::text[]");
            extra.names += &format!(", extra_{index}");
            extra.values += &format!(", input.extra_{index}::{cast}");
            extra.set += &format!(", {column} = locked.extra_{index}::{cast}");
            extra.set_alone += &format!(", {column} = ${number}::text::{cast}");
        }
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNT, Query};
    use crate::store::sql::postgres::PostgresStore;
    use crate::store::sql::table::ExtraColumn;

    const ALL: [Query; COUNT] = [
        Query::Load,
        Query::Create,
        Query::Update,
        Query::Compare,
        Query::Delete,
        Query::UpdateOne,
        Query::UpdateAlone,
        Query::DeleteAlone,
        Query::DeleteExpired,
        Query::Touch,
        Query::Exists,
        Query::Live,
        Query::Clear,
        Query::Sweep,
        Query::Pages,
        Query::Estimate,
        Query::List,
        Query::Count,
        Query::IndexPut,
        Query::IndexFill,
        Query::IndexOfUser,
        Query::IndexRemove,
        Query::IndexPage,
    ];

    /// Behind a pooler the types are sent, and on a direct connection the server finds them by the casts.
    #[test]
    fn the_types_are_those_of_the_casts() {
        let mut options = PostgresStore::options("postgres://db/site").unwrap();
        let column = |name: &str| ExtraColumn::new(name, |_| None::<i64>);
        options.extra_columns = vec![column("first"), column("second")];
        options.extra_types = vec!["pg_catalog.int4".to_owned(); 2];
        let mut cache =
            PostgresStore::options("postgres://db/site?cache_table=a&key_prefix=%25_%27%5C").unwrap();
        cache.extra_columns = options.extra_columns.clone();
        for (query, options) in ALL.into_iter().flat_map(|query| [(query, &options), (query, &cache)]) {
            let (sql, types) = (query.sql(options), query.types(options));
            for (index, found) in types.iter().enumerate() {
                let cast = match found.name() {
                    "_text" => "text[]",
                    "_timestamptz" => "timestamptz[]",
                    "int8" => "bigint",
                    other => other,
                };
                let parameter = format!("${}::", index + 1);
                let places: Vec<&str> = sql.split(&parameter).skip(1).collect();
                assert!(!places.is_empty(), "{query:?}: {parameter} in {sql}");
                for place in places {
                    let written: String = place
                        .chars()
                        .take_while(|found| found.is_ascii_alphanumeric() || "[]".contains(*found))
                        .collect();
                    assert_eq!(written, cast, "{query:?}: {parameter}");
                }
            }
            assert!(!sql.contains(&format!("${}", types.len() + 1)), "{query:?}: {sql}");
        }
    }
}
