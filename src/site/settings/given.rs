//! Settings as they are given, in a file or in the environment: the one place that reads them.

mod entry;
mod raw;
#[cfg(feature = "settings-file")]
mod toml_file;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use cloakroom_formats::signing::{Algorithm, Compression, SecretKey};
use cloakroom_formats::{TextFormat, TimeZone};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use self::raw::{Raw, Wrong};
use super::{
    ConcurrentChanges, CookieScope, InterruptedSession, SameSite, SecretCheck, Settings, SettingsError,
    Transport,
};
use crate::site::session_key::SessionKeyFormat;

#[cfg(feature = "settings-file")]
pub use self::toml_file::SettingsFileError;

/// Makes the type from the one table of settings: the field of [`Settings`], its type, how it is read, and its name in
/// Django if it has one.
macro_rules! given_settings {
    ($($field:ident: $type:ty, $read:path $(, $django:literal)?;)*) => {
        /// Settings as they are given, in a file or in the environment. A setting that is missing keeps its default.
        ///
        /// It is what [`Settings::from_env`] reads, and what a [`Settings`] is deserialized from. Use it to put several
        /// sources one [over](GivenSettings::over) the other. Each setting has its field's name in [`Settings`], and
        /// Django's settings also have Django's. Durations are whole seconds.
        ///
        /// ```
        /// use cloakroom::GivenSettings;
        ///
        /// let file: GivenSettings = serde_json::from_str(r#"{"cookie_age": 3600, "cookie_secure": true}"#)?;
        /// let environment = GivenSettings::from_variables([
        ///     ("SECRET_KEY", "a long, random secret"),
        ///     ("SESSION_COOKIE_AGE", "60"),
        /// ])?;
        /// let settings = environment.over(file).into_settings()?;
        /// assert_eq!((settings.cookie_age.num_seconds(), settings.cookie_secure), (60, true));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Clone, Default)]
        #[non_exhaustive]
        pub struct GivenSettings {
            /// The store's URL, for [`Site::connect`](crate::Site::connect). It may hold a password. `CLOAKROOM_STORE` in
            /// the environment.
            pub store: Option<String>,
            /// A file that contains only the secret; one line end after it is ignored. `CLOAKROOM_SECRET_KEY_FILE` in the
            /// environment.
            pub secret_key_file: Option<PathBuf>,
            /// Files that contain an older secret each.
            pub secret_key_fallback_files: Option<Vec<PathBuf>>,
            /// `USE_TZ`. With `False`, `TIME_ZONE` must be given.
            pub use_tz: Option<bool>,
            /// `TIME_ZONE`, which has a meaning for sessions only with `USE_TZ = False`.
            pub time_zone: Option<String>,
            /// The site's `TIME_ZONE` if it has `USE_TZ = False`: both in one.
            pub naive_time_zone: Option<TimeZone>,
            $(
                #[doc = concat!("[`Settings::", stringify!($field), "`]", $(", Django's `", $django, "`",)? ".")]
                pub $field: Option<$type>,
            )*
        }

        /// The names of all settings, each with Django's.
        const NAMES: &[(&str, Option<&str>)] = &[
            ("store", None),
            ("secret_key_file", None),
            ("secret_key_fallback_files", None),
            ("use_tz", Some("USE_TZ")),
            ("time_zone", Some("TIME_ZONE")),
            ("naive_time_zone", None),
            $((stringify!($field), [$(Some($django),)? None][0]),)*
        ];

        impl GivenSettings {
            /// Takes the value of the setting of this name in [`NAMES`].
            fn set(&mut self, name: &str, raw: &Raw) -> Result<(), Wrong> {
                match name {
                    "store" => self.store = Some(raw.text()?),
                    "secret_key_file" => self.secret_key_file = Some(raw.text()?.into()),
                    "secret_key_fallback_files" => {
                        let paths = raw.texts()?.into_iter().map(PathBuf::from).collect();
                        self.secret_key_fallback_files = Some(paths);
                    }
                    "use_tz" => self.use_tz = Some(entry::boolean(raw)?),
                    "time_zone" => self.time_zone = Some(raw.text()?),
                    "naive_time_zone" => self.naive_time_zone = Some(entry::naive_time_zone(&raw.text()?)?),
                    $(stringify!($field) => self.$field = Some($read(raw)?),)*
                    _ => {}
                }
                Ok(())
            }

            /// These settings, and those of `below` that are missing here.
            ///
            /// A secret here goes over a secret and over a secret's file in `below`, and the reverse. So do older secrets,
            /// and the two ways to give the time zone.
            ///
            /// ```
            /// use cloakroom::GivenSettings;
            ///
            /// let above = GivenSettings::from_variables([("SESSION_COOKIE_NAME", "ticket")])?;
            /// let below = GivenSettings::from_variables([("SESSION_COOKIE_NAME", "id"), ("SESSION_COOKIE_PATH", "/shop")])?;
            /// let both = above.over(below);
            /// assert_eq!((both.cookie_name.as_deref(), both.cookie_path.as_deref()), (Some("ticket"), Some("/shop")));
            /// # Ok::<(), cloakroom::SettingsError>(())
            /// ```
            #[must_use]
            pub fn over(self, mut below: GivenSettings) -> GivenSettings {
                if self.secret_key.is_some() || self.secret_key_file.is_some() {
                    (below.secret_key, below.secret_key_file) = (None, None);
                }
                if self.secret_key_fallbacks.is_some() || self.secret_key_fallback_files.is_some() {
                    (below.secret_key_fallbacks, below.secret_key_fallback_files) = (None, None);
                }
                if self.use_tz.is_some() || self.naive_time_zone.is_some() {
                    (below.use_tz, below.naive_time_zone) = (None, None);
                }
                GivenSettings {
                    store: self.store.or(below.store),
                    secret_key_file: self.secret_key_file.or(below.secret_key_file),
                    secret_key_fallback_files:
                        self.secret_key_fallback_files.or(below.secret_key_fallback_files),
                    use_tz: self.use_tz.or(below.use_tz),
                    time_zone: self.time_zone.or(below.time_zone),
                    naive_time_zone: self.naive_time_zone.or(below.naive_time_zone),
                    $($field: self.$field.or(below.$field),)*
                }
            }

            /// Puts the given settings into `settings`, the secret and the older secrets of files too.
            ///
            /// ```
            /// use cloakroom::{GivenSettings, Settings};
            ///
            /// let given = GivenSettings::from_variables([("SESSION_COOKIE_PATH", "/shop")])?;
            /// let mut settings = Settings::hardened("a long, random secret");
            /// given.apply_to(&mut settings)?;
            /// assert_eq!(settings.cookie_path, "/shop");
            /// assert!(settings.cookie_secure, "it was not given");
            /// # Ok::<(), cloakroom::SettingsError>(())
            /// ```
            ///
            /// # Errors
            /// When a file cannot be read or is empty, and when `USE_TZ` is `False` without a `TIME_ZONE` that is known.
            pub fn apply_to(mut self, settings: &mut Settings) -> Result<(), SettingsError> {
                self.read_files()?;
                if let Some(time_zone) = self.resolved_time_zone()? {
                    settings.time_zone = time_zone;
                }
                $(if let Some(value) = self.$field { settings.$field = value; })*
                Ok(())
            }
        }

        impl fmt::Debug for GivenSettings {
            /// Shows the names of the given settings, and none of their values.
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut names = formatter.debug_set();
                for (name, is_given) in [
                    ("store", self.store.is_some()),
                    ("secret_key_file", self.secret_key_file.is_some()),
                    ("secret_key_fallback_files", self.secret_key_fallback_files.is_some()),
                    ("use_tz", self.use_tz.is_some()),
                    ("time_zone", self.time_zone.is_some()),
                    ("naive_time_zone", self.naive_time_zone.is_some()),
                    $((stringify!($field), self.$field.is_some()),)*
                ] {
                    if is_given {
                        names.entry(&name);
                    }
                }
                names.finish()
            }
        }
    };
}

given_settings! {
    secret_key: SecretKey, entry::secret, "SECRET_KEY";
    secret_key_fallbacks: Vec<SecretKey>, entry::secrets, "SECRET_KEY_FALLBACKS";
    secret_check: SecretCheck, entry::secret_check;
    cookie_name: String, Raw::text, "SESSION_COOKIE_NAME";
    cookie_age: TimeDelta, entry::seconds, "SESSION_COOKIE_AGE";
    cookie_domain: Option<String>, entry::domain, "SESSION_COOKIE_DOMAIN";
    cookie_path: String, Raw::text, "SESSION_COOKIE_PATH";
    cookie_secure: bool, entry::boolean, "SESSION_COOKIE_SECURE";
    cookie_httponly: bool, entry::boolean, "SESSION_COOKIE_HTTPONLY";
    cookie_samesite: Option<SameSite>, entry::same_site, "SESSION_COOKIE_SAMESITE";
    save_every_request: bool, entry::boolean, "SESSION_SAVE_EVERY_REQUEST";
    renew_after: Option<TimeDelta>, entry::optional_seconds;
    expire_at_browser_close: bool, entry::boolean, "SESSION_EXPIRE_AT_BROWSER_CLOSE";
    session_class: String, Raw::text;
    text_format: TextFormat, entry::text_format;
    auth_hash_algorithm: Algorithm, entry::auth_hash_algorithm;
    accept_sha1_auth_hash: bool, entry::boolean;
    compression: Compression, entry::compression;
    max_decompressed_bytes: usize, entry::bytes;
    session_key_format: SessionKeyFormat, entry::session_key_format;
    concurrent_changes: ConcurrentChanges, entry::concurrent_changes;
    save_timeout: Duration, entry::save_timeout;
    interrupted: InterruptedSession, entry::interrupted;
    absolute_lifetime: Option<TimeDelta>, entry::optional_seconds;
    reject_duplicate_cookies: bool, entry::boolean;
    former_cookies: Vec<CookieScope>, entry::former_cookies;
    send_no_store: bool, entry::boolean;
    cookie_partitioned: bool, entry::boolean;
    full_removal_cookie: bool, entry::boolean;
    transport: Transport, entry::transport;
}

/// The most letters by which a name may differ from a setting's to count as misspelt.
const MISSPELT: usize = 2;

impl GivenSettings {
    /// Reads the process's environment variables; see [`from_variables`](GivenSettings::from_variables).
    ///
    /// ```
    /// use cloakroom::GivenSettings;
    ///
    /// assert!(GivenSettings::from_env().is_ok());
    /// ```
    ///
    /// # Errors
    /// As `from_variables`.
    pub fn from_env() -> Result<GivenSettings, SettingsError> {
        GivenSettings::from_variables(std::env::vars_os())
    }

    /// Reads these environment variables: a Django setting by Django's name, and each setting by `CLOAKROOM_` and its
    /// field's name in capital letters. If both are set, the second counts. An empty variable counts as not set, but for
    /// the secrets, which are refused.
    ///
    /// - Numbers and durations are whole numbers, in seconds.
    /// - Booleans are `True` or `False`, `true` or `false`, `1` or `0`.
    /// - Lists are texts with commas between them, or JSON: `["one", "two"]`.
    ///
    /// Other variables are ignored, unless their names begin with `SESSION_COOKIE_`, or differ from a setting's name by
    /// one or two letters.
    ///
    /// ```
    /// use cloakroom::GivenSettings;
    ///
    /// let given = GivenSettings::from_variables([
    ///     ("SECRET_KEY", "a long, random secret"),
    ///     ("SECRET_KEY_FALLBACKS", r#"["an older one", "an even older one"]"#),
    ///     ("SESSION_COOKIE_SECURE", "True"),
    ///     ("CLOAKROOM_RENEW_AFTER", "300"),
    /// ])?;
    /// let settings = given.into_settings()?;
    /// assert!(settings.cookie_secure && settings.secret_key_fallbacks.len() == 2);
    /// assert_eq!(settings.renew_after.unwrap().num_minutes(), 5);
    ///
    /// let error = GivenSettings::from_variables([("SESSION_COOKIE_AGE", "two weeks")]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "setting `cookie_age`: the environment variable SESSION_COOKIE_AGE is `two weeks`; give a whole number of \
    ///      seconds above 0, at most 9223372036854775"
    /// );
    /// let error = GivenSettings::from_variables([("SESSION_COOKIE_SECUR", "True")]).unwrap_err();
    /// assert!(error.to_string().contains("`SESSION_COOKIE_SECURE`"), "{error}");
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    ///
    /// # Errors
    /// When a value is not one of its setting, or a name is misspelt. The message names the setting, its value and the
    /// range, and shows no secret.
    pub fn from_variables<N: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<GivenSettings, SettingsError> {
        let mut given = GivenSettings::default();
        let mut found = Vec::new();
        for (name, value) in variables {
            let Ok(name) = name.into().into_string() else { continue };
            match Variable::of(&name) {
                Variable::Setting(setting, is_ours) => found.push((is_ours, setting, name, value.into())),
                Variable::Misspelt(nearest) => {
                    let problem = format!("the environment variable {name} is no setting");
                    return Err(SettingsError::new(name, problem, format!("the nearest is `{nearest}`")));
                }
                Variable::Other => {}
            }
        }
        // Of the two names of a setting, ours comes last and counts.
        found.sort();
        for (_, setting, variable, value) in found {
            let Ok(value) = value.into_string() else {
                let problem = format!("the environment variable {variable} is not UTF-8");
                let remedy = if setting == "secret_key" {
                    "put its bytes into a file, and name that in CLOAKROOM_SECRET_KEY_FILE"
                } else {
                    "write it in UTF-8"
                };
                return Err(SettingsError::new(setting, problem, remedy));
            };
            let is_secret = is_secret(setting);
            if value.is_empty() && !is_secret {
                continue;
            }
            let shown = format!("the environment variable {variable}");
            if value.is_empty() && setting == "secret_key" {
                return Err(SettingsError::new(setting, format!("{shown} is empty"), SECRET_REMEDY));
            }
            let raw = Raw::Variable(value);
            given.set(setting, &raw).map_err(|wrong| wrong.of(setting, &shown, &raw, is_secret))?;
        }
        Ok(given)
    }

    /// Makes the settings, with Django's defaults for those that are not given.
    ///
    /// ```
    /// use cloakroom::GivenSettings;
    ///
    /// let error = GivenSettings::default().into_settings().unwrap_err();
    /// assert_eq!(error.setting(), "secret_key");
    /// ```
    ///
    /// # Errors
    /// When no secret is given; and as [`apply_to`](GivenSettings::apply_to). [`Settings::validate`] checks which
    /// settings work together.
    pub fn into_settings(self) -> Result<Settings, SettingsError> {
        if self.secret_key.is_none() && self.secret_key_file.is_none() {
            return Err(SettingsError::new("secret_key", "it is missing", SECRET_REMEDY));
        }
        let mut settings = Settings::new("");
        self.apply_to(&mut settings)?;
        Ok(settings)
    }

    /// Turns the paths of secrets into secrets. A secret that is given itself goes before one in a file.
    fn read_files(&mut self) -> Result<(), SettingsError> {
        if let (None, Some(path)) = (&self.secret_key, &self.secret_key_file) {
            self.secret_key = Some(read_secret("secret_key_file", path)?);
        }
        for path in self.secret_key_fallback_files.take().unwrap_or_default() {
            let secret = read_secret("secret_key_fallback_files", &path)?;
            self.secret_key_fallbacks.get_or_insert_default().push(secret);
        }
        Ok(())
    }

    fn resolved_time_zone(&self) -> Result<Option<TimeZone>, SettingsError> {
        if let Some(time_zone) = self.naive_time_zone {
            return Ok(Some(time_zone));
        }
        match (self.use_tz, &self.time_zone) {
            (Some(false), Some(name)) => entry::naive_time_zone(name).map(Some).map_err(|Wrong(expected)| {
                SettingsError::new("time_zone", format!("TIME_ZONE is `{}`", name.escape_debug()), expected)
            }),
            (Some(false), None) => {
                let problem = "USE_TZ is False, and TIME_ZONE is missing, whose local time the rows hold";
                Err(SettingsError::new("time_zone", problem, "give the Django site's TIME_ZONE"))
            }
            (Some(true), _) => Ok(Some(TimeZone::Aware)),
            (None, _) => Ok(None),
        }
    }
}

/// How to mend a missing secret.
pub(super) const SECRET_REMEDY: &str = "set it to the Django site's SECRET_KEY, or without Django to 50 random characters that stay the \
                             same";

/// Whether the setting's value must not be shown.
fn is_secret(setting: &str) -> bool {
    matches!(setting, "secret_key" | "secret_key_fallbacks" | "store")
}

/// Reads the secret in a file, without the line end that editors add.
fn read_secret(setting: &'static str, path: &Path) -> Result<SecretKey, SettingsError> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        SettingsError::new(setting, format!("cannot read the secret from {shown}: {error}"), "check the path")
    })?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.is_empty() {
        let problem = format!("the secret in {shown} is empty");
        return Err(SettingsError::new(setting, problem, "put the site's SECRET_KEY there"));
    }
    Ok(SecretKey::from(secret))
}

/// The meaning of an environment variable's name.
enum Variable {
    /// A setting, and whether by our name of it.
    Setting(&'static str, bool),
    /// Nearly a setting's name.
    Misspelt(String),
    Other,
}

impl Variable {
    fn of(variable: &str) -> Variable {
        let begins_like_one = ["SESSION_", "CLOAKROOM_", "SECRET_KEY", "USE_TZ"]
            .iter()
            .any(|start| variable.starts_with(start));
        let names = || {
            NAMES.iter().flat_map(|(field, django)| {
                let ours = (format!("CLOAKROOM_{}", field.to_ascii_uppercase()), *field, true);
                django.map(|django| (django.to_owned(), *field, false)).into_iter().chain([ours])
            })
        };
        if let Some((_, field, is_ours)) = names().find(|(name, ..)| name == variable) {
            return Variable::Setting(field, is_ours);
        }
        if !begins_like_one {
            return Variable::Other;
        }
        match nearest(variable, names().map(|(name, ..)| name)) {
            Some((name, distance)) if distance <= MISSPELT || variable.starts_with("SESSION_COOKIE_") => {
                Variable::Misspelt(name)
            }
            _ => Variable::Other,
        }
    }
}

/// The name that differs by the fewest letters, and by how many.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<(String, usize)> {
    names.map(|other| (distance(name, &other), other)).min().map(|(distance, other)| (other, distance))
}

/// How many letters must be inserted, removed or replaced to make one text from the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (place, other_letter) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(!letter.eq_ignore_ascii_case(&other_letter));
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

impl<'de> Deserialize<'de> for GivenSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GivenSettings, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settings, D::Error> {
        let given = GivenSettings::deserialize(deserializer)?;
        if given.store.is_some() {
            let message = "`store` is none of these settings; read them as `GivenSettings`, which hold it";
            return Err(de::Error::custom(message));
        }
        given.into_settings().map_err(de::Error::custom)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = GivenSettings;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenSettings, A::Error> {
        let (mut given, mut seen) = (GivenSettings::default(), Vec::new());
        while let Some(Name { field, written }) = map.next_key()? {
            if seen.contains(&field) {
                return Err(de::Error::custom(format!("`{written}` is given twice; leave one out")));
            }
            seen.push(field);
            map.next_value_seed(raw::Seed { given: &mut given, field, written: &written })?;
        }
        Ok(given)
    }
}

/// The name of a setting in a table.
struct Name {
    field: &'static str,
    written: String,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let written = String::deserialize(deserializer)?;
        let is_it =
            |(field, django): &&(&'static str, Option<&str>)| *field == written || *django == Some(&written);
        if let Some((field, _)) = NAMES.iter().find(is_it) {
            return Ok(Name { field, written });
        }
        let names =
            NAMES.iter().flat_map(|(field, django)| [Some(*field), *django]).flatten().map(str::to_owned);
        let nearest = nearest(&written, names).map(|(name, _)| name).unwrap_or_default();
        let shown = written.escape_debug();
        Err(de::Error::custom(format!("unknown field `{shown}`; the nearest is `{nearest}`")))
    }
}
