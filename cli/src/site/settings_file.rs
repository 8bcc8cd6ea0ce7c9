//! The settings file: the options' values, so that they need not be repeated.

use std::path::{Path, PathBuf};

use cloakroom::store::StoreUrl;
use serde::Deserialize;

use super::usage;

/// The file that is read by default.
const USUAL: &str = "cloakroom.toml";
const VARIABLE: &str = "CLOAKROOM_SETTINGS";

/// The file's contents; each field is the option of the same name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsFile {
    pub(crate) store: Option<StoreUrl>,
    pub(crate) secret_key_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) secret_key_fallback_files: Vec<PathBuf>,
    pub(crate) cookie_name: Option<String>,
    pub(crate) cookie_age: Option<i64>,
    pub(crate) naive_time_zone: Option<String>,
    pub(crate) session_class: Option<String>,
    /// The file's path.
    #[serde(skip)]
    pub(crate) path: Option<PathBuf>,
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
    let shown = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| usage(format!("cannot read the settings in {shown}: {error}; check the path")))?;
    let file = parse(&text, path.parent().unwrap_or(Path::new("")))
        .map_err(|(line, message)| usage(format!("{shown}, line {line}: {message}")))?;
    Ok(SettingsFile { path: Some(path), ..file })
}

/// Parses the settings in a file of this folder; an error is the number of the wrong line, and the reason.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<SettingsFile, (usize, String)> {
    let mut file: SettingsFile = toml::from_str(text).map_err(|error| {
        // The line itself may contain the store's password.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        (line, error.message().to_owned())
    })?;
    file.secret_key_file = file.secret_key_file.map(|path| folder.join(path));
    file.secret_key_fallback_files.iter_mut().for_each(|path| *path = folder.join(&*path));
    file.store = file.store.map(|url| url.from_folder(folder));
    Ok(file)
}
