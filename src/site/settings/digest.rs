//! Digests of settings, which show a layer that its store was opened with others.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::LazyLock;

use super::{Settings, SettingsError};

/// The settings with which a store was opened, as digests. They hold within this process, and tell nothing of the
/// secret.
///
/// The layers compare them with their own settings: with another secret, a layer and its store would not be one site.
/// A store of your own that signs its sessions with a [`SessionCodec`](crate::SessionCodec) returns them from
/// [`SessionStore::opened_with`](crate::SessionStore::opened_with).
///
/// ```
/// use cloakroom::{Settings, SettingsDigest};
///
/// let settings = Settings::new("the site's SECRET_KEY");
/// let digest = SettingsDigest::of_signed_text(&settings);
/// assert!(digest.check(&settings).is_ok());
/// let error = digest.check(&Settings::new("another")).unwrap_err();
/// assert_eq!(error.setting(), "secret_key");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SettingsDigest(Vec<(&'static str, u64)>);

/// The settings that a signed text depends on.
const OF_SIGNED_TEXT: [&str; 7] = [
    "secret_key",
    "secret_key_fallbacks",
    "session_class",
    "text_format",
    "compression",
    "max_decompressed_bytes",
    "time_zone",
];

/// The setting that also decides how long a session in a file or a cookie lives. Layers on one store may differ in the
/// cookie's name.
const OF_AGE: &str = "cookie_age";

impl SettingsDigest {
    /// The digests for a store that keeps signed text.
    ///
    /// ```
    /// use cloakroom::{Settings, SettingsDigest};
    ///
    /// let (mut settings, digest) = (Settings::new("secret"), SettingsDigest::of_signed_text(&Settings::new("secret")));
    /// settings.cookie_secure = true;
    /// assert!(digest.check(&settings).is_ok(), "the store does not use it");
    /// settings.session_class = "CustomStore".to_owned();
    /// assert!(digest.check(&settings).is_err());
    /// ```
    pub fn of_signed_text(settings: &Settings) -> SettingsDigest {
        SettingsDigest::of(settings, &OF_SIGNED_TEXT)
    }

    /// The same for a store that ends sessions by the cookie's age.
    pub(crate) fn of_files_and_cookies(settings: &Settings) -> SettingsDigest {
        SettingsDigest::of(settings, &[&OF_SIGNED_TEXT[..], &[OF_AGE]].concat())
    }

    fn of(settings: &Settings, names: &[&'static str]) -> SettingsDigest {
        SettingsDigest(names.iter().map(|name| (*name, digest(settings, name))).collect())
    }

    /// Checks that these are the same settings.
    ///
    /// ```
    /// use cloakroom::{Settings, SettingsDigest};
    ///
    /// let mut settings = Settings::new("secret");
    /// let digest = SettingsDigest::of_signed_text(&settings);
    /// settings.secret_key_fallbacks = vec!["older".into()];
    /// let error = digest.check(&settings).unwrap_err();
    /// assert!(error.to_string().contains("the store was opened with another `secret_key_fallbacks`"), "{error}");
    /// ```
    ///
    /// # Errors
    /// When settings differ. The message names all of them, and [`SettingsError::setting`] the first.
    pub fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let differs = |(name, before): &&(&'static str, u64)| digest(settings, name) != *before;
        let differing: Vec<&'static str> = self.0.iter().filter(differs).map(|(name, _)| *name).collect();
        let Some(first) = differing.first() else { return Ok(()) };
        let problem = format!("the store was opened with another `{}`", differing.join("`, another `"));
        let remedy = "give the store and the layer the same settings, or create both with `Site::connect`";
        Err(SettingsError::new(*first, problem, remedy))
    }
}

/// A random key for each process, so that a digest in a memory dump serves no search for the secret.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn digest(settings: &Settings, name: &str) -> u64 {
    let mut hasher = HASHER.build_hasher();
    match name {
        "secret_key" => settings.secret_key.as_bytes().hash(&mut hasher),
        "secret_key_fallbacks" => {
            settings.secret_key_fallbacks.iter().for_each(|secret| secret.as_bytes().hash(&mut hasher));
        }
        "session_class" => settings.session_class.hash(&mut hasher),
        "text_format" => format!("{:?}", settings.text_format).hash(&mut hasher),
        "compression" => format!("{:?}", settings.compression).hash(&mut hasher),
        "max_decompressed_bytes" => settings.max_decompressed_bytes.hash(&mut hasher),
        "time_zone" => format!("{:?}", settings.time_zone).hash(&mut hasher),
        "cookie_age" => settings.cookie_age.hash(&mut hasher),
        _ => {}
    }
    hasher.finish()
}

impl fmt::Debug for SettingsDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| *name).collect();
        formatter.debug_tuple("SettingsDigest").field(&names).finish()
    }
}
