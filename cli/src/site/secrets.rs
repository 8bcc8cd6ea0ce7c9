//! `SECRET_KEY` and its fallbacks, from options, files or the environment. Messages never contain them.

use std::path::{Path, PathBuf};

use clap::Args;
use cloakroom::Settings;
use cloakroom::signing::SecretKey;

use crate::ending::usage;
use crate::site::private_file::warn_if_others_can_read;

const VARIABLE: &str = "CLOAKROOM_SECRET_KEY";
const FILE_VARIABLE: &str = "CLOAKROOM_SECRET_KEY_FILE";

/// The options for the signing secret.
#[derive(Args)]
#[command(
    next_help_heading = "The site's SECRET_KEY (or $CLOAKROOM_SECRET_KEY, or a path in $CLOAKROOM_SECRET_KEY_FILE)"
)]
pub(crate) struct SecretOptions {
    /// The secret itself. Other users of this machine can see it in the process list; prefer the file
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true, conflicts_with = "secret_key_file")]
    secret_key: Option<String>,
    /// A file that contains only the secret; one line end after it is ignored. A secret from an option is
    /// used alone, without the fallbacks of the site's settings
    #[arg(long, value_name = "PATH")]
    secret_key_file: Option<PathBuf>,
    /// An older secret, which verifies but never signs: SECRET_KEY_FALLBACKS. May be repeated
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    secret_key_fallback: Vec<String>,
    /// A file that contains one older secret. May be repeated
    #[arg(long, value_name = "PATH")]
    secret_key_fallback_file: Vec<PathBuf>,
}

impl SecretOptions {
    /// Reads the secret of an option.
    pub(crate) fn given(&self) -> anyhow::Result<Option<SecretKey>> {
        if let Some(secret) = &self.secret_key {
            return not_empty(secret.as_bytes(), "--secret-key").map(Some);
        }
        self.secret_key_file.as_deref().map(read_secret_file).transpose()
    }

    /// Names the option that the secret comes from.
    pub(crate) fn source(&self) -> String {
        self.secret_key_file
            .as_deref()
            .map_or_else(|| "--secret-key".to_owned(), |path| path.display().to_string())
    }

    /// Names the options that the older secrets come from, in order.
    pub(crate) fn fallback_sources(&self) -> impl Iterator<Item = String> {
        let given = self.secret_key_fallback.iter().map(|_| "--secret-key-fallback".to_owned());
        given.chain(self.secret_key_fallback_file.iter().map(|path| path.display().to_string()))
    }

    /// The secret from an option or the environment, if any.
    pub(crate) fn secret_key(&self) -> anyhow::Result<Option<SecretKey>> {
        self.given()?.map_or_else(from_environment, |secret_key| Ok(Some(secret_key)))
    }

    /// The older secrets.
    pub(crate) fn fallbacks(&self) -> anyhow::Result<Vec<SecretKey>> {
        let given = self.secret_key_fallback.iter();
        let given = given.map(|fallback| not_empty(fallback.as_bytes(), "--secret-key-fallback"));
        given.chain(self.secret_key_fallback_file.iter().map(|path| read_secret_file(path))).collect()
    }

    /// Creates settings with this secret and the given fallbacks.
    pub(crate) fn settings_with(&self, secret_key: SecretKey) -> anyhow::Result<Settings> {
        let mut settings = Settings::new(secret_key);
        settings.secret_key_fallbacks = self.fallbacks()?;
        Ok(settings)
    }
}

/// Reads the secret from the environment, directly or from a file.
pub(crate) fn from_environment() -> anyhow::Result<Option<SecretKey>> {
    let Some(secret) = std::env::var_os(VARIABLE) else {
        return std::env::var_os(FILE_VARIABLE).map(|path| read_secret_file(Path::new(&path))).transpose();
    };
    match secret.to_str() {
        Some(secret) => not_empty(secret.as_bytes(), VARIABLE).map(Some),
        None => Err(usage(format!(
            "the secret in {VARIABLE} is not UTF-8; put its bytes into a file and use --secret-key-file"
        ))),
    }
}

/// The error for a command that needs the secret.
pub(crate) fn missing() -> anyhow::Error {
    usage(format!(
        "no secret. Give the site's SECRET_KEY in one of these ways:\n\
         --from-django MANAGE.PY  reads the project's own settings\n\
         --secret-key-file PATH   a file that holds it; also {FILE_VARIABLE}=PATH, or secret_key_file in \
         cloakroom.toml\n\
         {VARIABLE}=...  in the environment\n\
         --secret-key SECRET      on the command line, where other users of the machine can see it"
    ))
}

/// Reads the secret in a file, without the line end that editors add.
pub(crate) fn read_secret_file(path: &Path) -> anyhow::Result<SecretKey> {
    let shown = path.display();
    let bytes = std::fs::read(path)
        .map_err(|error| usage(format!("cannot read the secret from {shown}: {error}; check the path")))?;
    warn_if_others_can_read(path, "a secret");
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    not_empty(secret, &shown.to_string())
}

/// Refuses an empty secret, as Django does: anybody could sign.
fn not_empty(secret: &[u8], place: &str) -> anyhow::Result<SecretKey> {
    if secret.is_empty() {
        return Err(usage(format!("the secret in {place} is empty; put the site's SECRET_KEY there")));
    }
    Ok(SecretKey::from(secret))
}
