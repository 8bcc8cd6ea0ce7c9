//! Settings from a file in TOML.

use std::fmt;
use std::path::{Path, PathBuf};

use super::GivenSettings;
use crate::site::settings::{Settings, SettingsError};

/// Why a file gives no settings: the path, the line, and the reason. Never shows the line itself, which may hold a
/// password.
///
/// ```
/// use std::path::Path;
/// use cloakroom::GivenSettings;
///
/// let error = GivenSettings::from_toml("cookie_age = 60\ncookie_nam = 'id'", Path::new("")).unwrap_err();
/// assert_eq!(error.line(), Some(2));
/// assert_eq!(error.to_string(), "line 2: unknown field `cookie_nam`; the nearest is `cookie_name`");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SettingsFileError {
    path: Option<PathBuf>,
    line: Option<usize>,
    reason: String,
}

impl SettingsFileError {
    /// The line, counted from 1, unless the file could not be read at all.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for SettingsFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => write!(formatter, "{}, line {line}: ", path.display())?,
            (None, Some(line)) => write!(formatter, "line {line}: ")?,
            (_, None) => {}
        }
        formatter.write_str(&self.reason)
    }
}

/// Shows the message: Rust prints this form of an error that `main` returns.
impl fmt::Debug for SettingsFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for SettingsFileError {}

impl From<SettingsError> for SettingsFileError {
    fn from(error: SettingsError) -> SettingsFileError {
        SettingsFileError { path: None, line: None, reason: error.to_string() }
    }
}

impl GivenSettings {
    /// Reads a file in TOML. The paths of secrets in it are relative to its folder.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("cloakroom.toml");
    /// use cloakroom::GivenSettings;
    ///
    /// std::fs::write(&path, "store = 'memory:'\nSESSION_COOKIE_AGE = 3600\n")?;
    /// let given = GivenSettings::from_file(&path)?;
    /// assert_eq!((given.store.as_deref(), given.cookie_age.unwrap().num_hours()), (Some("memory:"), 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the file cannot be read, a name in it is unknown, or a value is not one of its setting.
    pub fn from_file(path: impl AsRef<Path>) -> Result<GivenSettings, SettingsFileError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let reason = format!("cannot read the settings in {}: {error}; check the path", path.display());
            SettingsFileError { path: None, line: None, reason }
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        GivenSettings::from_toml(&text, folder)
            .map_err(|error| SettingsFileError { path: Some(path.to_owned()), ..error })
    }

    /// Reads the text of a file in this folder.
    ///
    /// ```
    /// use std::path::Path;
    /// use cloakroom::GivenSettings;
    ///
    /// let given = GivenSettings::from_toml("secret_key_file = 'secret.txt'", Path::new("/srv/site"))?;
    /// assert_eq!(given.secret_key_file.unwrap(), Path::new("/srv/site/secret.txt"));
    /// # Ok::<(), cloakroom::SettingsFileError>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_file`](GivenSettings::from_file).
    pub fn from_toml(text: &str, folder: &Path) -> Result<GivenSettings, SettingsFileError> {
        let mut given: GivenSettings = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            SettingsFileError { path: None, line: Some(line), reason: error.message().to_owned() }
        })?;
        let fallbacks = given.secret_key_fallback_files.iter_mut().flatten();
        for path in given.secret_key_file.iter_mut().chain(fallbacks) {
            *path = folder.join(&*path);
        }
        Ok(given)
    }
}

impl Settings {
    /// Reads the settings in a file in TOML, which must give a secret too. [`GivenSettings::from_file`] also gives the
    /// store, and combines with the environment.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("site.toml");
    /// use cloakroom::Settings;
    ///
    /// std::fs::write(folder.path().join("secret.txt"), "a long, random secret\n")?;
    /// std::fs::write(&path, "secret_key_file = 'secret.txt'\ncookie_secure = true\n")?;
    /// assert!(Settings::from_file(&path)?.cookie_secure);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `GivenSettings::from_file`, and when no secret is given.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Settings, SettingsFileError> {
        let (path, given) = (path.as_ref(), GivenSettings::from_file(&path)?);
        given.into_settings().map_err(|error| {
            let reason = format!("{}: {error}", path.display());
            SettingsFileError { reason, ..error.into() }
        })
    }
}
