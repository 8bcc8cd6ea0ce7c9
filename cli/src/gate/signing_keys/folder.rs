//! The folder in which keys are kept: one PEM file each, named `SECONDS-KID.pem` after the Unix time when it was made.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::key::{Pem, SigningKey};
use crate::site::private_file::warn_if_others_can_read;

/// Ten times a key's size. A larger file is something else.
const MAX_FILE: u64 = 4096;

/// A folder of keys.
pub(crate) struct KeyFolder(PathBuf);

impl KeyFolder {
    /// Opens the folder, and makes it if it is missing.
    ///
    /// # Errors
    /// When it cannot be made, is not a folder, or others can write to it: their keys would sign for everybody.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<KeyFolder> {
        let shown = path.display();
        match create_private_folder(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error)
                    .with_context(|| format!("cannot make the folder of signing keys, {shown}"));
            }
            _ => {}
        }
        let metadata = fs::metadata(&path)
            .with_context(|| format!("cannot read the folder of signing keys, {shown}"))?;
        if !metadata.is_dir() {
            bail!("{shown} is not a folder; assertion.keys names the folder of the signing keys");
        }
        if others_can_write(&path, &metadata) {
            bail!("other users of this machine can put signing keys into {shown}; run `chmod 700 {shown}`");
        }
        Ok(KeyFolder(path))
    }

    /// Reads all keys, from the oldest to the newest.
    ///
    /// # Errors
    /// When the folder or one of its PEM files cannot be read; the message names the file. Other files are ignored.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<Arc<SigningKey>>> {
        let unreadable = || format!("cannot read the folder of signing keys, {}", self.0.display());
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                continue;
            }
            match read_key(&path) {
                Ok(key) => keys.push(Arc::new(key)),
                // Another gate deleted it meanwhile.
                Err(error) if is_not_found(&error) => {}
                Err(error) => {
                    return Err(error.context(format!("cannot use the signing key {}", path.display())));
                }
            }
        }
        keys.sort_by(|one, other| {
            (one.created, &one.public_key.kid).cmp(&(other.created, &other.public_key.kid))
        });
        Ok(keys)
    }

    /// Keeps other gates on this machine from making a key at the same time. Where the file system has no locks, two
    /// gates may make one each: both are published then, and both gates sign with the same one.
    pub(crate) fn lock(&self) -> Option<File> {
        let folder = File::open(&self.0).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }

    /// Adds a key. It appears under its name only when it is whole.
    pub(crate) fn add(&self, key: &SigningKey, pem: &Pem) -> anyhow::Result<()> {
        let path = self.0.join(format!("{}-{}.pem", key.created, key.public_key.kid));
        let unfinished = path.with_extension("new");
        write_private_file(&unfinished, pem.0.as_bytes())
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| {
                // What was written is of no use to anybody.
                let _ = fs::remove_file(&unfinished);
                format!("cannot write a new signing key into {}", self.0.display())
            })
    }

    /// Deletes a key's file.
    pub(crate) fn remove(&self, key: &SigningKey) -> anyhow::Result<()> {
        let Some(path) = &key.file else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let created =
        name.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|time| time.parse().ok());
    let Some(created) = created else {
        bail!(
            "its name must begin with the Unix time from which it counts as made, such as 1767225600-wiki.pem"
        );
    };
    warn_if_others_can_read(path, "a signing key");
    let mut key = SigningKey::from_pem(&text, created)?;
    key.file = Some(path.to_owned());
    Ok(key)
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(unix)]
fn create_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Folders below `/run` are mounted secrets of a container, in which everybody may do everything.
#[cfg(unix)]
fn others_can_write(path: &Path, metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.permissions().mode() & 0o022 != 0
        && !path.canonicalize().is_ok_and(|real| real.starts_with("/run"))
}

#[cfg(not(unix))]
fn others_can_write(_path: &Path, _metadata: &fs::Metadata) -> bool {
    false
}

/// Writes a new file that nobody else can read.
fn write_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
