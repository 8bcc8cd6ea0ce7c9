//! The settings file: the options' values, so that they need not be repeated.

use std::path::{Path, PathBuf};

use cloakroom::GivenSettings;

use super::usage;

/// The file that is read by default.
const USUAL: &str = "cloakroom.toml";
const VARIABLE: &str = "CLOAKROOM_SETTINGS";

/// A settings file as it was read.
#[derive(Default)]
pub(crate) struct SettingsFile {
    pub(crate) given: GivenSettings,
    /// The file's path.
    pub(crate) path: PathBuf,
}

/// Reads the file named by the option or by `$CLOAKROOM_SETTINGS`; by default `cloakroom.toml` in the working
/// folder, if it exists. Paths in it are relative to it.
pub(crate) fn read(named: Option<&Path>) -> anyhow::Result<SettingsFile> {
    let named = named.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let path = match named {
        Some(path) => path,
        None if Path::new(USUAL).exists() => PathBuf::from(USUAL),
        None => return Ok(SettingsFile::default()),
    };
    let given = GivenSettings::from_file(&path).map_err(|error| usage(error.to_string()))?;
    Ok(SettingsFile { given, path })
}
