//! The connections of the process: opened when there is work, closed when there is none.
//!
//! - When the last connection to a file closes, SQLite copies the write-ahead log into the file and removes
//!   the log. So a store that is idle, closed or dropped leaves one complete file, and so does a process that
//!   ends with an idle store.
//! - The path is checked before and after each unit of work. Once it leads to another file, all connections
//!   to the old one are closed before any is opened to the new one. SQLite finds the log by its name, so
//!   otherwise the two files would share one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::error::{Failure, Task};
use super::place::{self, FileId, OldLog, Place};
use super::{Columns, ExtraColumn, Mode, SqliteOptions};

/// How many consecutive replacements of a file are tolerated.
const TRIES: usize = 3;

/// Read-locked during work; holding the write lock allows closing all connections. One lock for all stores,
/// because two may have the same file open.
static UNDER_WAY: RwLock<()> = RwLock::new(());

/// Held while a connection opens or closes. If two closed concurrently, each would see the other as one that
/// still needs the log, and neither would remove it. It is taken after a slot's own lock.
static REGISTRY: Mutex<Registry> = Mutex::new(Registry { slots: Vec::new(), files: None });

struct Registry {
    slots: Vec<Weak<Slot>>,
    /// By their paths with links resolved.
    files: Option<HashMap<PathBuf, Files>>,
}

/// The state of a path.
#[derive(Default)]
struct Files {
    /// The file that connections have open, and their number.
    open: Option<(FileId, usize)>,
    /// The log of the previous file, which must not become the next file's.
    old_log: Option<OldLog>,
}

impl Registry {
    fn files(&mut self) -> &mut HashMap<PathBuf, Files> {
        self.files.get_or_insert_default()
    }

    fn closed(&mut self, real: &Path) {
        let Some(files) = self.files().get_mut(real) else { return };
        files.open = files.open.and_then(|(file, count)| (count > 1).then(|| (file, count - 1)));
        if files.open.is_none() && files.old_log.is_none() {
            self.files().remove(real);
        }
    }
}

/// Holds one thread's connection while it is open.
pub(super) struct Slot {
    options: Arc<SqliteOptions>,
    /// An absolute path.
    path: PathBuf,
    open: Mutex<Option<Open>>,
    /// Whether another file has appeared at the path since the last one was opened.
    is_replaced: AtomicBool,
}

/// An open connection.
pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) place: Place,
    /// Whether anything was written that may be in the log alone.
    pub(super) wrote: bool,
    /// Whether no work was done on it yet.
    pub(super) is_new: bool,
    /// When a caller's own thread last worked on it.
    borrowed: Option<Instant>,
}

impl Slot {
    pub(super) fn new(options: Arc<SqliteOptions>) -> Task<Arc<Slot>> {
        let path = std::path::absolute(&options.path)?;
        let slot =
            Arc::new(Slot { options, path, open: Mutex::default(), is_replaced: AtomicBool::new(false) });
        let mut registry = lock(&REGISTRY);
        registry.slots.retain(|slot| slot.strong_count() > 0);
        registry.slots.push(Arc::downgrade(&slot));
        Ok(slot)
    }

    pub(super) fn options(&self) -> &SqliteOptions {
        &self.options
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.open).is_some()
    }

    /// Runs work on a connection to the file at the path. If that file is replaced meanwhile, the work's
    /// result is discarded.
    pub(super) fn run<T>(&self, work: impl FnOnce(&mut Open) -> Task<T>) -> Task<T> {
        for _ in 0..TRIES {
            let file = FileId::at(&self.path);
            let under_way = UNDER_WAY.read().unwrap_or_else(PoisonError::into_inner);
            let mut slot = lock(&self.open);
            if let (None, Ok(file)) = (&*slot, &file) {
                *slot = self.open(*file)?;
            }
            match (slot.as_mut(), &file) {
                (Some(open), Ok(file)) if open.place.file == *file => {
                    let done = work(open);
                    open.is_new = false;
                    return match done {
                        Err(Failure::ReplacedBefore) => done,
                        _ if !open.place.is_kept() => Err(Failure::Replaced),
                        done => done,
                    };
                }
                _ => {
                    drop(slot);
                    drop(under_way);
                    leave_replaced();
                    file?;
                }
            }
        }
        Err(Failure::ReplacedBefore)
    }

    /// Reads on the connection in the caller's own thread, if that can be done at once: the connection is open,
    /// nobody works on it, the file is still the one at the path, and no other program has locked it. Otherwise returns
    /// `None`, and [`run`](Slot::run) has to do it.
    pub(super) fn read_at_once<T>(&self, work: impl FnOnce(&Connection) -> Task<T>) -> Option<Task<T>> {
        let _under_way = at_once(UNDER_WAY.try_read())?;
        let mut slot = at_once(self.open.try_lock())?;
        let open = slot.as_mut().filter(|open| open.place.is_kept())?;
        let start = Instant::now();
        open.connection.busy_timeout(Duration::ZERO).ok()?;
        let done = work(&open.connection);
        open.connection.busy_timeout(self.options.timeout).ok()?;
        open.borrowed = Some(start);
        match done {
            Err(Failure::Sqlite(error)) if Failure::is_busy(&error) => None,
            _ if !open.place.is_kept() => None,
            done => Some(done),
        }
    }

    /// Whether a caller's own thread has read on the connection within this time.
    pub(super) fn was_borrowed_within(&self, time: Duration) -> bool {
        lock(&self.open).as_ref().and_then(|open| open.borrowed).is_some_and(|since| since.elapsed() < time)
    }

    /// Opens the file at the path; `None` when it changed, or when other connections still have an older one
    /// open.
    fn open(&self, file: FileId) -> Task<Option<Open>> {
        let mut registry = lock(&REGISTRY);
        let real = self.path.canonicalize()?;
        let files = registry.files().entry(real.clone()).or_default();
        if files.open.is_some_and(|(other, _)| other != file) {
            return Ok(None);
        }
        if files.old_log.as_ref().is_some_and(|log| log.is_beside(&real)) {
            return Err(Failure::OldLog);
        }
        files.old_log = None;
        let connection = connect(&self.options, &self.path, false)?;
        // SQLite has opened the file but not yet the log. It would mistake another file's log for this
        // file's.
        if FileId::at(&self.path)? != file {
            return Ok(None);
        }
        if let Err(failure) = check_table(&connection, &self.options) {
            let is_replaced = self.is_replaced.load(Ordering::Relaxed);
            return Err(if is_replaced { Failure::OfReplacement(Box::new(failure)) } else { failure });
        }
        self.is_replaced.store(false, Ordering::Relaxed);
        files.open = Some((file, files.open.map_or(1, |(_, count)| count + 1)));
        let place = Place::new(&self.path, real, file);
        Ok(Some(Open { connection, place, wrote: false, is_new: true, borrowed: None }))
    }

    /// Closes the connection until there is work again. The last one leaves one complete file; returns false
    /// when the log could not be emptied, because another program needs it.
    pub(super) fn close(&self) -> Task<bool> {
        let under_way = UNDER_WAY.read().unwrap_or_else(PoisonError::into_inner);
        let mut slot = lock(&self.open);
        let Some(open) = slot.take_if(|open| open.place.is_kept()) else {
            let is_replaced = slot.is_some();
            drop(slot);
            drop(under_way);
            if is_replaced {
                leave_replaced();
            }
            return Ok(true);
        };
        let mut registry = lock(&REGISTRY);
        // Other programs may have the file open, which would keep SQLite from doing this on close.
        let emptied = if open.wrote { place::empty_log(&open.connection) } else { Ok(true) };
        registry.closed(&open.place.real);
        drop(open);
        emptied
    }
}

/// Closes all connections to files that are no longer at their paths.
fn leave_replaced() {
    let _alone = UNDER_WAY.write().unwrap_or_else(PoisonError::into_inner);
    let mut registry = lock(&REGISTRY);
    let slots: Vec<Arc<Slot>> = registry.slots.iter().filter_map(Weak::upgrade).collect();
    let mut left = Vec::new();
    for slot in &slots {
        if let Some(open) = lock(&slot.open).take_if(|open| !open.place.is_kept()) {
            let same_path = slots.iter().filter(|other| other.path == slot.path);
            same_path.for_each(|slot| slot.is_replaced.store(true, Ordering::Relaxed));
            left.push(open);
        }
    }
    for open in &left {
        open.place.take_log_along(&open.connection);
    }
    for open in left {
        registry.closed(&open.place.real);
        if let Some(old_log) = open.place.old_log() {
            registry.files().entry(open.place.real.clone()).or_default().old_log = Some(old_log);
        }
    }
}

/// Opens the file. URIs are disabled: the name is always the path.
fn connect(options: &SqliteOptions, path: &Path, create: bool) -> Task<Connection> {
    let access = match options.mode {
        Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::ReadWrite | Mode::ReadWriteCreate => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let create = if create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let connection = Connection::open_with_flags(path, access | create | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(options.timeout)?;
    Ok(connection)
}

/// Fails when the table or one of its columns is missing.
fn check_table(connection: &Connection, options: &SqliteOptions) -> Task<()> {
    let statement = connection.prepare(&format!("SELECT * FROM {} LIMIT 0", options.names().table))?;
    let columns: Vec<&str> = statement.column_names().into_iter().collect();
    let Columns { session_key, session_data, expire_date } = &options.columns();
    let extra = options.extra_columns.iter().map(ExtraColumn::name);
    for column in [session_key, session_data, expire_date].into_iter().map(String::as_str).chain(extra) {
        if !columns.contains(&column) {
            return Err(Failure::MissingColumn(column.to_owned()));
        }
    }
    Ok(())
}

/// Runs one-time work, such as creating a table, on a separate connection; `create` creates a missing file.
pub(super) fn once<T>(
    options: &SqliteOptions,
    create: bool,
    work: impl FnOnce(&mut Connection) -> Task<T>,
) -> Task<T> {
    if options.mode == Mode::ReadOnly {
        return Err(Failure::ReadOnlyMode);
    }
    alone(options, create, work)
}

/// Runs work on a separate connection, even for a file that is opened read-only.
pub(super) fn alone<T>(
    options: &SqliteOptions,
    create: bool,
    work: impl FnOnce(&mut Connection) -> Task<T>,
) -> Task<T> {
    let path = std::path::absolute(&options.path)?;
    if !create {
        FileId::at(&path)?;
    }
    let mut connection = connect(options, &path, create)?;
    let done = work(&mut connection);
    let _closing = lock(&REGISTRY);
    drop(connection);
    done
}

/// Closes these connections when this thread ends. For the program's first thread, that is when `main`
/// returns: a store in a static is never dropped. (On Linux and macOS; elsewhere the first thread ends
/// without this.)
pub(super) fn close_with_this_thread(slots: &[Arc<Slot>]) {
    struct End(RefCell<Vec<Weak<Slot>>>);
    impl Drop for End {
        fn drop(&mut self) {
            for slot in self.0.take().iter().filter_map(Weak::upgrade) {
                let _ = slot.close();
            }
        }
    }
    thread_local!(static END: End = const { End(RefCell::new(Vec::new())) });
    END.with(|end| {
        let mut closed = end.0.borrow_mut();
        closed.retain(|slot| slot.strong_count() > 0);
        closed.extend(slots.iter().map(Arc::downgrade));
    });
}

/// The guard of a lock that is free.
fn at_once<G>(locked: Result<G, TryLockError<G>>) -> Option<G> {
    match locked {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Data under these locks is consistent after each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    /// Two files with the table, in WAL mode; the first with its path, and a slot for it.
    fn two_files() -> Task<(tempfile::TempDir, PathBuf, Arc<SqliteOptions>)> {
        let folder = tempfile::tempdir()?;
        let options = super::super::SqliteStore::at(folder.path().join("db"));
        let next = folder.path().join("next");
        for path in [&options.path, &next] {
            let connection = Connection::open(path)?;
            let sql = "PRAGMA journal_mode = WAL; CREATE TABLE django_session (session_key, session_data, expire_date)";
            connection.execute_batch(sql)?;
        }
        Ok((folder, next, Arc::new(options)))
    }

    fn write(open: &mut Open) -> Task<()> {
        let transaction =
            open.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        open.place.check_before_writing(&transaction)?;
        transaction.execute("INSERT INTO django_session VALUES ('a', 'b', 'c')", [])?;
        Ok(transaction.commit()?)
    }

    #[test]
    fn what_was_done_while_the_file_was_replaced_counts_for_nothing() {
        let (_folder, next, options) = two_files().unwrap();
        let slot = Slot::new(Arc::clone(&options)).unwrap();
        let done = slot.run(|open| {
            write(open)?;
            Ok(fs::rename(&next, &options.path)?)
        });
        assert!(matches!(done, Err(Failure::Replaced)), "{done:?}");
        slot.run(write).unwrap();
        assert!(slot.close().unwrap());
        let rows = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM django_session", [], |row| row.get(0))
        };
        assert_eq!(rows(&Connection::open(&options.path).unwrap()), Ok(1));
    }

    #[test]
    fn nothing_is_written_once_the_file_is_replaced() {
        let (_folder, next, options) = two_files().unwrap();
        let slot = Slot::new(Arc::clone(&options)).unwrap();
        let done = slot.run(|open| {
            fs::rename(&next, &options.path)?;
            write(open)
        });
        assert!(matches!(done, Err(Failure::ReplacedBefore)), "{done:?}");
    }

    /// The file is replaced between the check of the path and the opening.
    #[test]
    fn a_new_file_is_not_opened_beside_the_log_of_the_old_one() {
        let (folder, next, options) = two_files().unwrap();
        let [first, second] = [(); 2].map(|()| Slot::new(Arc::clone(&options)).unwrap());
        first.run(write).unwrap();
        let log = folder.path().join("db-wal");
        let (seen, length) = (FileId::at(&first.path).unwrap(), log.metadata().unwrap().len());
        fs::rename(&next, &options.path).unwrap();
        let before = fs::read(&options.path).unwrap();
        assert!(second.open(seen).unwrap().is_none());
        assert_eq!(log.metadata().unwrap().len(), length, "it is still the first one's");
        assert_eq!(fs::read(&options.path).unwrap(), before);
        second.run(write).unwrap();
        assert!(!first.is_open(), "no connection is left to the old one");
    }
}
