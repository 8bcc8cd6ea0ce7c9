//! The record of `copy --record`: a SQLite file with digests of the copied sessions, without keys and data.
//! By comparing with it, the next copy detects on which side a session has changed.

use std::path::Path;

use anyhow::Context;
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Loaded, StoreUrl};
use cloakroom::{SessionData, SessionKey};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::ending::usage;

/// The tolerance in seconds: caches return the expiry as a time to live, and so slightly earlier or later.
const EXPIRY_TOLERANCE: i64 = 2;

/// A session's content, as digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    data: [u8; 32],
    /// Unix seconds, if the store knows the expiry.
    expiry: Option<i64>,
}

impl State {
    pub(super) fn of(data: &SessionData, expire_date: Option<DateTime<Utc>>) -> State {
        State {
            data: Sha256::digest(super::normal_form(data)).into(),
            expiry: expire_date.map(|end| end.timestamp()),
        }
    }

    pub(super) fn of_loaded(loaded: &Loaded) -> State {
        State::of(loaded.data().unwrap_or(&SessionData::new()), loaded.expire_date)
    }

    pub(super) fn is(&self, other: &State) -> bool {
        let ends_alike = match (self.expiry, other.expiry) {
            (Some(one), Some(other)) => (one - other).abs() <= EXPIRY_TOLERANCE,
            _ => true,
        };
        self.data == other.data && ends_alike
    }
}

/// The recorded states of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The last state that was copied and read back.
    done: Option<State>,
    /// The states that were about to be written when copies were interrupted: each may be at the target.
    begun: Vec<State>,
}

impl Known {
    /// Whether it was copied at least once.
    pub(super) fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Whether the source is unchanged since it was copied.
    pub(super) fn is_copied(&self, source: &State) -> bool {
        self.done.is_some_and(|done| done.is(source))
    }

    /// Whether the target holds a state that a copy has written.
    pub(super) fn has_written(&self, target: &State) -> bool {
        self.done.iter().chain(&self.begun).any(|written| written.is(target))
    }

    /// Whether the copied state has expired by now.
    pub(super) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.done.and_then(|done| done.expiry).is_some_and(|expiry| expiry <= now.timestamp())
    }
}

/// The open file.
pub(super) struct CopyRecord {
    connection: Connection,
    /// The number of this run; entries that the source still has get this number.
    run: i64,
}

/// The digests of keys and of contents are both SHA-256.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS pair (source TEXT NOT NULL, target TEXT NOT NULL, run INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS session (
        session_key BLOB PRIMARY KEY, run INTEGER NOT NULL, done BLOB, done_expiry INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS begun (session_key BLOB NOT NULL, data BLOB NOT NULL, expiry INTEGER);
    CREATE INDEX IF NOT EXISTS begun_session_key ON begun (session_key);
";

impl CopyRecord {
    /// Opens the record for these two stores, or creates it.
    pub(super) fn open(path: &Path, source: &StoreUrl, target: &StoreUrl) -> anyhow::Result<CopyRecord> {
        let shown = path.display();
        make_private(path).with_context(|| format!("cannot make the record {shown}"))?;
        let connection = Connection::open(path).with_context(|| format!("cannot open the record {shown}"))?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.execute_batch(TABLES).map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => {
                usage(format!("another copy is using the record {shown}; wait for it"))
            }
            Some(rusqlite::ErrorCode::NotADatabase) => {
                usage(format!("{shown} is not a record of a copy; name another file for --record"))
            }
            _ => anyhow::Error::new(error).context(format!("cannot write the record {shown}")),
        })?;
        let pair = [source, target].map(StoreUrl::to_string);
        let before = connection
            .query_row("SELECT source, target, run FROM pair", [], |row| {
                Ok(([row.get::<_, String>(0)?, row.get(1)?], row.get::<_, i64>(2)?))
            })
            .optional()?;
        let run = match before {
            Some((other, _)) if other != pair => {
                let [source, target] = other;
                return Err(usage(format!(
                    "the record {shown} is of a copy from {source} to {target}; name another file for --record"
                )));
            }
            Some((_, run)) => {
                connection.execute("UPDATE pair SET run = ?1", [run + 1])?;
                run + 1
            }
            None => {
                connection.execute("INSERT INTO pair VALUES (?1, ?2, 1)", pair)?;
                1
            }
        };
        Ok(CopyRecord { connection, run })
    }

    /// Returns the record of a session, and whether the source had it in this run.
    pub(super) fn known(&self, key: &SessionKey) -> anyhow::Result<(Known, bool)> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT done, done_expiry, run FROM session WHERE session_key = ?1")?;
        let state = |data: Option<[u8; 32]>, expiry| data.map(|data| State { data, expiry });
        let found = statement
            .query_row([digest(key)], |row| {
                let done = state(row.get(0)?, row.get(1)?);
                Ok((Known { done, begun: Vec::new() }, row.get::<_, i64>(2)? == self.run))
            })
            .optional()?;
        let Some((mut known, was_seen)) = found else { return Ok((Known::default(), false)) };
        let mut begun =
            self.connection.prepare_cached("SELECT data, expiry FROM begun WHERE session_key = ?1")?;
        let begun =
            begun.query_map([digest(key)], |row| Ok(State { data: row.get(0)?, expiry: row.get(1)? }))?;
        known.begun = begun.collect::<Result<_, _>>()?;
        Ok((known, was_seen))
    }

    /// Records the states that are about to be written.
    pub(super) fn begin<'a>(
        &mut self,
        sessions: impl Iterator<Item = (&'a SessionKey, State)>,
    ) -> anyhow::Result<()> {
        let transaction = self.connection.transaction()?;
        for (key, State { data, expiry }) in sessions {
            transaction
                .prepare_cached(
                    "INSERT INTO session (session_key, run) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET run = ?2",
                )?
                .execute(params![digest(key), self.run])?;
            // The states that interrupted copies were about to write stay: one of them may be at the target.
            transaction
                .prepare_cached(
                    "INSERT INTO begun SELECT ?1, ?2, ?3 WHERE NOT EXISTS \
                     (SELECT 1 FROM begun WHERE session_key = ?1 AND data = ?2 AND expiry IS ?3)",
                )?
                .execute(params![digest(key), data, expiry])?;
        }
        Ok(transaction.commit()?)
    }

    /// Records the states that were written, and that the source has the other sessions.
    pub(super) fn end<'a>(
        &mut self,
        sessions: impl Iterator<Item = (&'a SessionKey, Option<State>)>,
    ) -> anyhow::Result<()> {
        let transaction = self.connection.transaction()?;
        for (key, written) in sessions {
            let key = digest(key);
            match written {
                Some(State { data, expiry }) => {
                    transaction
                        .prepare_cached(
                            "INSERT INTO session (session_key, run, done, done_expiry) VALUES (?1, ?2, ?3, ?4)
                             ON CONFLICT DO UPDATE SET run = ?2, done = ?3, done_expiry = ?4",
                        )?
                        .execute(params![key, self.run, data, expiry])?;
                    transaction.prepare_cached("DELETE FROM begun WHERE session_key = ?1")?.execute([key])?
                }
                None => transaction
                    .prepare_cached("UPDATE session SET run = ?2 WHERE session_key = ?1")?
                    .execute(params![key, self.run])?,
            };
        }
        Ok(transaction.commit()?)
    }

    /// Counts the unexpired sessions that a copy has written, or may have: those that the source did not have in this run,
    /// and all.
    pub(super) fn missing(&self, now: DateTime<Utc>) -> anyhow::Result<(u64, u64)> {
        let sql = "SELECT count(CASE WHEN run < ?1 THEN 1 END), count(*) FROM session \
             WHERE (done IS NOT NULL AND (done_expiry IS NULL OR done_expiry > ?2)) \
             OR (done IS NULL AND session_key IN (SELECT session_key FROM begun))";
        let counts: (i64, i64) = self
            .connection
            .query_row(sql, [self.run, now.timestamp()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((counts.0.unsigned_abs(), counts.1.unsigned_abs()))
    }

    /// Removes a session that is gone from both sides.
    pub(super) fn forget(&self, key: &SessionKey) -> anyhow::Result<()> {
        self.connection.execute("DELETE FROM session WHERE session_key = ?1", [digest(key)])?;
        self.connection.execute("DELETE FROM begun WHERE session_key = ?1", [digest(key)])?;
        Ok(())
    }
}

fn digest(key: &SessionKey) -> [u8; 32] {
    Sha256::digest(key.as_str()).into()
}

/// Creates the file, for this user alone, if it is missing.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
