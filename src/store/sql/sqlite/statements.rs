//! The SQL of one store, built once.

use super::{DIALECT, SqliteOptions};
use crate::store::sql::dialect::Names;
use crate::store::sql::table::USER_SESSION_COLUMNS;

/// Statements on the session table. Numbered parameters: `?1` is the session key.
pub(super) struct Statements {
    /// The data and the expiry, unless the expiry is before `?2`.
    pub(super) load: String,
    /// `?2` is the data, `?3` the expiry; the extra columns start at `?4`.
    pub(super) create: String,
    /// `?2` is the data, `?3` the expiry, `?4` the expected data or null; the extra columns start at `?5`.
    pub(super) update: String,
    /// Like `update`, with `?5` the new key; the extra columns start at `?6`.
    pub(super) rotate: String,
    /// `?2` is the expiry, `?3` the expected data.
    pub(super) touch: String,
    pub(super) delete: String,
    /// `delete`, if it expired at `?2` or before.
    pub(super) delete_expired: String,
    /// Whether the key is taken, even by an expired session.
    pub(super) select_key: String,
    /// Whether the session exists, and does not expire before `?2`.
    pub(super) exists: String,
    /// The first `?1` rows after the key `?2`, by their keys; key, data, expiry.
    pub(super) list: String,
    /// The number of rows that do not expire before `?1`, and of all rows.
    pub(super) count: String,
    pub(super) clear: Clear,
    pub(super) index: Index,
}

/// Removes up to `?2` rows that expired before `?1`, along the expiry's index from its beginning: removed
/// rows are no longer in it.
#[derive(Clone, Default)]
pub(super) struct Clear {
    /// Reads their pages, of the table and of its indexes.
    pub(super) read: String,
    pub(super) remove: String,
    pub(super) among_others: Option<ClearAmongOthers>,
}

/// Where expired entries of others lie between the sessions, which are passed over once, and without the lock.
#[derive(Clone)]
pub(super) struct ClearAmongOthers {
    /// The keys and expiries of up to `?2` rows that expired before `?1`, but not before `?3`, by their expiry.
    pub(super) choose: String,
    /// Removes the row with the key `?1`, if it expired before `?2`.
    pub(super) remove: String,
}

/// Statements on the index of user sessions. `?1` is the user's id, and `?2` the session key.
pub(super) struct Index {
    pub(super) check: String,
    /// The columns in order, and `?7` the key that the session moved from.
    pub(super) put: String,
    pub(super) fill: String,
    pub(super) of_user: String,
    pub(super) remove: String,
    /// Up to `?3` entries after this one.
    pub(super) page: String,
}

impl Statements {
    pub(super) fn new(options: &SqliteOptions) -> Statements {
        let Names { table, key, data, expiry, extra } = options.names();
        let assignments = |first: usize| -> String {
            extra.iter().enumerate().map(|(index, name)| format!(", {name} = ?{}", first + index)).collect()
        };
        let columns: String = extra.iter().map(|name| format!(", {name}")).collect();
        let values: String = (0..extra.len()).map(|index| format!(", ?{}", index + 4)).collect();
        let select_key = format!("SELECT 1 FROM {table} WHERE {key} = ?1");
        let only_sessions = |word: &str| DIALECT.only_sessions(word, options.cache.as_ref(), &key);
        let expired =
            format!("FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {expiry} < ?1 LIMIT ?2)");
        let among_others = options.cache.is_some().then(|| ClearAmongOthers {
            choose: format!(
                "SELECT {key}, {expiry} FROM {table} WHERE {expiry} < ?1 AND {expiry} >= ?3{} \
                 ORDER BY {expiry} LIMIT ?2",
                only_sessions("AND")
            ),
            remove: format!("DELETE FROM {table} WHERE {key} = ?1 AND {expiry} < ?2"),
        });
        Statements {
            load: format!("SELECT {data}, {expiry} FROM {table} WHERE {key} = ?1 AND {expiry} > ?2"),
            create: format!(
                "INSERT INTO {table} ({key}, {data}, {expiry}{columns}) VALUES (?1, ?2, ?3{values}) \
                 ON CONFLICT ({key}) DO NOTHING"
            ),
            update: format!(
                "UPDATE {table} SET {data} = ?2, {expiry} = ?3{} \
                 WHERE {key} = ?1 AND (?4 IS NULL OR {data} = ?4)",
                assignments(5)
            ),
            // One statement: the row changes its key, unless the new one is taken. `OR IGNORE` would do that
            // too, but would also ignore errors of a constraint on an extra column.
            rotate: format!(
                "UPDATE {table} SET {key} = ?5, {data} = ?2, {expiry} = ?3{} \
                 WHERE {key} = ?1 AND (?4 IS NULL OR {data} = ?4) \
                 AND (?5 = ?1 OR NOT EXISTS (SELECT 1 FROM {table} WHERE {key} = ?5))",
                assignments(6)
            ),
            touch: format!("UPDATE {table} SET {expiry} = ?2 WHERE {key} = ?1 AND {data} = ?3"),
            delete: format!("DELETE FROM {table} WHERE {key} = ?1"),
            delete_expired: format!("DELETE FROM {table} WHERE {key} = ?1 AND {expiry} <= ?2"),
            exists: format!("{select_key} AND {expiry} > ?2"),
            select_key,
            list: format!(
                "SELECT {key}, {data}, {expiry} FROM {table} WHERE {key} > ?2{} ORDER BY {key} LIMIT ?1",
                only_sessions("AND")
            ),
            count: format!(
                "SELECT COUNT(CASE WHEN {expiry} > ?1 THEN 1 END), COUNT(*) FROM {table}{}",
                only_sessions("WHERE")
            ),
            clear: Clear {
                read: format!("SELECT count(*) {expired}"),
                remove: format!("DELETE {expired}"),
                among_others,
            },
            index: Index::new(&DIALECT.quoted(&options.user_session_table)),
        }
    }
}

impl Index {
    fn new(table: &str) -> Index {
        Index {
            check: format!("SELECT {USER_SESSION_COLUMNS} FROM {table} LIMIT 0"),
            put: format!(
                "INSERT INTO {table} ({USER_SESSION_COLUMNS}) \
                 SELECT ?1, ?2, coalesce(old.first_seen, ?3), ?4, coalesce(?5, old.address), \
                     coalesce(?6, old.user_agent) \
                 FROM (SELECT 1) LEFT JOIN {table} AS old ON old.user_id = ?1 AND old.session_key = ?7 WHERE true \
                 ON CONFLICT (user_id, session_key) DO UPDATE SET last_seen = max(last_seen, excluded.last_seen), \
                     address = coalesce(excluded.address, address), \
                     user_agent = coalesce(excluded.user_agent, user_agent)"
            ),
            fill: format!(
                "INSERT INTO {table} ({USER_SESSION_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (user_id, session_key) DO NOTHING"
            ),
            of_user: format!("SELECT {USER_SESSION_COLUMNS} FROM {table} WHERE user_id = ?1"),
            remove: format!("DELETE FROM {table} WHERE user_id = ?1 AND session_key = ?2"),
            page: format!(
                "SELECT {USER_SESSION_COLUMNS} FROM {table} WHERE (user_id, session_key) > (?1, ?2) \
                 ORDER BY user_id, session_key LIMIT ?3"
            ),
        }
    }
}
