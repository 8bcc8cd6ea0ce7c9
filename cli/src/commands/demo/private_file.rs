//! Files that this user alone can read, from the moment they are there.

use std::fs::{File, OpenOptions};
use std::path::Path;

/// A new, empty file; an error where there is one of that name.
pub(super) fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
