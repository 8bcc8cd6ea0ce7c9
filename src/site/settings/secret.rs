//! The secret: where a service takes it from, and what happens at the start when it is the wrong one.

use std::env::{self, VarError};

use super::{Settings, SettingsError};

/// The variable of the secret.
const SECRET_KEY: &str = "SECRET_KEY";
/// The variable of [`Settings::secret_check`].
const SECRET_CHECK: &str = "CLOAKROOM_SECRET_CHECK";

/// What [`connect`](crate::connect), [`connect_or_create`](crate::connect_or_create) and
/// [`UserSessions::connect`](crate::UserSessions::connect) do about a secret that does not fit the store.
///
/// They read a sample of the stored sessions: one page of 100. Expired and unreadable ones do not count. When most of
/// the others, and at least 3, are not signed with the secret, its fallbacks and the session class of the settings,
/// the secret is taken for wrong. Fewer are a warning in the log. A sample that cannot be read within 2 seconds is a
/// warning, too. Stores that sign nothing are not asked: memory, Redis, memcached. Nor are cookies, which only browsers
/// have. The stores' own constructors, such as `PostgresStore::open`, do not check.
///
/// A secret that leaked is replaced on purpose and without a fallback. Then start with [`Warn`](SecretCheck::Warn), until
/// most of the sessions are new ones.
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
    /// The store is not opened: the error names the settings to compare.
    #[default]
    Refuse,
    /// The log warns, and the store is opened.
    Warn,
    /// Nothing is read.
    Skip,
}

impl Settings {
    /// [`Settings::new`] with the secret from the environment.
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
    /// When `SECRET_KEY` is not set, empty or no UTF-8, or when `CLOAKROOM_SECRET_CHECK` is another word.
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
                return refused("the environment variable SECRET_KEY is no UTF-8");
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
