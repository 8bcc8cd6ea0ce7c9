//! Where a service reads the secret, and how it reacts at the start to a wrong one.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex};

use super::given::{GivenSettings, SECRET_REMEDY};
use super::{Settings, SettingsError};

/// How [`connect`](crate::connect), [`connect_or_create`](crate::connect_or_create) and
/// [`UserSessions::connect`](crate::UserSessions::connect) react to a secret that does not match the store.
///
/// They read a sample of the stored sessions: one page of 100. Expired and unreadable sessions do not count.
/// The secret is considered wrong when most of the others, and at least 3, are not signed with the secret,
/// its fallbacks and the session class of the settings. Fewer cause a warning in the log, and so does a
/// sample that cannot be read within 2 seconds. Stores without signatures are not checked: memory, Redis,
/// memcached. Cookies are not either, as only browsers have them. The stores' own constructors, such as
/// `PostgresStore::open`, do not check.
///
/// A leaked secret is replaced on purpose and without a fallback. Then start with [`Warn`](SecretCheck::Warn)
/// until most of the sessions are new.
///
/// ```
/// use cloakroom::{SecretCheck, Settings};
///
/// let mut settings = Settings::new("the secret that took the place of the one that leaked");
/// assert_eq!(settings.secret_check, SecretCheck::Refuse);
/// settings.secret_check = SecretCheck::Warn;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretCheck {
    /// Refuses to open the store: the error names the settings to compare.
    #[default]
    Refuse,
    /// Logs a warning and opens the store.
    Warn,
    /// Reads nothing.
    Skip,
}

/// The fewest bytes and distinct bytes of a good secret. Django's `security.W009` asks for 50 characters.
const MIN_LENGTH: usize = 32;
const MIN_DISTINCT: usize = 5;
/// How `startproject` begins the secret of a project that is not deployed yet.
const INSECURE_PREFIX: &[u8] = b"django-insecure-";

/// Why a secret can be guessed.
fn weakness(secret: &[u8]) -> Option<&'static str> {
    if secret.starts_with(INSECURE_PREFIX) {
        return Some("it begins with `django-insecure-`");
    }
    if secret.len() < MIN_LENGTH {
        return Some("it has less than 32 bytes");
    }
    let is_uniform = secret.iter().collect::<HashSet<_>>().len() < MIN_DISTINCT;
    is_uniform.then_some("it has less than 5 different characters")
}

impl Settings {
    /// Warns of secrets that can be guessed, of each once in this process. Django's `check --deploy`.
    pub(crate) fn warn_of_weak_secrets(&self) {
        /// Digests of the secrets that were warned of.
        static WARNED: LazyLock<Mutex<(RandomState, HashSet<u64>)>> = LazyLock::new(Mutex::default);
        let fallbacks = self.secret_key_fallbacks.iter().map(|secret| ("secret_key_fallbacks", secret));
        for (setting, secret) in std::iter::once(("secret_key", &self.secret_key)).chain(fallbacks) {
            let Some(problem) = weakness(secret.as_bytes()) else { continue };
            let is_new = {
                let (hasher, warned) = &mut *crate::site::lock::lock(&WARNED);
                warned.insert(hasher.hash_one(secret.as_bytes()))
            };
            if is_new {
                tracing::warn!(
                    setting,
                    problem,
                    "a secret can be guessed, and whoever guesses it can sign sessions of any user; replace it by 50 \
                     random characters"
                );
            }
        }
    }

    /// Reads the settings from the environment: Django's under Django's names, others by `CLOAKROOM_` and the field's
    /// name in capital letters. `SECRET_KEY` is required.
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `SECRET_KEY` | [`secret_key`](Settings::secret_key) |
    /// | `SECRET_KEY_FALLBACKS` | older secrets, with commas between them, or as JSON |
    /// | `SESSION_COOKIE_AGE`, `SESSION_COOKIE_SECURE`, … | Django's settings; times are seconds, booleans `True` or `False` |
    /// | `USE_TZ`, `TIME_ZONE` | [`time_zone`](Settings::time_zone) |
    /// | `CLOAKROOM_SECRET_CHECK` | [`secret_check`](Settings::secret_check): `refuse`, `warn` or `skip`; `refuse` unless set |
    /// | `CLOAKROOM_RENEW_AFTER`, … | all other fields |
    ///
    /// [`GivenSettings::from_variables`](super::GivenSettings::from_variables) has the rules. Settings that are not given
    /// have Django's defaults.
    ///
    /// ```
    /// use cloakroom::Settings;
    ///
    /// # if std::env::var_os("SECRET_KEY").is_some() { return }
    /// let error = Settings::from_env().unwrap_err();
    /// assert_eq!(error.setting(), "secret_key");
    /// assert!(error.to_string().contains("SECRET_KEY is not set"), "{error}");
    /// ```
    ///
    /// # Errors
    /// When no secret is set, when a value is not one of its setting, or when a name is misspelt.
    pub fn from_env() -> Result<Settings, SettingsError> {
        let given = GivenSettings::from_env()?;
        if given.secret_key.is_none() && given.secret_key_file.is_none() {
            let problem = "the environment variable SECRET_KEY is not set";
            return Err(SettingsError::new("secret_key", problem, SECRET_REMEDY));
        }
        given.into_settings()
    }
}
