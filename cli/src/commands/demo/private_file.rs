//! Creates files that only this user can read, from the start.

use std::fs::{File, OpenOptions};
use std::path::Path;

/// Creates a new, empty file; an error if the name exists.
pub(super) fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
