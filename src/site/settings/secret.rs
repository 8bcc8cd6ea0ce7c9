//! Where a service reads the secret, and how it reacts at the start to a wrong one.

use std::env::{self, VarError};

use super::{Settings, SettingsError};

/// The environment variable of the secret.
const SECRET_KEY: &str = "SECRET_KEY";
/// The environment variable of [`Settings::secret_check`].
const SECRET_CHECK: &str = "CLOAKROOM_SECRET_CHECK";

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

impl Settings {
    /// Returns [`Settings::new`] with the secret from the environment.
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `SECRET_KEY` | [`secret_key`](Settings::secret_key), required |
    /// | `CLOAKROOM_SECRET_CHECK` | [`secret_check`](Settings::secret_check): `refuse`, `warn` or `skip`; `refuse` unless set |
    ///
    /// Nothing else is read. Set other settings on the result.
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
    /// When `SECRET_KEY` is not set, empty or not UTF-8, or when `CLOAKROOM_SECRET_CHECK` is another word.
    pub fn from_env() -> Result<Settings, SettingsError> {
        let refused = |problem| {
            let remedy = "set it to the Django site's SECRET_KEY, or without Django to 50 random characters that stay \
                          the same";
            Err(SettingsError::new("secret_key", problem, remedy))
        };
        let mut settings = match env::var(SECRET_KEY) {
            Ok(secret) if secret.is_empty() => {
                return refused("the environment variable SECRET_KEY is empty");
            }
            Ok(secret) => Settings::new(secret),
            Err(VarError::NotPresent) => return refused("the environment variable SECRET_KEY is not set"),
            Err(VarError::NotUnicode(_)) => {
                return refused("the environment variable SECRET_KEY is not UTF-8");
            }
        };
        settings.secret_check = match env::var(SECRET_CHECK).as_deref() {
            Ok("warn") => SecretCheck::Warn,
            Ok("skip") => SecretCheck::Skip,
            Ok("refuse") | Err(VarError::NotPresent) => SecretCheck::Refuse,
            Ok(_) | Err(VarError::NotUnicode(_)) => {
                let problem = "the environment variable CLOAKROOM_SECRET_CHECK has an unknown value";
                let remedy = "set it to `refuse`, `warn` or `skip`, or leave it out";
                return Err(SettingsError::new("secret_check", problem, remedy));
            }
        };
        Ok(settings)
    }
}
