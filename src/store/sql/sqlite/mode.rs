//! Whether a file may be read, written or created.

/// Whether the database file may be written, and created when missing; in a URL `?mode=ro`, `rw` and `rwc`.
///
/// ```
/// use cloakroom::store::sqlite::Mode;
/// use cloakroom::{SqliteStore, StoreErrorKind};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("db.sqlite3");
/// let mut options = SqliteStore::at(&path);
/// assert_eq!(options.mode, Mode::ReadWriteCreate);
/// options.mode = Mode::ReadWrite;
/// let error = options.create_table(Default::default()).await.unwrap_err();
/// assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
/// assert!(!path.exists());
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Read-only: saving a session is an error. `ro`.
    ReadOnly,
    /// The file must exist. `rw`.
    ReadWrite,
    /// [`create_table`](super::SqliteOptions::create_table) creates a missing file. Opening a store never
    /// does, because it would lack the table. `rwc`, and the default.
    #[default]
    ReadWriteCreate,
}
