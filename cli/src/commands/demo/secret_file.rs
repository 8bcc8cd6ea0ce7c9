//! The secret that the demo generates, and keeps beside the database.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cloakroom::SessionKey;
use cloakroom::signing::SecretKey;

use super::private_file;
use crate::site::secrets::read_secret_file;

/// The demo's secret, and its origin.
pub(super) struct Secret {
    pub(super) key: SecretKey,
    /// Shown to the operator.
    pub(super) origin: String,
}

impl Secret {
    pub(super) fn given(key: SecretKey) -> Secret {
        Secret { key, origin: "as given".to_owned() }
    }
}

/// Reads the secret kept beside a database file, or creates it; without a file, generates a new one.
pub(super) fn beside(database: Option<&Path>) -> anyhow::Result<Secret> {
    let Some(database) = database else {
        let origin = "made for this run; later runs cannot read these sessions".to_owned();
        return Ok(Secret { key: random()?.into(), origin });
    };
    let mut path = database.as_os_str().to_owned();
    path.push(".secret");
    let path = PathBuf::from(path);
    let shown = path.display();
    let secret = random()?;
    match private_file::create(&path) {
        Ok(mut file) => {
            writeln!(file, "{secret}").with_context(|| format!("cannot write {shown}"))?;
            let origin = format!("{shown}, made just now; keep it beside the database, it signs the sessions");
            Ok(Secret { key: secret.into(), origin })
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let warning =
                if open_to_others(&path) { "; others can read it; run chmod 600 on it" } else { "" };
            Ok(Secret { key: read_secret_file(&path)?, origin: format!("{shown}{warning}") })
        }
        Err(error) => Err(error).with_context(|| {
            format!("cannot make {shown} for the demo's secret; give one with --secret-key-file, or use --store memory:")
        }),
    }
}

/// 64 characters, 330 bits.
fn random() -> anyhow::Result<String> {
    Ok(format!("{}{}", SessionKey::random()?.as_str(), SessionKey::random()?.as_str()))
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn open_to_others(_path: &Path) -> bool {
    false
}
