//! The site whose sessions a command works on: its store and its settings. They are merged from the options,
//! the Django project, the environment and the settings file, in this order of precedence.

pub(crate) mod from_django;
pub(crate) mod private_file;
pub(crate) mod secrets;
pub(crate) mod settings_file;
pub(crate) mod store_url;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cloakroom::chrono::TimeDelta;
use cloakroom::signing::SecretKey;
use cloakroom::store::{StoreScheme, StoreUrl, StoreUrlParts};
use cloakroom::{
    GivenSettings, SecretCheck, SessionMiddleware, SessionStore, Settings, TimeZone, UnknownTimeZone,
};

use crate::ending::usage;
use crate::output::lines::complain;
use crate::site::from_django::{DjangoLogin, DjangoSite};
use crate::site::private_file::{has_password, warn_if_others_can_read};
use crate::site::secrets::SecretOptions;
use crate::site::store_url::StoreOption;

/// The options of every command that works on a store.
#[derive(Args)]
pub(crate) struct SiteOptions {
    #[command(flatten)]
    pub(crate) store: StoreOption,
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
}

/// The options that give the site's settings.
#[derive(Args)]
pub(crate) struct SettingsOptions {
    /// Read the store and the settings from this Django project, by asking its own Python
    #[arg(long, value_name = "MANAGE.PY")]
    pub(crate) from_django: Option<PathBuf>,
    /// The project's Python [default: that of the active virtual environment, of .venv or venv beside
    /// manage.py, or python3]
    #[arg(long, value_name = "PATH", requires = "from_django")]
    pub(crate) python: Option<PathBuf>,
    /// A settings file in TOML [default: $CLOAKROOM_SETTINGS, or cloakroom.toml in the working folder]
    #[arg(long = "settings", value_name = "PATH")]
    file: Option<PathBuf>,
    /// SESSION_COOKIE_NAME, which is also the prefix of session file names [default: sessionid]
    #[arg(long, value_name = "NAME")]
    cookie_name: Option<String>,
    /// SESSION_COOKIE_AGE, the idle timeout of sessions without their own expiry [default: 1209600]
    #[arg(long, value_name = "SECONDS")]
    cookie_age: Option<i64>,
    /// The site's TIME_ZONE, only if it has USE_TZ = False: then its rows hold local time
    #[arg(long, value_name = "NAME", value_parser = time_zone)]
    naive_time_zone: Option<TimeZone>,
    /// The name of the site's own session class, which is part of the signature [default: SessionStore]
    #[arg(long, value_name = "NAME")]
    session_class: Option<String>,
    #[command(flatten)]
    secrets: SecretOptions,
}

/// The size limit for a session whose owner is searched. Django has no limit, and serves sessions that a
/// service with this library's limit does not.
const LARGEST: usize = 256 << 20;

/// The merged site.
pub(crate) struct Site {
    url: Option<StoreUrl>,
    settings: Settings,
    has_secret: bool,
    /// The origins of the secret and each fallback, for messages.
    sources: Sources,
}

/// The origins of secrets, never the secrets themselves.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) secret: String,
    pub(crate) fallbacks: Vec<String>,
}

impl SiteOptions {
    pub(crate) fn read(&self) -> anyhow::Result<Site> {
        self.settings.read(Some(&self.store))
    }
}

impl SettingsOptions {
    /// Reads the site; without a store for a command that has none.
    pub(crate) fn read(&self, store: Option<&StoreOption>) -> anyhow::Result<Site> {
        let mut site = match &self.from_django {
            Some(manage_py) => {
                let DjangoSite { url, settings } = from_django::read(manage_py, self.python.as_deref())?;
                let fallbacks = 0..settings.secret_key_fallbacks.len();
                let fallbacks = fallbacks.map(|index| format!("SECRET_KEY_FALLBACKS[{index}]")).collect();
                let sources = Sources { secret: "SECRET_KEY".to_owned(), fallbacks };
                Site { url: Some(url), settings, has_secret: true, sources }
            }
            None => self.environment_and_file()?,
        };
        if let Some(url) = store.and_then(StoreOption::given) {
            site.url = Some(url.into());
        }
        if let Some(secret_key) = self.secrets.given()? {
            (site.settings.secret_key, site.has_secret) = (secret_key, true);
            site.sources.secret = self.secrets.source();
            // An option's secret is used alone: with the site's fallbacks it would read sessions that it does
            // not read itself.
            site.settings.secret_key_fallbacks.clear();
            let left_out = std::mem::take(&mut site.sources.fallbacks);
            if !left_out.is_empty() {
                say_left_out(&site.sources.secret, &left_out);
            }
        }
        site.settings.secret_key_fallbacks.extend(self.secrets.fallbacks()?);
        site.sources.fallbacks.extend(self.secrets.fallback_sources());
        if let Some(name) = &self.cookie_name {
            site.settings.cookie_name.clone_from(name);
        }
        if let Some(seconds) = self.cookie_age {
            site.settings.cookie_age = age(seconds)?;
        }
        if let Some(time_zone) = self.naive_time_zone {
            site.settings.time_zone = time_zone;
        }
        if let Some(class) = &self.session_class {
            site.settings.session_class.clone_from(class);
        }
        // The commands report sessions that are not signed with it themselves.
        site.settings.secret_check = SecretCheck::Skip;
        Ok(site)
    }

    /// Reads the users and the login page of the Django project; `None` without a project.
    pub(crate) fn read_users(&self) -> anyhow::Result<Option<DjangoLogin>> {
        let project = self.from_django.as_ref();
        project.map(|manage_py| from_django::read_users(manage_py, self.python.as_deref())).transpose()
    }

    fn environment_and_file(&self) -> anyhow::Result<Site> {
        let settings_file::SettingsFile { given: mut file, path } =
            settings_file::read(self.file.as_deref())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let url_of_file = file.store.take().map(StoreUrl::from);
        if url_of_file.as_ref().is_some_and(has_password) || file.secret_key.is_some() {
            warn_if_others_can_read(&path, if file.secret_key.is_some() { "a secret" } else { "a password" });
        }
        let url = url_of_file.map(|url| url.from_folder(folder));
        // The secrets' files are read here, which tells who else can read them.
        let (secret_file, fallback_files) =
            (file.secret_key_file.take(), file.secret_key_fallback_files.take().unwrap_or_default());
        let from_file = match (file.secret_key.take(), &secret_file) {
            (Some(secret_key), _) => Some((secret_key, path.display().to_string())),
            (None, Some(path)) => Some((secrets::read_secret_file(path)?, path.display().to_string())),
            (None, None) => None,
        };
        let given = secrets::from_environment()?.map(|secret_key| (secret_key, "the environment".to_owned()));
        let (secret_key, source) = given.or(from_file).unzip();
        let has_secret = secret_key.is_some();
        let mut sources = Sources { secret: source.unwrap_or_default(), fallbacks: Vec::new() };

        let mut settings = Settings::new(secret_key.unwrap_or_else(|| "".into()));
        let given = from_environment()?.over(file);
        let fallbacks = given.secret_key_fallbacks.as_ref().map_or(0, Vec::len);
        sources.fallbacks.extend((0..fallbacks).map(|index| format!("SECRET_KEY_FALLBACKS[{index}]")));
        given.apply_to(&mut settings).map_err(|error| usage(error.to_string()))?;
        for path in &fallback_files {
            settings.secret_key_fallbacks.push(secrets::read_secret_file(path)?);
            sources.fallbacks.push(path.display().to_string());
        }
        let url = store_url::from_environment().map(StoreUrl::from).or(url);
        Ok(Site { url, settings, has_secret, sources })
    }
}

/// The settings of the environment, without the store and the secret, which have options of their own.
fn from_environment() -> anyhow::Result<GivenSettings> {
    const ELSEWHERE: [&str; 4] =
        ["SECRET_KEY", "CLOAKROOM_SECRET_KEY", "CLOAKROOM_SECRET_KEY_FILE", "CLOAKROOM_STORE"];
    let variables = std::env::vars_os().filter(|(name, _)| ELSEWHERE.iter().all(|other| name != other));
    GivenSettings::from_variables(variables).map_err(|error| usage(error.to_string()))
}

impl Site {
    pub(crate) fn url(&self) -> anyhow::Result<&StoreUrl> {
        self.url.as_ref().ok_or_else(|| {
            usage(
                "no store. Say where the sessions are: --store sqlite:PATH, CLOAKROOM_STORE=sqlite:PATH, \
                 store = \"sqlite:PATH\" in cloakroom.toml, or --from-django manage.py",
            )
        })
    }

    /// The settings, with a secret.
    pub(crate) fn settings(&self) -> anyhow::Result<&Settings> {
        if self.has_secret { Ok(&self.settings) } else { Err(secrets::missing()) }
    }

    /// The settings, perhaps without a secret.
    pub(crate) fn settings_without_secret(&self) -> &Settings {
        &self.settings
    }

    /// The origins of the secret and its fallbacks.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// For work that determines the sessions' users: also reads sessions that are too large to be served
    /// here.
    pub(crate) fn for_owners(mut self) -> Site {
        self.settings.max_decompressed_bytes = self.settings.max_decompressed_bytes.max(LARGEST);
        self
    }

    /// Uses this secret alone to sign and verify.
    pub(crate) fn sign_with(&mut self, secret_key: SecretKey) {
        (self.settings.secret_key, self.has_secret) = (secret_key, true);
        self.settings.secret_key_fallbacks.clear();
        self.sources.fallbacks.clear();
    }

    /// Connects to the store, for work that reads no data: nothing is signed or verified.
    pub(crate) async fn connect(&self) -> anyhow::Result<Arc<dyn SessionStore>> {
        Ok(cloakroom::connect(shared(self.url()?)?.expose(), &self.settings).await?)
    }

    /// Connects to the store, for work that reads sessions: if they are signed, the secret is required.
    pub(crate) async fn connect_to_read(&self) -> anyhow::Result<Arc<dyn SessionStore>> {
        self.connect_to(self.url()?).await
    }

    /// Connects to the store, for a service that answers for the site. Sessions in cookies are served too.
    pub(crate) async fn connect_to_serve(&self) -> anyhow::Result<SessionMiddleware> {
        let mut settings = self.settings()?.clone();
        // With another secret, everyone is nobody.
        settings.secret_check = SecretCheck::Warn;
        let url = self.url()?;
        let url = if url.scheme() == Some(StoreScheme::Cookie) { url } else { shared(url)? };
        let store = cloakroom::connect(url.expose(), &settings).await?;
        Ok(SessionMiddleware::new(store, settings)?)
    }

    /// Connects to another store of this site.
    pub(crate) async fn connect_to(&self, url: &StoreUrl) -> anyhow::Result<Arc<dyn SessionStore>> {
        let settings = if is_signed(url) { self.settings()? } else { &self.settings };
        Ok(cloakroom::connect(shared(url)?.expose(), settings).await?)
    }
}

/// Notes once that an option's secret is used alone.
fn say_left_out(secret: &str, fallbacks: &[String]) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        complain(&format!(
            "the secret of {secret} is used alone, without the site's older secrets ({}); to read with one of them \
             too, name it with --secret-key-fallback-file",
            fallbacks.join(", ")
        ));
    });
}

/// Whether the store's entries are signed. Caches keep unsigned pickles or JSON.
fn is_signed(url: &StoreUrl) -> bool {
    !url.is_cache()
}

/// The URL of a store that other processes can see.
fn shared(url: &StoreUrl) -> anyhow::Result<&StoreUrl> {
    store_url::sqlite(url)?;
    path_alone(url.expose())?;
    match url.parts().map_err(|error| usage(error.to_string()))? {
        StoreUrlParts::One(StoreScheme::Memory) => {
            Err(usage("memory: keeps sessions inside one process; other processes cannot see them"))
        }
        StoreUrlParts::One(StoreScheme::Cookie) => Err(usage(
            "cookie: keeps sessions in the browsers (signed_cookies); the server has none. `cloakroom decode \
             --key-salt django.contrib.sessions.backends.signed_cookies` reads a cookie's value",
        )),
        _ => Ok(url),
    }
}

/// Detects a path in place of a URL: the scheme was forgotten. Text that may be another kind of URL is left
/// to the library, which shows no password.
fn path_alone(url: &str) -> anyhow::Result<()> {
    let may_be_path = !url.contains([':', '@', '=', '?', '|']) && !url.contains(char::is_whitespace);
    let is_path = ["/", "./", "../", "~/"].iter().any(|start| url.starts_with(start))
        || [".sqlite3", ".sqlite", ".db"].iter().any(|end| url.ends_with(end))
        || Path::new(url).exists();
    if !(may_be_path && is_path) {
        return Ok(());
    }
    let scheme = if Path::new(url).is_dir() { "file" } else { "sqlite" };
    Err(usage(format!("the store {url} is a path; write {scheme}:{url}")))
}

fn age(seconds: i64) -> anyhow::Result<TimeDelta> {
    TimeDelta::try_seconds(seconds)
        .filter(|age| *age > TimeDelta::zero())
        .ok_or_else(|| usage("the cookie's age is a number of seconds above 0"))
}

pub(crate) fn time_zone(name: &str) -> Result<TimeZone, String> {
    name.parse().map(TimeZone::Naive).map_err(|error: UnknownTimeZone| error.to_string())
}
