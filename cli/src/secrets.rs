//! `SECRET_KEY` and its fallbacks, from options, files or the environment. Never in a message.

use std::path::{Path, PathBuf};

use clap::Args;
use cloakroom::Settings;
use cloakroom::signing::SecretKey;

use crate::usage;

const VARIABLE: &str = "CLOAKROOM_SECRET_KEY";

/// The options that say which secret signs.
#[derive(Args)]
#[command(next_help_heading = "The site's SECRET_KEY (option, then file, then $CLOAKROOM_SECRET_KEY)")]
pub(crate) struct SecretOptions {
    /// The secret itself. Other users of this machine can see it in the process list; prefer the file
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true, conflicts_with = "secret_key_file")]
    secret_key: Option<String>,
    /// A file that holds the secret and nothing else; one line end after it does not count
    #[arg(long, value_name = "PATH")]
    secret_key_file: Option<PathBuf>,
    /// An older secret that still verifies and never signs: SECRET_KEY_FALLBACKS. May be repeated
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    secret_key_fallback: Vec<String>,
    /// A file that holds one older secret. May be repeated
    #[arg(long, value_name = "PATH")]
    secret_key_fallback_file: Vec<PathBuf>,
}

impl SecretOptions {
    /// The secret, if one was given in any of the ways.
    pub(crate) fn secret_key(&self) -> anyhow::Result<Option<SecretKey>> {
        if let Some(secret) = &self.secret_key {
            return not_empty(secret.as_bytes(), "--secret-key").map(Some);
        }
        if let Some(path) = &self.secret_key_file {
            return read_secret_file(path).map(Some);
        }
        match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(secret) => match secret.to_str() {
                Some(secret) => not_empty(secret.as_bytes(), VARIABLE).map(Some),
                None => Err(usage(format!(
                    "the secret in {VARIABLE} is not UTF-8; put its bytes into a file and use --secret-key-file"
                ))),
            },
        }
    }

    /// Settings with the secret and the fallbacks.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let secret_key = self.secret_key()?.ok_or_else(|| {
            usage(format!(
                "no secret. Give the site's SECRET_KEY in one of three ways:\n  \
                 --secret-key-file PATH   a file that holds it\n  \
                 {VARIABLE}=...  in the environment\n  \
                 --secret-key SECRET      on the command line, where other users of the machine can see it"
            ))
        })?;
        self.settings_with(secret_key)
    }

    /// Settings with this secret and the fallbacks that were given.
    pub(crate) fn settings_with(&self, secret_key: SecretKey) -> anyhow::Result<Settings> {
        let mut settings = Settings::new(secret_key);
        for fallback in &self.secret_key_fallback {
            settings.secret_key_fallbacks.push(not_empty(fallback.as_bytes(), "--secret-key-fallback")?);
        }
        for path in &self.secret_key_fallback_file {
            settings.secret_key_fallbacks.push(read_secret_file(path)?);
        }
        Ok(settings)
    }
}

/// The secret in a file, without the line end that editors put there.
pub(crate) fn read_secret_file(path: &Path) -> anyhow::Result<SecretKey> {
    let shown = path.display();
    let bytes = std::fs::read(path)
        .map_err(|error| usage(format!("cannot read the secret from {shown}: {error}; check the path")))?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    not_empty(secret, &shown.to_string())
}

/// Django, too, refuses to start with an empty secret: everybody could sign.
fn not_empty(secret: &[u8], place: &str) -> anyhow::Result<SecretKey> {
    if secret.is_empty() {
        return Err(usage(format!("the secret in {place} is empty; put the site's SECRET_KEY there")));
    }
    Ok(SecretKey::from(secret))
}
